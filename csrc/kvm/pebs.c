// SPDX-License-Identifier: Apache-2.0
/*
 * pebs.c - PEBS of an emulated vPMU: its registers, when it is on, what it costs.
 *
 * Interface
 *  - kvm_pebs_get_msr(), kvm_pebs_set_msr(): PEBS_ENABLE, PEBS_DATA_CFG, DS_AREA.
 *  - kvm_pebs_vm_entry(), kvm_pebs_vm_exit(): what the two switch; the counters that stand still.
 *  - kvm_pebs_stops(): the same for one physical counter, for the books.
 *
 * A guest counter whose PEBS_ENABLE bit is set has a precise event (pmu_emulated.c). Its PEBS is on in the
 * guest if the event has the physical counter of the same index and no event of the host is precise.
 * If not, the counter stands still: perf takes the counters of precise events out of the guest's
 * GLOBAL_CTRL, and with a PEBS counter enabled those of cross-mapped events as well, precise or not.
 *
 * KVM masks PEBS_BASELINE off, so that PEBS_ENABLE has GP counters only and PEBS_DATA_CFG does not exist.
 *
 * Not modelled: records. Nothing is written to the guest's memory, DS_AREA is looked at by nobody, and a
 * counter is not reloaded from there. Each overflow stands for a record and for a buffer that is full
 * (threshold one): BUFFER_OVF. Statistics tell how many records silicon would have written and missed. Linux
 * switches DS_AREA on CPUs with pebs_ept for guests without PEBS as well; here it costs only those that
 * have it.
 */
#include "kvm/vcpu.h"

#include "base/fault.h"

void kvm_pebs_refresh(struct kvm_pmu *pmu)
{
	pmu->pebs.enable_rsvd = pmu->guest.perf_capabilities & PERF_CAP_PEBS_FORMAT
					? ~pmu_counter_mask(pmu->nr_gp, 0)
					: ~0ull;
	pmu->pebs.enable_rsvd &= FAULTY(PEBS_ENABLE_TAKES_ALL) ? 0 : ~0ull;
	pmu->pebs.enable = 0;
}

bool kvm_pebs_has_msr(const struct kvm_pmu *pmu, u32 msr)
{
	u64 caps = pmu->guest.perf_capabilities;

	switch (msr) {
	case MSR_IA32_PEBS_ENABLE: return caps & PERF_CAP_PEBS_FORMAT;
	case MSR_IA32_DS_AREA: return pmu->pebs.ds;
	case MSR_PEBS_DATA_CFG: return caps & PERF_CAP_PEBS_FORMAT && caps & PERF_CAP_PEBS_BASELINE;
	default: return false;
	}
}

int kvm_pebs_get_msr(struct kvm_vcpu *vcpu, struct msr_data *msr)
{
	const struct kvm_pebs *pebs = &vcpu->pmu.pebs;

	msr->data = msr->index == MSR_IA32_PEBS_ENABLE ? pebs->enable : pebs->ds_area;
	return 0;
}

static void write_enable(struct kvm_vcpu *vcpu, u64 value)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 changed = (pmu->pebs.enable ^ value) & pmu->all_valid_pmc_idx;

	pmu->pebs.enable = value;
	if (!vcpu->restoring)
		truth_pebs_written(&vcpu->guest.truth, value);
	if (!changed)
		return;
	pmu->reprogram_pmi |= FAULTY(PEBS_REPROGRAMS_ALL) ? pmu->all_valid_pmc_idx : changed;
	kvm_make_request(KVM_REQ_PMU, vcpu);
}

int kvm_pebs_set_msr(struct kvm_vcpu *vcpu, const struct msr_data *msr)
{
	struct kvm_pebs *pebs = &vcpu->pmu.pebs;

	switch (msr->index) {
	case MSR_IA32_PEBS_ENABLE:
		if (msr->data & pebs->enable_rsvd)
			return -1;
		write_enable(vcpu, msr->data);
		return 0;
	case MSR_IA32_DS_AREA:
		if (!kvm_is_canonical(msr->data) && !FAULTY(DS_AREA_TAKES_ALL))
			return -1;
		pebs->ds_area = msr->data;
		return 0;
	default: return -1;
	}
}

static bool is_enabled(const struct kvm_pmc *pmc)
{
	return pmc_is_globally_enabled(pmc) && pmc_is_locally_enabled(pmc);
}

