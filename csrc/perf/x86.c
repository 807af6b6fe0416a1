// SPDX-License-Identifier: Apache-2.0
/*
 * x86.c - the core PMU as host perf drives it, whoever made it: periods, start and stop, the PMI.
 *
 * Which event is on which counter is in x86_assign.c; what a vendor's registers want in intel.c and amd.c.
 *
 * Interface: perf_event_nmi_handler(), perf_take_pmi(), perf_event_peek(); perf_private.h.
 *
 * Not modelled: extra registers.
 */
#include "perf/perf_event.h"

#include "base/fault.h"
#include "perf/perf_private.h"

static struct account *books(struct perf_cpu *perf)
{
	return &perf->pcpu->account;
}

void x86_wrmsr(struct perf_cpu *perf, u32 msr, u64 value)
{
	account_charge(books(perf), COST_WRMSR);
	PP_CHECK(perf->pcpu->check, !hwpmu_wrmsr(&perf->pcpu->pmu, msr, value));
}

u64 x86_rdmsr(struct perf_cpu *perf, u32 msr)
{
	u64 value = 0;

	account_charge(books(perf), COST_RDMSR);
	PP_CHECK(perf->pcpu->check, !hwpmu_rdmsr(&perf->pcpu->pmu, msr, &value));
	return value;
}

static u64 value_mask(const struct perf_cpu *perf, int idx)
{
	return hwpmu_value_mask(&perf->pcpu->pmu, (unsigned int)idx);
}

static u64 read_counter(struct perf_cpu *perf, int idx)
{
	account_charge(books(perf), COST_RDPMC);
	return hwpmu_counter(&perf->pcpu->pmu, (unsigned int)idx);
}

/* ---- one event on its counter ---- */

u64 x86_pmu_limit_period(const struct perf_cpu *perf, u64 period)
{
	const struct pp_period_limit *limit = &perf->system->period_limit;

	if (period < limit->least)
		period = limit->least;
	if (period < limit->multiple)
		period = limit->multiple;
	return limit->multiple ? period - period % limit->multiple : period;
}

bool x86_perf_event_set_period(struct perf_cpu *perf, struct perf_event *event)
{
	s64 max = (s64)perf->driver->max_period(perf);
	const struct hwpmu *pmu = &perf->pcpu->pmu;
	struct hw_perf_event *hw = &event->hw;
	s64 period = (s64)hw->sample_period, left = hw->period_left;
	bool ended = left <= 0;
	u64 value;

	if (unlikely(is_vlbr(event)))
		return false;
	/* Far behind, or the period changed: start over. */
	if (left <= -period) {
		left = period;
		hw->last_period = (u64)period;
	}
	if (left <= 0) {
		left += period;
		hw->last_period = (u64)period;
	}
	hw->period_left = left;
	/* Hardware does not raise an overflow reliably from a distance of one. */
	if (left < 2 && !FAULTY(PERF_PERIOD_OF_ONE))
		left = 2;
	if (left > max)
		left = max;
	left = (s64)x86_pmu_limit_period(perf, (u64)left);
	value = (u64)-left & value_mask(perf, hw->idx);
	hw->prev_count = value;
	x86_wrmsr(perf, pmu->vendor->counter_msr(&pmu->caps, (unsigned int)hw->idx), value);
	return ended;
}

/* ---- whose counts they are ---- */

/* A precise event stands still while a guest runs. */
static bool has_both_sides(const struct perf_event *event)
{
	return !event->attr.exclude_host && !event->attr.exclude_guest && !event->attr.precise_ip;
}

/* Guests run with such an event on its counter or off it, never half. */
static u64 guest_part(const struct perf_cpu *perf, const struct perf_event *event)
{
	const struct hw_perf_event *hw = &event->hw;
	struct event_totals totals;

	if (!has_both_sides(event) || !event_formula_is_plain(&hw->formula))
		return 0;
	pcpu_guest_totals(perf->pcpu, &totals);
	return event_formula_total(&hw->formula, &perf->pcpu->clk, &totals);
}

u64 perf_event_guest_count(struct perf_cpu *perf, const struct perf_event *event)
{
	if (!has_both_sides(event))
		return event->attr.exclude_host ? perf_event_peek(perf, event) : 0;
	if (!event_formula_is_plain(&event->hw.formula))
		return ~0ull;
	return event->guest_count +
	       (event->hw.running ? guest_part(perf, event) - event->hw.guest_prev : 0);
}

