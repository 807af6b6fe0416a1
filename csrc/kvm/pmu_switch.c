// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_switch.c - where the PMU changes hands between guest and host.
 *
 * Interface: struct kvm_pmu_switch_policy, one instance per policy.
 *
 * A policy says when the backend loads the guest's PMU and when it puts it; what that takes in registers
 * is the backend's. A late PMI, one under way at a VM-exit, is latched while the guest's LVTPC is in
 * force: no policy puts before that.
 *
 *	upstream	around the inner run loop, as Linux 7.0: exits of the fastpath do not switch
 *	entry-exit	at each VM-entry and each VM-exit, as the series of January 2024
 *
 * Not modelled: vcpu-loop, lazy, enlightened.
 */
#include "kvm/vcpu.h"

static void load(struct kvm_vcpu *vcpu)
{
	vcpu->pmu.backend->load(vcpu);
}

static void put(struct kvm_vcpu *vcpu)
{
	vcpu->pmu.backend->put(vcpu);
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
};

const struct kvm_pmu_switch_policy *kvm_pmu_switch_policy(u32 policy)
{
	return policy < ARRAY_SIZE(policies) ? &policies[policy] : NULL;
}
