// SPDX-License-Identifier: Apache-2.0
/*
 * sched.c - who gets onto the PMU, in which order.
 *
 * CPU-pinned groups first, then the task's pinned ones, the CPU's flexible ones, the task's. A group goes
 * on as a whole or not at all. Within a context's class the first that finds no counters ends the pass:
 * whoever is behind it is not tried. A pinned group that stays out is in error until it is enabled again;
 * flexible ones wait for the multiplex timer, which sends the first that is on to the end of the line.
 *
 * Interface: perf_event.h, perf_private.h.
 *
 * Not modelled: exclusive groups, other PMUs than the core's, software events, cgroups.
 */
#include "perf/perf_event.h"

#include "base/fault.h"
#include "perf/perf_private.h"

#include <errno.h>

static struct account *books(struct perf_cpu *perf)
{
	return &perf->pcpu->account;
}

/* ---- events and groups ---- */

void perf_event_sched_out(struct perf_cpu *perf, struct perf_event *event)
{
	if (event->state != PERF_EVENT_STATE_ACTIVE)
		return;
	account_enter(books(perf), COST_EVENT_SCHED_OUT);
	perf_pmu_disable(perf);
	x86_pmu_del(perf, event);
	perf_event_set_state(event, PERF_EVENT_STATE_INACTIVE);
	if (event->attr.freq)
		event->ctx->nr_freq--;
	perf_pmu_enable(perf);
	account_leave(books(perf));
}

void perf_group_sched_out(struct perf_cpu *perf, struct perf_event *leader)
{
	if (leader->state != PERF_EVENT_STATE_ACTIVE)
		return;
	perf_event_sched_out(perf, leader);
	for_each_sibling_event(event, leader) perf_event_sched_out(perf, event);
}

static int event_sched_in(struct perf_cpu *perf, struct perf_event *event)
{
	int ret;

	if (event->state < PERF_EVENT_STATE_INACTIVE)
		return 0;
	account_enter(books(perf), COST_EVENT_SCHED_IN);
	perf_event_set_state(event, PERF_EVENT_STATE_ACTIVE);
	/* Its ticks went by while it was out. */
	if (event->hw.interrupts == MAX_INTERRUPTS)
		perf_event_unthrottle(perf, event, false);
	perf_pmu_disable(perf);
	ret = x86_pmu_add(perf, event);
	if (ret)
		perf_event_set_state(event, PERF_EVENT_STATE_INACTIVE);
	else if (event->attr.freq)
		event->ctx->nr_freq++;
	perf_pmu_enable(perf);
	account_leave(books(perf));
	return ret;
}

static void group_undo(struct perf_cpu *perf, struct perf_event *leader, struct perf_event *failed)
{
	for_each_sibling_event(event, leader)
	{
		if (event == failed)
			break;
		perf_event_sched_out(perf, event);
	}
	perf_event_sched_out(perf, leader);
}

static int group_sched_in(struct perf_cpu *perf, struct perf_event *leader)
{
	struct perf_event *failed = NULL;

	x86_pmu_start_txn(perf);
	if (event_sched_in(perf, leader)) {
		x86_pmu_cancel_txn(perf);
		return -EAGAIN;
	}
	for_each_sibling_event(event, leader)
	{
		if (!event_sched_in(perf, event))
			continue;
		failed = event;
		break;
	}
	if (!failed && !x86_pmu_commit_txn(perf))
		return 0;
	group_undo(perf, leader, failed);
	x86_pmu_cancel_txn(perf);
	return FAULTY(PERF_HALF_A_GROUP) ? event_sched_in(perf, leader) : -EAGAIN;
}

/* ---- classes of a context ---- */

static void groups_sched_out(struct perf_cpu *perf, struct perf_groups *groups)
{
	for (u32 i = 0; i < groups->nr; i++)
		perf_group_sched_out(perf, groups->leaders[i]);
}

static void classes_sched_out(struct perf_cpu *perf, struct perf_event_context *ctx,
			      unsigned int type)
{
	if (!type)
		return;
	perf_pmu_disable(perf);
	if (type & EVENT_PINNED)
		groups_sched_out(perf, &ctx->pinned);
	if (type & EVENT_FLEXIBLE) {
		groups_sched_out(perf, &ctx->flexible);
		/* Who does not fit will say so anew. */
		ctx->rotate_necessary = false;
	}
	perf_pmu_enable(perf);
}

/* The next whole interval of the clock */
static u64 next_turn(const struct perf_cpu *perf)
{
	u64 interval = perf->system->mux_interval;

	return interval ? (pcpu_tsc(perf->pcpu) / interval + 1) * interval : NO_DEADLINE;
}

static void no_counters(struct perf_cpu *perf, struct perf_event *leader)
{
	if (leader->attr.pinned) {
		if (!FAULTY(PERF_NO_ERROR_STATE))
			perf_event_set_state(leader, PERF_EVENT_STATE_ERROR);
		account_stat(books(perf), STAT_PERF_ERRORS);
		return;
	}
	leader->ctx->rotate_necessary = true;
	if (perf->mux_at == NO_DEADLINE)
		perf->mux_at = next_turn(perf);
}

