// SPDX-License-Identifier: Apache-2.0
/*
 * perf_context.c - the events of a task: scheduled in and out, taking turns, with their times.
 * Interface: perf.h.
 *
 * Events are tried in list order; after the first that does not fit no more are tried. Then every
 * mux_us the first one that runs goes to the end of the list and all are scheduled anew.
 *
 * Not modelled: several contexts, task switches, pinned events, groups, error state. Enabling an
 * event adds that one; Linux (ctx_resched()) also takes the others out and in again.
 */
#include "guest/insn.h"
#include "guest/perf.h"
#include "guest/program.h"
#include "guest/settings.h"
#include "guest/timer.h"

static bool perf_rotate_context(void);

struct perf_context perf_context;
static struct timer mux_timer = {.function = perf_rotate_context};

void perf_pmu_disable(void)
{
	if (!perf_context.pmu_disable_count++)
		x86_pmu_disable();
}

void perf_pmu_enable(void)
{
	if (!--perf_context.pmu_disable_count)
		x86_pmu_enable();
}

static void set_state(struct perf_event *event, enum perf_event_state state)
{
	u64 delta = perf_context.time - event->tstamp;

	if (event->state >= PERF_EVENT_STATE_INACTIVE)
		event->total_time_enabled += delta;
	if (event->state == PERF_EVENT_STATE_ACTIVE)
		event->total_time_running += delta;
	event->tstamp = perf_context.time;
	event->state = state;
}

static bool event_sched_in(struct perf_event *event)
{
	bool added;

	perf_pmu_disable();
	added = x86_pmu_add(event);
	if (added) {
		set_state(event, PERF_EVENT_STATE_ACTIVE);
		perf_context.nr_freq += event->freq != 0;
	}
	perf_pmu_enable();
	return added;
}

static void event_sched_out(struct perf_event *event)
{
	if (event->state != PERF_EVENT_STATE_ACTIVE)
		return;
	perf_pmu_disable();
	x86_pmu_del(event);
	set_state(event, PERF_EVENT_STATE_INACTIVE);
	perf_context.nr_freq -= event->freq != 0;
	perf_pmu_enable();
}

/* Unless one before it did not fit, either. */
static void flexible_sched_in(struct perf_event *event)
{
	if (perf_context.rotate_necessary || event_sched_in(event))
		return;
	perf_context.rotate_necessary = true;
	timer_start(&mux_timer, us_to_tsc(settings.mux_us));
}

static void sched_out_all(void)
{
	u32 i;

	for (i = 0; i < perf_context.nr_flexible; i++)
		event_sched_out(perf_context.flexible[i]);
	perf_context.rotate_necessary = false;
}

/* Move the first running event to the end. */
static void rotate_ctx(void)
{
	struct perf_event **list = perf_context.flexible;
	struct perf_event *event;
	u32 n = perf_context.nr_flexible;
	u32 i;

	for (i = 0; i < n && list[i]->state != PERF_EVENT_STATE_ACTIVE; i++)
		;
	if (i == n)
		i = 0;
	event = list[i];
	for (; i + 1 < n; i++)
		list[i] = list[i + 1];
	list[n - 1] = event;
}

/* The multiplexing timer; goes on as long as not all events fit. */
static bool perf_rotate_context(void)
{
	u32 i;

	if (!perf_context.rotate_necessary)
		return false;
	perf_context.time = rdtsc();
	perf_pmu_disable();
	rotate_ctx();
	sched_out_all();
	for (i = 0; i < perf_context.nr_flexible; i++)
		flexible_sched_in(perf_context.flexible[i]);
	perf_pmu_enable();
	report.rotations++;
	return true;
}

void perf_event_enable(u32 nr)
{
	struct perf_event *event = &perf_events[nr];

	if (!settings.perf)
		return;
	perf_context.time = rdtsc();
	set_state(event, PERF_EVENT_STATE_INACTIVE);
	perf_context.flexible[perf_context.nr_flexible++] = event;
	flexible_sched_in(event);
}

void perf_event_exit_task(void)
{
	u32 i;

	if (!perf_context.nr_flexible)
		return;
	perf_context.time = rdtsc();
	perf_pmu_disable();
	sched_out_all();
	perf_pmu_enable();
	for (i = 0; i < perf_context.nr_flexible; i++)
		set_state(perf_context.flexible[i], PERF_EVENT_STATE_OFF);
	perf_context.nr_flexible = 0;
}

void perf_report(void)
{
	u32 i;

	report.nr_events = settings.perf ? settings.nr_events : 0;
	for (i = 0; i < report.nr_events; i++) {
		const struct perf_event *event = &perf_events[i];

		report.events[i] = (struct pp_guest_event){
			.config = settings.events[i].config,
			.value = event->count,
			.enabled = event->total_time_enabled,
			.running = event->total_time_running,
			.samples = event->samples,
			.period = event->sampling ? event->hw.sample_period : 0,
		};
	}
}
