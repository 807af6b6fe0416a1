// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_switch.c - where the PMU changes hands between guest and host.
 *
 * Interface: struct kvm_pmu_switch_policy, one instance per policy; kvm_pmu_moves_all(), kvm_pmu_take_back().
 *
 * A policy says when the backend loads the guest's PMU and when it puts it; what that takes in registers
 * is the backend's. A late PMI, one under way at a VM-exit, is latched while the guest's LVTPC is in
 * force: no policy puts before that.
 *
 *	upstream	around the inner run loop, as Linux 7.0: exits of the fastpath do not switch
 *	entry-exit	at each VM-entry and each VM-exit, as the series of January 2024
 *	vcpu-loop	around KVM_RUN: put when the thread goes out, or back to user space
 *	lazy		as vcpu-loop while the host has no event of its own, else as upstream; and no load
 *			while nothing in the guest can count (pmu_put_off.c). By config->kvm.lazy one alone.
 *	enlightened	as upstream, without what can make no difference: selectors whose enable bit is off,
 *			a FIXED_CTR_CTRL of 0, and LVTPC while none of the guest's counters is enabled
 *	hinted		as enlightened, without the counters that the guest says it does not use, either
 *			(pmu_hint.c)
 *
 * A PMU that stays loaded in the host counts nothing there: GLOBAL_CTRL is 0 after the exit, and on AMD's
 * CPUs selectors are GuestOnly. What KVM then does to it: a credit goes to the live counter; for all else
 * (an intercepted access, a reprogramming, a VMM's ioctl) it takes the PMU back first, which costs what
 * upstream pays at each exit.
 */
#include "kvm/vcpu.h"

#include "base/fault.h"

static void load(struct kvm_vcpu *vcpu)
{
	vcpu->pmu.loaded = true;
	vcpu->pmu.backend->load(vcpu);
}

static void put(struct kvm_vcpu *vcpu)
{
	vcpu->pmu.loaded = false;
	vcpu->pmu.backend->put(vcpu);
}

bool kvm_pmu_moves_all(const struct kvm_vcpu *vcpu)
{
	return !vcpu->pmu.policy->frugal || vcpu->config->kvm.selectors_direct;
}

void kvm_pmu_take_back(struct kvm_vcpu *vcpu)
{
	if (vcpu->pmu.loaded)
		put(vcpu);
}

static void load_or_resume(struct kvm_vcpu *vcpu)
{
	if (vcpu->pmu.loaded)
		vcpu->pmu.backend->resume(vcpu);
	else
		load(vcpu);
}

static void load_lazily(struct kvm_vcpu *vcpu)
{
	if (vcpu->pmu.loaded) {
		vcpu->pmu.backend->resume(vcpu);
		return;
	}
	kvm_pmu_leave_out(vcpu,
			  vcpu->config->kvm.lazy != PP_LAZY_PUT && kvm_pmu_load_can_wait(vcpu), 0);
	if (!vcpu->pmu.put_off)
		load(vcpu);
}

static void put_lazily(struct kvm_vcpu *vcpu)
{
	if (vcpu->config->kvm.lazy == PP_LAZY_LOAD ||
	    (perf_has_events(vcpu->perf) && !FAULTY(SWITCH_LAZY_KEEPS_HOST_OUT)))
		kvm_pmu_take_back(vcpu);
}

static void load_what_is_used(struct kvm_vcpu *vcpu)
{
	bool idle = kvm_pmu_hint_is_idle(vcpu);

	kvm_pmu_leave_out(vcpu, idle, idle ? 0 : kvm_pmu_hint_parked(vcpu));
	if (!idle)
		load(vcpu);
}

static void nothing(struct kvm_vcpu *vcpu)
{
	(void)vcpu;
}

static const struct kvm_pmu_switch_policy policies[] = {
	[PP_SWITCH_UPSTREAM] =
		{
			.enter_loop = load,
			.leave_loop = put,
			.before_entry = nothing,
			.after_exit = nothing,
		},
	[PP_SWITCH_ENTRY_EXIT] =
		{
			.enter_loop = nothing,
			.leave_loop = nothing,
			.before_entry = load,
			.after_exit = put,
		},
	[PP_SWITCH_VCPU_LOOP] =
		{
			.stays_loaded = true,
			.enter_loop = load_or_resume,
			.leave_loop = nothing,
			.before_entry = nothing,
			.after_exit = nothing,
		},
	[PP_SWITCH_LAZY] =
		{
			.stays_loaded = true,
			.enter_loop = load_lazily,
			.leave_loop = put_lazily,
			.before_entry = nothing,
			.after_exit = nothing,
		},
	[PP_SWITCH_ENLIGHTENED] =
		{
			.enter_loop = load,
			.leave_loop = put,
			.before_entry = nothing,
			.after_exit = nothing,
			.frugal = true,
		},
	[PP_SWITCH_HINTED] =
		{
			.enter_loop = load_what_is_used,
			.leave_loop = kvm_pmu_take_back,
			.before_entry = nothing,
			.after_exit = nothing,
			.frugal = true,
			.hinted = true,
		},
};

const struct kvm_pmu_switch_policy *kvm_pmu_switch_policy(u32 policy)
{
	return policy < ARRAY_SIZE(policies) ? &policies[policy] : NULL;
}
