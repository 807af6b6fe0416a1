// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_emulated.c - the emulated vPMU: each guest counter is a perf event of the host.
 *
 * Interface: kvm_pmu_emulated, one instance of struct kvm_pmu_backend.
 *
 * A counter's visible value is counter + emulated_counter + what its event has counted. Pausing
 * folds all three into counter; resuming gives the event a period that ends where the guest's
 * counter wraps. Nobody tells the guest when its event has no physical counter.
 *
 * A counter whose PEBS_ENABLE bit is set has a precise event. Its overflow sets BUFFER_OVF, and is a PMI if
 * that was clear; one by an emulated instruction sets nothing. When PEBS is off: pebs.c.
 *
 * Not modelled: PEBS records, events bound to another thread.
 */
#include "kvm/vcpu.h"

#include "base/fault.h"

static struct perf_cpu *perf_of(const struct kvm_pmc *pmc)
{
	return pmc->vcpu->perf;
}

static struct account *books_of(const struct kvm_pmc *pmc)
{
	return vcpu_books(pmc->vcpu);
}

static u64 mask_of(const struct kvm_pmc *pmc)
{
	return pmc_bitmask(&pmc->vcpu->pmu, pmc);
}

/* An emulated VM is one more user of perf's. */
static int emulated_create_vm(struct perf_cpu *perf)
{
	(void)perf;
	return 0;
}

static void emulated_destroy_vm(struct perf_cpu *perf)
{
	(void)perf;
}

static void emulated_load(struct kvm_vcpu *vcpu)
{
	(void)vcpu;
}

static void emulated_put(struct kvm_vcpu *vcpu)
{
	(void)vcpu;
}

static void emulated_vm_entry(struct kvm_vcpu *vcpu)
{
	vcpu->pmu.ops->emulated_vm_entry(vcpu);
}

static void emulated_vm_exit(struct kvm_vcpu *vcpu)
{
	vcpu->pmu.ops->emulated_vm_exit(vcpu);
}

static void emulated_host_pmi(struct kvm_vcpu *vcpu)
{
	perf_event_nmi_handler(vcpu->perf);
}

/* __kvm_perf_overflow() of a PEBS counter. KVM writes no record for an emulated instruction. */
static void raise_pebs_overflow(struct kvm_pmc *pmc, bool in_pmi)
{
	struct kvm_pmu *pmu = &pmc->vcpu->pmu;
	bool first = !(pmu->global_status & GLOBAL_STATUS_BUFFER_OVF);

	if (!in_pmi && !FAULTY(PEBS_RECORD_OF_EMULATED)) {
		account_stat(books_of(pmc), STAT_PEBS_EMULATED);
		truth_pmi_dropped(&pmc->vcpu->guest.truth);
		return;
	}
	pmu->global_status |= FAULTY(PEBS_SETS_COUNTER_STATUS) ? BIT_ULL(pmc->idx)
							       : GLOBAL_STATUS_BUFFER_OVF;
	if (first || FAULTY(PEBS_SECOND_PMI))
		kvm_make_request(KVM_REQ_PMI, pmc->vcpu);
}

static bool is_precise(const struct kvm_pmc *pmc)
{
	return pmc->perf_event && pmc->perf_event->attr.precise_ip;
}

static void raise_overflow(struct kvm_pmc *pmc, bool in_pmi)
{
	if (unlikely(is_precise(pmc))) {
		raise_pebs_overflow(pmc, in_pmi);
		return;
	}
	pmc->vcpu->pmu.global_status |= FAULTY(EMULATED_STATUS_NEVER_SET) ? 0 : BIT_ULL(pmc->idx);
	if (pmc->intr || FAULTY(EMULATED_PMI_WITHOUT_INT))
		kvm_make_request(KVM_REQ_PMI, pmc->vcpu);
}

