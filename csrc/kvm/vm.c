// SPDX-License-Identifier: Apache-2.0
/*
 * vm.c - a VM begins for perf, and ends. Interface: vm.h.
 *
 * KVM asks perf for a mediated VM at the first KVM_CREATE_VCPU, whatever CPUID the guest will have: only a
 * VM whose PMU the VMM has turned off (KVM_CAP_PMU_CAPABILITY) is not asked for. perf hears of it once,
 * and once that it is gone.
 *
 * Not modelled: what else the end of a VM and its process costs the host, the destruction of a VM by its
 * VMM at another time than the guest's end.
 */
#include "kvm/vm.h"

#include "base/fault.h"
#include "kvm/vcpu.h"

#include <stdio.h>

int kvm_create_vm(struct kvm *kvm, struct perf_cpu *perf, const struct pp_config *config,
		  bool ends_run, struct pp_error *error)
{
	*kvm = (struct kvm){.perf = perf, .ends_run = ends_run, .stop = PP_STOP_BUDGET};
	kvm->design = config->mode == PP_MODE_MEDIATED ? &kvm_pmu_mediated : &kvm_pmu_emulated;
	if (!config->kvm.vpmu || (FAULTY(MEDIATED_VM_BY_CPUID) && !config->guest.version))
		return 0;
	if (!kvm->design->create_vm(perf)) {
		kvm->created_pmu = true;
		return 0;
	}
	error->code = PP_EBUSY;
	snprintf(error->text, sizeof(error->text),
		 "KVM_CREATE_VCPU: -EBUSY: a host perf event that counts guests exists");
	return -1;
}

void kvm_destroy_vm(struct kvm *kvm)
{
	if (kvm->created_pmu)
		kvm->design->destroy_vm(kvm->perf);
	kvm->created_pmu = false;
}

void kvm_vm_moved(struct kvm *kvm, const struct move *move)
{
	kvm->perf = moved(move, kvm->perf);
	for (u32 i = 0; i < PP_MAX_CPUS; i++)
		kvm->vcpus[i] = moved(move, kvm->vcpus[i]);
}

void kvm_vm_end(struct kvm_vcpu *by, enum pp_stop why)
{
	struct kvm *kvm = by->kvm;

	if (kvm_vm_has_ended(kvm))
		return;
	kvm->stop = why;
	for (u32 i = 0; i < kvm->nr_vcpus; i++) {
		struct kvm_vcpu *vcpu = kvm->vcpus[i];

		if (vcpu == by || FAULTY(VM_END_SIGNALS_NOBODY))
			continue;
		kvm->nr_signals++;
		kvm_vcpu_kick(vcpu);
		sched_wake(&vcpu->task);
	}
}

bool kvm_vm_sleeps_for_good(struct kvm_vcpu *by)
{
	struct kvm *kvm = by->kvm;
	bool takes_irqs = false;

	if (!kvm->ends_run || !kvm->others)
		return false;
	for (u32 i = 0; i < kvm->nr_vcpus; i++) {
		const struct kvm_vcpu *vcpu = kvm->vcpus[i];
		const struct task *t = &vcpu->task;

		if (vcpu != by && (!t->sleeps || t->arrives))
			return false;
		/* An IPI could come from its own vCPUs alone. */
		if (t->ops->wakes_at(t) != NO_DEADLINE)
			return false;
		takes_irqs |= cpu_irqs_on(vcpu->guest.cpu);
	}
	/* One that waits for an interrupt waits until the limit. */
	if (by->config->time_limit && takes_irqs)
		return false;
	kvm->stop = PP_STOP_HALTED;
	return true;
}

void kvm_vcpu_end(struct kvm_vcpu *vcpu)
{
	struct kvm *kvm = vcpu->kvm;

	/* What the guest counted ends here; the host goes on. */
	truth_finish(&vcpu->guest.truth, kvm_pmu_visible, vcpu);
	if (!FAULTY(VM_END_KEEPS_EVENTS))
		vcpu->pmu.backend->destroy(vcpu);
	kvm->nr_threads--;
	if (kvm->nr_threads)
		return;
	kvm->end_tsc = pcpu_tsc(vcpu->pcpu);
	kvm_destroy_vm(kvm);
}
