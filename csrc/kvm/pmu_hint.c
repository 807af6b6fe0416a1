// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_hint.c - the paravirtual variant of the enlightened switch: the guest says which counters it uses.
 *
 * Interface: kvm_pmu_hint_has_msr(), kvm_get_pmu_hint(), kvm_set_pmu_hint() for msr.c; for the switch policy
 * kvm_pmu_hint_is_idle(), kvm_pmu_hint_parked().
 *
 * What the guest says is in base/pmu_hint.h. What KVM makes of it:
 *  - A counter that is not named, is off (by what hardware would get of its selector) and holds 0 is parked:
 *    a load sees to it that silicon's holds 0 and moves no more of it, a put leaves it alone. So a read of it
 *    is right without an exit. A write exits, and if it leaves a value there the next load takes the counter
 *    along, named or not. Selectors exit in any case.
 *  - While nothing is named and nothing in the guest can count, the load is put off (pmu_put_off.c): at once,
 *    for nobody has to find out how long.
 * So a hint that is not true costs exits and moves, and nothing else: all registers are what they would be
 * without it. A guest that gives none gets the enlightened switch as it is without hints.
 *
 * The hint is of one vCPU, and moves with its state.
 *
 * Not where selectors are direct, for then nobody knows which counters are off, nor where the guest's counters
 * are narrower than silicon's, whose writes KVM serves otherwise than silicon.
 */
#include "kvm/vcpu.h"

#include "base/fault.h"
#include "base/pmu_hint.h"

bool kvm_pmu_hint_has_msr(const struct kvm_vcpu *vcpu, u32 msr)
{
	return msr == MSR_PMUPASS_PMU_HINT && vcpu->pmu.policy->hinted && vcpu->pmu.version;
}

void kvm_get_pmu_hint(const struct kvm_vcpu *vcpu, struct msr_data *msr)
{
	msr->data = vcpu->pmu.hint;
}

int kvm_set_pmu_hint(struct kvm_vcpu *vcpu, const struct msr_data *msr)
{
	u64 named = msr->data & ~PMU_HINT_VALID;

	if (named & ~vcpu->pmu.all_valid_pmc_idx || (named && named == msr->data))
		return KVM_MSR_RET_INVALID;
	vcpu->pmu.hint = msr->data;
	return 0;
}

bool kvm_pmu_hint_is_idle(const struct kvm_vcpu *vcpu)
{
	const struct kvm_pmu *pmu = &vcpu->pmu;

	return pmu->hint == PMU_HINT_VALID && kvm_pmu_is_idle(vcpu);
}

static bool is_parked(const struct kvm_pmu *pmu, const struct kvm_pmc *pmc)
{
	if (pmu->hint & BIT_ULL(pmc->idx) || (pmc->counter && !FAULTY(HINT_PARKS_VALUES)))
		return false;
	return !pmc_runs(pmc) || FAULTY(HINT_PARKS_RUNNING);
}

u64 kvm_pmu_hint_parked(const struct kvm_vcpu *vcpu)
{
	const struct kvm_pmu *pmu = &vcpu->pmu;
	unsigned int idx;
	u64 parked = 0;

	if (!(pmu->hint & PMU_HINT_VALID) || kvm_pmu_moves_all(vcpu) ||
	    !kvm_counters_are_as_wide_as_silicons(vcpu))
		return 0;
	for_each_set_bit(idx, pmu->all_valid_pmc_idx) {
		if (is_parked(pmu, &pmu->pmc[idx]))
			parked |= BIT_ULL(idx);
	}
	return parked;
}
