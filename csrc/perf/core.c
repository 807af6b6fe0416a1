// SPDX-License-Identifier: Apache-2.0
/*
 * core.c - events come and go, are switched on and off, and are read.
 *
 * Interface: perf_event_open() ... perf_event_read_value() as in the kernel, mediated VMs.
 *
 * An event of a task that is not here changes its state alone; its context will be scheduled with the
 * task.
 *
 * Not modelled: inherited events, event limits, attached programs, namespaces and permissions.
 */
#include "perf/perf_event.h"

#include "base/fault.h"
#include "perf/perf_private.h"

#include <errno.h>

static struct account *books(struct perf_cpu *perf)
{
	return &perf->pcpu->account;
}

/* ---- open and close ---- */

/* Silicon that cannot do a period so short gets none (x86_pmu.limit_period). */
static bool period_is_taken(const struct perf_cpu *perf, u64 period)
{
	return !period || x86_pmu_limit_period(perf, period) <= period;
}

static bool sampling_is_valid(const struct perf_cpu *perf, const struct perf_event_attr *attr)
{
	if (attr->freq)
		return attr->sample_period <= perf->system->sample_rate;
	return !(attr->sample_period & BIT_ULL(63)) && period_is_taken(perf, attr->sample_period);
}

/* A group is in one context, is one deep, and its leader's class is the group's. */
static bool group_is_valid(const struct perf_event *event, const struct perf_event *leader)
{
	return !leader ||
	       (leader->group_leader == leader && leader->ctx == event->ctx && !event->attr.pinned);
}

/* With the privileges at which it counts */
static u64 config_of(const struct perf_event_attr *attr)
{
	return attr->config | (attr->exclude_user ? 0 : ARCH_PERFMON_EVENTSEL_USR) |
	       (attr->exclude_kernel ? 0 : ARCH_PERFMON_EVENTSEL_OS);
}

static void init_hw(struct perf_cpu *perf, struct perf_event *event)
{
	const struct perf_event_attr *attr = &event->attr;
	struct hw_perf_event *hw = &event->hw;

	hw->idx = -1;
	hw->counters = perf->driver->get_event_constraints(perf, attr);
	/* Frequency mode begins with the shortest period and finds its own. */
	hw->sample_period = attr->freq && attr->sample_period ? 1 : attr->sample_period;
	if (!hw->sample_period)
		hw->sample_period = perf->driver->max_period(perf);
	hw->formula = event_formula_of(perf->pcpu->events, config_of(attr));
	hw->last_period = hw->sample_period;
	hw->period_left = (s64)hw->sample_period;
}

/* In the order in which Linux looks. */
static int check_event(const struct perf_cpu *perf, const struct perf_event *event,
		       const struct perf_event *leader)
{
	int error;

	if (!sampling_is_valid(perf, &event->attr))
		return -EINVAL;
	error = perf->driver->hw_config(perf, &event->attr);
	if (error)
		return error;
	if (x86_pmu_validate(perf, event, leader))
		return -EINVAL;
	if (!event->attr.exclude_guest && perf->system->nr_mediated_vms &&
	    !FAULTY(PERF_TAKES_GUEST_EVENTS))
		return -EOPNOTSUPP;
	return group_is_valid(event, leader) ? 0 : -EINVAL;
}

static void count_event(struct perf_cpu *perf, const struct perf_event *event, u32 n)
{
	if (!event->attr.exclude_guest)
		perf->system->nr_include_guest_events += n;
	if (event->attr.freq)
		perf->system->nr_freq_events += n;
}

static void install(struct perf_cpu *perf, struct perf_event *event, struct perf_event *leader)
{
	event->in_use = true;
	perf_context_update_time(perf, event->ctx);
	perf_context_add(event, leader);
	count_event(perf, event, 1);
	account_stat(books(perf), STAT_PERF_CREATED);
	/* In a group that is off it is off too, and nobody needs to move. */
	if (event->group_leader->state == PERF_EVENT_STATE_OFF ||
	    event->state == PERF_EVENT_STATE_OFF)
		return;
	if (perf_context_is_here(perf, event->ctx))
		perf_ctx_resched(perf, event);
}

struct perf_event *perf_event_open(struct perf_cpu *perf, const struct perf_event_attr *attr,
				   struct perf_event_context *ctx, struct perf_event *leader,
				   perf_overflow_handler_t handler, void *context, int *error)
{
	struct perf_event *event;

	account_enter(books(perf), COST_PERF_CREATE);
	perf_update_clock(perf);
	ctx = ctx ? ctx : &perf->ctx;
	event = perf_context_new_slot(ctx);
	*error = -ENOSPC;
	if (event) {
		*event = (struct perf_event){
			.attr = *attr,
			.state = attr->disabled ? PERF_EVENT_STATE_OFF : PERF_EVENT_STATE_INACTIVE,
			.ctx = ctx,
			.overflow_handler = handler,
			.overflow_context = context,
		};
		init_hw(perf, event);
		*error = check_event(perf, event, leader);
	}
	if (*error) {
		account_stat(books(perf), STAT_PERF_REFUSED);
		account_leave(books(perf));
		return NULL;
	}
	install(perf, event, leader);
	account_leave(books(perf));
	return event;
}

