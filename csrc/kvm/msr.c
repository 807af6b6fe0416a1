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
	if (lapic_owns_msr(msr)) {
		account_charge(vcpu_books(vcpu), COST_LAPIC_MSR_READ);
		return lapic_rdmsr(&vcpu->lapic, msr, value);
	}
	if (!pcpu_guest_rdmsr_plain(&vcpu->guest, msr, value))
		return 0;
	return kvm_pmu_get_msr(vcpu, msr, value);
}

static int set_lapic_msr(struct kvm_vcpu *vcpu, u32 msr, u64 value)
{
	int fault;

	account_charge(vcpu_books(vcpu),
		       msr == MSR_IA32_TSC_DEADLINE ? COST_SET_TSCDEADLINE : COST_LAPIC_MSR);
	fault = lapic_wrmsr(&vcpu->lapic, msr, value);
	if (msr == MSR_IA32_APICBASE && !fault)
		kvm_update_msr_bitmap_x2apic(vcpu);
	return fault;
}

int kvm_set_msr(struct kvm_vcpu *vcpu, u32 msr, u64 value)
{
	if (lapic_owns_msr(msr))
		return set_lapic_msr(vcpu, msr, value);
	if (!pcpu_guest_wrmsr_plain(&vcpu->guest, msr, value)) {
		if (msr == MSR_IA32_SPEC_CTRL && value)
			cpu_intercept_msr(&vcpu->intercept, msr, false, false);
		return 0;
	}
	return kvm_pmu_set_msr(vcpu, msr, value);
}
