// SPDX-License-Identifier: Apache-2.0
/*
 * perf_throttle.c - how many samples a tick may bring. Interface: perf.h.
 *
 * An event with more samples in a tick than are allowed is stopped until the next one. What is allowed
 * comes down when PMIs take too long: if the mean of the last 128 or so is above what it may be (a
 * quarter of the time at the highest rate, 2.5 us at first), a tick gets as many as fit into a quarter of
 * it, at a mean that is 25 % longer. It never goes up again. A rate that a CPU finds is every CPU's.
 *
 * As in Linux 6.8 and 6.9: the event is stopped at the sample behind the last allowed one, and not at the
 * first of a tick.
 *
 * A guest without a tick (hz=0) throttles nothing, since nothing would start the event again.
 *
 * Not modelled: the message to the log, kernel.perf_cpu_time_max_percent other than 25.
 */
#include "guest/insn.h"
#include "guest/kernel_work.h"
#include "guest/perf.h"
#include "guest/percpu.h"
#include "guest/settings.h"

#define MAX_SAMPLE_RATE 100000u /* kernel.perf_event_max_sample_rate */
#define CPU_TIME_MAX_PERCENT 25u
#define NR_ACCUMULATED_SAMPLES 128u
#define MAX_INTERRUPTS (~0u)

static u64 max_samples_per_tick, sample_allowed_ns;

u64 tick_nsec(void)
{
	return settings.hz ? NSEC_PER_SEC / settings.hz : NSEC_PER_SEC / 1000;
}

void perf_throttle_init(void)
{
	u64 hz = NSEC_PER_SEC / tick_nsec();

	max_samples_per_tick = (MAX_SAMPLE_RATE + hz - 1) / hz;
	sample_allowed_ns = NSEC_PER_SEC / MAX_SAMPLE_RATE * CPU_TIME_MAX_PERCENT / 100;
}

void perf_sample_event_took(u64 ns)
{
	struct perf_context *ctx = &this_cpu()->perf_context;
	u64 mean, longest = tick_nsec() / 100 * CPU_TIME_MAX_PERCENT;

	kernel_work(KERNEL_WORK_SAMPLE_TOOK);
	ctx->running_sample_length -= ctx->running_sample_length / NR_ACCUMULATED_SAMPLES;
	ctx->running_sample_length += ns;
	mean = ctx->running_sample_length / NR_ACCUMULATED_SAMPLES;
	if (mean <= sample_allowed_ns)
		return;
	mean += mean / 4;
	max_samples_per_tick = mean < longest ? longest / mean : 1;
	sample_allowed_ns = mean;
}

u64 perf_max_sample_rate(void)
{
	return max_samples_per_tick * (NSEC_PER_SEC / tick_nsec());
}

/* One more sample; true: the event is to be stopped. */
bool perf_event_account_throttle(struct perf_event *event)
{
	struct perf_context *ctx = &this_cpu()->perf_context;
	struct hw_perf_event *hwc = &event->hw;

	if (!settings.hz)
		return false;
	if (hwc->interrupts_seq != ctx->throttled_seq) {
		hwc->interrupts_seq = ctx->throttled_seq;
		hwc->interrupts = 1;
		return false;
	}
	if (++hwc->interrupts <= max_samples_per_tick)
		return false;
	ctx->throttled_count++;
	hwc->interrupts = MAX_INTERRUPTS;
	this_cpu()->report->throttles++;
	return true;
}

/* At the tick; true: an event has been throttled since the one before. */
bool perf_throttle_tick(void)
{
	struct perf_context *ctx = &this_cpu()->perf_context;
	bool throttled = ctx->throttled_count;

	ctx->throttled_seq++;
	ctx->throttled_count = 0;
	return throttled;
}

/* One that is put on a counter, and so begins anyway, or that the tick starts again. */
bool perf_event_unthrottled(struct perf_event *event)
{
	if (event->hw.interrupts != MAX_INTERRUPTS)
		return false;
	event->hw.interrupts = 0;
	return true;
}

void perf_event_unthrottle(struct perf_event *event)
{
	if (perf_event_unthrottled(event))
		x86_pmu_start(event, 0);
}
