// SPDX-License-Identifier: Apache-2.0
/*
 * msr.c - dispatch of RDMSR and WRMSR that were intercepted, and of the VMM's accesses (ioctl.c).
 *
 * Interface: kvm_get_msr(), kvm_set_msr(); 0 or KVM_MSR_RET_*. The first SPEC_CTRL that is not 0 gives
 * the register to the guest; PRED_CMD is the guest's from the start, as its CPUID has IBPB.
 *
 * With a local APIC in user space (kvm.irqchip=userspace) each access to it goes there.
 *
 * With kvm.ignore_msrs a register that is none of this vCPU's (KVM_MSR_RET_UNSUPPORTED) reads 0 and takes
 * any value; what a register that is there refuses (KVM_MSR_RET_INVALID) is refused as ever.
 *
 * Not modelled: rules of their own for the VMM's writes of EFER and of the APIC's registers
 * (the guest's rules hold).
 */
#include "kvm/vcpu.h"

static bool is_ignored(const struct kvm_vcpu *vcpu, int ret)
{
	return ret == KVM_MSR_RET_UNSUPPORTED && vcpu->config->kvm.ignore_msrs;
}

static int get_msr(struct kvm_vcpu *vcpu, struct msr_data *msr)
{
	if (lapic_owns_msr(msr->index)) {
		if (lapic_in_kernel(vcpu))
			account_charge(vcpu_books(vcpu), COST_LAPIC_MSR_READ);
		else
			kvm_vcpu_exit_to_userspace(vcpu);
		return lapic_rdmsr(&vcpu->lapic, msr->index, &msr->data);
	}
	if (kvm_pmu_hint_has_msr(vcpu, msr->index)) {
		kvm_get_pmu_hint(vcpu, msr);
		return 0;
	}
	if (!pcpu_guest_rdmsr_plain(&vcpu->guest, msr->index, &msr->data))
		return 0;
	return kvm_pmu_get_msr(vcpu, msr);
}

int kvm_get_msr(struct kvm_vcpu *vcpu, struct msr_data *msr)
{
	int ret = get_msr(vcpu, msr);

	if (ret)
		msr->data = 0;
	return is_ignored(vcpu, ret) ? 0 : ret;
}

static int set_lapic_msr(struct kvm_vcpu *vcpu, const struct msr_data *msr)
{
	bool deadline = msr->index == MSR_IA32_TSC_DEADLINE;
	int fault;

	if (!lapic_in_kernel(vcpu))
		kvm_vcpu_exit_to_userspace(vcpu);
	else
		account_charge(vcpu_books(vcpu), deadline ? COST_SET_TSCDEADLINE : COST_LAPIC_MSR);
	fault = lapic_wrmsr(&vcpu->lapic, msr->index, msr->data);
	if (msr->index == MSR_IA32_APICBASE && !fault)
		kvm_update_msr_bitmap_x2apic(vcpu);
	return fault;
}

static int set_plain_msr(struct kvm_vcpu *vcpu, const struct msr_data *msr)
{
	if (msr->host_initiated)
		return pcpu_guest_restore_plain(&vcpu->guest, msr->index, msr->data);
	return pcpu_guest_wrmsr_plain(&vcpu->guest, msr->index, msr->data);
}

static int set_msr(struct kvm_vcpu *vcpu, struct msr_data *msr)
{
	u64 value;

	if (lapic_owns_msr(msr->index))
		return set_lapic_msr(vcpu, msr);
	if (kvm_pmu_hint_has_msr(vcpu, msr->index))
		return kvm_set_pmu_hint(vcpu, msr);
	if (!set_plain_msr(vcpu, msr)) {
		if (msr->index == MSR_IA32_SPEC_CTRL && msr->data)
			kvm_recalc_msr_intercepts(vcpu);
		if (msr->index == MSR_IA32_DEBUGCTLMSR)
			kvm_lbr_debugctl_written(vcpu);
		return 0;
	}
	if (!pcpu_guest_rdmsr_plain(&vcpu->guest, msr->index, &value))
		return KVM_MSR_RET_INVALID;
	return kvm_pmu_set_msr(vcpu, msr);
}

int kvm_set_msr(struct kvm_vcpu *vcpu, struct msr_data *msr)
{
	int ret = set_msr(vcpu, msr);

	return is_ignored(vcpu, ret) ? 0 : ret;
}
