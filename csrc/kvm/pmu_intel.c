// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_intel.c - the vPMU's registers as an Intel guest sees them.
 *
 * Interface
 *  - intel_pmu_refresh(): sizes, masks and reset values from the guest's CPUID.
 *  - intel_pmu_get_msr(), intel_pmu_set_msr(): guest accesses; -1 is #GP.
 *
 * Not modelled: PEBS, LBR, DEBUGCTL, IN_TX and IN_TXCP, host-initiated accesses (KVM_SET_MSRS).
 */
#include "kvm/vcpu.h"

#include "pmu/access.h"
#include "pmu/hwpmu.h"

void intel_pmu_refresh(struct kvm_pmu *pmu, const struct pp_pmu *guest)
{
	u64 fixed_valid = 0;

	pmu->version = guest->version;
	pmu->nr_gp = guest->nr_gp;
	pmu->nr_fixed = guest->version > 1 ? guest->nr_fixed : 0;
	pmu->guest = *guest;
	pmu->guest.nr_fixed = pmu->nr_fixed;
	pmu->gp_mask = width_mask(guest->gp_width);
	pmu->fixed_mask = width_mask(guest->fixed_width);
	pmu->all_valid_pmc_idx = pmu_counter_mask(pmu->nr_gp, pmu->nr_fixed);
	for (unsigned int i = 0; i < pmu->nr_fixed; i++)
		fixed_valid |=
			(INTEL_FIXED_0_KERNEL | INTEL_FIXED_0_USER | INTEL_FIXED_0_ENABLE_PMI)
			<< (INTEL_FIXED_BITS_STRIDE * i);
	pmu->fixed_ctr_ctrl_rsvd = ~fixed_valid;
	pmu->eventsel_rsvd = ARCH_PERFMON_EVENTSEL_ANY;
	pmu->global_ctrl_rsvd = ~pmu->all_valid_pmc_idx;
	pmu->global_status_rsvd = pmu->global_ctrl_rsvd &
				  ~(GLOBAL_STATUS_BUFFER_OVF | GLOBAL_STATUS_COND_CHG);
	/* Software that knows no GLOBAL_CTRL must find its counters enabled. */
	pmu->global_ctrl = pmu->version ? pmu_counter_mask(pmu->nr_gp, 0) : 0;
	for (unsigned int i = 0; i < pmu->nr_fixed; i++)
		pmu->pmc[INTEL_PMC_IDX_FIXED + i].eventsel = fixed_counter_event(i);
}

static struct kvm_pmc *msr_to_pmc(struct kvm_pmu *pmu, u32 msr, enum counter_alias *alias)
{
	int idx = pmu_msr_to_counter(&pmu->guest, msr, alias);

	return idx < 0 ? NULL : &pmu->pmc[idx];
}

static struct kvm_pmc *msr_to_selector(struct kvm_pmu *pmu, u32 msr)
{
	if (msr - MSR_IA32_PERFEVTSEL0 < pmu->nr_gp)
		return &pmu->pmc[msr - MSR_IA32_PERFEVTSEL0];
	return NULL;
}

bool intel_is_valid_msr(const struct kvm_pmu *pmu, u32 msr)
{
	enum counter_alias alias;

	switch (msr) {
	case MSR_CORE_PERF_FIXED_CTR_CTRL:
	case MSR_CORE_PERF_GLOBAL_STATUS:
	case MSR_CORE_PERF_GLOBAL_CTRL:
	case MSR_CORE_PERF_GLOBAL_OVF_CTRL: return pmu->version > 1;
	case MSR_IA32_PERF_CAPABILITIES: return pmu->guest.perf_capabilities;
	default:
		return pmu_msr_to_counter(&pmu->guest, msr, &alias) >= 0 ||
		       msr - MSR_IA32_PERFEVTSEL0 < pmu->nr_gp;
	}
}