static void kvm_perf_overflow(struct perf_event *event)
{
	struct kvm_pmc *pmc = event->overflow_context;
	struct kvm_pmu *pmu = &pmc->vcpu->pmu;

	account_charge(books_of(pmc), COST_KVM_PERF_OVERFLOW);
	if (unlikely(is_precise(pmc)))
		account_stat(books_of(pmc), STAT_PEBS_RECORDS);
	/* A reprogram is pending: the event is about to be another one, its overflow is dropped. */
	if (pmu->reprogram_pmi & BIT_ULL(pmc->idx) && !FAULTY(EMULATED_OVERFLOW_NEVER_DROPPED)) {
		if (pmc->intr)
			truth_pmi_dropped(&pmc->vcpu->guest.truth);
		return;
	}
	raise_overflow(pmc, true);
	if (!FAULTY(EMULATED_OVERFLOW_NOT_REARMED))
		kvm_pmu_request_counter_reprogram(pmc);
}

/*
 * A fault of host perf has dropped it: KVM knows nothing. The event goes on with periods of its own, and not
 * all of their ends are overflows of the guest's counter.
 */
static void kvm_perf_overflow_dropped(struct perf_event *event)
{
	struct kvm_pmc *pmc = event->overflow_context;
	struct truth *truth = &pmc->vcpu->guest.truth;

	if (pmc->intr && truth->outstanding)
		truth_pmi_dropped(truth);
}

/* Fold everything into counter; true if credits made it wrap. */
static bool pmc_pause_counter(struct kvm_pmc *pmc)
{
	u64 before;

	if (pmc->perf_event && !pmc->is_paused)
		pmc->counter += perf_event_pause(perf_of(pmc), pmc->perf_event, true);
	before = pmc->counter & mask_of(pmc);
	pmc->counter = (before + (FAULTY(EMULATED_CREDIT_LOST) ? 0 : pmc->emulated_counter)) &
		       mask_of(pmc);
	pmc->emulated_counter = 0;
	pmc->is_paused = true;
	return pmc->counter < before && !FAULTY(EMULATED_WRAP_UNSEEN);
}

/* Events until the base wraps. For a paused counter that is the guest's value; for a live one it
 * leaves out what the event has counted, and the overflow comes late by as much, as in KVM. */
static u64 get_sample_period(const struct kvm_pmc *pmc)
{
	u64 period = (0 - pmc->counter) & mask_of(pmc);

	return period || FAULTY(EMULATED_PERIOD_OF_ZERO) ? period : mask_of(pmc) + 1;
}

static bool has_pebs(const struct kvm_pmc *pmc)
{
	return pmc->vcpu->pmu.pebs.enable & BIT_ULL(pmc->idx);
}

/* The counter with the precise distribution needs all of the precision, to be placed there. */
static u8 pmc_get_pebs_precise_level(const struct kvm_pmc *pmc)
{
	return pmc->idx == 0 && pmc->vcpu->pmu.guest.pdist ? 3 : 1;
}

static bool pmc_resume_counter(struct kvm_pmc *pmc)
{
	if (!pmc->perf_event || pmc->vcpu->config->kvm.no_event_reuse)
		return false;
	if (pmc->perf_event->attr.sample_period &&
	    perf_event_period(perf_of(pmc), pmc->perf_event, get_sample_period(pmc)))
		return false;
	if (has_pebs(pmc) != is_precise(pmc) && !FAULTY(PEBS_RESUMES_PLAIN))
		return false;
	perf_event_enable(perf_of(pmc), pmc->perf_event);
	pmc->is_paused = false;
	account_stat(books_of(pmc), STAT_PERF_RESUMED);
	return true;
}

static void pmc_release_perf_event(struct kvm_pmc *pmc)
{
	if (!pmc->perf_event)
		return;
	perf_event_release_kernel(perf_of(pmc), pmc->perf_event);
	pmc->perf_event = NULL;
	pmc->current_config = 0;
	pmc->vcpu->pmu.event_count--;
}

