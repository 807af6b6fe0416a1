// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_put_off.c - a load of the guest's PMU that waits until the guest has a use for it.
 *
 * Interface: kvm_pmu_load_can_wait(), kvm_pmu_leave_out() for the switch policy; kvm_pmu_note_touch(),
 * kvm_pmu_note_rdpmc() for accesses that exit. With a hint of the guest (pmu_hint.c) single counters stay
 * behind, too: the accesses that exit for them are noted here as well.
 *
 * While a load is put off
 *  - the guest's registers are in memory and nothing of them is in hardware;
 *  - every access to them exits, those that are direct otherwise as well: counters, GLOBAL_*, RDPMC. KVM
 *    serves them as it serves those of a guest that lacks counters, with silicon's reserved bits where
 *    the guest would have found silicon;
 *  - for host perf the vCPU is as one without a vPMU: its events stay on their counters, VM-entry and
 *    VM-exit switch GLOBAL_CTRL (Intel), HostOnly keeps them off the guest (AMD). So their enabled and
 *    running times go on, and a PMI is the host's.
 *
 * When
 *  - only while nothing in the guest can count: no counter is enabled by GLOBAL_CTRL and by what hardware
 *    would get of its selector, after the filter. A PMI under way was latched at the exit before, and what
 *    is requested was served before this is asked, so that nothing is pending;
 *  - after config->kvm.lazy_idle_loads loads in a row of which none could have counted anything and
 *    behind none of which an access had to wait: a perf driver switches its PMU off for a few exits, and
 *    goes on with it. A vCPU that has not run begins with a load that is put off;
 *  - not where KVM would answer otherwise than silicon, which the guest has direct: counters narrower than
 *    silicon's, RDPMC or GLOBAL_* that show counters the guest lacks (kvm.interception=rfc2024 and none),
 *    selectors, whose reserved bits KVM has for itself (none).
 *
 * It ends before the next entry once something can count, or with the guest's first access to a register
 * that is direct otherwise: KVM has served it, the PMU is loaded, and all is direct again.
 *
 * The price of both ways is a bit for each register in the MSR bitmap, and one for RDPMC.
 *
 * Not modelled: two bitmaps that change places, which would be one VMWRITE.
 */
#include "kvm/vcpu.h"

#include "base/fault.h"

bool pmc_runs(const struct kvm_pmc *pmc)
{
	const struct kvm_pmu *pmu = &pmc->vcpu->pmu;

	if (!pmc_is_fixed(pmc))
		return pmc->eventsel_hw & ARCH_PERFMON_EVENTSEL_ENABLE;
	return fixed_ctrl_field(pmu->fixed_ctr_ctrl_hw, pmc->idx - INTEL_PMC_IDX_FIXED) &
	       (INTEL_FIXED_0_KERNEL | INTEL_FIXED_0_USER);
}

static bool can_count(const struct kvm_pmc *pmc)
{
	if (pmc_is_fixed(pmc) && FAULTY(SWITCH_PUT_OFF_FORGETS_FIXED))
		return false;
	return pmc_is_globally_enabled(pmc) && pmc_runs(pmc);
}

static bool something_can_count(const struct kvm_pmu *pmu)
{
	unsigned int idx;

	for_each_set_bit(idx, pmu->all_valid_pmc_idx) {
		if (can_count(&pmu->pmc[idx]))
			return true;
	}
	return false;
}

bool kvm_counters_are_as_wide_as_silicons(const struct kvm_vcpu *vcpu)
{
	const struct pp_pmu *hw = &vcpu->config->hw;
	const struct kvm_pmu *pmu = &vcpu->pmu;

	return pmu->gp_mask == width_mask(hw->gp_width) &&
	       (!pmu->nr_fixed || pmu->fixed_mask == width_mask(hw->fixed_width));
}

/* What KVM serves is what the guest would have found. */
static bool answers_as_silicon(const struct kvm_vcpu *vcpu)
{
	const struct pp_kvm *kvm = &vcpu->config->kvm;
	const struct pp_pmu *hw = &vcpu->config->hw;
	const struct kvm_pmu *pmu = &vcpu->pmu;

	if (!kvm_counters_are_as_wide_as_silicons(vcpu) || kvm->selectors_direct)
		return false;
	if (pmu->nr_gp == hw->nr_gp && pmu->nr_fixed == hw->nr_fixed)
		return true;
	return kvm->rdpmc_intercept && !kvm_msr_is_direct(vcpu, pmu_vendor(hw)->global_ctrl, true);
}

bool kvm_pmu_is_idle(const struct kvm_vcpu *vcpu)
{
	return !something_can_count(&vcpu->pmu) && answers_as_silicon(vcpu);
}

bool kvm_pmu_load_can_wait(struct kvm_vcpu *vcpu)
{
	struct kvm_pmu *pmu = &vcpu->pmu;
	bool touched = pmu->touched;

	pmu->touched = false;
	if (touched || !kvm_pmu_is_idle(vcpu)) {
		pmu->idle_loads = 0;
		return false;
	}
	if (pmu->put_off || pmu->idle_loads >= vcpu->config->kvm.lazy_idle_loads)
		return true;
	pmu->idle_loads++;
	return false;
}

void kvm_pmu_leave_out(struct kvm_vcpu *vcpu, bool put_off, u64 parked)
{
	struct account *books = vcpu_books(vcpu);
	u64 start = books->host_cycles;

	if (put_off)
		account_stat(books, STAT_PUT_OFF);
	if (vcpu->pmu.put_off == put_off && vcpu->pmu.parked == parked)
		return;
	vcpu->pmu.put_off = put_off;
	vcpu->pmu.parked = parked;
	account_charge_n(books, COST_PMU_INTERCEPT, kvm_recalc_pmu_intercepts(vcpu));
	vcpu->pmu.sw.cycles += books->host_cycles - start;
}

bool kvm_pmu_is_parked(const struct kvm_vcpu *vcpu, u32 msr)
{
	struct pmu_register reg;

	if (likely(!vcpu->pmu.parked))
		return false;
	reg = pmu_find(&vcpu->config->hw, msr);
	return reg.kind == PMU_COUNTER && vcpu->pmu.parked & BIT_ULL(reg.idx);
}

bool kvm_pmu_waits_for(const struct kvm_vcpu *vcpu, u32 msr, bool write)
{
	if (likely(!vcpu->pmu.put_off && !(write && kvm_pmu_is_parked(vcpu, msr))))
		return false;
	return hwpmu_owns_msr(&vcpu->pcpu->pmu, msr) && kvm_msr_is_direct(vcpu, msr, write);
}

static void touch(struct kvm_vcpu *vcpu)
{
	account_stat(vcpu_books(vcpu), STAT_FIRST_TOUCHES);
	vcpu->pmu.touched = !FAULTY(SWITCH_TOUCH_IGNORED);
}

void kvm_pmu_note_touch(struct kvm_vcpu *vcpu, u32 msr, bool write)
{
	if (kvm_pmu_waits_for(vcpu, msr, write))
		touch(vcpu);
}

void kvm_pmu_note_rdpmc(struct kvm_vcpu *vcpu)
{
	if (vcpu->pmu.put_off && !vcpu->config->kvm.rdpmc_intercept)
		touch(vcpu);
}
