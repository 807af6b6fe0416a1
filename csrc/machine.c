// SPDX-License-Identifier: Apache-2.0
/*
 * machine.c - builds a machine from its config and runs it for a budget.
 *
 * Interface: pp_machine_new(), pp_machine_run(), pp_machine_free(). Reading out is in readout.c,
 * copies are made in clone.c and migrate.c.
 *
 * Not modelled: more than one pCPU.
 */
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/loader.h"

int machine_fail(struct pp_error *error, int code, const char *text)
{
	error->code = code;
	snprintf(error->text, sizeof(error->text), "%s", text);
	return -1;
}

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

static bool copy_profiles(struct pp_machine *m, const struct pp_config *config)
{
	m->profiles = calloc(config->nr_profiles + 1, sizeof(*m->profiles));
	if (!m->profiles)
		return false;
	for (u32 i = 0; i < config->nr_profiles; i++) {
		const struct pp_profile *from = &config->profiles[i];
		struct cpu_profile *to = &m->profiles[i];

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
static bool copy_filter(struct pp_machine *m, const struct pp_filter *filter)
{
	m->filter_entries = calloc(PP_PMU_EVENT_FILTER_MAX, sizeof(*m->filter_entries));
	if (m->filter_entries && filter->nr_entries)
		memcpy(m->filter_entries, filter->entries,
		       filter->nr_entries * sizeof(*m->filter_entries));
	return m->filter_entries;
}

void machine_point_config(struct pp_machine *m)
{
	m->config.cpuid = m->cpuid;
	m->config.kvm.intercepts = m->intercepts;
	m->config.kvm.filter.entries = m->filter_entries;
	m->config.kvm.msrs_to_save = m->msrs_to_save;
	m->config.host_events = m->host_event_configs;
}

int machine_copy_config(struct pp_machine *m, const struct pp_config *config,
			struct pp_error *error)
{
	m->config = *config;
	if (!copy_array((void **)&m->cpuid, config->cpuid, config->nr_cpuid, sizeof(*m->cpuid)) ||
	    !copy_array((void **)&m->intercepts, config->kvm.intercepts, config->kvm.nr_intercepts,
			sizeof(*m->intercepts)) ||
	    !copy_filter(m, &config->kvm.filter) ||
	    !copy_array((void **)&m->msrs_to_save, config->kvm.msrs_to_save,
			config->kvm.nr_msrs_to_save, sizeof(*m->msrs_to_save)) ||
	    !copy_array((void **)&m->host_event_configs, config->host_events,
			config->nr_host_events, sizeof(*m->host_event_configs)) ||
	    !copy_profiles(m, config))
		return machine_fail(error, PP_ENOMEM,
				    "out of memory for the machine's configuration");
	machine_point_config(m);
	/* Needed only while the machine is built. */
	m->config.profiles = NULL;
	m->config.event_maps = NULL;
	m->config.costs = NULL;
	m->config.image = NULL;
	m->config.cmdline = NULL;
	m->config.module = NULL;
	return 0;
}

static bool pmu_is_sane(const struct pp_pmu *pmu)
{
	return pmu->nr_gp <= PP_MAX_GP && pmu->nr_fixed <= PP_MAX_FIXED && pmu->gp_width <= 63 &&
	       pmu->fixed_width <= 63 && (!pmu->nr_fixed || pmu->fixed_width >= 32) &&
	       (!pmu->nr_gp || pmu->gp_width >= 32);
}

int machine_check_config(const struct pp_config *c, struct pp_error *error)
{
	if (c->mode > PP_MODE_MEDIATED)
		return machine_fail(error, PP_EINVAL, "no such mode");
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

static int map_ram(struct pp_machine *m, struct pp_error *error)
{
	if (!ram_new(&m->ram, m->config.memory))
		return 0;
	return machine_fail(error, PP_ENOMEM,
			    "out of memory for guest RAM: try a smaller guest.memory_mb");
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

struct cpu_place machine_cpu_place(struct pp_machine *m)
{
	return (struct cpu_place){
		.ram = m->ram.guest,
		.ops = m->is_native ? &native_cpu_ops : &kvm_cpu_ops,
		.ops_ctx = m->is_native ? (void *)&m->native : (void *)&m->vcpu,
		.check = &m->check,
		.profiles = m->profiles,
	};
}

static int make_cpu(struct pp_machine *m, struct pp_error *error)
{
	const struct cpu_place place = machine_cpu_place(m);
	struct cpu_config config = {
		.ram = place.ram,
		.timing = timing_of(&m->config.timing),
		.ops = place.ops,
		.ops_ctx = place.ops_ctx,
		.check = place.check,
		.profiles = place.profiles,
		.nr_profiles = m->config.nr_profiles,
		.rtm = m->config.hw.rtm,
		.one_by_one = m->config.one_by_one,
	};

	if (cpu_new(&m->pcpu.cpu, &config))
		return machine_fail(error, PP_ENOMEM, "out of memory for the guest CPU");
	m->pcpu.clk = config.timing.clock;
	return 0;
}

static int load_guest(struct pp_machine *m, const struct pp_config *config, struct pp_error *error)
{
	const struct loader_boot boot = {
		.cmdline = config->cmdline,
		.module = config->module,
		.module_size = config->module_size,
	};
	char text[LOADER_ERROR_MAX];
	struct cpu_start start;

	if (load_image(&m->ram.guest, config->image, config->image_size, &boot, &start, text))
		return machine_fail(error, PP_EIMAGE, text);
	cpu_start(m->pcpu.cpu, &start);
	return 0;
}

static u64 truth_tsc(const void *pcpu)
{
	return pcpu_tsc(pcpu);
}

void machine_connect(struct pp_machine *m)
{
	const struct lapic *visible = m->is_native ? &m->pcpu.lapic : &m->vcpu.lapic;
	struct pcpu *p = &m->pcpu;

	p->check = &m->check;
	p->account.check = &m->check;
	p->pmu.events = &p->events;
	p->pmu.clk = &p->clk;
	hwpmu_set_producers(&p->pmu, cpu_totals(p->cpu), &p->account.host);
	p->pmu.overflow = pcpu_overflow;
	p->pmu.overflow_ctx = p;
	p->truth.events = &p->events;
	p->truth.clk = &p->clk;
	p->truth.totals = (struct truth_totals){
		.retired = cpu_totals(p->cpu),
		.skipped_instructions = cpu_skipped(p->cpu)->instructions,
		.skipped_branches = cpu_skipped(p->cpu)->branches,
		.thresholds = &p->pmu.thresholds,
	};
	p->truth.tsc = truth_tsc;
	p->truth.tsc_ctx = p;
	p->truth.lvtpc = &visible->regs[APIC_LVTPC >> 4];
}

int machine_make_pcpu(struct pp_machine *m, const struct pp_config *config, struct pp_error *error)
{
	const struct pp_pmu *visible = m->is_native ? &m->config.hw : &m->config.guest;
	struct pcpu *p = &m->pcpu;
	struct pp_pmu none = {0};

	p->check = &m->check;
	p->time_limit = m->config.time_limit ? m->config.time_limit : NO_DEADLINE;
	p->pmi_at = NO_DEADLINE;
	p->skid_sub = (u64)m->config.skid_cycles << SUB_SHIFT;
	p->truth_on = m->config.truth;
	if (!m->config.truth || (!m->is_native && !m->config.kvm.vpmu))
		visible = &none;
	if (account_init(&p->account, &m->check, config->costs, m->config.host_ipc_q20,
			 m->config.trace_records) ||
	    event_map_init(&p->events, (const struct event_map_entry *)config->event_maps,
			   config->nr_event_maps) ||
	    truth_init(&p->truth, visible, &p->events, &p->clk) || ports_init(&m->ports))
		return machine_fail(error, PP_ENOMEM, "out of memory for the machine");
	hwpmu_init(&p->pmu, &m->config.hw, &p->events, &p->clk);
	p->pmu.svme = !m->is_native;
	p->events.code = p->pmu.vendor->event_code;
	machine_connect(m);
	return 0;
}

_Static_assert(sizeof(struct event_map_entry) == sizeof(struct pp_event_map) &&
		       offsetof(struct event_map_entry, counters) ==
			       offsetof(struct pp_event_map, counters) &&
		       offsetof(struct event_map_entry, feed) ==
			       offsetof(struct pp_event_map, feed),
	       "event maps are handed through as they are");

static u64 physical_now(void *ctx)
{
	return pcpu_tsc(ctx);
}

static void physical_changed(void *ctx)
{
	(void)ctx;
}

/* The host's own use of the physical APIC: enabled, the PMI as NMI. */
static void start_host_lapic(struct pcpu *p)
{
	static const struct lapic_ops ops = {.now = physical_now, .changed = physical_changed};

	lapic_init(&p->lapic, 0, &ops, p);
	p->lapic.masks_lvtpc = p->pmu.vendor->masks_lvtpc;
	lapic_mmio_write(&p->lapic, APIC_SPIV, 0x1ff);
	lapic_mmio_write(&p->lapic, APIC_LVTPC, APIC_DM_NMI);
}

int machine_open_host_event(struct pp_machine *m, const struct pp_host_event *e)
{
	struct perf_event_attr attr = {
		.config = e->config & EVENTSEL_WHAT,
		.sample_period = e->sample_period,
		.pinned = e->pinned,
		.exclude_user = !(e->config & ARCH_PERFMON_EVENTSEL_USR),
		.exclude_kernel = !(e->config & ARCH_PERFMON_EVENTSEL_OS),
		.exclude_host = e->exclude_host,
		.exclude_guest = e->exclude_guest,
	};
	int error;

	m->host_events[m->nr_host_events] = perf_event_create_kernel_counter(&m->perf, &attr, false,
									     NULL, NULL, &error);
	m->host_results[m->nr_host_events].config = e->config;
	if (!error)
		m->nr_host_events++;
	return error;
}

/* One that the host refuses keeps its place. */
static void open_host_events(struct pp_machine *m)
{
	for (u32 i = 0; i < m->config.nr_host_events; i++) {
		if (machine_open_host_event(m, &m->host_event_configs[i]))
			m->nr_host_events++;
	}
}

int machine_make_host(struct pp_machine *m, struct pp_error *error)
{
	start_host_lapic(&m->pcpu);
	perf_init(&m->perf, &m->pcpu);
	m->perf.period_limit = m->config.period_limit;
	open_host_events(m);
	if (kvm_vcpu_init(&m->vcpu, &m->pcpu, &m->perf, &m->ports, &m->config, error))
		return -1;
	/* The vCPU has a copy; these bitmaps are the caller's. */
	memset(&m->config.kvm.msr_filter, 0, sizeof(m->config.kvm.msr_filter));
	return 0;
}

static int build(struct pp_machine *m, const struct pp_config *config, struct pp_error *error)
{
	if (machine_check_config(config, error) || machine_copy_config(m, config, error) ||
	    map_ram(m, error) || make_cpu(m, error) || machine_make_pcpu(m, config, error))
		return -1;
	if (m->is_native)
		native_init(&m->native, &m->pcpu, &m->ports, &m->config);
	else if (machine_make_host(m, error))
		return -1;
	return load_guest(m, config, error);
}

struct pp_machine *pp_machine_new(const struct pp_config *config, struct pp_error *error)
{
	struct pp_machine *m = calloc(1, sizeof(*m));

	error->code = PP_OK;
	error->text[0] = '\0';
	if (!m) {
		machine_fail(error, PP_ENOMEM, "out of memory for the machine");
		return NULL;
	}
	m->is_native = config->mode == PP_MODE_NATIVE;
	m->stop = PP_STOP_BUDGET;
	if (!build(m, config, error))
		return m;
	pp_machine_free(m);
	return NULL;
}

void pp_machine_free(struct pp_machine *m)
{
	if (!m)
		return;
	if (!m->is_native && m->vcpu.pmu.backend)
		kvm_vcpu_destroy(&m->vcpu);
	if (m->pcpu.cpu)
		cpu_free(m->pcpu.cpu);
	ram_free(&m->ram);
	truth_free(&m->pcpu.truth);
	event_map_free(&m->pcpu.events);
	account_free(&m->pcpu.account);
	ports_free(&m->ports);
	free(m->cpuid);
	free(m->intercepts);
	free(m->filter_entries);
	free(m->msrs_to_save);
	free(m->host_event_configs);
	free(m->profiles);
	free(m);
}

int32_t pp_machine_run(struct pp_machine *m, uint64_t blocks)
{
	u64 budget = blocks;

	/* A machine that has ended stays ended; one that was read out has closed its books. */
	if (m->stop != PP_STOP_BUDGET)
		return (int32_t)m->stop;
	if (m->pcpu.truth.finished)
		return PP_EINVAL;
	m->ram.changed = true;
	m->stop = m->is_native ? native_run(&m->native, &budget) : kvm_vcpu_run(&m->vcpu, &budget);
	if (m->check.broken)
		m->stop = PP_STOP_INVARIANT;
	cpu_forget_pause(m->pcpu.cpu);
	return (int32_t)m->stop;
}

void pp_machine_pause(struct pp_machine *m)
{
	cpu_ask_pause(m->pcpu.cpu);
}
