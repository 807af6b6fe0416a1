// SPDX-License-Identifier: Apache-2.0
/*
 * perf_script.c - host perf on a bare pCPU, driven by commands: one a line on stdin, answers on stdout.
 *
 *	cpu NAME GP FIXED	intel, amd or amd-v2, with as many counters; GP n has index n, fixed n 32 + n
 *	set KEY VALUE		mux_interval, hz_period: TSC cycles; sample_rate: a second; tsc_khz
 *	task T			task T, 0 to 7, with an empty context
 *	open E OWNER CLASS MASK [period=N|freq=N] [group=L] [exclude=WORDS]
 *	close E, enable E, disable E
 *	switch T, switch -	another task comes in; -: the idle task
 *	work N			N cycles pass, of the host or of the guest whose context is loaded
 *	tick, mediated +, mediated -, guest load, guest put
 *	show			`E STATE IDX COUNT ENABLED RUNNING` of each event
 *
 * An event counts cycles, on the counters of MASK alone. Costs are zero, the core clock is the TSC, and
 * PMIs have no skid, so that all times are exact. tests/perf/ has a slow reference that speaks the same.
 */
#include "perf/perf_event.h"

#include "perf/perf_private.h"
#include "test_pcpu.h"

#define NR_EVENTS 64
#define NR_TASKS 8
/* One encoding an event: select FIRST_CODE + E, with the constraint that its command says */
#define FIRST_CODE 0x40u

/* What fixed counters count, by its encoding: cycles all of them, whatever event they are given */
static const u64 fixed_events[] = {0xc0, 0x3c, 0x300, 0x400};

static struct perf_system host;
static struct perf_cpu perf;
static struct perf_event_context tasks[NR_TASKS];
static struct perf_event *events[NR_EVENTS];
static u64 masks[NR_EVENTS];
static struct x86_pmu driver;
static struct bench *bench;

static void fail(const char *line)
{
	fprintf(stderr, "perf_script: %s\n", line);
	exit(1);
}

/* The mask, among the counters that exist. */
static u64 constraint_of(const struct perf_cpu *p, const struct perf_event_attr *attr)
{
	return masks[(attr->config & 0xff) - FIRST_CODE] & p->pcpu->pmu.counter_mask;
}

static void make_cpu(const char *name, unsigned int gp, unsigned int fixed)
{
	struct pp_pmu caps = {.nr_gp = gp, .gp_width = 48};
	struct event_map_entry map[NR_EVENTS + ARRAY_SIZE(fixed_events)];

	if (!strcmp(name, "intel")) {
		caps.version = 5;
		caps.nr_fixed = fixed;
		caps.fixed_width = 48;
		caps.fw_write = caps.pdcm = 1;
		caps.perf_capabilities = PERF_CAP_FW_WRITES;
	} else {
		caps.vendor = PP_VENDOR_AMD;
		caps.version = strcmp(name, "amd") ? 2 : 1;
		caps.perfctr_core = gp > 4;
	}
	bench = bench_of(&caps);
	event_map_free(&bench->events);
	for (u32 e = 0; e < NR_EVENTS; e++)
		map[e] = (struct event_map_entry){FIRST_CODE + e, ~0ull, EVENT_CYCLES};
	for (u32 i = 0; i < ARRAY_SIZE(fixed_events); i++)
		map[NR_EVENTS + i] = (struct event_map_entry){fixed_events[i], ~0ull, EVENT_CYCLES};
	if (event_map_init(&bench->events, map, ARRAY_SIZE(map)))
		abort();
	bench->events.code = bench->pcpu.pmu.vendor->event_code;
	bench->pcpu.clk.ref_num = 1;
	bench->pcpu.pmu.svme = true;
	lapic_mmio_write(&bench->pcpu.lapic, APIC_SPIV, 0x1ff);
	lapic_mmio_write(&bench->pcpu.lapic, APIC_LVTPC, APIC_DM_NMI);
	perf_system_init(&host, 1000000, 1000000);
	perf_init(&perf, &bench->pcpu, &host, 0);
	driver = *perf.driver;
	driver.get_event_constraints = constraint_of;
	perf.driver = &driver;
}

static void set(const char *key, u64 value)
{
	if (!strcmp(key, "mux_interval"))
		host.mux_interval = value;
	else if (!strcmp(key, "hz_period"))
		host.tick_period = value;
	else if (!strcmp(key, "sample_rate"))
		host.sample_rate = value;
	else if (!strcmp(key, "tsc_khz"))
		host.tsc_khz = value;
	else
		fail(key);
}

static bool word(const char *text, const char *name)
{
	return text && strstr(text, name);
}

static struct perf_event_context *owner_of(const char *owner)
{
	return strcmp(owner, "cpu") ? &tasks[atoi(owner)] : NULL;
}