/* intel_pmu_cross_mapped_check(): physical counters of events that are not where the guest thinks. */
static u64 cross_mapped(const struct kvm_pmu *pmu)
{
	unsigned int idx;
	u64 mask = 0;

	if (!(pmu->pebs.enable & pmu->global_ctrl))
		return 0;
	for_each_set_bit(idx, pmu->global_ctrl & pmu->all_valid_pmc_idx) {
		const struct kvm_pmc *pmc = &pmu->pmc[idx];
		const struct perf_event *event = pmc->perf_event;

		if (!is_enabled(pmc) || !event || event->hw.idx < 0)
			continue;
		if (event->hw.idx != (int)idx)
			mask |= BIT_ULL(event->hw.idx);
	}
	return mask;
}

static bool is_used(const struct kvm_vcpu *vcpu)
{
	return vcpu->perf->pebs_enabled || vcpu->pmu.pebs.enable;
}

static void look(const struct kvm_vcpu *vcpu, struct perf_guest_pebs *now)
{
	const struct kvm_pmu *pmu = &vcpu->pmu;

	perf_guest_get_pebs(vcpu->perf, pmu->pebs.enable, cross_mapped(pmu), now);
}

bool kvm_pebs_stops(const struct kvm_vcpu *vcpu, int hw_idx)
{
	struct perf_guest_pebs now;

	if (likely(!is_used(vcpu)))
		return false;
	look(vcpu, &now);
	return now.stopped & BIT_ULL(hw_idx);
}

/* For the books: what the guest has asked for, of that what is off, and why. */
static enum stat state_of(const struct kvm_pmu *pmu, const struct perf_guest_pebs *now, u64 *off)
{
	bool absent = false;
	u64 wanted = 0;
	unsigned int idx;

	for_each_set_bit(idx, pmu->pebs.enable & pmu->all_valid_pmc_idx) {
		const struct kvm_pmc *pmc = &pmu->pmc[idx];

		if (!is_enabled(pmc) || !pmc_is_event_allowed(pmc))
			continue;
		wanted |= BIT_ULL(idx);
		absent |= !pmc->perf_event || pmc->perf_event->state != PERF_EVENT_STATE_ACTIVE;
	}
	*off = wanted & ~now->guest;
	if (!wanted)
		return NR_STATS;
	if (!*off)
		return STAT_PEBS_ON;
	if (now->host)
		return STAT_PEBS_OFF_HOST;
	return absent ? STAT_PEBS_OFF_ABSENT : STAT_PEBS_OFF_MAPPED;
}

/* The MSR load lists: registers whose value in the guest is another one than the host's. */
static unsigned int registers_to_load(const struct kvm_vcpu *vcpu,
				      const struct perf_guest_pebs *now)
{
	/* The host has a debug store of its own while perf has events. */
	bool ds_area = vcpu->pmu.pebs.ds && (vcpu->perf->ctx.nr_events || vcpu->perf_ctx.nr_events);

	if (!vcpu->config->hw.pebs_ept)
		return 0;
	return ds_area + (now->host != now->guest);
}

u64 kvm_pebs_vm_entry(struct kvm_vcpu *vcpu)
{
	struct kvm_pebs *pebs = &vcpu->pmu.pebs;
	struct perf_guest_pebs now;
	u64 off;

	pebs->state = NR_STATS;
	pebs->nr_loaded = 0;
	if (likely(!is_used(vcpu) && !pebs->ds))
		return 0;
	look(vcpu, &now);
	pebs->nr_loaded = (u8)registers_to_load(vcpu, &now);
	if (pebs->nr_loaded)
		account_charge_n(vcpu_books(vcpu), COST_MSR_AUTOLOAD, pebs->nr_loaded);
	/* PEBS must be quiet before the list is worked off. */
	if (vcpu->config->hw.pebs_ept && now.host != now.guest)
		account_charge(vcpu_books(vcpu), COST_WRMSR);
	pebs->state = state_of(&vcpu->pmu, &now, &off);
	pebs->entered = pcpu_tsc(vcpu->pcpu);
	truth_pebs_off(&vcpu->guest.truth, off);
	return now.stopped;
}

void kvm_pebs_vm_exit(struct kvm_vcpu *vcpu)
{
	struct kvm_pebs *pebs = &vcpu->pmu.pebs;

	if (pebs->state != NR_STATS)
		account_stat_n(vcpu_books(vcpu), pebs->state, pcpu_tsc(vcpu->pcpu) - pebs->entered);
	pebs->state = NR_STATS;
	if (pebs->nr_loaded)
		account_charge_n(vcpu_books(vcpu), COST_MSR_AUTOLOAD, pebs->nr_loaded);
}
