// SPDX-License-Identifier: Apache-2.0
/*
 * hwpmu.c - counting and overflow of the physical PMU.
 *
 * Interface: hwpmu.h. The register file is in registers.c, what differs by vendor in hwpmu_intel.c and
 * hwpmu_amd.c.
 *
 * Not modelled: AnyThread (there is one thread), pin control, PEBS, freeze on PMI, PERF_METRICS.
 */
#include "pmu/hwpmu.h"

#include "base/fault.h"
#include "pmu/hwpmu_private.h"

#include <string.h>

void hwpmu_init(struct hwpmu *pmu, const struct pp_pmu *caps, const struct event_map *events,
		const struct core_clock *clk)
{
	memset(pmu, 0, sizeof(*pmu));
	pmu->vendor = pmu_vendor(caps);
	pmu->caps = *caps;
	pmu->events = events;
	pmu->clk = clk;
	pmu->counter_mask = pmu_counter_mask(caps->nr_gp, caps->nr_fixed);
	pmu->gp_value_mask = width_mask(caps->gp_width);
	pmu->fixed_value_mask = width_mask(caps->fixed_width);
	/* Reset leaves the GP counters globally enabled, as software that knows no GLOBAL_CTRL needs. */
	pmu->global_ctrl = FAULTY(HW_RESET_DISABLES) ? 0 : pmu_counter_mask(caps->nr_gp, 0);
}

static u64 threshold_total(const struct hwpmu *pmu, const struct hwpmc *pmc)
{
	u64 total = 0;

	if (pmc->sides & SIDE_GUEST)
		total = thresholds_total(pmu->thresholds, &pmc->formula, THRESHOLD_GUEST);
	if (pmc->sides & SIDE_HOST)
		total += thresholds_total(pmu->thresholds, &pmc->formula, THRESHOLD_HOST);
	return total;
}

static u64 pmc_total(const struct hwpmu *pmu, const struct hwpmc *pmc)
{
	u64 total = 0;

	if (unlikely(!event_formula_is_plain(&pmc->formula)))
		return threshold_total(pmu, pmc);
	if (likely(pmc->sides & SIDE_GUEST))
		total = event_formula_total(&pmc->formula, pmu->clk, pmu->guest);
	if (likely(pmc->sides & SIDE_HOST))
		total += event_formula_total(&pmc->formula, pmu->clk, pmu->host);
	return total;
}

/* The selector a counter runs with; for fixed counters the one that says the same. */
static u64 effective_eventsel(const struct hwpmu *pmu, unsigned int idx)
{
	unsigned int i = idx - INTEL_PMC_IDX_FIXED;

	if (idx < INTEL_PMC_IDX_FIXED)
		return pmu->eventsel[idx];
	return fixed_counter_event(i) |
	       fixed_field_to_eventsel(fixed_ctrl_field(pmu->fixed_ctr_ctrl, i));
}

static bool should_run(const struct hwpmu *pmu, unsigned int idx, u64 eventsel)
{
	if (pmu->caps.version > 1 && !(pmu->global_ctrl & BIT_ULL(idx)) &&
	    !(FAULTY(HW_GLOBAL_CTRL_NOT_FOR_FIXED) && idx >= INTEL_PMC_IDX_FIXED))
		return false;
	if (idx < INTEL_PMC_IDX_FIXED && !(eventsel & ARCH_PERFMON_EVENTSEL_ENABLE) &&
	    !FAULTY(HW_EN_IGNORED))
		return false;
	return eventsel & (ARCH_PERFMON_EVENTSEL_OS | ARCH_PERFMON_EVENTSEL_USR);
}

u64 hwpmu_counter(const struct hwpmu *pmu, unsigned int idx)
{
	const struct hwpmc *pmc = &pmu->pmc[idx];

	if (!(pmu->running & BIT_ULL(idx)))
		return pmc->value;
	return (pmc->value + pmc_total(pmu, pmc) - pmc->start) & hwpmu_value_mask(pmu, idx);
}