static void pmc_reprogram_counter(struct kvm_pmc *pmc, u64 eventsel)
{
	struct perf_event_attr attr = {
		.config = eventsel & EVENTSEL_WHAT,
		.sample_period = get_sample_period(pmc),
		.pinned = !FAULTY(EMULATED_NOT_PINNED),
		.exclude_user = !(eventsel & ARCH_PERFMON_EVENTSEL_USR) &&
				!FAULTY(EMULATED_COUNTS_USER),
		.exclude_kernel = !(eventsel & ARCH_PERFMON_EVENTSEL_OS),
		.exclude_host = !FAULTY(EMULATED_COUNTS_HOST),
	};
	int error;

	/* A checkpointed counter cannot be given a period: it counts and overflows unseen. */
	if (eventsel & HSW_IN_TX_CHECKPOINTED && pmc->vcpu->pmu.guest.rtm &&
	    !pmc->vcpu->config->kvm.in_txcp_period && !FAULTY(EMULATED_IN_TXCP_SAMPLES))
		attr.sample_period = 0;
	if (has_pebs(pmc) && !FAULTY(PEBS_NOT_PRECISE))
		attr.precise_ip = pmc_get_pebs_precise_level(pmc);
	pmc->perf_event = perf_event_create_kernel_counter(
		perf_of(pmc), &attr, &pmc->vcpu->perf_ctx, kvm_perf_overflow, pmc, &error);
	pmc->refused = !pmc->perf_event;
	if (pmc->refused)
		return;
	pmc->perf_event->overflow_dropped = kvm_perf_overflow_dropped;
	pmc->vcpu->pmu.event_count++;
	pmc->is_paused = false;
	pmc->intr = eventsel & ARCH_PERFMON_EVENTSEL_INT || attr.precise_ip;
	pmc->current_config = eventsel;
}

static void emulated_reprogram(struct kvm_pmc *pmc)
{
	u64 eventsel = pmc_eventsel(pmc);
	bool wrapped = pmc_pause_counter(pmc);

	if (!pmc_is_globally_enabled(pmc) || !pmc_is_locally_enabled(pmc))
		return;
	account_charge(books_of(pmc), COST_CHECK_EVENT_FILTER);
	if (!pmc_is_event_allowed(pmc) && !FAULTY(EMULATED_FILTER_BYPASS))
		return;
	if (wrapped)
		raise_overflow(pmc, false);
	if ((pmc->current_config == eventsel || FAULTY(EMULATED_RESUMES_ANOTHER)) &&
	    pmc_resume_counter(pmc))
		return;
	pmc_release_perf_event(pmc);
	pmc_reprogram_counter(pmc, eventsel);
	/* Failed: try again with whatever asks next, without stalling the guest. */
	if (pmc->refused && !FAULTY(EMULATED_NO_RETRY))
		pmc->vcpu->pmu.reprogram_pmi |= BIT_ULL(pmc->idx);
}

static bool emulated_reprogram_is_late(struct kvm_vcpu *vcpu)
{
	return perf_reprogram_is_late(vcpu->perf, &vcpu->perf_ctx);
}

static u64 emulated_read_counter(struct kvm_pmc *pmc)
{
	u64 value = pmc->counter +
		    (FAULTY(EMULATED_READ_WITHOUT_CREDITS) ? 0 : pmc->emulated_counter);

	if (pmc->perf_event && !pmc->is_paused)
		value += perf_event_read_value(perf_of(pmc), pmc->perf_event);
	return value & mask_of(pmc);
}

static u64 emulated_peek_counter(struct kvm_pmc *pmc)
{
	u64 value = pmc->counter + pmc->emulated_counter;

	if (pmc->perf_event && !pmc->is_paused)
		value += perf_event_peek(perf_of(pmc), pmc->perf_event);
	return value & mask_of(pmc);
}

static void emulated_write_counter(struct kvm_pmc *pmc, u64 value)
{
	/* Drop credits not merged yet: a write is a write, not a read-modify-write. */
	if (!FAULTY(EMULATED_WRITE_KEEPS_CREDITS))
		pmc->emulated_counter = 0;
	pmc->counter += value - emulated_read_counter(pmc);
	pmc->counter &= mask_of(pmc);
	if (pmc->perf_event && !pmc->is_paused && !FAULTY(EMULATED_WRITE_KEEPS_PERIOD))
		perf_event_period(perf_of(pmc), pmc->perf_event, get_sample_period(pmc));
}

