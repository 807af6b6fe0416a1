// SPDX-License-Identifier: Apache-2.0
/*
 * state.c - a vCPU as a VMM saves and restores it.
 *
 * Interface
 *  - kvm_vcpu_save() takes the vCPU out of the guest, serves what is pending and reads its registers.
 *  - kvm_vcpu_restore() gives a new vCPU, which has not run, the registers, the local APIC and the events
 *    of a saved one. The CPU's own state is the caller's business, and so are the books.
 *  - kvm_vcpu_moved(): the struct has been copied to another place.
 *
 * KVM lists neither DEBUGCTL nor the LBR's registers: a restored guest finds them 0.
 *
 * The TSC is not written: the clock of the machine that takes over goes on from that of the old one.
 *
 * Departure: Linux 7.0 leaves KVM_REQ_PMU and KVM_REQ_PMI where they are when a VMM reads the state, so
 * that a PMI which is raised but not delivered stays behind in a migration. Here they are served first.
 * An overflow that host perf has not seen yet stays behind all the same (a period of one is rounded to
 * two): its PMI is counted as dropped.
 */
#include "kvm/vcpu.h"

#include "base/fault.h"
#include "base/move.h"

/* A counter of the host's that the guest lacks: its VMM, who knows CPUID, does not ask for it. */
static bool is_of_no_counter(const struct kvm_vcpu *vcpu, u32 msr)
{
	return pmu_find(&vcpu->config->hw, msr).kind != PMU_NO_REGISTER &&
	       pmu_find(&vcpu->pmu.guest, msr).kind == PMU_NO_REGISTER;
}

int kvm_vcpu_save(struct kvm_vcpu *vcpu, struct kvm_saved_state *state)
{
	const struct pp_kvm *kvm = &vcpu->config->kvm;
	struct kvm_pmu *pmu = &vcpu->pmu;
	unsigned int idx;
	int done;

	kvm_vcpu_kick_out(vcpu);
	if (!FAULTY(STATE_REQUESTS_STAY_BEHIND))
		kvm_vcpu_serve_requests(vcpu);
	for_each_set_bit(idx, pmu->all_valid_pmc_idx)
		pmu->backend->leave(&pmu->pmc[idx]);
	if (kvm->nr_msrs_to_save > ARRAY_SIZE(state->msrs))
		return -1;
	state->nr_msrs = 0;
	for (u32 i = 0; i < kvm->nr_msrs_to_save; i++) {
		if (!is_of_no_counter(vcpu, kvm->msrs_to_save[i]))
			state->msrs[state->nr_msrs++].index = kvm->msrs_to_save[i];
	}
	done = kvm_vcpu_ioctl_get_msrs(vcpu, state->msrs, state->nr_msrs);
	state->valid = done == (int)state->nr_msrs;
	return state->valid ? 0 : -1;
}

/* Its host cycles so far, as kvm_sched_out() leaves them: kvm_sched_in() is yet to come. */
static u64 time_of_open_exit(const struct kvm_vcpu *vcpu)
{
	bool runs = vcpu->task.rq && vcpu->task.rq->current == &vcpu->task;

	return runs ? vcpu->pcpu->account.host_cycles - vcpu->exit_start : vcpu->exit_start;
}

static void take_books(struct kvm_vcpu *vcpu, const struct kvm_vcpu *from)
{
	for (unsigned int n = 0; n < NR_EXIT_BOOKS; n++) {
		vcpu->exits[n] = from->exits[n];
		vcpu->profile_exits[n] = from->profile_exits[n];
		vcpu->exit_cycles[n] = from->exit_cycles[n];
	}
	vcpu->exit_reason = from->exit_reason;
	vcpu->exit_book = from->exit_book;
	vcpu->exit_access = from->exit_access;
	vcpu->exit_start = time_of_open_exit(from);
	vcpu->pmu.sw = from->pmu.sw;
	vcpu->pmu.blind_start = from->pmu.blind_start;
}

static bool is_feature(u32 index)
{
	return index == MSR_IA32_PERF_CAPABILITIES;
}

/* In the order of a VMM: what makes the vCPU's model goes first, for it resets the PMU. */
static u32 order_msrs(const struct kvm_saved_state *state, struct pp_msr_entry *msrs)
{
	u32 n = 0;

	for (u32 i = 0; i < state->nr_msrs; i++) {
		if (is_feature(state->msrs[i].index))
			msrs[n++] = state->msrs[i];
	}
	for (u32 i = 0; i < state->nr_msrs; i++) {
		if (!is_feature(state->msrs[i].index) && state->msrs[i].index != MSR_IA32_TSC &&
		    !(FAULTY(STATE_FORGETS_STATUS) &&
		      state->msrs[i].index == MSR_CORE_PERF_GLOBAL_STATUS))
			msrs[n++] = state->msrs[i];
	}
	return n;
}

int kvm_vcpu_restore(struct kvm_vcpu *vcpu, const struct kvm_vcpu *from,
		     const struct kvm_saved_state *state)
{
	struct pp_msr_entry msrs[MAX_SAVED_MSRS];
	u32 n = order_msrs(state, msrs);
	int done;

	lapic_restore(&vcpu->lapic, &from->lapic);
	pcpu_guest_restore(&vcpu->guest, &from->guest);
	kvm_update_msr_bitmap_x2apic(vcpu);
	/* It had been moved to a pCPU that is behind, and has not gone on yet. */
	vcpu->task.left_at = from->task.left_at;
	vcpu->task.arrives = vcpu->task.sleeps = from->task.left_at > pcpu_tsc(vcpu->pcpu);
	vcpu->exception = from->exception;
	vcpu->halted = from->halted;
	vcpu->init_pending = from->init_pending;
	vcpu->sipi_pending = from->sipi_pending;
	take_books(vcpu, from);
	vcpu->restoring = true;
	done = kvm_vcpu_ioctl_set_msrs(vcpu, msrs, n);
	vcpu->restoring = false;
	return done == (int)n ? 0 : -1;
}

void kvm_vcpu_moved(struct kvm_vcpu *vcpu, const struct move *move)
{
	task_moved(&vcpu->task, move);
	vcpu->kvm = moved(move, vcpu->kvm);
	vcpu->pcpu = moved(move, vcpu->pcpu);
	vcpu->perf = moved(move, vcpu->perf);
	vcpu->loaded_on = moved(move, vcpu->loaded_on);
	perf_event_context_moved(&vcpu->perf_ctx, move);
	vcpu->ports = moved(move, vcpu->ports);
	vcpu->config = moved(move, vcpu->config);
	lapic_moved(&vcpu->lapic, move);
	pcpu_guest_moved(&vcpu->guest, move);
	for (u32 i = 0; i < PP_MSR_FILTER_MAX_RANGES; i++)
		vcpu->msr_filter.ranges[i].bitmap = moved(move, vcpu->msr_filter.ranges[i].bitmap);
	for (unsigned int idx = 0; idx < NR_PMC_IDX; idx++) {
		struct kvm_pmc *pmc = &vcpu->pmu.pmc[idx];

		pmc->vcpu = moved(move, pmc->vcpu);
		pmc->perf_event = moved(move, pmc->perf_event);
	}
	vcpu->pmu.lbr.event = moved(move, vcpu->pmu.lbr.event);
}
