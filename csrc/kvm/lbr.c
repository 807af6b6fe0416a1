// SPDX-License-Identifier: Apache-2.0
/*
 * lbr.c - the legacy LBR of an emulated vPMU: a pinned event of perf that takes the host's LBR.
 *
 * Interface
 *  - kvm_lbr_get_msr(), kvm_lbr_set_msr(): accesses that exit. The first one makes the event.
 *  - kvm_lbr_debugctl_written(): so does DEBUGCTL.LBR.
 *  - vmx_passthrough_lbr_msrs(): before an entry: the registers are direct while the event is active.
 *  - kvm_lbr_direct_read(), kvm_lbr_direct_write(): the guest has them.
 *  - intel_pmu_legacy_freezing_lbrs_on_pmi(), kvm_lbr_cleanup(), kvm_lbr_release().
 *
 * An event that is not active, since a host's CPU-pinned user of the LBR has taken it, stays in perf's
 * error state. Then reads are 0, writes are dropped, and KVM warns at each entry (rate limited in
 * Linux, counted here: lbr_warnings). It goes when the vCPU's thread has slept and DEBUGCTL.LBR is clear;
 * the next access makes another one, whose registers are 0.
 *
 * Not modelled: branch records. Nothing is recorded while DEBUGCTL.LBR is set: registers hold what was
 * written to them. LBR_SELECT takes bits 9:0, TOS bits 4:0, FROM and TO canonical addresses; which bits
 * silicon refuses was not checked. The save and restore of the stack when the vCPU's thread sleeps is not
 * charged.
 */
#include "kvm/vcpu.h"

#include "base/fault.h"

#include <string.h>

#define LBR_SELECT_VALID GENMASK_ULL(9, 0)
#define LBR_TOS_VALID GENMASK_ULL(4, 0)
#define VLBR_IN_USE BIT_ULL(INTEL_PMC_IDX_FIXED_VLBR)

void kvm_lbr_refresh(struct kvm_pmu *pmu)
{
	pmu->lbr.nr = pmu->guest.perf_capabilities & PERF_CAP_LBR_FMT
			      ? (u32)min_u64(pmu->guest.lbr_depth, MAX_LBR_RECORDS)
			      : 0;
}

enum {
	REG_SELECT,
	REG_TOS,
	REG_FROM,
	REG_TO = REG_FROM + MAX_LBR_RECORDS,
	REG_INFO = REG_TO + MAX_LBR_RECORDS
};

/* The place of @msr among the registers of an LBR with @nr records, -1 if it is none. */
static int place_of(u32 nr, u32 msr)
{
	if (likely(!nr))
		return -1;
	if (msr == MSR_LBR_SELECT)
		return REG_SELECT;
	if (msr == MSR_LBR_TOS)
		return REG_TOS;
	if (msr - MSR_LBR_NHM_FROM < nr)
		return REG_FROM + (int)(msr - MSR_LBR_NHM_FROM);
	if (msr - MSR_LBR_NHM_TO < nr)
		return REG_TO + (int)(msr - MSR_LBR_NHM_TO);
	if (msr - MSR_LBR_INFO_0 < nr)
		return REG_INFO + (int)(msr - MSR_LBR_INFO_0);
	return -1;
}

bool kvm_lbr_has_msr(const struct kvm_pmu *pmu, u32 msr)
{
	return place_of(pmu->lbr.nr, msr) >= 0;
}

static u64 read_register(const struct kvm_lbr *lbr, u32 msr)
{
	return lbr->regs[place_of(lbr->nr, msr)];
}

static bool is_taken(int place, u64 value)
{
	if (place == REG_SELECT)
		return !(value & ~LBR_SELECT_VALID);
	if (place == REG_TOS)
		return !(value & ~LBR_TOS_VALID);
	return place >= REG_INFO || kvm_is_canonical(value);
}

static int write_register(struct kvm_lbr *lbr, u32 msr, u64 value)
{
	int place = place_of(lbr->nr, msr);

	if (!is_taken(place, value))
		return -1;
	lbr->regs[place] = value;
	return 0;
}

static bool is_active(const struct kvm_lbr *lbr)
{
	return lbr->event && lbr->event->state == PERF_EVENT_STATE_ACTIVE;
}

/* intel_pmu_create_guest_lbr_event() */
static void create_event(struct kvm_vcpu *vcpu)
{
	static const struct perf_event_attr attr = {
		.config = INTEL_FIXED_VLBR_EVENT,
		.pinned = true,
		.exclude_host = true,
		.branch_stack = true,
	};
	struct kvm_lbr *lbr = &vcpu->pmu.lbr;
	int error;

	lbr->event = perf_event_create_kernel_counter(vcpu->perf, &attr, &vcpu->perf_ctx, NULL,
						      NULL, &error);
	if (!lbr->event)
		return;
	vcpu->pmu.event_count++;
	vcpu->pmu.pmc_in_use |= VLBR_IN_USE;
	account_stat(vcpu_books(vcpu), STAT_LBR_CREATED);
	/* perf gives a new user an empty stack. */
	memset(lbr->regs, 0, sizeof(lbr->regs));
}

/* Whether the hardware is the guest's, for one access. */
static bool take(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;

	if (!pmu->lbr.event)
		create_event(vcpu);
	if (!is_active(&pmu->lbr)) {
		pmu->pmc_in_use &= ~VLBR_IN_USE;
		return false;
	}
	pmu->pmc_in_use |= VLBR_IN_USE;
	return true;
}

