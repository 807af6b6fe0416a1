// SPDX-License-Identifier: Apache-2.0
/*
 * core.c - perf contexts: who gets onto the PMU, in which order.
 *
 * Interface
 *  - perf_event_create_kernel_counter() ... perf_event_read_value() as in the kernel.
 *  - ctx_resched(): CPU-pinned, task-pinned, CPU-flexible, task-flexible.
 *
 * Not modelled: groups, throttling, frequency mode, inherited events.
 */
#include "perf/perf_event.h"

#include "base/fault.h"
#include "perf/perf_private.h"

#include <errno.h>
#include <string.h>

static const struct x86_pmu *driver_of(const struct pp_pmu *caps)
{
	if (caps->vendor == PP_VENDOR_AMD)
		return caps->version >= 2 ? &amd_pmu_v2 : &amd_pmu;
	return &intel_pmu;
}

void perf_init(struct perf_cpu *perf, struct pcpu *pcpu, struct perf_system *system)
{
	memset(perf, 0, sizeof(*perf));
	perf->pcpu = pcpu;
	perf->system = system;
	perf->mux_at = NO_DEADLINE;
	perf->driver = driver_of(&pcpu->pmu.caps);
	perf->intel_ctrl = pcpu->pmu.counter_mask;
}

void perf_moved(struct perf_cpu *perf, const struct move *move)
{
	perf->pcpu = moved(move, perf->pcpu);
	perf->system = moved(move, perf->system);
	perf->task_ctx = moved(move, perf->task_ctx);
	for (u32 i = 0; i < PERF_MAX_EVENTS; i++) {
		struct perf_event *event = &perf->slots[i];

		event->ctx = moved(move, event->ctx);
		event->overflow_context = moved(move, event->overflow_context);
		perf->events[i] = moved(move, perf->events[i]);
	}
	for (u32 i = 0; i < NR_PMC_IDX; i++) {
		perf->list[i] = moved(move, perf->list[i]);
		perf->on_counter[i] = moved(move, perf->on_counter[i]);
	}
}

static struct account *books(struct perf_cpu *perf)
{
	return &perf->pcpu->account;
}

/* The contexts' clock stands still while events are scheduled, so that what goes out and what comes in
 * at one occasion does so at one time. */
void perf_update_clock(struct perf_cpu *perf)
{
	perf->clock = pcpu_tsc(perf->pcpu);
}

static bool is_of_cpu(const struct perf_cpu *perf, const struct perf_event *event)
{
	return event->ctx == &perf->cpu_ctx;
}

static void account_times(struct perf_cpu *perf, struct perf_event *event)
{
	u64 time = perf->clock - event->tstamp;

	event->tstamp = perf->clock;
	/* A thread's events have the thread's time. */
	if (!is_of_cpu(perf, event) && event->ctx != perf->task_ctx)
		return;
	/* Guest time is no time of an event that does not count guests. */
	if (perf->guest_ctx_loaded && event->attr.exclude_guest && !FAULTY(PERF_GUEST_TIME_COUNTS))
		return;
	if (event->state >= PERF_EVENT_STATE_INACTIVE)
		event->time_enabled += time;
	if (event->state == PERF_EVENT_STATE_ACTIVE)
		event->time_running += time;
}

void perf_update_times(struct perf_cpu *perf, struct perf_event *event)
{
	perf_update_clock(perf);
	account_times(perf, event);
}

static void set_state(struct perf_cpu *perf, struct perf_event *event, enum perf_event_state state)
{
	account_times(perf, event);
	event->state = state;
}

static void event_sched_out(struct perf_cpu *perf, struct perf_event *event)
{
	if (event->state != PERF_EVENT_STATE_ACTIVE)
		return;
	account_enter(books(perf), COST_EVENT_SCHED_OUT);
	perf_pmu_disable(perf);
	x86_pmu_del(perf, event);
	set_state(perf, event, PERF_EVENT_STATE_INACTIVE);
	perf_pmu_enable(perf);
	account_leave(books(perf));
}

static int event_sched_in(struct perf_cpu *perf, struct perf_event *event)
{
	int ret;

	account_enter(books(perf), COST_EVENT_SCHED_IN);
	perf_pmu_disable(perf);
	ret = x86_pmu_add(perf, event);
	if (!ret)
		set_state(perf, event, PERF_EVENT_STATE_ACTIVE);
	perf_pmu_enable(perf);
	account_leave(books(perf));
	return ret;
}

