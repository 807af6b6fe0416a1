// SPDX-License-Identifier: Apache-2.0
/*
 * migrate.c - a guest is saved as a VMM saves it, and restored on another machine: in the other design,
 * with other host events, another event filter.
 *
 * Interface: pp_machine_save(), pp_machine_restore().
 *
 * What is saved: memory; the CPU; every register of KVM_GET_MSR_INDEX_LIST; the local APIC with its timer
 * and what is pending in it; queued exceptions; the serial port and the like. The PMU goes by its
 * registers alone, whichever design it comes from and goes to: host perf's events, physical counters and
 * requests are the old host's and stay there. So that nothing stays behind with them, requests are served
 * before the state is read: what they come to is in the registers and in the local APIC.
 *
 * The guest's time goes on where it stopped, and so do the books, the truth among them. Host events and
 * what they have counted are those of the new host.
 *
 * Not modelled: one VM of several (a machine with several VMs is not saved); the time that a migration takes, a TSC of another frequency, a bare machine (nobody is
 * there who could save it).
 */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

static bool same_array(const void *a, const void *b, u64 nr_a, u64 nr_b, size_t size)
{
	return nr_a == nr_b && (!nr_a || !memcmp(a, b, nr_a * size));
}

/* What makes the guest's computer: it must find the same one. */
static const char *difference(const struct pp_config *c, const struct pp_machine *saved)
{
	const struct machine_vm *vm = &saved->vms[0];
	const struct pp_config *s = &vm->config;

	if (memcmp(&c->hw, &s->hw, sizeof(c->hw)) ||
	    memcmp(&c->timing, &s->timing, sizeof(c->timing)) || c->tsc_khz != s->tsc_khz)
		return "the guest was saved on another CPU";
	if (memcmp(&c->guest, &s->guest, sizeof(c->guest)) || c->kvm.vpmu != s->kvm.vpmu ||
	    !same_array(c->cpuid, vm->cpuid, c->nr_cpuid, s->nr_cpuid, sizeof(*c->cpuid)))
		return "the guest was saved with another CPUID";
	if (c->memory != s->memory)
		return "the guest was saved with another amount of memory";
	if (c->truth != s->truth || c->nr_profiles != s->nr_profiles)
		return "the guest was saved with other books or work profiles";
	return NULL;
}

static int save_vcpus(struct pp_machine *m)
{
	for (u32 n = 0; n < m->nr_vcpus; n++) {
		if (kvm_vcpu_save(&m->vcpus[n].vcpu, &m->vcpus[n].state))
			return -1;
	}
	return 0;
}

struct pp_machine *pp_machine_save(struct pp_machine *m, struct pp_error *error)
{
	struct pp_machine *saved;

	if (m->is_native || m->is_read_out) {
		machine_fail(error, PP_EINVAL,
			     m->is_native ? "a native machine has no VMM that could save it"
					  : "the machine's counters have been read out");
		return NULL;
	}
	if (m->nr_vms > 1) {
		machine_fail(error, PP_EINVAL, "several VMs are on the machine");
		return NULL;
	}
	saved = pp_machine_clone(m, error);
	if (saved && save_vcpus(saved)) {
		machine_fail(error, PP_EINVAL, "KVM_GET_MSRS: a listed register cannot be read");
		pp_machine_free(saved);
		return NULL;
	}
	return saved;
}

/* The clock and the books of the host's work so far. */
static int take_cpu(struct pcpu *p, const struct pcpu *saved, const struct pp_config *config)
{
	account_free(&p->account);
	p->idle_tsc = saved->idle_tsc;
	pcpu_guest_totals(saved, &p->past);
	if (account_clone(&p->account, &saved->account))
		return -1;
	memcpy(p->account.cycles_of, config->costs, sizeof(p->account.cycles_of));
	p->account.host_ipc_q20 = config->host_ipc_q20;
	pcpu_start(p);
	return 0;
}

/* A guest's CPU, and the truth with its thresholds. */
static int take_guest(struct pp_machine *m, struct machine_vm *vm, struct pp_machine *saved, u32 n)
{
	struct pcpu_guest *g = machine_guest(m, n), *old = machine_guest(saved, n);

	g->truth_on = old->truth_on;
	g->thresholds = old->thresholds;
	return machine_vm_copy_guest(m, vm, saved, n);
}

static int take_parts(struct pp_machine *m, const struct pp_config *config,
		      struct pp_machine *saved)
{
	struct machine_vm *vm = &m->vms[0];

	if (ports_clone(&vm->ports, &saved->vms[0].ports) || machine_copy_events(m, config))
		return -1;
	for (u32 i = 0; i < m->nr_cpus; i++) {
		if (take_cpu(&m->cpus[i].pcpu, &saved->cpus[i].pcpu, config))
			return -1;
	}
	for (u32 n = 0; n < vm->nr_guests; n++) {
		if (take_guest(m, vm, saved, n))
			return -1;
	}
	return 0;
}

static int rebuild(struct pp_machine *m, const struct pp_config *config, struct pp_machine *saved,
		   struct pp_error *error)
{
	const char *text = difference(config, saved);
	struct machine_vm *vm = &m->vms[0];

	if (!text && (m->nr_vcpus != saved->nr_vcpus || m->nr_cpus != saved->nr_cpus))
		text = "the guest was saved with another number of CPUs";
	if (text)
		return machine_fail(error, PP_EINVAL, text);
	vm->nr_guests = m->nr_vcpus;
	/* Where their clocks are */
	for (u32 n = 0; n < m->nr_vcpus; n++)
		m->vcpus[n].cpu = saved->vcpus[n].cpu;
	if (machine_vm_copy_config(vm, config, error))
		return -1;
	if (ram_clone(&vm->ram, &saved->vms[0].ram, machine_guest(saved, 0)->cpu))
		return machine_fail(error, PP_ENOMEM, "out of memory for guest RAM");
	if (machine_make_cpus(m, config, error))
		return -1;
	if (take_parts(m, config, saved))
		return machine_fail(error, PP_ENOMEM, "out of memory for the machine");
	if (machine_make_host(m, config, error))
		return -1;
	m->stop = saved->stop;
	for (u32 n = 0; n < m->nr_vcpus; n++) {
		if (kvm_vcpu_restore(&m->vcpus[n].vcpu, &saved->vcpus[n].vcpu,
				     &saved->vcpus[n].state))
			return machine_fail(error, PP_EINVAL,
					    "KVM_SET_MSRS: a saved register is refused");
	}
	return 0;
}

struct pp_machine *pp_machine_restore(const struct pp_config *config, struct pp_machine *saved,
				      struct pp_error *error)
{
	struct pp_machine *m;

	*error = (struct pp_error){.code = PP_OK};
	if (config->nr_vms) {
		machine_fail(error, PP_EINVAL, "several VMs are to be on the machine");
		return NULL;
	}
	if (config->mode == PP_MODE_NATIVE || saved->is_native || !saved->vcpus[0].state.valid) {
		machine_fail(error, PP_EINVAL,
			     config->mode == PP_MODE_NATIVE
				     ? "a native machine has no VMM that could restore a guest"
				     : "not a saved guest");
		return NULL;
	}
	m = machine_alloc_for(config);
	if (!m) {
		machine_fail(error, PP_ENOMEM, "out of memory for the machine");
		return NULL;
	}
	if (!machine_check_config(config, error) && !rebuild(m, config, saved, error))
		return m;
	pp_machine_free(m);
	return NULL;
}
