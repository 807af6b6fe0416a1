// SPDX-License-Identifier: Apache-2.0
/*
 * context.c - contexts: their events and groups in order, their clock, the events' times.
 *
 * A context's clock goes while the context is in: always on its CPU once it has events, for a task's
 * while the task runs. The part of it that a guest context was loaded is no time of events that leave
 * guests out.
 *
 * Interface: perf_private.h; perf_init(), perf_system_init(), perf_event_context_init() and what moves.
 *
 * Not modelled: inherited events, the swap of equal contexts between tasks, cgroups.
 */
#include "perf/perf_event.h"

#include "base/fault.h"
#include "perf/perf_private.h"

#include <string.h>

void perf_system_init(struct perf_system *system, u64 tsc_khz, u64 tick_period)
{
	*system = (struct perf_system){
		.tsc_khz = tsc_khz,
		.mux_interval = tsc_khz, /* 1 ms */
		.tick_period = tick_period,
		.sample_rate = 100000,
	};
}

static const struct x86_pmu *driver_of(const struct pp_pmu *caps)
{
	if (caps->vendor == PP_VENDOR_AMD)
		return caps->version >= 2 ? &amd_pmu_v2 : &amd_pmu;
	return &intel_pmu;
}

void perf_init(struct perf_cpu *perf, struct pcpu *pcpu, struct perf_system *system, u32 cpu)
{
	memset(perf, 0, sizeof(*perf));
	perf->pcpu = pcpu;
	perf->system = system;
	perf->cpu = cpu;
	perf->driver = driver_of(&pcpu->pmu.caps);
	perf->intel_ctrl = pcpu->pmu.counter_mask;
	perf->mux_at = NO_DEADLINE;
}

void perf_event_context_init(struct perf_event_context *ctx)
{
	memset(ctx, 0, sizeof(*ctx));
	ctx->task = true;
}

static void groups_moved(struct perf_groups *groups, const struct move *move)
{
	for (u32 i = 0; i < PERF_MAX_EVENTS; i++)
		groups->leaders[i] = moved(move, groups->leaders[i]);
}

void perf_event_context_moved(struct perf_event_context *ctx, const struct move *move)
{
	groups_moved(&ctx->pinned, move);
	groups_moved(&ctx->flexible, move);
	for (u32 i = 0; i < PERF_MAX_EVENTS; i++) {
		struct perf_event *event = &ctx->slots[i];

		event->ctx = moved(move, event->ctx);
		event->group_leader = moved(move, event->group_leader);
		event->next_sibling = moved(move, event->next_sibling);
		event->overflow_context = moved(move, event->overflow_context);
	}
}

void perf_moved(struct perf_cpu *perf, const struct move *move)
{
	perf->pcpu = moved(move, perf->pcpu);
	perf->system = moved(move, perf->system);
	perf->task_ctx = moved(move, perf->task_ctx);
	perf_event_context_moved(&perf->ctx, move);
	for (u32 i = 0; i < NR_PMC_IDX; i++) {
		perf->list[i] = moved(move, perf->list[i]);
		perf->on_counter[i] = moved(move, perf->on_counter[i]);
	}
}

/* ---- times ---- */

void perf_context_update_time(struct perf_cpu *perf, struct perf_event_context *ctx)
{
	u64 delta = perf->clock - ctx->timestamp;

	if (!(ctx->is_active & EVENT_TIME) || !perf_context_is_here(perf, ctx))
		return;
	ctx->timestamp = perf->clock;
	ctx->time += delta;
	if (perf->guest_ctx_loaded && !FAULTY(PERF_GUEST_TIME_COUNTS))
		ctx->guest_time += delta;
}

static u64 event_time(const struct perf_event *event)
{
	const struct perf_event_context *ctx = event->ctx;

	return ctx->time - (event->attr.exclude_guest ? ctx->guest_time : 0);
}

/* A sibling is enabled no more than its leader. */
static enum perf_event_state effective_state(const struct perf_event *event)
{
	const struct perf_event *leader = event->group_leader;

	return leader->state < PERF_EVENT_STATE_INACTIVE ? leader->state : event->state;
}

void perf_event_update_time(struct perf_event *event)
{
	enum perf_event_state state = effective_state(event);
	u64 now = event_time(event), delta = now - event->tstamp;

	event->tstamp = now;
	if (state >= PERF_EVENT_STATE_INACTIVE)
		event->time_enabled += delta;
	if (state == PERF_EVENT_STATE_ACTIVE ||
	    (FAULTY(PERF_INACTIVE_RUNS) && state == PERF_EVENT_STATE_INACTIVE))
		event->time_running += delta;
}

void perf_event_set_state(struct perf_event *event, enum perf_event_state state)
{
	if (event->state == state)
		return;
	perf_event_update_time(event);
	/* What the leader's state makes of its siblings' changes with it. */
	if ((event->state < PERF_EVENT_STATE_INACTIVE) != (state < PERF_EVENT_STATE_INACTIVE)) {
		for_each_sibling_event(sibling, event) if (event->group_leader == event)
			perf_event_update_time(sibling);
	}
	event->state = state;
}

void perf_update_times(struct perf_cpu *perf, struct perf_event *event)
{
	perf_update_clock(perf);
	perf_context_update_time(perf, event->ctx);
	perf_event_update_time(event);
}

/* ---- events and groups ---- */

static struct perf_groups *groups_of(const struct perf_event *leader)
{
	return leader->attr.pinned ? &leader->ctx->pinned : &leader->ctx->flexible;
}

static void groups_insert(struct perf_event *leader)
{
	struct perf_groups *groups = groups_of(leader);

	groups->leaders[groups->nr++] = leader;
}

static void groups_delete(struct perf_groups *groups, const struct perf_event *leader)
{
	u32 i = 0;

	while (groups->leaders[i] != leader)
		i++;
	groups->nr--;
	memmove(&groups->leaders[i], &groups->leaders[i + 1],
		(groups->nr - i) * sizeof(groups->leaders[0]));
}

void perf_groups_rotate(struct perf_groups *groups, struct perf_event *leader)
{
	groups_delete(groups, leader);
	groups->leaders[groups->nr++] = leader;
}

struct perf_event *perf_context_new_slot(struct perf_event_context *ctx)
{
	for (u32 i = 0; i < PERF_MAX_EVENTS; i++) {
		if (!ctx->slots[i].in_use)
			return &ctx->slots[i];
	}
	return NULL;
}

void perf_context_add(struct perf_event *event, struct perf_event *leader)
{
	struct perf_event *last = leader;

	event->ctx->nr_events++;
	event->tstamp = event_time(event);
	event->group_leader = leader ? leader : event;
	if (!leader) {
		groups_insert(event);
		return;
	}
	while (last->next_sibling)
		last = last->next_sibling;
	last->next_sibling = event;
}

/* Those whose leader goes are on their own, as they are. */
static void detach_siblings(struct perf_event *leader)
{
	struct perf_event *event = leader->next_sibling, *next;

	leader->next_sibling = NULL;
	for (; event; event = next) {
		next = event->next_sibling;
		event->next_sibling = NULL;
		event->group_leader = event;
		groups_insert(event);
	}
}

void perf_context_remove(struct perf_event *event)
{
	struct perf_event *before = event->group_leader;

	if (before == event) {
		groups_delete(groups_of(event), event);
		detach_siblings(event);
	} else {
		while (before->next_sibling != event)
			before = before->next_sibling;
		before->next_sibling = event->next_sibling;
	}
	event->next_sibling = NULL;
	event->ctx->nr_events--;
	event->in_use = false;
}
