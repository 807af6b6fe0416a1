/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msr_filter.h - KVM_X86_SET_MSR_FILTER: MSRs that the VMM takes from its guest.
 *
 * A guest's RDMSR or WRMSR that exits is held against the filter first; what would not exit is made to
 * (kvm_recalc_msr_intercepts()). RDPMC, the x2APIC's MSRs and the host's own accesses are not looked at.
 */
#ifndef KVM_MSR_FILTER_H_
#define KVM_MSR_FILTER_H_

#include "base/types.h"
#include "pmupass.h"

struct kvm_vcpu;

struct kvm_msr_filter {
	bool active;	   /* there is one */
	bool user_exits;   /* denied accesses go to user space, else they are #GP */
	bool default_deny; /* what no range has */
	u32 nr_ranges;
	struct pp_msr_range ranges[PP_MSR_FILTER_MAX_RANGES]; /* without pointers: bitmap below */
	u8 bitmap[PP_MSR_FILTER_MAX_RANGES][PP_MSR_FILTER_MAX_BITMAP];
};

/* 0 or -EINVAL, and then the old filter stays. The new one holds from the next VM-entry on. */
int kvm_vm_ioctl_set_msr_filter(struct kvm_vcpu *vcpu, const struct pp_msr_filter *filter);
bool kvm_msr_filter_allows(const struct kvm_msr_filter *filter, u32 msr, u32 type);
/* A denied access: 0 if user space completes it (reads 0, the write is lost), -1 for #GP. */
int kvm_msr_denied(struct kvm_vcpu *vcpu);

static inline bool kvm_msr_allowed(const struct kvm_msr_filter *filter, u32 msr, u32 type)
{
	return likely(!filter->active) || kvm_msr_filter_allows(filter, msr, type);
}

#endif /* KVM_MSR_FILTER_H_ */
