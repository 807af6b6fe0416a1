// SPDX-License-Identifier: Apache-2.0
/*
 * perf_freq.c - samples, and sampling at a frequency: the period follows the event's rate. Interface: perf.h.
 *
 * Two places correct the period. An overflow knows how long its period took, if the one before was
 * less than two ticks ago; the tick knows how much was counted since the tick before. Either moves
 * the period an eighth of the way.
 *
 * A sample is not written: what that takes is retired (kernel_work.h), as for a buffer that nobody reads.
 *
 * Not modelled: call chains, a reader that is woken.
 */
#include "guest/insn.h"
#include "guest/kernel_work.h"
#include "guest/perf.h"
#include "guest/percpu.h"
#include "guest/settings.h"

/* The period at which @count events in @nsec would make the frequency. */
static u64 perf_calculate_period(const struct perf_event *event, u64 nsec, u64 count)
{
	u64 period;

	if (nsec > ~0ull / event->freq)
		return 0;
	period = mul_u64_u64_div_u64(count, NSEC_PER_SEC, nsec * event->freq);
	return min_u64(period, GENMASK_ULL(61, 0));
}

static void perf_adjust_period(struct perf_event *event, u64 nsec, u64 count, bool disable)
{
	struct hw_perf_event *hwc = &event->hw;
	s64 sample_period = (s64)hwc->sample_period;
	s64 delta = (s64)perf_calculate_period(event, nsec, count) - sample_period;

	/* Away from zero, so that the last few steps are made, too. */
	delta += delta >= 0 ? 7 : -7;
	sample_period += delta / 8;
	if (sample_period < 1)
		sample_period = 1;
	hwc->sample_period = (u64)sample_period;

	/* Do not wait for the end of a period that has become far too long. */
	if (hwc->period_left > 8 * sample_period) {
		if (disable)
			x86_pmu_stop(event, PERF_EF_UPDATE);
		hwc->period_left = 0;
		if (disable)
			x86_pmu_start(event, PERF_EF_RELOAD);
	}
}

/* At each overflow, the new period loaded already. */
static void account_frequency(struct perf_event *event)
{
	struct hw_perf_event *hwc = &event->hw;
	u64 now, before, delta;

	if (!event->freq)
		return;
	now = tsc_to_ns(rdtsc());
	before = hwc->freq_time_stamp;
	delta = now - before;
	hwc->freq_time_stamp = now;
	/* The first one has no time before it; a TSC that starts at 0 must not look like one. */
	if (before && delta && delta < 2 * tick_nsec())
		perf_adjust_period(event, delta, hwc->last_period, true);
}

void perf_event_overflow(struct perf_event *event)
{
	bool throttled;

	/* No sample where only a part of a very long period is over. */
	if (!x86_perf_event_set_period(event))
		return;
	event->samples++;
	if (!event->sampling)
		return;
	kernel_work(KERNEL_WORK_OVERFLOW);
	throttled = perf_event_account_throttle(event);
	account_frequency(event);
	kernel_work(KERNEL_WORK_PREPARE);
	kernel_work(KERNEL_WORK_OUTPUT);
	if (throttled)
		x86_pmu_stop(event, 0);
}

static void adjust_at_tick(struct perf_event *event)
{
	struct hw_perf_event *hwc = &event->hw;
	s64 delta;

	kernel_work(KERNEL_WORK_ADJUST_EVENT);
	x86_pmu_stop(event, PERF_EF_UPDATE);
	delta = (s64)(event->count - hwc->freq_count_stamp);
	hwc->freq_count_stamp = event->count;
	if (delta > 0)
		perf_adjust_period(event, tick_nsec(), (u64)delta, false);
	x86_pmu_start(event, delta > 0 ? PERF_EF_RELOAD : 0);
}

/* 6.8: GLOBAL_CTRL goes off and on around each active event, sampling or not. */
static void adjust_each_event(void)
{
	u32 i;

	for (i = 0; i < settings.nr_events; i++) {
		struct perf_event *event = &this_cpu()->perf_events[i];

		if (event->state != PERF_EVENT_STATE_ACTIVE)
			continue;
		perf_pmu_disable();
		perf_event_unthrottle(event);
		if (event->freq)
			adjust_at_tick(event);
		perf_pmu_enable();
	}
}

/* 6.9: once for the PMU. */
static void adjust_pmu(void)
{
	struct perf_context *ctx = &this_cpu()->perf_context;
	u32 i;

	perf_pmu_disable();
	for (i = 0; i < ctx->nr_flexible; i++) {
		struct perf_event *event = ctx->flexible[i];

		if (event->state != PERF_EVENT_STATE_ACTIVE)
			continue;
		perf_event_unthrottle(event);
		if (event->freq)
			adjust_at_tick(event);
	}
	perf_pmu_enable();
}

void perf_event_task_tick(void)
{
	bool throttled = perf_throttle_tick();

	if (!this_cpu()->perf_context.nr_freq && !throttled)
		return;
	if (settings.per_pmu_tick)
		adjust_pmu();
	else
		adjust_each_event();
}