static bool in_class(const struct perf_event *event, const struct perf_event_context *ctx,
		     unsigned int type)
{
	return event->ctx == ctx &&
	       (event->attr.pinned ? type & EVENT_PINNED : type & EVENT_FLEXIBLE);
}

void ctx_sched_out(struct perf_cpu *perf, struct perf_event_context *ctx, unsigned int type)
{
	if (!ctx)
		return;
	for (u32 i = 0; i < perf->nr_events; i++) {
		if (in_class(perf->events[i], ctx, type))
			event_sched_out(perf, perf->events[i]);
	}
	if (type & EVENT_FLEXIBLE)
		ctx->rotate_necessary = false;
}

/* There is no counter for it. */
static void stay_out(struct perf_cpu *perf, struct perf_event *event)
{
	if (!event->attr.pinned) {
		event->ctx->rotate_necessary = true;
		perf_mux_hrtimer_restart(perf);
		return;
	}
	set_state(perf, event,
		  FAULTY(PERF_NO_ERROR_STATE) ? PERF_EVENT_STATE_INACTIVE : PERF_EVENT_STATE_ERROR);
	account_stat(books(perf), STAT_PERF_ERRORS);
}

void ctx_sched_in(struct perf_cpu *perf, struct perf_event_context *ctx, unsigned int type)
{
	bool can_add_hw = true;

	/* Host events stay out while a guest owns the counters. */
	if (!ctx || (perf->guest_ctx_loaded && !FAULTY(PERF_HOST_EVENTS_COME_IN)))
		return;
	for (u32 i = 0; i < perf->nr_events; i++) {
		struct perf_event *event = perf->events[i];

		if (!in_class(event, ctx, type) || event->state != PERF_EVENT_STATE_INACTIVE)
			continue;
		/* Once one has failed, nobody behind it is tried in this pass. */
		can_add_hw = can_add_hw && !event_sched_in(perf, event);
		if (!can_add_hw)
			stay_out(perf, event);
	}
}

static void sched_in_all(struct perf_cpu *perf)
{
	struct perf_event_context *first = &perf->cpu_ctx, *second = perf->task_ctx;

	if (FAULTY(PERF_TASK_BEFORE_CPU)) {
		first = perf->task_ctx;
		second = &perf->cpu_ctx;
	}
	ctx_sched_in(perf, first, EVENT_PINNED);
	ctx_sched_in(perf, second, EVENT_PINNED);
	ctx_sched_in(perf, &perf->cpu_ctx, EVENT_FLEXIBLE);
	ctx_sched_in(perf, perf->task_ctx, EVENT_FLEXIBLE);
}

/* Make room for an event of one class: what ranks with it or below goes out and comes in again. */
static void ctx_resched(struct perf_cpu *perf, const struct perf_event *event)
{
	unsigned int type = event->attr.pinned ? EVENT_PINNED | EVENT_FLEXIBLE : EVENT_FLEXIBLE;

	/* Of a thread that does not run: it comes in with it. */
	if (!is_of_cpu(perf, event) && event->ctx != perf->task_ctx)
		return;
	account_enter(books(perf), COST_CTX_RESCHED);
	perf_pmu_disable(perf);
	ctx_sched_out(perf, perf->task_ctx, type);
	if (is_of_cpu(perf, event))
		ctx_sched_out(perf, &perf->cpu_ctx, type);
	else if (event->attr.pinned)
		ctx_sched_out(perf, &perf->cpu_ctx, EVENT_FLEXIBLE);
	sched_in_all(perf);
	perf_pmu_enable(perf);
	account_leave(books(perf));
}

static struct perf_event *new_slot(struct perf_cpu *perf)
{
	for (u32 i = 0; i < PERF_MAX_EVENTS; i++) {
		if (!perf->slots[i].in_use)
			return &perf->slots[i];
	}
	return NULL;
}

static void forget_event(struct perf_cpu *perf, struct perf_event *event)
{
	u32 i = 0;

	while (perf->events[i] != event)
		i++;
	perf->nr_events--;
	memmove(&perf->events[i], &perf->events[i + 1],
		(perf->nr_events - i) * sizeof(perf->events[0]));
	event->in_use = false;
}

/* Silicon that cannot do a period so short gets none (x86_pmu.limit_period). */
static bool period_is_taken(const struct perf_cpu *perf, u64 period)
{
	return !period || x86_pmu_limit_period(perf, period) <= period;
}

