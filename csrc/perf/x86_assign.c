// SPDX-License-Identifier: Apache-2.0
/*
 * x86_assign.c - which event is on which counter.
 *
 * Events are collected as they are added; once it is clear that all of them can have a counter, they
 * keep the assignment, and switching the PMU on programs what has changed. All stay where they were last if
 * that can be; else those with the fewest counters choose first, fixed counters before GP ones.
 *
 * Interface: perf_private.h.
 *
 * Not modelled: constraints that overlap without nesting (no CPU here has them), events that want a
 * sibling thread idle, pairs of counters, performance metrics.
 */
#include "perf/perf_event.h"

#include "base/fault.h"
#include "perf/perf_private.h"

#include <errno.h>
#include <string.h>

static struct account *books(struct perf_cpu *perf)
{
	return &perf->pcpu->account;
}

/* ---- assignment ---- */

static int find_counter(u64 counters, u64 used)
{
	u64 fixed = counters & ~used & GENMASK_ULL(63, INTEL_PMC_IDX_FIXED);
	u64 gp = counters & ~used & GENMASK_ULL(INTEL_PMC_IDX_FIXED - 1, 0);

	if (fixed)
		return __builtin_ctzll(fixed);
	return gp ? __builtin_ctzll(gp) : -1;
}

/* The fast way: everybody stays where it was. */
static bool assign_previous(struct perf_event *const *list, u32 nr, int *assign)
{
	u64 used = 0;

	if (FAULTY(PERF_PREVIOUS_IGNORED))
		return false;
	for (u32 i = 0; i < nr; i++) {
		const struct hw_perf_event *hw = &list[i]->hw;

		if (hw->idx < 0 || !(hw->counters & BIT_ULL(hw->idx)) || used & BIT_ULL(hw->idx))
			return false;
		used |= BIT_ULL(hw->idx);
		assign[i] = hw->idx;
	}
	return true;
}

static bool assign_by_weight(struct perf_event *const *list, u32 nr, int *assign)
{
	u64 used = 0;

	for (int weight = 1; weight <= NR_PMC_IDX; weight++) {
		for (u32 i = 0; i < nr; i++) {
			u64 counters = list[i]->hw.counters;

			if (__builtin_popcountll(counters) != weight)
				continue;
			assign[i] = find_counter(counters, used);
			if (assign[i] < 0)
				return false;
			used |= BIT_ULL(assign[i]);
		}
	}
	return true;
}

static bool schedule_events(struct perf_event *const *list, u32 nr, int *assign)
{
	return assign_previous(list, nr, assign) || assign_by_weight(list, nr, assign);
}

static int schedule_list(struct perf_cpu *perf)
{
	int assign[NR_PMC_IDX];

	account_charge_n(books(perf), COST_SCHEDULE_EVENTS, perf->nr_list);
	if (!schedule_events(perf->list, perf->nr_list, assign))
		return -EAGAIN;
	memcpy(perf->assign, assign, perf->nr_list * sizeof(assign[0]));
	return 0;
}

static u32 max_events(const struct perf_cpu *perf)
{
	return (u32)__builtin_popcountll(perf->pcpu->pmu.counter_mask);
}

int x86_pmu_validate(const struct perf_cpu *perf, const struct perf_event *event,
		     const struct perf_event *leader)
{
	struct perf_event alone[NR_PMC_IDX], *list[NR_PMC_IDX];
	int assign[NR_PMC_IDX];
	u32 nr = 0;

	if (!event->hw.counters)
		return -EINVAL;
	if (!leader)
		return 0;
	/* The leader as it is, siblings that are not off, the newcomer */
	for (const struct perf_event *e = leader; e; e = e->next_sibling) {
		if (e != leader && e->state < PERF_EVENT_STATE_INACTIVE)
			continue;
		if (nr == max_events(perf))
			return -EINVAL;
		alone[nr++] = *e;
	}
	if (nr == max_events(perf))
		return -EINVAL;
	alone[nr++] = *event;
	for (u32 i = 0; i < nr; i++)
		list[i] = &alone[i];
	return schedule_events(list, nr, assign) ? 0 : -EINVAL;
}

/* ---- on and off the PMU ---- */