void x86_perf_event_update(struct perf_cpu *perf, struct perf_event *event)
{
	struct hw_perf_event *hw = &event->hw;
	u64 now, delta;

	if (unlikely(is_vlbr(event)))
		return;
	now = read_counter(perf, hw->idx);
	delta = (now - hw->prev_count) & value_mask(perf, hw->idx);
	hw->prev_count = now;
	event->count += delta;
	hw->period_left -= (s64)delta;
	if (hw->running && has_both_sides(event)) {
		u64 guest = guest_part(perf, event);

		event->guest_count += guest - hw->guest_prev;
		hw->guest_prev = guest;
	}
}

u64 perf_event_peek(struct perf_cpu *perf, const struct perf_event *event)
{
	const struct hw_perf_event *hw = &event->hw;
	u64 now;

	if (event->state != PERF_EVENT_STATE_ACTIVE || !hw->running || is_vlbr(event))
		return event->count;
	now = hwpmu_counter(&perf->pcpu->pmu, (unsigned int)hw->idx);
	return event->count + ((now - hw->prev_count) & value_mask(perf, hw->idx));
}

u64 x86_eventsel(const struct perf_event *event)
{
	u64 eventsel = event->attr.config | ARCH_PERFMON_EVENTSEL_INT |
		       ARCH_PERFMON_EVENTSEL_ENABLE;

	if (!event->attr.exclude_user)
		eventsel |= ARCH_PERFMON_EVENTSEL_USR;
	if (!event->attr.exclude_kernel)
		eventsel |= ARCH_PERFMON_EVENTSEL_OS;
	return eventsel;
}

void x86_pmu_start(struct perf_cpu *perf, struct perf_event *event, bool reload)
{
	if (reload)
		x86_perf_event_set_period(perf, event);
	perf->on_counter[event->hw.idx] = event;
	event->hw.running = true;
	event->hw.guest_prev = guest_part(perf, event);
	perf->driver->enable(perf, event);
}

void x86_pmu_stop(struct perf_cpu *perf, struct perf_event *event)
{
	if (!event->hw.running)
		return;
	perf->driver->disable(perf, event);
	perf->on_counter[event->hw.idx] = NULL;
	x86_perf_event_update(perf, event);
	event->hw.running = false;
}

/* ---- the whole PMU ---- */

void perf_pmu_disable(struct perf_cpu *perf)
{
	if (perf->disable_depth++)
		return;
	account_enter(books(perf), COST_PMU_DISABLE);
	perf->nr_added = 0;
	perf->enabled = false;
	perf->driver->disable_all(perf);
	account_leave(books(perf));
	/* It comes once the PMU stands still, and before anything is half done. */
	perf_take_pmi(perf);
}

void perf_pmu_enable(struct perf_cpu *perf)
{
	if (--perf->disable_depth)
		return;
	account_enter(books(perf), COST_PMU_ENABLE);
	x86_pmu_apply(perf);
	perf->enabled = true;
	perf->driver->enable_all(perf);
	account_leave(books(perf));
}

void x86_pmu_period_over(struct perf_cpu *perf, struct perf_event *event)
{
	/* A period longer than the counter comes in pieces; only its end is an event. */
	if (x86_perf_event_set_period(perf, event) || FAULTY(PERF_SPLIT_PERIOD_OVERFLOWS))
		perf_event_overflow(perf, event);
}

void perf_take_pmi(struct perf_cpu *perf)
{
	struct pcpu *p = perf->pcpu;

	/* One NMI at a time, and what a guest's counters ask for is not for perf. */
	if (perf->in_nmi || perf->guest_ctx_loaded || FAULTY(PERF_HOST_PMI_WAITS))
		return;
	hwpmu_land(&p->pmu);
	while (unlikely(p->pmi_at != NO_DEADLINE) && pcpu_take_pmi(p) == LAPIC_NMI) {
		account_enter(books(perf), COST_NMI);
		perf_event_nmi_handler(perf);
		account_leave(books(perf));
		/* Serving it is work of the host as well; too much of that is throttled. */
		hwpmu_land(&p->pmu);
	}
}

void perf_event_nmi_handler(struct perf_cpu *perf)
{
	/* While a guest's PMU is loaded no NMI can be a host PMI. */
	if (perf->guest_ctx_loaded)
		return;
	account_enter(books(perf), perf->driver->irq_cost);
	account_stat(books(perf), STAT_HOST_PMIS);
	perf->in_nmi = true;
	perf->driver->handle_irq(perf);
	perf->in_nmi = false;
	account_leave(books(perf));
}
