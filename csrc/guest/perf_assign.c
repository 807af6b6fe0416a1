// SPDX-License-Identifier: Apache-2.0
/*
 * perf_assign.c - which event gets which counter. Interface: x86_schedule_events() in perf.h.
 *
 * If every event can have the counter it had last, it does. Otherwise all are placed anew: events
 * with the fewest possible counters first, in list order among equals; each takes its lowest free
 * fixed counter, or else its lowest free GP counter. The search is greedy and never goes back, so
 * that it can fail where a placement exists; so can Linux's.
 *
 * Not modelled: overlapping and dynamic constraints (the Intel events used here have none).
 */
#include "guest/kernel_work.h"
#include "guest/perf.h"

#define FIXED_MASK GENMASK_ULL(63, INTEL_PMC_IDX_FIXED)

static bool keep_counters(struct perf_event **events, u32 n, int *assign)
{
	u64 used = 0;
	u32 i;

	for (i = 0; i < n; i++) {
		int idx = events[i]->hw.idx;

		if (idx < 0 || !(events[i]->idxmsk & BIT_ULL(idx)) || (used & BIT_ULL(idx)))
			return false;
		used |= BIT_ULL(idx);
		assign[i] = idx;
	}
	return true;
}

static u32 perf_assign_events(struct perf_event **events, u32 n, int *assign)
{
	u32 unassigned = n;
	u32 weight, i;
	u64 used = 0;

	for (weight = 1; weight <= X86_PMC_IDX_MAX; weight++) {
		for (i = 0; i < n; i++) {
			u64 free = events[i]->idxmsk & ~used;

			if (events[i]->weight != weight)
				continue;
			if (!free)
				return unassigned;
			if (free & FIXED_MASK)
				free &= FIXED_MASK;
			assign[i] = __builtin_ctzll(free);
			used |= free & -free;
			if (!--unassigned)
				return 0;
		}
	}
	return unassigned;
}

/* 0 and @assign filled, or how many events did not get a counter. */
u32 x86_schedule_events(struct perf_event **events, u32 n, int *assign)
{
	kernel_works(KERNEL_WORK_SCHEDULE_EVENT, n);
	if (keep_counters(events, n, assign))
		return 0;
	return perf_assign_events(events, n, assign);
}