struct perf_event *perf_event_create_kernel_counter(struct perf_cpu *perf,
						    const struct perf_event_attr *attr,
						    struct perf_event_context *ctx,
						    perf_overflow_handler_t handler, void *context,
						    int *error)
{
	u64 counters = perf->driver->get_event_constraints(perf, attr);
	struct perf_event *event;

	account_enter(books(perf), COST_PERF_CREATE);
	perf_update_clock(perf);
	event = new_slot(perf);
	*error = !event							    ? -ENOSPC
		 : !counters || !period_is_taken(perf, attr->sample_period) ? -EINVAL
									    : 0;
	if (!attr->exclude_guest && perf->system->nr_mediated_vms &&
	    !FAULTY(PERF_TAKES_GUEST_EVENTS))
		*error = -EOPNOTSUPP;
	if (*error) {
		account_stat(books(perf), STAT_PERF_REFUSED);
		account_leave(books(perf));
		return NULL;
	}
	*event = (struct perf_event){
		.attr = *attr,
		.state = PERF_EVENT_STATE_INACTIVE,
		.in_use = true,
		.ctx = ctx ? ctx : &perf->cpu_ctx,
		.overflow_handler = handler,
		.overflow_context = context,
		.tstamp = perf->clock,
	};
	perf->events[perf->nr_events++] = event;
	event->ctx->nr_events++;
	event->ctx->nr_pinned += attr->pinned;
	event->hw.idx = -1;
	event->hw.counters = counters;
	event->hw.sample_period = attr->sample_period ? attr->sample_period
						      : perf->driver->max_period(perf);
	event->hw.last_period = event->hw.sample_period;
	event->hw.period_left = (s64)event->hw.sample_period;
	if (!attr->exclude_guest)
		perf->system->nr_include_guest_events++;
	account_stat(books(perf), STAT_PERF_CREATED);
	ctx_resched(perf, event);
	account_leave(books(perf));
	return event;
}

void perf_event_release_kernel(struct perf_cpu *perf, struct perf_event *event)
{
	account_enter(books(perf), COST_PERF_RELEASE);
	perf_update_clock(perf);
	event_sched_out(perf, event);
	set_state(perf, event, PERF_EVENT_STATE_OFF);
	if (!event->attr.exclude_guest)
		perf->system->nr_include_guest_events--;
	event->ctx->nr_events--;
	event->ctx->nr_pinned -= event->attr.pinned;
	forget_event(perf, event);
	account_stat(books(perf), STAT_PERF_RELEASED);
	account_leave(books(perf));
}

void perf_event_enable(struct perf_cpu *perf, struct perf_event *event)
{
	account_enter(books(perf), COST_PERF_ENABLE);
	perf_update_clock(perf);
	/* Enabling again is what takes a pinned event out of its error state. */
	if (event->state < PERF_EVENT_STATE_INACTIVE) {
		set_state(perf, event, PERF_EVENT_STATE_INACTIVE);
		ctx_resched(perf, event);
	}
	account_leave(books(perf));
}

static void disable_event(struct perf_cpu *perf, struct perf_event *event)
{
	if (event->state < PERF_EVENT_STATE_INACTIVE)
		return;
	event_sched_out(perf, event);
	set_state(perf, event, PERF_EVENT_STATE_OFF);
}

void perf_event_disable(struct perf_cpu *perf, struct perf_event *event)
{
	account_enter(books(perf), COST_PERF_DISABLE);
	perf_update_clock(perf);
	disable_event(perf, event);
	account_leave(books(perf));
}

u64 perf_event_pause(struct perf_cpu *perf, struct perf_event *event, bool reset)
{
	u64 count;

	account_enter(books(perf), COST_PERF_PAUSE);
	perf_update_clock(perf);
	disable_event(perf, event);
	count = event->count;
	if (reset)
		event->count = 0;
	account_leave(books(perf));
	return count;
}

int perf_event_period(struct perf_cpu *perf, struct perf_event *event, u64 value)
{
	if (!event->attr.sample_period || !value || value & BIT_ULL(63) ||
	    !period_is_taken(perf, value))
		return -EINVAL;
	account_enter(books(perf), COST_PERF_PERIOD);
	event->attr.sample_period = value;
	event->hw.sample_period = value;
	if (event->state == PERF_EVENT_STATE_ACTIVE) {
		perf_pmu_disable(perf);
		x86_pmu_stop(perf, event);
		event->hw.period_left = 0;
		x86_pmu_start(perf, event, true);
		perf_pmu_enable(perf);
	} else {
		event->hw.period_left = 0;
	}
	account_leave(books(perf));
	return 0;
}