static void emulated_credit(struct kvm_pmc *pmc)
{
	pmc->emulated_counter += FAULTY(EMULATED_CREDIT_TWICE) ? 2 : 1;
	kvm_pmu_request_counter_reprogram(pmc);
}

static void emulated_write_eventsel(struct kvm_pmc *pmc)
{
	(void)pmc;
}

static int emulated_hw_counter(struct kvm_pmc *pmc)
{
	const struct perf_event *event = pmc->perf_event;

	return event && event->state == PERF_EVENT_STATE_ACTIVE ? event->hw.idx : -1;
}

static enum loss_cause emulated_why(struct kvm_pmc *pmc)
{
	if (!pmc_is_event_allowed(pmc))
		return CAUSE_FILTERED;
	if (!pmc->perf_event && pmc->refused)
		return CAUSE_REFUSED;
	if (kvm_pmu_waits(pmc) && (pmc->is_paused || pmc->current_config != pmc_eventsel(pmc)))
		return CAUSE_LATE_REPROGRAM;
	if (!pmc->perf_event)
		return CAUSE_NONE;
	if (!pmc->is_paused && pmc->perf_event->state != PERF_EVENT_STATE_ACTIVE)
		return CAUSE_CONTENTION;
	/* KVM's reprogramming ends it; here nobody has told KVM of the overflow. */
	if (!pmc->is_paused && !pmc->perf_event->hw.running)
		return CAUSE_THROTTLED;
	if (!pmc->is_paused && kvm_pebs_stops(pmc->vcpu, pmc->perf_event->hw.idx))
		return CAUSE_PEBS_OFF;
	return CAUSE_NONE;
}

/* The counter has wrapped, and perf, whose period ends later, does not know it yet. */
static void emulated_leave(struct kvm_pmc *pmc)
{
	u64 value = pmc->counter;

	if (!pmc->perf_event || pmc->is_paused || !pmc->intr)
		return;
	value += perf_event_peek(perf_of(pmc), pmc->perf_event);
	if (value > mask_of(pmc))
		truth_pmi_dropped(&pmc->vcpu->guest.truth);
}

static void emulated_cleanup(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	unsigned int idx;

	for_each_set_bit(idx, pmu->all_valid_pmc_idx & ~pmu->pmc_in_use) {
		if (!pmc_is_locally_enabled(&pmu->pmc[idx]) && !FAULTY(EMULATED_NEVER_RELEASES))
			pmc_release_perf_event(&pmu->pmc[idx]);
	}
	pmu->pmc_in_use = 0;
}

static void emulated_destroy(struct kvm_vcpu *vcpu)
{
	unsigned int idx;

	for_each_set_bit(idx, vcpu->pmu.all_valid_pmc_idx)
		pmc_release_perf_event(&vcpu->pmu.pmc[idx]);
	kvm_lbr_release(vcpu);
}

const struct kvm_pmu_backend kvm_pmu_emulated = {
	.name = "emulated",
	.create_vm = emulated_create_vm,
	.destroy_vm = emulated_destroy_vm,
	.destroy = emulated_destroy,
	.load = emulated_load,
	.put = emulated_put,
	.resume = emulated_load,
	.vm_entry = emulated_vm_entry,
	.vm_exit = emulated_vm_exit,
	.host_pmi = emulated_host_pmi,
	.read_counter = emulated_read_counter,
	.peek_counter = emulated_peek_counter,
	.write_counter = emulated_write_counter,
	.reprogram = emulated_reprogram,
	.reprogram_is_late = emulated_reprogram_is_late,
	.credit = emulated_credit,
	.write_eventsel = emulated_write_eventsel,
	.hw_counter = emulated_hw_counter,
	.why = emulated_why,
	.leave = emulated_leave,
	.cleanup = emulated_cleanup,
};
