/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm.h - one VM: what its vCPUs share beside memory and devices, what perf is told of it, its end.
 *
 * Stands for struct kvm, as far as perf and the vCPUs' threads need it. The design is a parameter of
 * KVM's modules, and so it is the same for all VMs of a host; a VM may be without a vPMU.
 *
 *	kvm_create_vm(kvm, perf, config, ends_run, &error);
 *	kvm_vcpu_init(vcpu, kvm, ...);
 *	...
 *	kvm_destroy_vm(kvm);
 *
 * The host's run ends with its first VM. Another one that ends goes alone: its threads come out of the
 * guest, give back what they hold and are gone; with the last one perf forgets the VM.
 */
#ifndef KVM_VM_H_
#define KVM_VM_H_

#include "base/move.h"
#include "base/types.h"
#include "perf/perf_event.h"
#include "pmupass.h"

struct kvm_vcpu;
struct kvm_pmu_backend;

struct kvm {
	struct kvm_vcpu *vcpus[PP_MAX_CPUS];
	u32 nr_vcpus;
	u32 nr_threads; /* of them that have not ended */

	bool ends_run; /* the first VM: the run ends with it */
	bool others;   /* the host has threads besides its vCPUs' */
	const struct kvm_pmu_backend *design;
	struct perf_cpu *perf; /* any of the host's */
	bool created_pmu;      /* perf knows of it */

	enum pp_stop stop; /* why it has ended; PP_STOP_BUDGET: it has not */
	u64 end_tsc;	   /* when its last thread did */
	u64 nr_signals;	   /* to its threads, on other pCPUs perhaps */
};

/* Before its first vCPU, which is refused with -EBUSY if perf refuses the VM. 0 or -1. */
int kvm_create_vm(struct kvm *kvm, struct perf_cpu *perf, const struct pp_config *config,
		  bool ends_run, struct pp_error *error);
/* For perf it is gone; once, or of a VM that was never made. */
void kvm_destroy_vm(struct kvm *kvm);
void kvm_vm_moved(struct kvm *kvm, const struct move *move);

static inline bool kvm_vm_has_ended(const struct kvm *kvm)
{
	return kvm->stop != PP_STOP_BUDGET;
}
/* It and its threads are no more. */
static inline bool kvm_vm_is_gone(const struct kvm *kvm)
{
	return kvm_vm_has_ended(kvm) && !kvm->nr_threads;
}
/* Its guest is done, as @by finds: the other threads are signalled. */
void kvm_vm_end(struct kvm_vcpu *by, enum pp_stop why);
/* The first VM beside others that would go on without an end: nothing can wake it any more, now that @by
 * sleeps. */
bool kvm_vm_sleeps_for_good(struct kvm_vcpu *by);
/* The last that the vCPU's thread does, outside of the guest. */
void kvm_vcpu_end(struct kvm_vcpu *vcpu);

#endif /* KVM_VM_H_ */