static void open_event(u32 e, const char *owner, bool pinned, u64 mask, char *options)
{
	struct perf_event_attr attr = {.config = FIRST_CODE + e, .pinned = pinned};
	const char *exclude = strstr(options, "exclude="), *period = strstr(options, "period="),
		   *freq = strstr(options, "freq="), *group = strstr(options, "group=");
	struct perf_event *leader = group ? events[atoi(group + 6)] : NULL;
	int error;

	attr.freq = freq;
	attr.sample_period = freq     ? strtoull(freq + 5, NULL, 0)
			     : period ? strtoull(period + 7, NULL, 0)
				      : 0;
	attr.exclude_guest = word(exclude, "guest");
	attr.exclude_host = word(exclude, "host");
	attr.exclude_user = word(exclude, "user");
	attr.exclude_kernel = word(exclude, "kernel");
	masks[e] = mask;
	events[e] = perf_event_open(&perf, &attr, owner_of(owner), leader, NULL, NULL, &error);
	printf("open %u %d\n", e, error);
}

/* ---- time ---- */

/* Of the host, or of the guest that owns the PMU */
static void pass(u64 cycles)
{
	if (!perf.guest_ctx_loaded) {
		bench->pcpu.account.host.sub[PRIV_OS] += cycles * SUB_PER_CYCLE;
		return;
	}
	bench_cycles(bench, cycles);
	bench->pcpu.past.sub[PRIV_OS] += cycles * SUB_PER_CYCLE;
}

static void take_pmis(void)
{
	while (hwpmu_land(&bench->pcpu.pmu) && bench->overflows) {
		bench->overflows = 0;
		lapic_deliver_lvtpc(&bench->pcpu.lapic);
		perf_event_nmi_handler(&perf);
	}
}

static void work(u64 cycles)
{
	while (cycles) {
		u64 now = pcpu_tsc(&bench->pcpu), step;

		step = min_u64(cycles, hwpmu_host_room(&bench->pcpu.pmu, PRIV_OS, 0));

		if (perf_deadline(&perf) != NO_DEADLINE)
			step = min_u64(step, perf_deadline(&perf) - now);
		pass(step);
		cycles -= step;
		take_pmis();
		if (pcpu_tsc(&bench->pcpu) >= perf_deadline(&perf))
			perf_mux_hrtimer_handler(&perf);
	}
}

static void show(void)
{
	static const char *const states[] = {"off", "error", "inactive", "active"};

	for (u32 e = 0; e < NR_EVENTS; e++) {
		struct perf_event *event = events[e];
		bool active;

		if (!event)
			continue;
		active = event->state == PERF_EVENT_STATE_ACTIVE;
		perf_update_times(&perf, event);
		printf("%u %s %d %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", e, states[event->state],
		       active ? event->hw.idx : -1, perf_event_peek(&perf, event),
		       event->time_enabled, event->time_running);
	}
}

/* ---- commands ---- */

static void on_event(const char *command, u32 e)
{
	struct perf_event *event = e < NR_EVENTS ? events[e] : NULL;

	if (!event)
		fail(command);
	if (!strcmp(command, "enable"))
		perf_event_enable(&perf, event);
	else if (!strcmp(command, "disable"))
		perf_event_disable(&perf, event);
	else
		perf_event_release_kernel(&perf, event);
	if (!strcmp(command, "close"))
		events[e] = NULL;
}

static void mediated(char sign)
{
	if (sign == '+')
		printf("mediated %d\n", perf_create_mediated_pmu(&perf));
	else
		perf_release_mediated_pmu(&perf);
}

static void switch_to(const char *task)
{
	perf_event_task_sched_out(&perf);
	perf_event_task_sched_in(&perf, *task == '-' ? NULL : &tasks[atoi(task)]);
}

static void command(char *line)
{
	char name[16] = "", a[16] = "", b[16] = "";
	unsigned int e, gp, fixed;
	unsigned long long mask;
	int options = 0;

	if (sscanf(line, "cpu %15s %u %u", a, &gp, &fixed) == 3)
		make_cpu(a, gp, fixed);
	else if (sscanf(line, "open %u %15s %15s %llx %n", &e, a, b, &mask, &options) == 4 &&
		 e < NR_EVENTS)
		open_event(e, a, !strcmp(b, "pinned"), mask, line + options);
	else if (sscanf(line, "set %15s %llu", a, &mask) == 2)
		set(a, mask);
	else if (sscanf(line, "work %llu", &mask) == 1)
		work(mask);
	else if (sscanf(line, "%15s %15s", name, a) < 1)
		return;
	else if (!strcmp(name, "task"))
		perf_event_context_init(&tasks[atoi(a)]);
	else if (!strcmp(name, "switch"))
		switch_to(a);
	else if (!strcmp(name, "tick"))
		perf_event_task_tick(&perf);
	else if (!strcmp(name, "mediated"))
		mediated(*a);
	else if (!strcmp(name, "guest"))
		(*a == 'l' ? perf_load_guest_context : perf_put_guest_context)(&perf);
	else if (!strcmp(name, "show"))
		show();
	else
		on_event(name, (u32)atoi(a));
}

int main(void)
{
	char line[256];

	while (fgets(line, sizeof(line), stdin)) {
		command(line);
		if (bench && bench->check.broken)
			fail(bench->check.condition);
		fflush(stdout);
	}
	if (bench)
		bench_free(bench);
	return test_failed;
}