int kvm_lbr_get_msr(struct kvm_vcpu *vcpu, struct msr_data *msr)
{
	msr->data = take(vcpu) ? read_register(&vcpu->pmu.lbr, msr->index) : 0;
	return 0;
}

int kvm_lbr_set_msr(struct kvm_vcpu *vcpu, const struct msr_data *msr)
{
	return take(vcpu) ? write_register(&vcpu->pmu.lbr, msr->index, msr->data) : 0;
}

/* ---- without an exit ---- */

static void note_direct(struct kvm_vcpu *vcpu)
{
	access_direct(&vcpu->guest.access, ACCESS_OTHER, vcpu->config->timing.msr >> SUB_SHIFT);
}

void kvm_lbr_direct_read(struct kvm_vcpu *vcpu, u32 msr, u64 *value)
{
	note_direct(vcpu);
	*value = read_register(&vcpu->pmu.lbr, msr);
}

int kvm_lbr_direct_write(struct kvm_vcpu *vcpu, u32 msr, u64 value)
{
	note_direct(vcpu);
	return write_register(&vcpu->pmu.lbr, msr, value);
}

static void intercept(struct kvm_vcpu *vcpu, u32 msr, bool exits)
{
	const struct kvm_msr_filter *filter = &vcpu->msr_filter;

	cpu_intercept_msr(&vcpu->intercept, msr,
			  exits || !kvm_msr_allowed(filter, msr, PP_MSR_FILTER_READ),
			  exits || !kvm_msr_allowed(filter, msr, PP_MSR_FILTER_WRITE));
}

void kvm_lbr_set_direct(struct kvm_vcpu *vcpu, bool direct)
{
	struct kvm_lbr *lbr = &vcpu->pmu.lbr;

	if (lbr->direct == direct)
		return;
	lbr->direct = direct;
	for (u32 i = 0; i < lbr->nr; i++) {
		intercept(vcpu, (u32)MSR_LBR_NHM_FROM + i, !direct);
		intercept(vcpu, (u32)MSR_LBR_NHM_TO + i, !direct);
		intercept(vcpu, (u32)MSR_LBR_INFO_0 + i, !direct);
	}
	intercept(vcpu, MSR_LBR_SELECT, !direct);
	intercept(vcpu, MSR_LBR_TOS, !direct);
	account_charge_n(vcpu_books(vcpu), COST_LBR_PASSTHROUGH, 3 * lbr->nr + 2);
}

static bool wants_lbr(const struct kvm_vcpu *vcpu)
{
	return vcpu->guest.misc.debugctl & DEBUGCTLMSR_LBR || vcpu->pmu.pmc_in_use & VLBR_IN_USE;
}

void vmx_passthrough_lbr_msrs(struct kvm_vcpu *vcpu)
{
	struct kvm_lbr *lbr = &vcpu->pmu.lbr;
	bool active = is_active(lbr), warn = !active && (lbr->event || wants_lbr(vcpu));

	lbr->state = active ? STAT_LBR_ACTIVE : lbr->event ? STAT_LBR_STOLEN : NR_STATS;
	lbr->entered = pcpu_tsc(vcpu->pcpu);
	kvm_lbr_set_direct(vcpu, (active || (lbr->event && FAULTY(LBR_DIRECT_WHILE_STOLEN))) &&
					 !FAULTY(LBR_NEVER_DIRECT));
	if (!active && lbr->event)
		vcpu->pmu.pmc_in_use &= ~VLBR_IN_USE;
	if (warn)
		account_stat(vcpu_books(vcpu), STAT_LBR_WARNINGS);
}

void kvm_lbr_vm_exit(struct kvm_vcpu *vcpu)
{
	struct kvm_lbr *lbr = &vcpu->pmu.lbr;

	if (lbr->state != NR_STATS)
		account_stat_n(vcpu_books(vcpu), lbr->state, pcpu_tsc(vcpu->pcpu) - lbr->entered);
	lbr->state = NR_STATS;
}

/* ---- DEBUGCTL, PMIs, the end ---- */

void kvm_lbr_debugctl_written(struct kvm_vcpu *vcpu)
{
	struct kvm_lbr *lbr = &vcpu->pmu.lbr;

	if (lbr->nr && !lbr->event && vcpu->guest.misc.debugctl & DEBUGCTLMSR_LBR)
		create_event(vcpu);
}

void intel_pmu_legacy_freezing_lbrs_on_pmi(struct kvm_vcpu *vcpu)
{
	u64 *debugctl = &vcpu->guest.misc.debugctl;
	u32 version = vcpu->pmu.version;

	if (version < 2 || version > 3 || FAULTY(LBR_NOT_FROZEN))
		return;
	if (*debugctl & DEBUGCTLMSR_FREEZE_LBRS_ON_PMI)
		*debugctl &= ~DEBUGCTLMSR_LBR;
}

void kvm_lbr_cleanup(struct kvm_vcpu *vcpu)
{
	if (vcpu->guest.misc.debugctl & DEBUGCTLMSR_LBR || FAULTY(LBR_NEVER_RELEASED))
		return;
	kvm_lbr_release(vcpu);
}

void kvm_lbr_release(struct kvm_vcpu *vcpu)
{
	struct kvm_lbr *lbr = &vcpu->pmu.lbr;

	if (!lbr->event)
		return;
	perf_event_release_kernel(vcpu->perf, lbr->event);
	lbr->event = NULL;
	vcpu->pmu.event_count--;
}