struct perf_event *perf_event_create_kernel_counter(struct perf_cpu *perf,
						    const struct perf_event_attr *attr,
						    struct perf_event_context *ctx,
						    perf_overflow_handler_t handler, void *context,
						    int *error)
{
	if (unlikely(perf_fault_event_create(perf, ctx))) {
		account_charge(books(perf), COST_PERF_CREATE);
		account_stat(books(perf), STAT_PERF_REFUSED);
		*error = -EOPNOTSUPP;
		return NULL;
	}
	return perf_event_open(perf, attr, ctx, NULL, handler, context, error);
}

void perf_event_release_kernel(struct perf_cpu *perf, struct perf_event *event)
{
	struct perf_event_context *ctx = event->ctx;

	account_enter(books(perf), COST_PERF_RELEASE);
	perf_update_clock(perf);
	perf_context_update_time(perf, ctx);
	perf_event_sched_out(perf, event);
	if (event->state > PERF_EVENT_STATE_OFF)
		perf_event_set_state(event, PERF_EVENT_STATE_OFF);
	count_event(perf, event, -1u);
	perf_context_remove(event);
	if (!ctx->nr_events) {
		ctx->rotate_necessary = false;
		ctx->is_active = 0;
	}
	account_stat(books(perf), STAT_PERF_RELEASED);
	account_leave(books(perf));
}

/* ---- on and off ---- */

void perf_event_enable(struct perf_cpu *perf, struct perf_event *event)
{
	const struct perf_event *leader = event->group_leader;

	account_enter(books(perf), COST_PERF_ENABLE);
	perf_update_clock(perf);
	/* Enabling again is what takes a pinned event out of its error state. */
	if (event->state < PERF_EVENT_STATE_INACTIVE) {
		perf_context_update_time(perf, event->ctx);
		perf_event_set_state(event, PERF_EVENT_STATE_INACTIVE);
		/* A sibling alone cannot go on. */
		if (perf_context_is_here(perf, event->ctx) &&
		    (leader == event || leader->state == PERF_EVENT_STATE_ACTIVE))
			perf_ctx_resched(perf, event);
	}
	account_leave(books(perf));
}

static void disable_event(struct perf_cpu *perf, struct perf_event *event)
{
	if (event->state < PERF_EVENT_STATE_INACTIVE)
		return;
	perf_context_update_time(perf, event->ctx);
	/* Without its leader a group is off, though its siblings are not disabled. */
	if (event->state == PERF_EVENT_STATE_ACTIVE) {
		perf_pmu_disable(perf);
		if (event->group_leader == event)
			perf_group_sched_out(perf, event);
		else
			perf_event_sched_out(perf, event);
		perf_pmu_enable(perf);
	}
	perf_event_set_state(event, PERF_EVENT_STATE_OFF);
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
		event->count = event->guest_count = 0;
	account_leave(books(perf));
	return count;
}

int perf_event_period(struct perf_cpu *perf, struct perf_event *event, u64 value)
{
	if (!event->attr.sample_period || !value || value & BIT_ULL(63) ||
	    !period_is_taken(perf, value) || perf_fault_event_period(perf, event->ctx))
		return -EINVAL;
	account_enter(books(perf), COST_PERF_PERIOD);
	event->attr.sample_period = value;
	event->hw.sample_period = value;
	if (event->state == PERF_EVENT_STATE_ACTIVE) {
		perf_pmu_disable(perf);
		x86_pmu_stop(perf, event);
		event->hw.period_left = 0;
		x86_pmu_start(perf, event, true);
		if (event->hw.interrupts == MAX_INTERRUPTS)
			perf_event_unthrottle_group(perf, event, true);
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

/* ---- mediated VMs ---- */

int perf_create_mediated_pmu(struct perf_cpu *perf)
{
	struct perf_system *system = perf->system;

	if (!system->nr_mediated_vms && system->nr_include_guest_events &&
	    !FAULTY(PERF_TAKES_MEDIATED_VM))
		return -EBUSY;
	system->nr_mediated_vms++;
	return 0;
}

void perf_release_mediated_pmu(struct perf_cpu *perf)
{
	if (PP_CHECK(perf->pcpu->check, perf->system->nr_mediated_vms > 0))
		perf->system->nr_mediated_vms--;
}