u64 perf_event_read_value(struct perf_cpu *perf, struct perf_event *event)
{
	account_enter(books(perf), COST_PERF_READ);
	perf_update_times(perf, event);
	if (event->state == PERF_EVENT_STATE_ACTIVE)
		x86_perf_event_update(perf, event);
	account_leave(books(perf));
	return event->count;
}

static void account_context(struct perf_cpu *perf, const struct perf_event_context *ctx)
{
	for (u32 i = 0; i < perf->nr_events; i++) {
		if (perf->events[i]->ctx == ctx)
			account_times(perf, perf->events[i]);
	}
}

void perf_event_task_sched_out(struct perf_cpu *perf)
{
	struct perf_event_context *ctx = perf->task_ctx;

	if (!ctx)
		return;
	if (ctx->nr_events) {
		account_enter(books(perf), COST_PERF_SCHED_OUT);
		perf_update_clock(perf);
		perf_pmu_disable(perf);
		if (!FAULTY(PERF_TASK_STAYS_IN))
			ctx_sched_out(perf, ctx, EVENT_PINNED | EVENT_FLEXIBLE);
		perf_pmu_enable(perf);
		account_context(perf, ctx);
		account_leave(books(perf));
	}
	perf->task_ctx = NULL;
}

void perf_event_task_sched_in(struct perf_cpu *perf, struct perf_event_context *ctx)
{
	if (ctx && ctx->nr_events) {
		account_enter(books(perf), COST_PERF_SCHED_IN);
		perf_update_clock(perf);
		/* The time without the thread is none of its events'. */
		account_context(perf, ctx);
		perf->task_ctx = ctx;
		perf_pmu_disable(perf);
		/* The thread's pinned events go before the pCPU's flexible ones. */
		if (ctx->nr_pinned)
			ctx_sched_out(perf, &perf->cpu_ctx, EVENT_FLEXIBLE);
		sched_in_all(perf);
		perf_pmu_enable(perf);
		account_leave(books(perf));
	}
	perf->task_ctx = ctx;
}

int perf_create_mediated_pmu(struct perf_cpu *perf)
{
	if (!perf->system->nr_mediated_vms && perf->system->nr_include_guest_events &&
	    !FAULTY(PERF_TAKES_MEDIATED_VM))
		return -EBUSY;
	perf->system->nr_mediated_vms++;
	return 0;
}

void perf_release_mediated_pmu(struct perf_cpu *perf)
{
	if (PP_CHECK(perf->pcpu->check, perf->system->nr_mediated_vms > 0))
		perf->system->nr_mediated_vms--;
}

void perf_load_guest_context(struct perf_cpu *perf)
{
	if (!PP_CHECK(perf->pcpu->check, !perf->guest_ctx_loaded))
		return;
	account_enter(books(perf), COST_PERF_LOAD_GUEST);
	perf_update_clock(perf);
	/* A context without events of this PMU touches no register. */
	if (perf->nr_events) {
		perf_pmu_disable(perf);
		ctx_sched_out(perf, &perf->cpu_ctx, EVENT_PINNED | EVENT_FLEXIBLE);
		ctx_sched_out(perf, perf->task_ctx, EVENT_PINNED | EVENT_FLEXIBLE);
		perf_pmu_enable(perf);
	}
	for (u32 i = 0; i < perf->nr_events; i++)
		account_times(perf, perf->events[i]);
	perf->guest_ctx_loaded = true;
	account_leave(books(perf));
}

void perf_put_guest_context(struct perf_cpu *perf)
{
	if (!PP_CHECK(perf->pcpu->check, perf->guest_ctx_loaded))
		return;
	account_enter(books(perf), COST_PERF_PUT_GUEST);
	perf_update_clock(perf);
	for (u32 i = 0; i < perf->nr_events; i++)
		account_times(perf, perf->events[i]);
	perf->guest_ctx_loaded = false;
	if (perf->nr_events) {
		perf_pmu_disable(perf);
		sched_in_all(perf);
		perf_pmu_enable(perf);
	}
	account_leave(books(perf));
}
