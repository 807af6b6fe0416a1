// SPDX-License-Identifier: Apache-2.0
/*
 * ioctl.c - what the VMM asks of a vCPU: KVM_GET_MSRS, KVM_SET_MSRS, KVM_SET_PMU_EVENT_FILTER.
 *
 * Interface: kvm_vcpu_ioctl_get_msrs(), kvm_vcpu_ioctl_set_msrs(). They stop at the first register that
 * fails and return how many were done. kvm_vm_ioctl_set_pmu_event_filter() does not wait: a vCPU that is in
 * the guest is kicked.
 *
 * The VMM owns the vCPU while it asks: one that is in the guest exits first, by the interrupt of the
 * signal that a VMM sends (EXTERNAL_INTERRUPT). Requests stay pending, as they do in KVM, and are served
 * before the next entry.
 *
 * Rules
 *  - A register that is listed (kvm.msrs_to_save) but not this vCPU's reads 0, and takes a 0.
 *  - Feature registers are immutable once the vCPU has run; their present value is taken at any time.
 *  - Each register's rules for the VMM are where its other rules are (pmu_intel.c, pmu_amd.c, guest.c).
 *
 * Not modelled: KVM_GET_MSRS of the system (feature MSRs).
 */
#include "kvm/vcpu.h"

#include "base/fault.h"

#include <errno.h>

#define MAX_IO_MSRS 256

static bool kvm_is_advertised_msr(const struct kvm_vcpu *vcpu, u32 index)
{
	const struct pp_kvm *kvm = &vcpu->config->kvm;

	for (u32 i = 0; i < kvm->nr_msrs_to_save; i++) {
		if (kvm->msrs_to_save[i] == index)
			return true;
	}
	return false;
}

static bool kvm_is_immutable_feature_msr(u32 index)
{
	return index == MSR_IA32_PERF_CAPABILITIES || index == MSR_PLATFORM_INFO;
}

static bool is_absent_and_zero(const struct kvm_vcpu *vcpu, const struct msr_data *msr, int ret)
{
	return ret == KVM_MSR_RET_UNSUPPORTED && (!msr->data || FAULTY(KVM_ABSENT_MSR_TAKES_ALL)) &&
	       kvm_is_advertised_msr(vcpu, msr->index);
}

static int do_get_msr(struct kvm_vcpu *vcpu, u32 index, u64 *data)
{
	struct msr_data msr = {.host_initiated = true, .index = index};
	int ret = kvm_get_msr(vcpu, &msr);

	*data = msr.data;
	return is_absent_and_zero(vcpu, &msr, ret) ? 0 : ret;
}

static int do_set_msr(struct kvm_vcpu *vcpu, u32 index, u64 data)
{
	struct msr_data msr = {.host_initiated = true, .index = index, .data = data};
	u64 now;
	int ret;

	if (vcpu->has_run && !FAULTY(KVM_FEATURES_STAY_WRITABLE) &&
	    kvm_is_immutable_feature_msr(index) && (do_get_msr(vcpu, index, &now) || now != data))
		return KVM_MSR_RET_INVALID;
	ret = kvm_set_msr(vcpu, &msr);
	return is_absent_and_zero(vcpu, &msr, ret) ? 0 : ret;
}

int kvm_vcpu_ioctl_get_msrs(struct kvm_vcpu *vcpu, struct pp_msr_entry *entries, u32 n)
{
	u32 done = 0;

	if (n >= MAX_IO_MSRS)
		return -E2BIG;
	kvm_vcpu_kick_out(vcpu);
	while (done < n && !do_get_msr(vcpu, entries[done].index, &entries[done].data))
		done++;
	return (int)done;
}

int kvm_vcpu_ioctl_set_msrs(struct kvm_vcpu *vcpu, const struct pp_msr_entry *entries, u32 n)
{
	u32 done = 0;

	if (n >= MAX_IO_MSRS)
		return -E2BIG;
	kvm_vcpu_kick_out(vcpu);
	while (done < n && !do_set_msr(vcpu, entries[done].index, entries[done].data))
		done++;
	return (int)done;
}

int kvm_vm_ioctl_set_pmu_event_filter(struct kvm_vcpu *const *vcpus, u32 nr,
				      const struct pp_pmu_event_filter *filter,
				      struct pp_filter *now, struct pp_filter_entry *entries)
{
	u64 event_bits = vcpus[0]->pmu.ops->eventsel_event;
	int ret = kvm_check_pmu_event_filter(filter, event_bits);

	if (ret)
		return ret;
	/* What was lost since the exit was lost by the old filter's rules. */
	for (u32 i = 0; i < nr; i++) {
		if (!vcpus[i]->in_guest)
			kvm_pmu_explain(vcpus[i]);
	}
	kvm_prepare_pmu_event_filter(filter, event_bits, now, entries);
	for (u32 i = 0; i < nr && !FAULTY(FILTER_REPLACED_UNSEEN); i++)
		kvm_pmu_filter_changed(vcpus[i]);
	return 0;
}