/* Take @extra and the events since the last look into the value; true if it wrapped. */
static __always_inline bool land_counter_with(struct hwpmu *pmu, unsigned int idx, u32 extra)
{
	struct hwpmc *pmc = &pmu->pmc[idx];
	u64 total, value;

	if (!(pmu->running & BIT_ULL(idx)))
		return false;
	total = pmc_total(pmu, pmc);
	value = pmc->value + total - pmc->start + extra;
	pmc->value = value & hwpmu_value_mask(pmu, idx);
	pmc->start = total;
	if (pmc->value == value &&
	    !(FAULTY(HW_OVERFLOW_EARLY) && value == hwpmu_value_mask(pmu, idx)))
		return false;
	pmu->global_status &= FAULTY(HW_STATUS_FORGETS_OTHERS) ? 0 : ~0ull;
	pmu->global_status |= FAULTY(HW_STATUS_NEVER_SET) ? 0 : BIT_ULL(idx);
	if (pmc->interrupt || FAULTY(HW_PMI_WITHOUT_INT))
		pmu->overflow(pmu->overflow_ctx, idx);
	return true;
}

static __always_inline bool land_counter(struct hwpmu *pmu, unsigned int idx)
{
	return land_counter_with(pmu, idx, 0);
}

u64 hwpmu_overcount(struct hwpmu *pmu, unsigned int event, enum privilege priv, u32 n)
{
	unsigned int idx;
	u64 counters = 0;

	for_each_set_bit(idx, pmu->running) {
		const struct hwpmc *pmc = &pmu->pmc[idx];

		if (pmc->formula.event != event || !(pmc->formula.privs & BIT_ULL(priv)) ||
		    !(pmc->sides & SIDE_GUEST) || !event_formula_is_plain(&pmc->formula))
			continue;
		land_counter_with(pmu, idx, n);
		counters |= BIT_ULL(idx);
	}
	return counters;
}

void hwpmu_restart_counter(struct hwpmu *pmu, unsigned int idx)
{
	struct hwpmc *pmc = &pmu->pmc[idx];
	u64 eventsel = effective_eventsel(pmu, idx);

	if (unlikely(pmu->thresholds->nr))
		thresholds_cut_host(pmu->thresholds);
	/* A wrap that nobody has seen yet must not go with the old setting. */
	if (!FAULTY(HW_STOP_FORGETS))
		land_counter(pmu, idx);
	pmu->running &= ~BIT_ULL(idx);
	if (!should_run(pmu, idx, eventsel))
		return;
	pmc->sides = (u8)pmu->vendor->sides(pmu, eventsel);
	if (!pmc->sides)
		return;
	pmu->running |= BIT_ULL(idx);
	pmc->interrupt = eventsel & ARCH_PERFMON_EVENTSEL_INT;
	pmc->formula = event_formula_on(pmu->events, eventsel, idx);
	if (FAULTY(HW_OS_USR_IGNORED))
		pmc->formula.privs = PRIV_MASK_OS | PRIV_MASK_USR;
	if (unlikely(!event_formula_is_plain(&pmc->formula)))
		thresholds_attach(pmu->thresholds, &pmc->formula);
	pmc->start = pmc_total(pmu, pmc);
}

void hwpmu_connect(struct hwpmu *pmu, const struct event_totals *guest,
		   const struct event_totals *host, struct thresholds *thresholds)
{
	pmu->guest = guest;
	pmu->host = host;
	pmu->thresholds = thresholds;
	thresholds->clk = pmu->clk;
	thresholds->side[THRESHOLD_GUEST] = guest;
	thresholds->side[THRESHOLD_HOST] = host;
}

void hwpmu_switch_guest(struct hwpmu *pmu, const struct event_totals *guest,
			const struct event_totals *host, struct thresholds *thresholds)
{
	u64 running = pmu->running;
	unsigned int idx;

	/* Counters take with them what they have counted of the producers of before. */
	for_each_set_bit(idx, running)
		land_counter(pmu, idx);
	pmu->running = 0;
	hwpmu_connect(pmu, guest, host, thresholds);
	thresholds_resume(thresholds);
	for_each_set_bit(idx, running)
		hwpmu_restart_counter(pmu, idx);
}

