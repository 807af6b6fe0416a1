// SPDX-License-Identifier: Apache-2.0
/*
 * perf_counter.c - one event on one counter: load, read, start, stop. Interface: perf.h.
 *
 * A counter counts up from the two's complement of what is left of the period, so that it overflows
 * when the period is over. Counting events do the same with the longest period there is.
 */
#include "guest/insn.h"
#include "guest/perf.h"
#include "guest/percpu.h"

void x86_assign_hw_event(struct perf_event *event, int idx)
{
	struct hw_perf_event *hwc = &event->hw;
	u32 n = (u32)idx % INTEL_PMC_IDX_FIXED;

	hwc->idx = idx;
	if (idx >= INTEL_PMC_IDX_FIXED) {
		hwc->config_base = MSR_CORE_PERF_FIXED_CTR_CTRL;
		hwc->event_base = MSR_CORE_PERF_FIXED_CTR0 + n;
		hwc->event_base_rdpmc = n | INTEL_PMC_FIXED_RDPMC_BASE;
	} else {
		hwc->config_base = x86_pmu.eventsel + x86_pmu.stride * n;
		hwc->event_base = x86_pmu.perfctr + x86_pmu.stride * n;
		hwc->event_base_rdpmc = n;
	}
}

/* Add to the count what the counter counted since the last look. An NMI may do so in between. */
void x86_perf_event_update(struct perf_event *event)
{
	u32 shift = 64 - x86_pmu.cntval_bits;
	struct hw_perf_event *hwc = &event->hw;
	u64 prev = hwc->prev_count;
	u64 new, delta;

	do {
		new = rdpmc(hwc->event_base_rdpmc);
	} while (!local_try_cmpxchg(&hwc->prev_count, &prev, new));

	/* The counter is narrower than 64 bits: let it wrap at the top of the word. */
	delta = (new << shift) - (prev << shift);
	delta >>= shift;
	local_add(&event->count, delta);
	local_add((u64 *)&hwc->period_left, -delta);
}

/* Load the counter with what is left of the period; true when a new period begins. */
bool x86_perf_event_set_period(struct perf_event *event)
{
	struct hw_perf_event *hwc = &event->hw;
	s64 period = (s64)hwc->sample_period;
	s64 left = hwc->period_left;
	bool begins = false;

	if (left <= 0) {
		/* Late by a whole period or more: start afresh; else make up for it. */
		left = left <= -period ? period : left + period;
		hwc->period_left = left;
		hwc->last_period = hwc->sample_period;
		begins = true;
	}
	/* An overflow one event away may be missed while the counter is being written. */
	if (left < 2)
		left = 2;
	if (left > (s64)x86_pmu.max_period)
		left = (s64)x86_pmu.max_period;
	hwc->prev_count = (u64)-left;
	wrmsr(hwc->event_base, (u64)-left & x86_pmu.cntval_mask);
	perf_event_update_userpage(event);
	return begins;
}

void x86_pmu_start(struct perf_event *event, u32 flags)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;
	struct hw_perf_event *hwc = &event->hw;

	if (hwc->idx < 0 || !(hwc->state & PERF_HES_STOPPED))
		return;
	if (flags & PERF_EF_RELOAD)
		x86_perf_event_set_period(event);
	hwc->state = 0;
	cpuc->events[hwc->idx] = event;
	barrier();
	cpuc->active_mask |= BIT_ULL(hwc->idx);
	x86_pmu.ops->enable(event);
	perf_event_update_userpage(event);
}

void x86_pmu_stop(struct perf_event *event, u32 flags)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;
	struct hw_perf_event *hwc = &event->hw;

	if (hwc->idx >= 0 && (cpuc->active_mask & BIT_ULL(hwc->idx))) {
		x86_pmu.ops->disable(event);
		cpuc->active_mask &= ~BIT_ULL(hwc->idx);
		barrier();
		cpuc->events[hwc->idx] = NULL;
		hwc->state |= PERF_HES_STOPPED;
	}
	if ((flags & PERF_EF_UPDATE) && !(hwc->state & PERF_HES_UPTODATE)) {
		x86_perf_event_update(event);
		hwc->state |= PERF_HES_UPTODATE;
	}
}