static void groups_sched_in(struct perf_cpu *perf, struct perf_groups *groups)
{
	bool can_add_hw = true;

	/* Host events stay out while a guest owns the counters. */
	if (perf->guest_ctx_loaded && !FAULTY(PERF_HOST_EVENTS_COME_IN))
		return;
	for (u32 i = 0; i < groups->nr; i++) {
		struct perf_event *leader = groups->leaders[i];

		if (leader->state != PERF_EVENT_STATE_INACTIVE)
			continue;
		if (can_add_hw)
			group_sched_in(perf, leader);
		if (leader->state == PERF_EVENT_STATE_ACTIVE)
			continue;
		can_add_hw = false;
		no_counters(perf, leader);
	}
}

static void ctx_sched_out(struct perf_cpu *perf, struct perf_event_context *ctx, unsigned int type)
{
	unsigned int was = ctx->is_active;

	if (!ctx->nr_events)
		return;
	perf_context_update_time(perf, ctx);
	ctx->is_active &= ~type;
	classes_sched_out(perf, ctx, (was ^ ctx->is_active) & EVENT_ALL);
	/* With nothing in, its clock stands. */
	if (!(ctx->is_active & EVENT_ALL))
		ctx->is_active = 0;
}

static void ctx_sched_in(struct perf_cpu *perf, struct perf_event_context *ctx, unsigned int type)
{
	unsigned int was = ctx->is_active;

	if (!ctx->nr_events)
		return;
	if (!(was & EVENT_TIME))
		ctx->timestamp = perf->clock;
	ctx->is_active |= type | EVENT_TIME;
	if (!(~was & type))
		return;
	perf_pmu_disable(perf);
	groups_sched_in(perf, type == EVENT_PINNED ? &ctx->pinned : &ctx->flexible);
	perf_pmu_enable(perf);
}

static void sched_in_class(struct perf_cpu *perf, unsigned int type)
{
	struct perf_event_context *task = perf->task_ctx;

	if (task && type == EVENT_PINNED && FAULTY(PERF_TASK_BEFORE_CPU))
		ctx_sched_in(perf, task, type);
	ctx_sched_in(perf, &perf->ctx, type);
	if (task)
		ctx_sched_in(perf, task, type);
}

static void sched_in_all(struct perf_cpu *perf)
{
	sched_in_class(perf, EVENT_PINNED);
	sched_in_class(perf, EVENT_FLEXIBLE);
}

/* ---- occasions ---- */

/* What ranks with the event or below it goes out, and all that can comes in again. */
void perf_ctx_resched(struct perf_cpu *perf, const struct perf_event *event)
{
	bool pinned = event->group_leader->attr.pinned;
	unsigned int type = pinned ? EVENT_ALL : EVENT_FLEXIBLE;

	account_enter(books(perf), COST_CTX_RESCHED);
	perf_pmu_disable(perf);
	if (perf->task_ctx)
		ctx_sched_out(perf, perf->task_ctx, type);
	if (!event->ctx->task)
		ctx_sched_out(perf, &perf->ctx, type);
	else if (pinned)
		ctx_sched_out(perf, &perf->ctx, EVENT_FLEXIBLE);
	sched_in_all(perf);
	perf_pmu_enable(perf);
	account_leave(books(perf));
}

void perf_event_task_sched_in(struct perf_cpu *perf, struct perf_event_context *ctx)
{
	PP_CHECK(perf->pcpu->check, !perf->task_ctx);
	perf->task_ctx = ctx;
	if (!ctx || !ctx->nr_events)
		return;
	account_enter(books(perf), COST_PERF_SCHED_IN);
	perf_update_clock(perf);
	perf_pmu_disable(perf);
	/* Only the task's pinned groups rank before what is in already. */
	if (ctx->pinned.nr)
		ctx_sched_out(perf, &perf->ctx, EVENT_FLEXIBLE);
	sched_in_all(perf);
	perf_pmu_enable(perf);
	account_leave(books(perf));
}

void perf_event_task_sched_out(struct perf_cpu *perf)
{
	struct perf_event_context *ctx = perf->task_ctx;

	if (ctx && ctx->nr_events) {
		account_enter(books(perf), COST_PERF_SCHED_OUT);
		perf_update_clock(perf);
		perf_pmu_disable(perf);
		if (!FAULTY(PERF_TASK_STAYS_IN))
			ctx_sched_out(perf, ctx, EVENT_ALL);
		perf_pmu_enable(perf);
		account_leave(books(perf));
	}
	perf->task_ctx = NULL;
}

/* ---- rotation ---- */

/* The first that is on; with none on, the first of all. */
static struct perf_event *event_to_rotate(struct perf_event_context *ctx)
{
	struct perf_groups *groups = &ctx->flexible;

