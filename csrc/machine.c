// SPDX-License-Identifier: Apache-2.0
/*
 * machine.c - builds a machine from its config.
 *
 * Interface: pp_machine_new(), pp_machine_free(). Running is in turns.c, reading out in readout.c;
 * copies are made in clone.c and migrate.c.
 *
 * Not modelled: pCPUs of different kinds, SMT siblings.
 */
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int machine_fail(struct pp_error *error, int code, const char *text)
{
	error->code = code;
	snprintf(error->text, sizeof(error->text), "%s", text);
	return -1;
}

static bool pmu_is_sane(const struct pp_pmu *pmu)
{
	return pmu->nr_gp <= PP_MAX_GP && pmu->nr_fixed <= PP_MAX_FIXED && pmu->gp_width <= 63 &&
	       pmu->fixed_width <= 63 && (!pmu->nr_fixed || pmu->fixed_width >= 32) &&
	       (!pmu->nr_gp || pmu->gp_width >= 32);
}

static int check_host(const struct pp_config *c, struct pp_error *error)
{
	u32 nr_cpus = c->nr_cpus ? c->nr_cpus : 1, threads[PP_MAX_CPUS] = {0};

	/* A native machine has no host. */
	if (c->mode == PP_MODE_NATIVE)
		return 0;
	if (!c->tick_period || c->tick_period > c->tsc_khz * 1000)
		return machine_fail(
			error, PP_EINVAL,
			"a tick of the host that never comes, or less than once a second");
	for (u32 i = 0; i < c->nr_host_tasks; i++) {
		const struct pp_host_task *t = &c->host_tasks[i];

		if (t->cpu >= nr_cpus)
			return machine_fail(error, PP_EINVAL,
					    "a thread of the host on a pCPU that is not there");
		if (t->nr > PP_MAX_HOST_TASKS - threads[t->cpu])
			return machine_fail(error, PP_EINVAL,
					    "too many threads of the host on a pCPU");
		threads[t->cpu] += t->nr;
	}
	return 0;
}

/* One VM, as if it were alone. */
static int check_vm(const struct pp_config *c, struct pp_error *error)
{
	if (c->mode > PP_MODE_MEDIATED)
		return machine_fail(error, PP_EINVAL, "no such mode");
	if (!kvm_pmu_switch_policy(c->kvm.switch_policy))
		return machine_fail(error, PP_EINVAL, "no such switch policy");
	if (c->kvm.lazy > PP_LAZY_LOAD)
		return machine_fail(error, PP_EINVAL, "nothing that a lazy switch puts off");
	if (!pmu_is_sane(&c->hw) || !pmu_is_sane(&c->guest))
		return machine_fail(error, PP_EINVAL, "a PMU that the model cannot hold");
	if (c->guest.nr_gp > c->hw.nr_gp || c->guest.nr_fixed > c->hw.nr_fixed ||
	    c->guest.gp_width > c->hw.gp_width || c->guest.fixed_width > c->hw.fixed_width)
		return machine_fail(error, PP_EINVAL,
				    "the guest has more counters than the silicon, or wider ones");
	if (c->hw.vendor > PP_VENDOR_AMD || c->guest.vendor > PP_VENDOR_AMD ||
	    (c->guest.version && c->guest.vendor != c->hw.vendor))
		return machine_fail(error, PP_EINVAL,
				    "a PMU of no vendor, or a guest's of another one");
	if (c->mode == PP_MODE_MEDIATED && !pmu_vendor(&c->hw)->can_be_mediated(&c->hw))
		return machine_fail(
			error, PP_EINVAL,
			"a mediated vPMU needs perfmon v4 and full-width writes, or PerfMonV2");
	for (u32 i = 0; i < c->nr_event_maps; i++) {
		if (c->event_maps[i].feed >= NR_EVENTS && c->event_maps[i].feed != EVENT_NONE)
			return machine_fail(error, PP_EINVAL,
					    "an encoding that feeds an event beyond the last");
	}
	if (!c->timing.ref_num || !c->timing.ref_den || !c->timing.issue_width || !c->tsc_khz)
		return machine_fail(error, PP_EINVAL, "a clock that stands still");
	if (!c->memory || c->memory % 4096)
		return machine_fail(error, PP_EINVAL, "guest memory must be whole pages");
	if (c->kvm.filter.nr_entries > PP_PMU_EVENT_FILTER_MAX)
		return machine_fail(error, PP_EINVAL, "an event filter with too many entries");
	if (c->nr_profiles > CPU_MAX_PROFILES || c->nr_host_events >= MAX_HOST_EVENTS)
		return machine_fail(error, PP_EINVAL, "too many profiles or host events");
	for (u32 i = 0; i < c->nr_host_events; i++) {
		if (c->host_events[i].thread_kind == PP_THREAD_VCPU)
			return machine_fail(error, PP_EINVAL,
					    "an event of a vCPU's thread before there is one");
	}
	if (c->nr_vcpus > PP_MAX_CPUS || c->nr_cpus > PP_MAX_CPUS)
		return machine_fail(error, PP_EINVAL, "too many CPUs");
	if (c->nr_costs != NR_COSTS)
		return machine_fail(error, PP_EINVAL, "the cost table does not fit this core");
	for (u32 i = 0; i < c->nr_profiles; i++) {
		if (c->profiles[i].nr_exits > CPU_MAX_PROFILE_EXITS)
			return machine_fail(error, PP_EINVAL,
					    "a profile with too many exit reasons");
		for (u32 e = 0; e < c->profiles[i].nr_exits; e++) {
			if (c->profiles[i].exit_reason[e] >= NR_EXIT_REASONS)
				return machine_fail(error, PP_EINVAL,
						    "a profile with no such exit reason");
		}
	}
	return 0;
}

