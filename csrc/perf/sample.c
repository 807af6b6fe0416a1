// SPDX-License-Identifier: Apache-2.0
/*
 * sample.c - overflows: how many samples a tick may bring, and the periods of frequency mode.
 *
 * An event with as many samples within a tick as the sample rate allows is throttled, and its group with
 * it: off until the next tick, though it stays on its counter and its time runs. In frequency mode the
 * period follows what was counted, at each overflow and at each tick.
 *
 * Interface: perf_event_task_tick(); perf_private.h.
 *
 * Not modelled: records and their buffers; the sample rate that comes down when NMIs take too long
 * (kernel.perf_cpu_time_max_percent).
 */
#include "perf/perf_event.h"

#include "base/fault.h"
#include "perf/perf_private.h"

#define NSEC_PER_SEC 1000000000ull

static struct account *books(struct perf_cpu *perf)
{
	return &perf->pcpu->account;
}

/* ---- throttling ---- */

static void throttle(struct perf_cpu *perf, struct perf_event *event)
{
	if (event->state != PERF_EVENT_STATE_ACTIVE)
		return;
	event->hw.interrupts = MAX_INTERRUPTS;
	event->throttles++;
	x86_pmu_stop(perf, event);
}

static void throttle_group(struct perf_cpu *perf, struct perf_event *event)
{
	struct perf_event *leader = event->group_leader;

	throttle(perf, leader);
	for_each_sibling_event(sibling, leader) throttle(perf, sibling);
}

void perf_event_unthrottle(struct perf_cpu *perf, struct perf_event *event, bool start)
{
	if (event->state != PERF_EVENT_STATE_ACTIVE)
		return;
	event->hw.interrupts = 0;
	if (start && !event->hw.running)
		x86_pmu_start(perf, event, false);
}

void perf_event_unthrottle_group(struct perf_cpu *perf, struct perf_event *event, bool skip_start)
{
	struct perf_event *leader = event->group_leader;

	perf_event_unthrottle(perf, leader, !skip_start || leader != event);
	for_each_sibling_event(sibling, leader)
		perf_event_unthrottle(perf, sibling, !skip_start || sibling != event);
}

static u64 max_samples_per_tick(const struct perf_system *system)
{
	u64 hz = system->tsc_khz * 1000 / system->tick_period;

	return (system->sample_rate + hz - 1) / hz;
}

/* ---- frequency mode ---- */

static u64 to_ns(const struct perf_cpu *perf, u64 tsc)
{
	return (u64)((u128)tsc * 1000000 / perf->system->tsc_khz);
}

static u64 tick_ns(const struct perf_cpu *perf)
{
	return to_ns(perf, perf->system->tick_period);
}

/* The period at which @count events in @nsec would give the wanted samples a second. */
static u64 calculate_period(const struct perf_event *event, u64 nsec, u64 count)
{
	u128 divisor = (u128)nsec * event->attr.sample_period;

	return (u64)((u128)count * NSEC_PER_SEC / divisor);
}

/* An eighth of the way there; @stop: the event is on its counter. */
static void adjust_period(struct perf_cpu *perf, struct perf_event *event, u64 nsec, u64 count,
			  bool stop)
{
	struct hw_perf_event *hw = &event->hw;
	s64 delta = (s64)(calculate_period(event, nsec, count) - hw->sample_period);

	delta += delta >= 0 ? 7 : -7;
	hw->sample_period += (u64)(delta / 8);
	if (!hw->sample_period)
		hw->sample_period = 1;
	/* What is left of the old period would be too long to wait for. */
	if (hw->period_left <= (s64)(8 * hw->sample_period))
		return;
	if (stop)
		x86_pmu_stop(perf, event);
	hw->period_left = 0;
	if (stop)
		x86_pmu_start(perf, event, true);
}

/* ---- overflows ---- */

static void account_interrupt(struct perf_cpu *perf, struct perf_event *event)
{
	struct hw_perf_event *hw = &event->hw;
	u64 now, delta;

	if (hw->interrupts_seq != perf->throttled_seq) {
		hw->interrupts_seq = perf->throttled_seq;
		hw->interrupts = 1;
	} else {
		hw->interrupts++;
	}
	if (hw->interrupts >= max_samples_per_tick(perf->system)) {
		perf->throttled_count++;
		account_stat(books(perf), STAT_PERF_THROTTLED);
		throttle_group(perf, event);
	}
	if (likely(!event->attr.freq))
		return;
	now = to_ns(perf, pcpu_tsc(perf->pcpu));
	delta = now - hw->freq_time_stamp;
	hw->freq_time_stamp = now;
	if (delta > 0 && delta < 2 * tick_ns(perf))
		adjust_period(perf, event, delta, hw->last_period, true);
}

static void report(struct perf_cpu *perf, struct perf_event *event)
{
	if (!event->overflow_handler)
		return;
	if (likely(!perf_fault_overflow(perf, event->ctx)))
		event->overflow_handler(event);
	else if (event->overflow_dropped)
		event->overflow_dropped(event);
}

void perf_event_overflow(struct perf_cpu *perf, struct perf_event *event)
{
	if (!event->attr.sample_period)
		return;
	account_enter(books(perf), COST_PERF_OVERFLOW);
	account_interrupt(perf, event);
	event->samples++;
	/* One that leaves guests out and overflows behind the exit is the host's (should_sample_guest()). */
	event->guest_samples += perf->guest_state && !event->attr.exclude_guest;
	report(perf, event);
	account_leave(books(perf));
}

/* ---- the tick ---- */

static void adjust_event(struct perf_cpu *perf, struct perf_event *event)
{
	bool freq = event->attr.freq && event->attr.sample_period;
	struct hw_perf_event *hw = &event->hw;
	s64 delta;

	if (event->state != PERF_EVENT_STATE_ACTIVE)
		return;
	if (hw->interrupts == MAX_INTERRUPTS && !FAULTY(PERF_NEVER_UNTHROTTLED))
		perf_event_unthrottle_group(perf, event, freq);
	if (!freq)
		return;
	x86_pmu_stop(perf, event);
	delta = (s64)(event->count - hw->freq_count_stamp);
	hw->freq_count_stamp = event->count;
	if (delta > 0)
		adjust_period(perf, event, tick_ns(perf), (u64)delta, false);
	x86_pmu_start(perf, event, delta > 0);
}

/* Of each group its leader, as Linux looks through the lists of those that are on. */
static void adjust_groups(struct perf_cpu *perf, const struct perf_groups *groups)
{
	for (u32 i = 0; i < groups->nr; i++)
		adjust_event(perf, groups->leaders[i]);
}

static void adjust_context(struct perf_cpu *perf, struct perf_event_context *ctx, bool unthrottle)
{
	if (!ctx || !(ctx->nr_freq || unthrottle) || !(ctx->is_active & EVENT_ALL))
		return;
	perf_pmu_disable(perf);
	adjust_groups(perf, &ctx->pinned);
	adjust_groups(perf, &ctx->flexible);
	perf_pmu_enable(perf);
}

void perf_event_task_tick(struct perf_cpu *perf)
{
	bool throttled = perf->throttled_count;

	perf->throttled_seq++;
	perf->throttled_count = 0;
	adjust_context(perf, &perf->ctx, throttled);
	adjust_context(perf, perf->task_ctx, throttled);
}
