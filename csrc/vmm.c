// SPDX-License-Identifier: Apache-2.0
/*
 * vmm.c - what a VMM does to a machine between two runs.
 *
 * Interface: pp_kvm_*(). A bare machine has no VMM, and one whose counters have been read out has
 * closed its books: PP_EINVAL.
 */
#include "machine.h"

static bool has_vcpu(struct pp_machine *m)
{
	return !m->is_native && !m->is_read_out;
}

int32_t pp_kvm_get_msrs(struct pp_machine *m, struct pp_msr_entry *entries, uint32_t n)
{
	return has_vcpu(m) ? kvm_vcpu_ioctl_get_msrs(&m->vcpus[0].vcpu, entries, n) : PP_EINVAL;
}

int32_t pp_kvm_set_msrs(struct pp_machine *m, const struct pp_msr_entry *entries, uint32_t n)
{
	return has_vcpu(m) ? kvm_vcpu_ioctl_set_msrs(&m->vcpus[0].vcpu, entries, n) : PP_EINVAL;
}

int32_t pp_kvm_set_pmu_event_filter(struct pp_machine *m, const struct pp_pmu_event_filter *filter)
{
	struct machine_vm *vm = &m->vms[0];
	struct kvm_vcpu *vcpus[PP_MAX_CPUS];

	if (!has_vcpu(m))
		return PP_EPERM;
	for (u32 n = 0; n < vm->nr_guests; n++)
		vcpus[n] = &m->vcpus[n].vcpu;
	return kvm_vm_ioctl_set_pmu_event_filter(vcpus, vm->nr_guests, filter,
						 &vm->config.kvm.filter, vm->filter_entries);
}