static u32 nr_guests_of(const struct pp_config *c)
{
	return c->nr_vcpus ? c->nr_vcpus : 1;
}

/* In all VMs */
static u32 nr_guests_of_all(const struct pp_config *c)
{
	u32 sum = 0;

	for (u32 i = 0; i <= c->nr_vms; i++) {
		const struct pp_config vm = machine_vm_config(c, i);

		sum += nr_guests_of(&vm);
	}
	return sum;
}

int machine_check_config(const struct pp_config *c, struct pp_error *error)
{
	if (c->nr_vms >= PP_MAX_CPUS || (c->nr_vms && c->mode == PP_MODE_NATIVE))
		return machine_fail(error, PP_EINVAL, "too many VMs, or VMs on a bare machine");
	for (u32 i = 0; i <= c->nr_vms; i++) {
		const struct pp_config vm = machine_vm_config(c, i);

		error->vm = i;
		if (check_vm(&vm, error))
			return -1;
	}
	error->vm = 0;
	if (nr_guests_of_all(c) > PP_MAX_CPUS)
		return machine_fail(error, PP_EINVAL, "too many vCPUs in all VMs together");
	return check_host(c, error);
}

/* The machine and the arrays behind it, each on a cache line of its own. */
struct pp_machine *machine_alloc(u32 nr_cpus, u32 nr_vcpus, u32 nr_vms)
{
	size_t cpus = (sizeof(struct pp_machine) + 63) & ~63ull;
	size_t vcpus = cpus + ((nr_cpus * sizeof(struct machine_cpu) + 63) & ~63ull);
	size_t vms = vcpus + ((nr_vcpus * sizeof(struct machine_vcpu) + 63) & ~63ull);
	size_t size = vms + nr_vms * sizeof(struct machine_vm);
	struct pp_machine *m = calloc(1, size);

	if (!m)
		return NULL;
	m->cpus = (struct machine_cpu *)(void *)((u8 *)m + cpus);
	m->vcpus = (struct machine_vcpu *)(void *)((u8 *)m + vcpus);
	m->vms = (struct machine_vm *)(void *)((u8 *)m + vms);
	m->nr_cpus = nr_cpus;
	m->nr_vcpus = nr_vcpus;
	m->nr_vms = nr_vms;
	m->size = size;
	m->stop = PP_STOP_BUDGET;
	return m;
}

