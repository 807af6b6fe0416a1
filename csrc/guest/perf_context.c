// SPDX-License-Identifier: Apache-2.0
/*
 * perf_context.c - the events of a CPU's task: scheduled in and out, taking turns, with their times.
 * Interface: perf.h.
 *
 * Events are tried in list order; after the first that does not fit no more are tried. Then every
 * mux_us the first one that runs goes to the end of the list and all are scheduled anew.
 *
 * The events are of one task. While another one runs none of them is on a counter, and their context's time
 * stands still: what is enabled meanwhile waits for the task to come back.
 *
 * Not modelled: several contexts on a CPU, pinned events, groups, error state. Enabling an event adds that
 * one; Linux (ctx_resched()) also takes the others out and in again.
 */
#include "guest/insn.h"
#include "guest/kernel_work.h"
#include "guest/perf.h"
#include "guest/percpu.h"
#include "guest/program.h"
#include "guest/settings.h"
#include "guest/timer.h"

static bool perf_rotate_context(void);

void perf_pmu_disable(void)
{
	struct perf_context *ctx = &this_cpu()->perf_context;

	if (!ctx->pmu_disable_count++)
		x86_pmu_disable();
}

void perf_pmu_enable(void)
{
	struct perf_context *ctx = &this_cpu()->perf_context;

	if (!--ctx->pmu_disable_count)
		x86_pmu_enable();
}

static void set_state(struct perf_event *event, enum perf_event_state state)
{
	struct perf_context *ctx = &this_cpu()->perf_context;
	u64 delta = ctx->time - event->tstamp;

	if (event->state >= PERF_EVENT_STATE_INACTIVE)
		event->total_time_enabled += delta;
	if (event->state == PERF_EVENT_STATE_ACTIVE)
		event->total_time_running += delta;
	event->tstamp = ctx->time;
	event->state = state;
}

static bool event_sched_in(struct perf_event *event)
{
	struct perf_context *ctx = &this_cpu()->perf_context;
	bool added;

	kernel_work(KERNEL_WORK_SCHED_IN);
	perf_event_unthrottled(event);
	perf_pmu_disable();
	added = x86_pmu_add(event);
	if (added) {
		set_state(event, PERF_EVENT_STATE_ACTIVE);
		ctx->nr_freq += event->freq != 0;
	}
	perf_pmu_enable();
	return added;
}

static void event_sched_out(struct perf_event *event)
{
	struct perf_context *ctx = &this_cpu()->perf_context;

	if (event->state != PERF_EVENT_STATE_ACTIVE)
		return;
	kernel_work(KERNEL_WORK_SCHED_OUT);
	perf_pmu_disable();
	x86_pmu_del(event);
	set_state(event, PERF_EVENT_STATE_INACTIVE);
	ctx->nr_freq -= event->freq != 0;
	perf_pmu_enable();
}

/* Unless one before it did not fit, either. */
static void flexible_sched_in(struct perf_event *event)
{
	struct perf_context *ctx = &this_cpu()->perf_context;

	if (ctx->rotate_necessary || event_sched_in(event))
		return;
	ctx->rotate_necessary = true;
	timer_start(&this_cpu()->mux_timer, perf_rotate_context, us_to_tsc(settings.mux_us));
}

static void sched_out_all(void)
{
	struct perf_context *ctx = &this_cpu()->perf_context;
	u32 i;

	for (i = 0; i < ctx->nr_flexible; i++)
		event_sched_out(ctx->flexible[i]);
	ctx->rotate_necessary = false;
}

/* As many as fit. */
static void sched_in_all(struct perf_context *ctx)
{
	u32 i;

	for (i = 0; i < ctx->nr_flexible; i++)
		flexible_sched_in(ctx->flexible[i]);
}

/* Move the first running event to the end. */
static void rotate_ctx(void)
{
	struct perf_context *ctx = &this_cpu()->perf_context;
	struct perf_event **list = ctx->flexible;
	struct perf_event *event;
	u32 n = ctx->nr_flexible;
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
	struct perf_context *ctx = &this_cpu()->perf_context;

	if (!ctx->rotate_necessary)
		return false;
	kernel_work(KERNEL_WORK_ROTATE);
	ctx->time = rdtsc();
	perf_pmu_disable();
	rotate_ctx();
	sched_out_all();
	sched_in_all(ctx);
	perf_pmu_enable();
	this_cpu()->report->rotations++;
	return true;
}

void perf_event_enable(u32 nr)
{
	struct perf_event *event = &this_cpu()->perf_events[nr];
	struct perf_context *ctx = &this_cpu()->perf_context;

	if (!settings.perf)
		return;
	if (!ctx->task_is_out)
		ctx->time = rdtsc();
	set_state(event, PERF_EVENT_STATE_INACTIVE);
	ctx->flexible[ctx->nr_flexible++] = event;
	if (!ctx->task_is_out)
		flexible_sched_in(event);
}

void perf_event_task_sched_out(void)
{
	struct perf_context *ctx = &this_cpu()->perf_context;

	ctx->task_is_out = true;
	ctx->time = rdtsc();
	if (!ctx->nr_flexible)
		return;
	kernel_work(KERNEL_WORK_CONTEXT_OUT);
	perf_pmu_disable();
	sched_out_all();
	perf_pmu_enable();
}

void perf_event_task_sched_in(void)
{
	struct perf_context *ctx = &this_cpu()->perf_context;
	u64 now = rdtsc();
	u32 i;

	for (i = 0; i < ctx->nr_flexible; i++)
		ctx->flexible[i]->tstamp += now - ctx->time;
	ctx->time = now;
	ctx->task_is_out = false;
	if (!ctx->nr_flexible)
		return;
	kernel_work(KERNEL_WORK_CONTEXT_IN);
	perf_pmu_disable();
	sched_in_all(ctx);
	perf_pmu_enable();
}

void perf_event_exit_task(void)
{
	struct perf_context *ctx = &this_cpu()->perf_context;
	u32 i;

	if (!ctx->nr_flexible)
		return;
	if (!ctx->task_is_out) {
		ctx->time = rdtsc();
		perf_pmu_disable();
		sched_out_all();
		perf_pmu_enable();
	}
	for (i = 0; i < ctx->nr_flexible; i++)
		set_state(ctx->flexible[i], PERF_EVENT_STATE_OFF);
	ctx->nr_flexible = 0;
}

void perf_report(void)
{
	struct pp_guest_report *report = this_cpu()->report;
	u32 i;

	report->nr_events = settings.perf ? settings.nr_events : 0;
	report->max_sample_rate = settings.perf ? perf_max_sample_rate() : 0;
	for (i = 0; i < report->nr_events; i++) {
		const struct perf_event *event = &this_cpu()->perf_events[i];

		report->events[i] = (struct pp_guest_event){
			.config = settings.events[i].config,
			.value = event->count,
			.enabled = event->total_time_enabled,
			.running = event->total_time_running,
			.samples = event->samples,
			.period = event->sampling ? event->hw.sample_period : 0,
		};
	}
}