int intel_pmu_get_msr(struct kvm_vcpu *vcpu, u32 msr, u64 *value)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	enum counter_alias alias;
	struct kvm_pmc *pmc;

	switch (msr) {
	case MSR_CORE_PERF_FIXED_CTR_CTRL: *value = pmu->fixed_ctr_ctrl; return 0;
	case MSR_CORE_PERF_GLOBAL_STATUS: *value = pmu->global_status; return 0;
	case MSR_CORE_PERF_GLOBAL_CTRL: *value = pmu->global_ctrl; return 0;
	case MSR_CORE_PERF_GLOBAL_OVF_CTRL: *value = 0; return 0;
	case MSR_IA32_PERF_CAPABILITIES: *value = pmu->guest.perf_capabilities; return 0;
	default: break;
	}
	pmc = msr_to_pmc(pmu, msr, &alias);
	if (pmc) {
		*value = pmu->backend->read_counter(pmc) & pmc_bitmask(pmu, pmc);
		truth_counter_read(&vcpu->pcpu->truth, pmc->idx, *value);
		return 0;
	}
	pmc = msr_to_selector(pmu, msr);
	if (!pmc)
		return -1;
	*value = pmc->eventsel;
	return 0;
}

static void reprogram_fixed_counters(struct kvm_vcpu *vcpu, u64 value)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 old = pmu->fixed_ctr_ctrl;

	pmu->fixed_ctr_ctrl = value;
	for (unsigned int i = 0; i < pmu->nr_fixed; i++) {
		if (fixed_ctrl_field(old, i) == fixed_ctrl_field(value, i))
			continue;
		pmu->pmc_in_use |= BIT_ULL(INTEL_PMC_IDX_FIXED + i);
		kvm_pmu_request_counter_reprogram(&pmu->pmc[INTEL_PMC_IDX_FIXED + i]);
	}
}

static void write_global_ctrl(struct kvm_vcpu *vcpu, u64 value)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	u64 changed = (pmu->global_ctrl ^ value) & pmu->all_valid_pmc_idx;

	pmu->global_ctrl = value;
	if (!changed)
		return;
	pmu->reprogram_pmi |= changed;
	kvm_make_request(KVM_REQ_PMU, vcpu);
}

static int set_control(struct kvm_vcpu *vcpu, u32 msr, u64 value)
{
	struct kvm_pmu *pmu = &vcpu->pmu;

	switch (msr) {
	case MSR_CORE_PERF_FIXED_CTR_CTRL:
		if (value & pmu->fixed_ctr_ctrl_rsvd)
			return -1;
		if (value != pmu->fixed_ctr_ctrl)
			reprogram_fixed_counters(vcpu, value);
		return 0;
	case MSR_CORE_PERF_GLOBAL_CTRL:
		if (value & pmu->global_ctrl_rsvd)
			return -1;
		write_global_ctrl(vcpu, value);
		return 0;
	case MSR_CORE_PERF_GLOBAL_OVF_CTRL:
		if (value & pmu->global_status_rsvd)
			return -1;
		pmu->global_status &= ~value;
		return 0;
	default: /* GLOBAL_STATUS and PERF_CAPABILITIES: read-only for the guest */ return -1;
	}
}

static int set_counter(struct kvm_vcpu *vcpu, struct kvm_pmc *pmc, enum counter_alias alias,
		       u64 value)
{
	struct kvm_pmu *pmu = &vcpu->pmu;

	if (alias == ALIAS_FULL_WIDTH && value & ~pmu->gp_mask)
		return -1;
	if (alias == ALIAS_LEGACY)
		value = sign_extend_legacy_write(value);
	value &= pmc_bitmask(pmu, pmc);
	truth_counter_written(&vcpu->pcpu->truth, pmc->idx, pmu->backend->peek_counter(pmc), value);
	pmu->backend->write_counter(pmc, value);
	return 0;
}

int intel_pmu_set_msr(struct kvm_vcpu *vcpu, u32 msr, u64 value)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	enum counter_alias alias;
	struct kvm_pmc *pmc = msr_to_pmc(pmu, msr, &alias);

	if (pmc) {
		pmu->pmc_in_use |= BIT_ULL(pmc->idx);
		return set_counter(vcpu, pmc, alias, value);
	}
	pmc = msr_to_selector(pmu, msr);
	if (!pmc)
		return set_control(vcpu, msr, value);
	pmu->pmc_in_use |= BIT_ULL(pmc->idx);
	if (value & (pmu->eventsel_rsvd | eventsel_reserved_high(pmu->guest.rtm, pmc->idx)))
		return -1;
	if (value == pmc->eventsel)
		return 0;
	pmc->eventsel = value;
	pmu->backend->write_eventsel(pmc);
	kvm_pmu_request_counter_reprogram(pmc);
	return 0;
}