/* A counter that neither counts nor is enabled by its own selector: most of them, at a PMU switch. */
static bool is_at_rest(const struct hwpmu *pmu, unsigned int idx)
{
	return idx < INTEL_PMC_IDX_FIXED && !(pmu->running & BIT_ULL(idx)) &&
	       !(pmu->eventsel[idx] & ARCH_PERFMON_EVENTSEL_ENABLE);
}

void hwpmu_restart_counters(struct hwpmu *pmu, u64 mask)
{
	unsigned int idx;

	for_each_set_bit(idx, mask & pmu->counter_mask) {
		if (!is_at_rest(pmu, idx))
			hwpmu_restart_counter(pmu, idx);
	}
}

void hwpmu_set_counter(struct hwpmu *pmu, unsigned int idx, u64 value)
{
	land_counter(pmu, idx);
	pmu->pmc[idx].value = value & hwpmu_value_mask(pmu, idx);
}

void hwpmu_room(struct hwpmu *pmu, enum privilege priv, struct cpu_room *room)
{
	struct event_room r;
	unsigned int idx;
	u64 need;

	if (unlikely(pmu->thresholds->nr)) {
		thresholds_advance(pmu->thresholds);
		room->sub = min_u64(room->sub, thresholds_room(pmu->thresholds, priv));
	}
	for_each_set_bit(idx, pmu->running) {
		struct hwpmc *pmc = &pmu->pmc[idx];

		if (!(pmc->formula.privs & BIT_ULL(priv)) || !(pmc->sides & SIDE_GUEST))
			continue;
		need = hwpmu_value_mask(pmu, idx) + !FAULTY(HW_OVERFLOW_EARLY) -
		       hwpmu_counter(pmu, idx);
		r = likely(event_formula_is_plain(&pmc->formula))
			    ? event_formula_room(&pmc->formula, pmu->clk, pmu->guest, need)
			    : thresholds_formula_room(pmu->thresholds, &pmc->formula, need);
		if (r.event == EVENT_NONE)
			room->sub = min_u64(room->sub, r.distance);
		else
			cpu_room_limit(room, r.event, r.distance);
	}
}

u64 hwpmu_host_room(const struct hwpmu *pmu, enum privilege priv, u32 ipc_q20)
{
	u64 room = ~0ull, need;
	struct event_room r;
	unsigned int idx;

	for_each_set_bit(idx, pmu->running) {
		const struct hwpmc *pmc = &pmu->pmc[idx];

		if (!(pmc->formula.privs & BIT_ULL(priv)) || !(pmc->sides & SIDE_HOST))
			continue;
		/* Thresholds of a steady rate: look again soon. */
		if (!event_formula_is_plain(&pmc->formula)) {
			room = min_u64(room, THRESHOLD_PIECE_CYCLES);
			continue;
		}
		need = hwpmu_value_mask(pmu, idx) + 1 - hwpmu_counter(pmu, idx);
		r = event_formula_room(&pmc->formula, pmu->clk, pmu->host, need);
		if (r.event == EVENT_NONE && r.distance != ~0ull)
			room = min_u64(room, (r.distance + SUB_PER_CYCLE - 1) >> SUB_SHIFT);
		else if (r.event == EVENT_INSTRUCTIONS && ipc_q20)
			room = min_u64(room,
				       (u64)((((u128)r.distance << 20) + ipc_q20 - 1) / ipc_q20));
	}
	return room;
}

bool hwpmu_land(struct hwpmu *pmu)
{
	bool any = false;
	unsigned int idx;

	if (unlikely(pmu->thresholds->nr))
		thresholds_advance(pmu->thresholds);
	for_each_set_bit(idx, pmu->running)
		any |= land_counter(pmu, idx);
	return any;
}
