// SPDX-License-Identifier: Apache-2.0
/*
 * rotate.c - flexible events take turns when there are more than counters.
 *
 * Interface: perf_mux_hrtimer_restart(), perf_mux_hrtimer_handler(). A timer, armed when a flexible event
 * stays out, fires at whole intervals of the TSC for as long as it finds somebody out. In each context
 * that has one, the first event that is on goes behind the others, and the context is scheduled anew:
 * the pCPU's before the thread's.
 *
 * Not modelled: groups.
 */
#include "perf/perf_event.h"

#include "base/fault.h"
#include "perf/perf_private.h"

#include <string.h>

void perf_mux_hrtimer_restart(struct perf_cpu *perf)
{
	u64 interval = perf->system->mux_interval, now = pcpu_tsc(perf->pcpu);

	if (perf->mux_at == NO_DEADLINE && interval)
		perf->mux_at = (now / interval + 1) * interval;
}

/* The first flexible event that is on, or else the first one. */
static struct perf_event *event_to_rotate(struct perf_cpu *perf, struct perf_event_context *ctx)
{
	struct perf_event *first = NULL;

	if (!ctx || !ctx->rotate_necessary)
		return NULL;
	ctx->rotate_necessary = false;
	for (u32 i = 0; i < perf->nr_events; i++) {
		struct perf_event *event = perf->events[i];

		if (event->ctx != ctx || event->attr.pinned ||
		    event->state < PERF_EVENT_STATE_INACTIVE)
			continue;
		if (event->state == PERF_EVENT_STATE_ACTIVE)
			return event;
		if (!first)
			first = event;
	}
	return first;
}

static void rotate_ctx(struct perf_cpu *perf, struct perf_event *event)
{
	u32 i = 0;

	if (FAULTY(PERF_ROTATION_STANDS))
		return;
	while (perf->events[i] != event)
		i++;
	memmove(&perf->events[i], &perf->events[i + 1],
		(perf->nr_events - i - 1) * sizeof(perf->events[0]));
	perf->events[perf->nr_events - 1] = event;
}

static bool rotate(struct perf_cpu *perf)
{
	struct perf_event_context *task = perf->task_ctx;
	struct perf_event *task_event = event_to_rotate(perf, task);
	struct perf_event *cpu_event = event_to_rotate(perf, &perf->cpu_ctx);

	if (!task_event && !cpu_event)
		return false;
	account_enter(&perf->pcpu->account, COST_PERF_ROTATE);
	perf_update_clock(perf);
	perf_pmu_disable(perf);
	/* What ranks lower goes out first, and comes in last. */
	ctx_sched_out(perf, task, EVENT_FLEXIBLE);
	if (cpu_event) {
		ctx_sched_out(perf, &perf->cpu_ctx, EVENT_FLEXIBLE);
		rotate_ctx(perf, cpu_event);
		ctx_sched_in(perf, &perf->cpu_ctx, EVENT_FLEXIBLE);
	}
	if (task_event)
		rotate_ctx(perf, task_event);
	ctx_sched_in(perf, task, EVENT_FLEXIBLE);
	perf_pmu_enable(perf);
	account_leave(&perf->pcpu->account);
	return true;
}

void perf_mux_hrtimer_handler(struct perf_cpu *perf)
{
	u64 interval = perf->system->mux_interval;
	bool rotated = rotate(perf);

	perf->mux_at = rotated ? (pcpu_tsc(perf->pcpu) / interval + 1) * interval : NO_DEADLINE;
}