_Static_assert(sizeof(struct event_map_entry) == sizeof(struct pp_event_map) &&
		       offsetof(struct event_map_entry, counters) ==
			       offsetof(struct pp_event_map, counters) &&
		       offsetof(struct event_map_entry, feed) ==
			       offsetof(struct pp_event_map, feed),
	       "event maps are handed through as they are");

int machine_copy_events(struct pp_machine *m, const struct pp_config *config)
{
	if (event_map_init(&m->events, (const struct event_map_entry *)config->event_maps,
			   config->nr_event_maps))
		return -1;
	m->events.code = pmu_vendor(&config->hw)->event_code;
	return 0;
}

static int make_cpu(struct pp_machine *m, struct pcpu *p, const struct pp_config *config)
{
	p->check = &m->check;
	p->events = &m->events;
	pcpu_limit(p, config->time_limit ? config->time_limit : NO_DEADLINE);
	p->pmi_at = NO_DEADLINE;
	p->skid_sub = (u64)config->skid_cycles << SUB_SHIFT;
	p->clk = (struct core_clock){config->timing.ref_num, config->timing.ref_den,
				     config->timing.issue_width};
	if (account_init(&p->account, &m->check, config->costs, config->host_ipc_q20,
			 config->trace_records))
		return -1;
	hwpmu_init(&p->pmu, &config->hw, &m->events, &p->clk);
	p->pmu.svme = !m->is_native;
	pcpu_start(p);
	return 0;
}

int machine_make_cpus(struct pp_machine *m, const struct pp_config *config, struct pp_error *error)
{
	for (u32 i = 0; i < m->nr_cpus; i++) {
		if (make_cpu(m, &m->cpus[i].pcpu, config))
			return machine_fail(error, PP_ENOMEM, "out of memory for the machine");
	}
	return 0;
}

int machine_make_guest(struct pp_machine *m, struct machine_vm *vm, u32 n, struct pp_error *error)
{
	const struct pp_pmu *visible = m->is_native ? &vm->config.hw : &vm->config.guest;
	struct pcpu_guest *g = machine_guest(m, n);
	const struct pp_pmu none = {0};

	if (!vm->config.truth || (!m->is_native && !vm->config.kvm.vpmu))
		visible = &none;
	g->truth_on = vm->config.truth;
	if (!truth_init(&g->truth, visible, &m->events, &m->cpus[0].pcpu.clk))
		return 0;
	return machine_fail(error, PP_ENOMEM, "out of memory for the machine");
}

void machine_connect_apics(struct pp_machine *m, struct machine_vm *vm)
{
	vm->apics.nr = vm->nr_guests;
	for (u32 i = 0; i < vm->nr_guests; i++) {
		struct lapic *lapic = machine_guest(m, vm->first_guest + i)->lapic;

		vm->apics.lapic[i] = lapic;
		lapic->bus = &vm->apics;
	}
}

static int make_guests(struct pp_machine *m, struct machine_vm *vm, struct pp_error *error)
{
	for (u32 n = vm->first_guest; n < vm->first_guest + vm->nr_guests; n++) {
		if (machine_vm_make_cpu(m, vm, n, error) || machine_make_guest(m, vm, n, error))
			return -1;
	}
	return 0;
}

static void start_native(struct pp_machine *m)
{
	for (u32 i = 0; i < m->nr_cpus; i++)
		native_init(&m->cpus[i].native, &m->cpus[i].pcpu, i, &m->vms[0].ports,
			    &m->vms[0].config);
	machine_connect_apics(m, &m->vms[0]);
}

