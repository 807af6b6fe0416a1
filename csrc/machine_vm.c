// SPDX-License-Identifier: Apache-2.0
/*
 * machine_vm.c - the parts of a VM, or natively of the computer: config, memory, ports, CPUs.
 *
 * Interface: machine.h.
 */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

#include "platform/loader.h"

/* A copy of an array of the config, NULL when it is empty. False when memory is short. */
static bool copy_array(void **to, const void *from, u64 nr, size_t size)
{
	*to = NULL;
	if (!nr)
		return true;
	*to = malloc(nr * size);
	if (!*to)
		return false;
	memcpy(*to, from, nr * size);
	return true;
}

static bool copy_profiles(struct machine_vm *vm, const struct pp_config *config)
{
	vm->profiles = calloc(config->nr_profiles + 1, sizeof(*vm->profiles));
	if (!vm->profiles)
		return false;
	for (u32 i = 0; i < config->nr_profiles; i++) {
		const struct pp_profile *from = &config->profiles[i];
		struct cpu_profile *to = &vm->profiles[i];

		to->id = from->id;
		memcpy(to->rate, from->rate, sizeof(to->rate));
		to->nr_exits = from->nr_exits;
		for (u32 e = 0; e < from->nr_exits; e++) {
			to->exits[e].reason = from->exit_reason[e];
			to->exits[e].rate = from->exit_rate[e];
		}
	}
	return true;
}

/* With room for any filter that takes its place. */
static bool copy_filter(struct machine_vm *vm, const struct pp_filter *filter)
{
	vm->filter_entries = calloc(PP_PMU_EVENT_FILTER_MAX, sizeof(*vm->filter_entries));
	if (vm->filter_entries && filter->nr_entries)
		memcpy(vm->filter_entries, filter->entries,
		       filter->nr_entries * sizeof(*vm->filter_entries));
	return vm->filter_entries;
}

void machine_vm_point_config(struct machine_vm *vm)
{
	vm->config.cpuid = vm->cpuid;
	vm->config.kvm.intercepts = vm->intercepts;
	vm->config.kvm.filter.entries = vm->filter_entries;
	vm->config.kvm.msrs_to_save = vm->msrs_to_save;
}

struct pp_config machine_vm_config(const struct pp_config *config, u32 i)
{
	struct pp_config c = *config;

	c.nr_vms = 0;
	c.vms = NULL;
	if (i) {
		const struct pp_vm *vm = &config->vms[i - 1];

		c.memory = vm->memory;
		c.guest = vm->guest;
		c.kvm = vm->kvm;
		c.nr_vcpus = vm->nr_vcpus;
		c.nr_cpuid = vm->nr_cpuid;
		c.cpuid = vm->cpuid;
		c.image = vm->image;
		c.image_size = vm->image_size;
		c.cmdline = vm->cmdline;
		c.module = vm->module;
		c.module_size = vm->module_size;
	}
	return c;
}

int machine_vm_copy_config(struct machine_vm *vm, const struct pp_config *config,
			   struct pp_error *error)
{
	vm->config = *config;
	if (!copy_array((void **)&vm->cpuid, config->cpuid, config->nr_cpuid, sizeof(*vm->cpuid)) ||
	    !copy_array((void **)&vm->intercepts, config->kvm.intercepts, config->kvm.nr_intercepts,
			sizeof(*vm->intercepts)) ||
	    !copy_filter(vm, &config->kvm.filter) ||
	    !copy_array((void **)&vm->msrs_to_save, config->kvm.msrs_to_save,
			config->kvm.nr_msrs_to_save, sizeof(*vm->msrs_to_save)) ||
	    !copy_profiles(vm, config))
		return machine_fail(error, PP_ENOMEM,
				    "out of memory for the machine's configuration");
	machine_vm_point_config(vm);
	/* Needed only while the machine is built. */
	vm->config.profiles = NULL;
	vm->config.event_maps = NULL;
	vm->config.costs = NULL;
	vm->config.host_events = NULL;
	vm->config.host_tasks = NULL;
	vm->config.image = NULL;
	vm->config.cmdline = NULL;
	vm->config.module = NULL;
	return 0;
}

void machine_vm_free(struct machine_vm *vm)
{
	ram_free(&vm->ram);
	ports_free(&vm->ports);
	free(vm->cpuid);
	free(vm->intercepts);
	free(vm->filter_entries);
	free(vm->msrs_to_save);
	free(vm->profiles);
}

int machine_vm_load(struct machine_vm *vm, const struct pp_config *config, struct cpu *cpu,
		    struct pp_error *error)
{
	const struct loader_boot boot = {
		.cmdline = config->cmdline,
		.module = config->module,
		.module_size = config->module_size,
	};
	char text[LOADER_ERROR_MAX];
	struct cpu_start start;

	if (load_image(&vm->ram.guest, config->image, config->image_size, &boot, &start, text))
		return machine_fail(error, PP_EIMAGE, text);
	cpu_start(cpu, &start);
	return 0;
}

static struct cpu_timing timing_of(const struct pp_timing *t)
{
	return (struct cpu_timing){
		.clock = {t->ref_num, t->ref_den, t->issue_width},
		.simple = t->simple,
		.load = t->load,
		.store = t->store,
		.multiply = t->multiply,
		.divide = t->divide,
		.locked = t->locked,
		.string_iteration = t->string_iteration,
		.serialize = t->serialize,
		.msr = t->msr,
		.rdpmc = t->rdpmc,
		.rdtsc = t->rdtsc,
		.pause = t->pause,
		.interrupt = t->interrupt,
		.branch_miss = t->branch_miss,
		.llc_miss = t->llc_miss,
	};
}

struct cpu_place machine_vm_cpu_place(struct pp_machine *m, struct machine_vm *vm, u32 n)
{
	struct cpu_place place = {
		.ram = vm->ram.guest,
		.ops = m->is_native ? &native_cpu_ops : &kvm_cpu_ops,
		.check = &m->check,
		.profiles = vm->profiles,
		.peer = n > vm->first_guest ? machine_guest(m, vm->first_guest)->cpu : NULL,
	};

	if (m->is_native)
		place.ops_ctx = &m->cpus[n].native;
	else
		place.ops_ctx = &m->vcpus[n].vcpu;
	return place;
}

int machine_vm_make_cpu(struct pp_machine *m, struct machine_vm *vm, u32 n, struct pp_error *error)
{
	const struct cpu_place place = machine_vm_cpu_place(m, vm, n);
	const struct cpu_config config = {
		.ram = place.ram,
		.timing = timing_of(&vm->config.timing),
		.ops = place.ops,
		.ops_ctx = place.ops_ctx,
		.check = place.check,
		.profiles = place.profiles,
		.nr_profiles = vm->config.nr_profiles,
		.peer = place.peer,
		.id = n - vm->first_guest,
		.rtm = vm->config.hw.rtm,
		.one_by_one = vm->config.one_by_one,
	};

	if (!cpu_new(&machine_guest(m, n)->cpu, &config))
		return 0;
	return machine_fail(error, PP_ENOMEM, "out of memory for the guest CPU");
}

int machine_vm_copy_guest(struct pp_machine *m, struct machine_vm *vm, struct pp_machine *from,
			  u32 n)
{
	struct pcpu_guest *g = machine_guest(m, n), *old = machine_guest(from, n);
	struct cpu_place place = machine_vm_cpu_place(m, vm, n);

	place.intercept = m->is_native ? NULL : &m->vcpus[n].vcpu.intercept;
	return cpu_clone(&g->cpu, old->cpu, &place) || truth_clone(&g->truth, &old->truth) ? -1 : 0;
}