/* The LBR is a guest's or the host's, whose events share it. */
static bool lbr_is_taken(const struct perf_cpu *perf, const struct perf_event *event)
{
	bool guests = event->attr.config == INTEL_FIXED_VLBR_EVENT;

	if (likely(!event->attr.branch_stack) || FAULTY(LBR_SHARED_WITH_HOST))
		return false;
	for (u32 i = 0; i < perf->nr_list; i++) {
		const struct perf_event_attr *other = &perf->list[i]->attr;

		if (other->branch_stack && (other->config == INTEL_FIXED_VLBR_EVENT) != guests)
			return true;
	}
	return false;
}

int x86_pmu_add(struct perf_cpu *perf, struct perf_event *event)
{
	if (!PP_CHECK(perf->pcpu->check, perf->disable_depth > 0) ||
	    perf->nr_list == max_events(perf) || lbr_is_taken(perf, event))
		return -EAGAIN;
	event->hw.stays_off = false;
	perf->list[perf->nr_list++] = event;
	if (!perf->in_txn && schedule_list(perf)) {
		perf->nr_list--;
		return -EAGAIN;
	}
	perf->nr_added++;
	perf->nr_txn++;
	return 0;
}

void x86_pmu_del(struct perf_cpu *perf, struct perf_event *event)
{
	u32 i = 0;

	/* Only what was added in it; its end will shorten the list. */
	if (perf->in_txn)
		return;
	x86_pmu_stop(perf, event);
	while (i < perf->nr_list && perf->list[i] != event)
		i++;
	if (!PP_CHECK(perf->pcpu->check, i < perf->nr_list))
		return;
	if (i >= perf->nr_list - perf->nr_added)
		perf->nr_added--;
	perf->nr_list--;
	memmove(&perf->list[i], &perf->list[i + 1], (perf->nr_list - i) * sizeof(perf->list[0]));
	memmove(&perf->assign[i], &perf->assign[i + 1],
		(perf->nr_list - i) * sizeof(perf->assign[0]));
}

void x86_pmu_start_txn(struct perf_cpu *perf)
{
	perf_pmu_disable(perf);
	perf->in_txn = true;
	perf->nr_txn = 0;
}

int x86_pmu_commit_txn(struct perf_cpu *perf)
{
	int ret = schedule_list(perf);

	if (ret)
		return ret;
	perf->in_txn = false;
	perf_pmu_enable(perf);
	return 0;
}

void x86_pmu_cancel_txn(struct perf_cpu *perf)
{
	perf->in_txn = false;
	perf->nr_added -= perf->nr_txn;
	perf->nr_list -= perf->nr_txn;
	perf_pmu_enable(perf);
}

/* ---- what the PMU runs with ---- */

/* It is on its counter since it got it, and at its place in the list. */
static bool is_in_place(const struct perf_cpu *perf, u32 i)
{
	const struct hw_perf_event *hw = &perf->list[i]->hw;

	return hw->idx == perf->assign[i] && hw->last_cpu == perf->cpu &&
	       hw->last_tag == perf->tags[i];
}

static void put_in_place(struct perf_cpu *perf, u32 i)
{
	struct hw_perf_event *hw = &perf->list[i]->hw;

	hw->idx = perf->assign[i];
	hw->last_cpu = perf->cpu;
	hw->last_tag = ++perf->tags[i];
}

void x86_pmu_apply(struct perf_cpu *perf)
{
	u32 nr_running = perf->nr_list - perf->nr_added;

	if (!perf->nr_added)
		return;
	/* First off the counters that change hands, then on: nobody may meet a stranger there. */
	for (u32 i = 0; i < nr_running; i++) {
		struct perf_event *event = perf->list[i];

		if (is_in_place(perf, i))
			continue;
		if (!event->hw.running)
			event->hw.stays_off = true;
		x86_pmu_stop(perf, event);
	}
	for (u32 i = 0; i < perf->nr_list; i++) {
		struct perf_event *event = perf->list[i];

		if (!is_in_place(perf, i))
			put_in_place(perf, i);
		else if (i < nr_running)
			continue;
		if (!event->hw.stays_off)
			x86_pmu_start(perf, event, true);
	}
	perf->nr_added = 0;
}
