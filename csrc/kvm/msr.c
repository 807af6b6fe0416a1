// SPDX-License-Identifier: Apache-2.0
/*
 * msr.c - dispatch of intercepted RDMSR and WRMSR.
 *
 * Interface: kvm_get_msr(), kvm_set_msr(); 0, or -1 for #GP(0). The first SPEC_CTRL that is not 0 gives
 * the register to the guest; PRED_CMD is the guest's from the start, as its CPUID has IBPB.
 *
 * Not modelled: MSR filters of the VMM, ignore_msrs.
 */
#include "kvm/vcpu.h"

int kvm_get_msr(struct kvm_vcpu *vcpu, u32 msr, u64 *value)
{
	if (msr == MSR_IA32_TSC) {
		*value = pcpu_tsc(vcpu->pcpu);
		return 0;
	}
	if (lapic_owns_msr(msr)) {
		account_charge(vcpu_books(vcpu), COST_LAPIC_MSR_READ);
		return lapic_rdmsr(&vcpu->lapic, msr, value);
	}
	if (!misc_rdmsr(&vcpu->misc, msr, value))
		return 0;
	return kvm_pmu_get_msr(vcpu, msr, value);
}

int kvm_set_msr(struct kvm_vcpu *vcpu, u32 msr, u64 value)
{
	bool forget;

	if (lapic_owns_msr(msr)) {
		account_charge(vcpu_books(vcpu), msr == MSR_IA32_TSC_DEADLINE ? COST_SET_TSCDEADLINE
									      : COST_LAPIC_MSR);
		return lapic_wrmsr(&vcpu->lapic, msr, value);
	}
	if (!misc_wrmsr(&vcpu->misc, msr, value, &forget)) {
		if (forget)
			cpu_forget_branches(vcpu->pcpu->cpu);
		if (msr == MSR_IA32_SPEC_CTRL && value)
			cpu_intercept_msr(&vcpu->intercept, msr, false, false);
		return 0;
	}
	return kvm_pmu_set_msr(vcpu, msr, value);
}