	ctx->rotate_necessary = false;
	for (u32 i = 0; i < groups->nr; i++) {
		if (groups->leaders[i]->state == PERF_EVENT_STATE_ACTIVE)
			return groups->leaders[i];
	}
	return groups->nr ? groups->leaders[0] : NULL;
}

/* A task's context is out when none of its classes is in. */
static struct perf_event_context *active_task_ctx(const struct perf_cpu *perf)
{
	struct perf_event_context *ctx = perf->task_ctx;

	return ctx && ctx->is_active & EVENT_ALL ? ctx : NULL;
}

static void flexible_out(struct perf_cpu *perf, struct perf_event_context *ctx)
{
	perf_context_update_time(perf, ctx);
	classes_sched_out(perf, ctx, EVENT_FLEXIBLE);
}

static void to_the_end(struct perf_event_context *ctx, struct perf_event *leader)
{
	if (!FAULTY(PERF_ROTATION_STANDS))
		perf_groups_rotate(&ctx->flexible, leader);
}

static bool rotate(struct perf_cpu *perf)
{
	struct perf_event_context *cpu = &perf->ctx, *task = active_task_ctx(perf);
	struct perf_event *cpu_event = NULL, *task_event = NULL;
	bool cpu_rotates = cpu->rotate_necessary, task_rotates = task && task->rotate_necessary;

	if (!cpu_rotates && !task_rotates)
		return false;
	account_enter(books(perf), COST_PERF_ROTATE);
	perf_pmu_disable(perf);
	if (task_rotates)
		task_event = event_to_rotate(task);
	if (cpu_rotates)
		cpu_event = event_to_rotate(cpu);
	/* The task's rank below the CPU's, and make room for them. */
	if (task && (task_event || cpu_event))
		flexible_out(perf, task);
	if (cpu_event) {
		flexible_out(perf, cpu);
		to_the_end(cpu, cpu_event);
		groups_sched_in(perf, &cpu->flexible);
	}
	if (task_event)
		to_the_end(task, task_event);
	if (task && (task_event || cpu_event))
		groups_sched_in(perf, &task->flexible);
	perf_pmu_enable(perf);
	account_stat(books(perf), STAT_PERF_ROTATIONS);
	account_leave(books(perf));
	return true;
}

void perf_mux_hrtimer_handler(struct perf_cpu *perf)
{
	perf_update_clock(perf);
	perf->mux_at = rotate(perf) ? next_turn(perf) : NO_DEADLINE;
}

/* ---- a guest's context on the PMU ---- */

static void ctx_load_guest(struct perf_cpu *perf, struct perf_event_context *ctx)
{
	if (!ctx || !ctx->nr_events)
		return;
	perf_context_update_time(perf, ctx);
	classes_sched_out(perf, ctx, EVENT_ALL);
}

bool perf_has_events(const struct perf_cpu *perf)
{
	return perf->ctx.nr_events || (perf->task_ctx && perf->task_ctx->nr_events);
}

void perf_load_guest_context(struct perf_cpu *perf)
{
	if (!PP_CHECK(perf->pcpu->check, !perf->guest_ctx_loaded))
		return;
	account_enter(books(perf), COST_PERF_LOAD_GUEST);
	perf_update_clock(perf);
	/* A context without events of this PMU touches no register. */
	if (perf_has_events(perf)) {
		perf_pmu_disable(perf);
		ctx_load_guest(perf, &perf->ctx);
		ctx_load_guest(perf, perf->task_ctx);
		perf_pmu_enable(perf);
	}
	perf->guest_ctx_loaded = true;
	account_leave(books(perf));
}

static void ctx_put_guest(struct perf_cpu *perf, struct perf_event_context *ctx, unsigned int type)
{
	if (ctx && ctx->nr_events)
		groups_sched_in(perf, type == EVENT_PINNED ? &ctx->pinned : &ctx->flexible);
}

void perf_put_guest_context(struct perf_cpu *perf)
{
	struct perf_event_context *task = perf->task_ctx;

	if (!PP_CHECK(perf->pcpu->check, perf->guest_ctx_loaded))
		return;
	account_enter(books(perf), COST_PERF_PUT_GUEST);
	perf_update_clock(perf);
	if (perf_has_events(perf)) {
		perf_context_update_time(perf, &perf->ctx);
		if (task)
			perf_context_update_time(perf, task);
		perf->guest_ctx_loaded = false;
		perf_pmu_disable(perf);
		ctx_put_guest(perf, &perf->ctx, EVENT_PINNED);
		ctx_put_guest(perf, task, EVENT_PINNED);
		ctx_put_guest(perf, &perf->ctx, EVENT_FLEXIBLE);
		ctx_put_guest(perf, task, EVENT_FLEXIBLE);
		perf_pmu_enable(perf);
	}
	perf->guest_ctx_loaded = false;
	account_leave(books(perf));
}