/* A VM without its CPUs; @config is its own. */
static int make_vm(struct machine_vm *vm, const struct pp_config *config, struct pp_error *error)
{
	if (machine_vm_copy_config(vm, config, error))
		return -1;
	if (ram_new(&vm->ram, config->memory))
		return machine_fail(error, PP_ENOMEM,
				    "out of memory for guest RAM: try a smaller guest.memory_mb");
	if (ports_init(&vm->ports, vm->nr_guests))
		return machine_fail(error, PP_ENOMEM, "out of memory for the machine");
	return 0;
}

static int make_vms(struct pp_machine *m, const struct pp_config *config, struct pp_error *error)
{
	u32 first_guest = 0;

	for (u32 i = 0; i < m->nr_vms; i++) {
		const struct pp_config own = machine_vm_config(config, i);
		struct machine_vm *vm = &m->vms[i];

		vm->first_guest = first_guest;
		vm->nr_guests = nr_guests_of(&own);
		first_guest += vm->nr_guests;
		error->vm = i;
		if (make_vm(vm, &own, error) || make_guests(m, vm, error))
			return -1;
	}
	return 0;
}

static int load_vm(struct pp_machine *m, const struct pp_config *config, u32 i,
		   struct pp_error *error)
{
	const struct pp_config own = machine_vm_config(config, i);
	struct machine_vm *vm = &m->vms[i];

	for (u32 n = 1; n < vm->nr_guests; n++)
		pcpu_guest_reset(machine_guest(m, vm->first_guest + n));
	return machine_vm_load(vm, &own, machine_guest(m, vm->first_guest)->cpu, error);
}

static int build(struct pp_machine *m, const struct pp_config *config, struct pp_error *error)
{
	if (machine_copy_events(m, config))
		return machine_fail(error, PP_ENOMEM, "out of memory for the machine");
	if (machine_make_cpus(m, config, error) || make_vms(m, config, error))
		return -1;
	if (m->is_native)
		start_native(m);
	else if (machine_make_host(m, config, error))
		return -1;
	for (u32 i = 0; i < m->nr_vms; i++) {
		error->vm = i;
		if (load_vm(m, config, i, error))
			return -1;
	}
	return 0;
}

struct pp_machine *machine_alloc_for(const struct pp_config *config)
{
	bool is_native = config->mode == PP_MODE_NATIVE;
	u32 nr_guests = nr_guests_of_all(config), nr_cpus;
	struct pp_machine *m;

	nr_cpus = is_native ? nr_guests : config->nr_cpus ? config->nr_cpus : 1;
	m = machine_alloc(nr_cpus, is_native ? 0 : nr_guests, 1 + config->nr_vms);
	if (!m)
		return NULL;
	m->is_native = is_native;
	for (u32 n = 0; n < m->nr_vcpus; n++)
		m->vcpus[n].cpu = n % nr_cpus;
	return m;
}

struct pp_machine *pp_machine_new(const struct pp_config *config, struct pp_error *error)
{
	struct pp_machine *m;

	*error = (struct pp_error){.code = PP_OK};
	if (machine_check_config(config, error))
		return NULL;
	m = machine_alloc_for(config);
	if (!m) {
		machine_fail(error, PP_ENOMEM, "out of memory for the machine");
		return NULL;
	}
	if (!build(m, config, error))
		return m;
	pp_machine_free(m);
	return NULL;
}

void pp_machine_free(struct pp_machine *m)
{
	if (!m)
		return;
	for (u32 i = 0; i < m->nr_vms; i++)
		kvm_destroy_vm(&m->vms[i].kvm);
	for (u32 n = 0; n < machine_nr_guests(m); n++) {
		cpu_free(machine_guest(m, n)->cpu);
		truth_free(&machine_guest(m, n)->truth);
	}
	for (u32 i = 0; i < m->nr_cpus; i++)
		account_free(&m->cpus[i].pcpu.account);
	for (u32 i = 0; i < m->nr_vms; i++)
		machine_vm_free(&m->vms[i]);
	event_map_free(&m->events);
	free(m);
}
