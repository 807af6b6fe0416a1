// SPDX-License-Identifier: Apache-2.0
/*
 * clone.c - a second machine that is in all as the first one is now.
 *
 * Interface: pp_machine_clone(). Both go on to the same bytes of result, as the first one would have
 * without it, and neither notices the other. Guest pages are shared until one of them writes (ram.h);
 * everything else is copied.
 */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

#include "base/move.h"

static void *copy_of(const void *from, u64 nr, size_t size)
{
	void *to = malloc(nr ? nr * size : 1);

	if (to && nr)
		memcpy(to, from, nr * size);
	return to;
}

/* What a copied struct still holds of the original's: it must not be freed with the copy. */
static void disown(struct pp_machine *m)
{
	m->events.entries = NULL;
	for (u32 i = 0; i < m->nr_vms; i++) {
		struct machine_vm *vm = &m->vms[i];

		vm->ram = (struct ram){0};
		vm->ports.serial.text = NULL;
		vm->cpuid = NULL;
		vm->intercepts = NULL;
		vm->msrs_to_save = NULL;
		vm->filter_entries = NULL;
		vm->profiles = NULL;
	}
	for (u32 i = 0; i < m->nr_cpus; i++)
		m->cpus[i].pcpu.account.trace = NULL;
	for (u32 n = 0; n < machine_nr_guests(m); n++) {
		struct pcpu_guest *g = machine_guest(m, n);

		g->cpu = NULL;
		g->truth.results = NULL;
		g->truth.errors = NULL;
	}
}

static int copy_lists(struct machine_vm *vm, const struct machine_vm *from)
{
	const struct pp_config *c = &from->config;

	vm->cpuid = copy_of(from->cpuid, c->nr_cpuid, sizeof(*vm->cpuid));
	vm->intercepts = copy_of(from->intercepts, c->kvm.nr_intercepts, sizeof(*vm->intercepts));
	vm->msrs_to_save = copy_of(from->msrs_to_save, c->kvm.nr_msrs_to_save,
				   sizeof(*vm->msrs_to_save));
	vm->filter_entries = copy_of(from->filter_entries, PP_PMU_EVENT_FILTER_MAX,
				     sizeof(*vm->filter_entries));
	vm->profiles = copy_of(from->profiles, c->nr_profiles, sizeof(*vm->profiles));
	machine_vm_point_config(vm);
	return vm->cpuid && vm->intercepts && vm->msrs_to_save && vm->filter_entries && vm->profiles
		       ? 0
		       : -1;
}

static int copy_vm(struct pp_machine *m, struct pp_machine *from, u32 i)
{
	struct machine_vm *vm = &m->vms[i], *old = &from->vms[i];

	if (copy_lists(vm, old) || ports_clone(&vm->ports, &old->ports) ||
	    ram_clone(&vm->ram, &old->ram, machine_guest(from, vm->first_guest)->cpu))
		return -1;
	for (u32 n = vm->first_guest; n < vm->first_guest + vm->nr_guests; n++) {
		if (machine_vm_copy_guest(m, vm, from, n))
			return -1;
	}
	return 0;
}

static int copy_parts(struct pp_machine *m, struct pp_machine *from)
{
	if (event_map_clone(&m->events, &from->events))
		return -1;
	for (u32 i = 0; i < m->nr_vms; i++) {
		if (copy_vm(m, from, i))
			return -1;
	}
	for (u32 i = 0; i < m->nr_cpus; i++) {
		if (account_clone(&m->cpus[i].pcpu.account, &from->cpus[i].pcpu.account))
			return -1;
	}
	return 0;
}

static void move_pointers(struct pp_machine *m, const struct move *move)
{
	m->cpus = moved(move, m->cpus);
	m->vcpus = moved(move, m->vcpus);
	m->vms = moved(move, m->vms);
	for (u32 i = 0; i < m->nr_vms; i++) {
		apic_bus_moved(&m->vms[i].apics, move);
		kvm_vm_moved(&m->vms[i].kvm, move);
	}
	for (u32 i = 0; i < m->nr_cpus; i++) {
		struct machine_cpu *cpu = &m->cpus[i];

		native_moved(&cpu->native, move);
		perf_moved(&cpu->perf, move);
		pcpu_moved(&cpu->pcpu, move);
		rq_moved(&cpu->rq, move);
		for (u32 k = 0; k < cpu->nr_host_tasks; k++)
			host_task_moved(&cpu->host_tasks[k], move);
	}
	for (u32 n = 0; n < m->nr_vcpus; n++)
		kvm_vcpu_moved(&m->vcpus[n].vcpu, move);
	host_events_moved(m, move);
}

/* Whose code runs on pCPU @i of the original, whose copy is @m. */
static struct pcpu_guest *guest_on(struct pp_machine *m, struct pp_machine *from, u32 i)
{
	for (u32 n = 0; n < machine_nr_guests(m); n++) {
		if (from->cpus[i].pcpu.cpu == machine_guest(from, n)->cpu)
			return machine_guest(m, n);
	}
	return NULL;
}

static void connect_parts(struct pp_machine *m, struct pp_machine *from)
{
	for (u32 n = 0; n < machine_nr_guests(m); n++)
		pcpu_guest_connect(machine_guest(m, n));
	for (u32 i = 0; i < m->nr_cpus; i++) {
		struct pcpu_guest *g = guest_on(m, from, i);

		if (g)
			pcpu_connect(&m->cpus[i].pcpu, g->cpu, pcpu_guest_truth(g), &g->thresholds);
		else
			pcpu_connect(&m->cpus[i].pcpu, NULL, NULL, NULL);
	}
}

/* A pointer into the original that nobody has moved would tie the two together. */
static bool all_moved(const struct pp_machine *m, const struct move *move)
{
	const u64 *words = (const u64 *)(const void *)m;

	for (size_t n = 0; n < m->size / sizeof(*words); n++) {
		if (move_concerns(move, words[n]))
			return false;
	}
	return true;
}

struct pp_machine *pp_machine_clone(struct pp_machine *from, struct pp_error *error)
{
	struct pp_machine *m = malloc(from->size);
	const struct move move = {from, m, from->size};

	*error = (struct pp_error){.code = PP_OK};
	if (!m) {
		machine_fail(error, PP_ENOMEM, "out of memory for a clone");
		return NULL;
	}
	memcpy(m, from, from->size);
	move_pointers(m, &move);
	disown(m);
	if (copy_parts(m, from)) {
		machine_fail(error, PP_ENOMEM, "out of memory for a clone");
		pp_machine_free(m);
		return NULL;
	}
	connect_parts(m, from);
	PP_CHECK(&m->check, all_moved(m, &move));
	return m;
}
