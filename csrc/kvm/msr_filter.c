// SPDX-License-Identifier: Apache-2.0
/*
 * msr_filter.c - KVM_X86_SET_MSR_FILTER at work. Interface: msr_filter.h.
 *
 * The first range that has the MSR and the kind of access decides, by its bitmap; else the default.
 * User space, where it is asked, does as the simplest VMM: a read gives 0, a write is lost, and the
 * instruction is complete.
 *
 * Not modelled: the other reasons of KVM_CAP_X86_USER_SPACE_MSR (unknown MSRs, invalid values). The
 * fastpath does not ask the filter: TSC_DEADLINE and the x2APIC's ICR are the only MSRs there.
 */
#include "kvm/msr_filter.h"

#include "base/fault.h"
#include "kvm/vcpu.h"

#include <errno.h>
#include <string.h>

static u32 bitmap_bytes(u32 nmsrs)
{
	/* Whole longs, as the ioctl counts them; no overflow for any number. */
	return nmsrs / 64 * 8 + (nmsrs % 64 ? 8 : 0);
}

static bool range_is_valid(const struct pp_msr_range *range)
{
	if (!range->flags || range->flags & ~(PP_MSR_FILTER_READ | PP_MSR_FILTER_WRITE))
		return false;
	return bitmap_bytes(range->nmsrs) <= PP_MSR_FILTER_MAX_BITMAP;
}

static bool filter_is_valid(const struct pp_msr_filter *filter)
{
	bool empty = true;

	if (filter->flags & ~(u32)PP_MSR_FILTER_DEFAULT_DENY)
		return false;
	for (unsigned int i = 0; i < PP_MSR_FILTER_MAX_RANGES; i++) {
		if (!filter->ranges[i].nmsrs)
			continue;
		if (!range_is_valid(&filter->ranges[i]))
			return false;
		empty = false;
	}
	/* One that allows nothing at all is taken for a mistake. */
	return !(empty && filter->flags & PP_MSR_FILTER_DEFAULT_DENY);
}

static void add_range(struct kvm_msr_filter *to, const struct pp_msr_range *range)
{
	u8 *bitmap = to->bitmap[to->nr_ranges];

	/* The caller's bitmap need not be of whole longs. */
	memset(bitmap, 0, PP_MSR_FILTER_MAX_BITMAP);
	memcpy(bitmap, range->bitmap, (range->nmsrs + 7) / 8);
	to->ranges[to->nr_ranges] = *range;
	to->ranges[to->nr_ranges++].bitmap = NULL;
}

int kvm_vm_ioctl_set_msr_filter(struct kvm_vcpu *vcpu, const struct pp_msr_filter *filter)
{
	struct kvm_msr_filter *to = &vcpu->msr_filter;

	if (!filter_is_valid(filter))
		return -EINVAL;
	to->user_exits = filter->user_exits;
	to->default_deny = filter->flags & PP_MSR_FILTER_DEFAULT_DENY;
	to->nr_ranges = 0;
	for (unsigned int i = 0; i < PP_MSR_FILTER_MAX_RANGES; i++) {
		if (filter->ranges[i].nmsrs)
			add_range(to, &filter->ranges[i]);
	}
	to->active = to->default_deny || to->nr_ranges;
	if (!FAULTY(KVM_MSR_FILTER_RECALCS_NOTHING))
		kvm_make_request(KVM_REQ_RECALC_INTERCEPTS, vcpu);
	return 0;
}

bool kvm_msr_filter_allows(const struct kvm_msr_filter *filter, u32 msr, u32 type)
{
	if (kvm_is_x2apic_msr(msr))
		return true;
	for (u32 i = 0; i < filter->nr_ranges; i++) {
		const struct pp_msr_range *range = &filter->ranges[i];
		u32 at = msr - range->base;

		if (msr >= range->base && at < range->nmsrs &&
		    (range->flags & type || FAULTY(KVM_MSR_FILTER_IGNORES_KIND)))
			return filter->bitmap[i][at / 8] >> at % 8 & 1;
	}
	return !filter->default_deny;
}

int kvm_msr_denied(struct kvm_vcpu *vcpu)
{
	account_stat(vcpu_books(vcpu), STAT_MSR_FILTER_DENIED);
	if (!vcpu->msr_filter.user_exits)
		return -1;
	kvm_vcpu_exit_to_userspace(vcpu);
	return 0;
}
