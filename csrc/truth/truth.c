// SPDX-License-Identifier: Apache-2.0
/*
 * truth.c - the ideal PMU: registers, counting, overflow, PMIs due.
 *
 * Interface: truth.h. Intervals and losses are in loss.c.
 *
 * Not modelled: cmask, inv and edge see retired events only, not emulated ones; more than
 * TRUTH_MAX_EVENTS different events share the last record (config ~0).
 */
#include "truth/truth.h"

#include "truth/truth_private.h"

#include <stdlib.h>
#include <string.h>

#define LVTPC_MASKED 0x10000u

int truth_init(struct truth *t, const struct pp_pmu *guest, const struct event_map *events,
	       const struct core_clock *clk)
{
	memset(t, 0, sizeof(*t));
	t->vendor = pmu_vendor(guest);
	t->caps = *guest;
	t->events = events;
	t->clk = clk;
	t->counter_mask = guest->version ? pmu_counter_mask(guest->nr_gp, guest->nr_fixed) : 0;
	t->global_ctrl = guest->version ? pmu_counter_mask(guest->nr_gp, 0) : 0;
	for (unsigned int idx = 0; idx < NR_PMC_IDX; idx++) {
		t->pmc[idx].cause = CAUSE_NONE;
		t->pmc[idx].blame = CAUSE_UNEXPLAINED;
	}
	t->results = calloc(TRUTH_MAX_EVENTS, sizeof(*t->results));
	t->errors = calloc(TRUTH_MAX_SILENT_ERRORS, sizeof(*t->errors));
	return t->results && t->errors ? 0 : -1;
}

int truth_clone(struct truth *to, const struct truth *from)
{
	*to = *from;
	to->results = calloc(TRUTH_MAX_EVENTS, sizeof(*to->results));
	to->errors = calloc(TRUTH_MAX_SILENT_ERRORS, sizeof(*to->errors));
	if (!to->results || !to->errors)
		return -1;
	memcpy(to->results, from->results, from->nr_results * sizeof(*to->results));
	memcpy(to->errors, from->errors, from->nr_errors * sizeof(*to->errors));
	return 0;
}

void truth_free(struct truth *t)
{
	free(t->results);
	free(t->errors);
	t->results = NULL;
	t->errors = NULL;
}

u64 truth_value_mask(const struct truth *t, unsigned int idx)
{
	return width_mask(idx < INTEL_PMC_IDX_FIXED ? t->caps.gp_width : t->caps.fixed_width);
}

static u64 by_privilege(const u64 *counts, unsigned int privs)
{
	return (privs & PRIV_MASK_OS ? counts[PRIV_OS] : 0) +
	       (privs & PRIV_MASK_USR ? counts[PRIV_USR] : 0);
}

/* What the guest has done so far, by formula: retired and emulated. */
static u64 guest_total(const struct truth *t, const struct event_formula *f)
{
	u64 total;

	if (unlikely(!event_formula_is_plain(f)))
		return thresholds_total(t->totals.thresholds, f, THRESHOLD_GUEST);
	total = event_formula_total(f, t->clk, t->totals.retired);
	if (f->event == EVENT_INSTRUCTIONS)
		total += by_privilege(t->totals.skipped_instructions, f->privs);
	else if (f->event == EVENT_BRANCHES)
		total += by_privilege(t->totals.skipped_branches, f->privs);
	return total;
}

u64 truth_instructions(const struct truth *t)
{
	return events_count(t->totals.retired, EVENT_INSTRUCTIONS, PRIV_MASK_OS | PRIV_MASK_USR) +
	       by_privilege(t->totals.skipped_instructions, PRIV_MASK_OS | PRIV_MASK_USR);
}

u64 truth_delta(const struct truth *t, unsigned int idx)
{
	const struct truth_pmc *pmc = &t->pmc[idx];

	if (!pmc->enabled)
		return pmc->delta;
	return pmc->delta + guest_total(t, &pmc->formula) - pmc->start;
}

u64 truth_counter(const struct truth *t, unsigned int idx)
{
	return (t->pmc[idx].written + truth_delta(t, idx)) & truth_value_mask(t, idx);
}

static u64 ideal_eventsel(const struct truth *t, unsigned int idx)
{
	unsigned int i = idx - INTEL_PMC_IDX_FIXED;

	if (idx < INTEL_PMC_IDX_FIXED)
		return t->eventsel[idx];
	return fixed_counter_event(i) | ARCH_PERFMON_EVENTSEL_ENABLE |
	       fixed_field_to_eventsel(fixed_ctrl_field(t->fixed_ctr_ctrl, i));
}

static bool ideal_enabled(const struct truth *t, unsigned int idx, u64 eventsel)
{
	if (t->caps.version > 1 && !(t->global_ctrl & BIT_ULL(idx)))
		return false;
	if (!(eventsel & ARCH_PERFMON_EVENTSEL_ENABLE))
		return false;
	/* A guest has no SVM: a counter that it holds to one side of VMRUN counts nothing. */
	if (eventsel & (AMD64_EVENTSEL_GUESTONLY | AMD64_EVENTSEL_HOSTONLY))
		return false;
	return eventsel & (ARCH_PERFMON_EVENTSEL_OS | ARCH_PERFMON_EVENTSEL_USR);
}

/* Bring one ideal counter in line with the registers. */
static void restart(struct truth *t, unsigned int idx)
{
	u64 eventsel = ideal_eventsel(t, idx);
	struct truth_pmc *pmc = &t->pmc[idx];
	bool enable = ideal_enabled(t, idx, eventsel);
	u64 config = eventsel &
		     (EVENTSEL_WHAT | ARCH_PERFMON_EVENTSEL_USR | ARCH_PERFMON_EVENTSEL_OS);

	truth_settle(t, idx);
	if (pmc->enabled) {
		pmc->delta = truth_delta(t, idx);
		truth_account_time(t, idx);
	}
	pmc->enabled = false;
	t->enabled &= ~BIT_ULL(idx);
	pmc->interrupt = eventsel & ARCH_PERFMON_EVENTSEL_INT || t->pebs & BIT_ULL(idx);
	if (!enable)
		return;
	if (pmc->touched && config != pmc->config)
		truth_close_interval(t, idx, truth_expected(t, idx), false);
	pmc->config = config;
	pmc->touched = true;
	pmc->unexplained = true;
	pmc->formula = event_formula_on(t->events, eventsel, idx);
	if (unlikely(!event_formula_is_plain(&pmc->formula)) &&
	    !thresholds_attach(t->totals.thresholds, &pmc->formula))
		truth_result_of(t, config)->fed = false;
	pmc->start = guest_total(t, &pmc->formula);
	pmc->enabled = true;
	t->enabled |= BIT_ULL(idx);
	pmc->enabled_since = t->tsc(t->tsc_ctx);
}

static void restart_counters(struct truth *t, u64 mask)
{
	unsigned int idx;

	/* Overflows that nobody has seen yet must not go with the old setting. */
	truth_land(t);
	for_each_set_bit(idx, mask & t->counter_mask)
		restart(t, idx);
}

void truth_control_written(struct truth *t, u32 msr, u64 value)
{
	struct pmu_register reg = pmu_find(&t->caps, msr);
	u64 changed;

	if (reg.kind == PMU_SELECTOR) {
		t->eventsel[reg.idx] = value;
		restart_counters(t, BIT_ULL(reg.idx));
	} else if (msr == MSR_CORE_PERF_FIXED_CTR_CTRL) {
		t->fixed_ctr_ctrl = value;
		restart_counters(t, GENMASK_ULL(63, INTEL_PMC_IDX_FIXED));
	} else if (msr == t->vendor->global_ctrl) {
		changed = t->global_ctrl ^ value;
		t->global_ctrl = value;
		restart_counters(t, changed);
	} else if (msr == t->vendor->global_ovf_ctrl && value & GLOBAL_STATUS_BUFFER_OVF) {
		truth_land(t);
		t->pebs_overflowed = false;
	}
}

void truth_pebs_written(struct truth *t, u64 enable)
{
	u64 changed = t->pebs ^ enable;
	unsigned int idx;

	truth_land(t);
	t->pebs = enable;
	for_each_set_bit(idx, changed & t->counter_mask)
		t->pmc[idx].interrupt = ideal_eventsel(t, idx) & ARCH_PERFMON_EVENTSEL_INT ||
					enable & BIT_ULL(idx);
}

void truth_pebs_off(struct truth *t, u64 off)
{
	truth_land(t);
	t->pebs_off = off;
}

void truth_counter_written(struct truth *t, unsigned int idx, u64 visible_before, u64 value)
{
	struct truth_pmc *pmc = &t->pmc[idx];

	truth_land(t);
	truth_settle(t, idx);
	if (pmc->touched)
		truth_close_interval(t, idx, visible_before, false);
	pmc->blame = CAUSE_UNEXPLAINED;
	pmc->written = value & truth_value_mask(t, idx);
	pmc->wraps = 0;
	pmc->touched = pmc->enabled;
	if (pmc->enabled)
		pmc->start = guest_total(t, &pmc->formula);
}

void truth_insn_skipped(struct truth *t, u64 credited, enum privilege priv, bool branch)
{
	unsigned int idx;

	for_each_set_bit(idx, t->counter_mask) {
		struct truth_pmc *pmc = &t->pmc[idx];
		bool counts = pmc->enabled && pmc->formula.privs & BIT_ULL(priv) &&
			      event_formula_is_plain(&pmc->formula) &&
			      (pmc->formula.event == EVENT_INSTRUCTIONS ||
			       (branch && pmc->formula.event == EVENT_BRANCHES));
		bool got = credited & BIT_ULL(idx);

		if (counts == got && pmc->cause == CAUSE_NONE)
			continue;
		truth_correct(t, idx, counts, got);
	}
	truth_land(t);
}

void truth_room(struct truth *t, enum privilege priv, struct cpu_room *room)
{
	struct event_room r;
	unsigned int idx;
	u64 need;

	for_each_set_bit(idx, t->enabled) {
		struct truth_pmc *pmc = &t->pmc[idx];

		/* Only overflows with a PMI need an exact time; others are seen when they are seen. */
		if (!pmc->interrupt || !(pmc->formula.privs & BIT_ULL(priv)))
			continue;
		need = truth_value_mask(t, idx) + 1 - truth_counter(t, idx);
		r = likely(event_formula_is_plain(&pmc->formula))
			    ? event_formula_room(&pmc->formula, t->clk, t->totals.retired, need)
			    : thresholds_formula_room(t->totals.thresholds, &pmc->formula, need);
		if (r.event == EVENT_NONE)
			room->sub = min_u64(room->sub, r.distance);
		else
			cpu_room_limit(room, r.event, r.distance);
	}
}

static void pmi_due(struct truth *t)
{
	if (t->outstanding) {
		t->pmi.coalesced++;
		return;
	}
	t->due_tsc = t->tsc(t->tsc_ctx);
	t->due_instructions = truth_instructions(t);
	t->was_masked = *t->lvtpc & LVTPC_MASKED;
	if (t->was_masked) {
		t->pmi.masked++;
		return;
	}
	t->pmi.due++;
	t->outstanding = true;
}

/* A record is written; the buffer, of one, is full. There is one PMI until the guest clears its bit. */
static bool land_pebs(struct truth *t, unsigned int idx, u64 overflows)
{
	bool first = !t->pebs_overflowed;

	t->pebs_overflowed = true;
	if (t->pebs_off & BIT_ULL(idx))
		t->pebs_missed += overflows;
	return first;
}

void truth_land(struct truth *t)
{
	bool pmi = false;
	unsigned int idx;

	for_each_set_bit(idx, t->enabled) {
		struct truth_pmc *pmc = &t->pmc[idx];
		unsigned int width;
		u64 wraps;

		width = idx < INTEL_PMC_IDX_FIXED ? t->caps.gp_width : t->caps.fixed_width;
		wraps = (pmc->written + truth_delta(t, idx)) >> width;
		if (wraps == pmc->wraps)
			continue;
		truth_result_of(t, pmc->config)->overflows += wraps - pmc->wraps;
		if (unlikely(t->pebs & BIT_ULL(idx)))
			pmi |= land_pebs(t, idx, wraps - pmc->wraps);
		else
			pmi |= pmc->interrupt;
		pmc->wraps = wraps;
	}
	if (pmi)
		pmi_due(t);
}

void truth_pmi_delivered(struct truth *t)
{
	t->pmi.delivered++;
	/* The mask was lifted while the PMI was under way: it was due after all. */
	if (!t->outstanding && t->was_masked) {
		t->pmi.masked--;
		t->pmi.due++;
		t->outstanding = true;
	}
	t->was_masked = false;
	if (!t->outstanding)
		return;
	t->outstanding = false;
	histogram_add(&t->latency_cycles, t->tsc(t->tsc_ctx) - t->due_tsc);
	histogram_add(&t->latency_instructions, truth_instructions(t) - t->due_instructions);
}

void truth_pmi_dropped(struct truth *t)
{
	t->pmi.dropped++;
	t->outstanding = false;
}

void truth_finish(struct truth *t, u64 (*visible)(void *ctx, unsigned int idx), void *ctx)
{
	unsigned int idx;

	if (t->finished)
		return;
	truth_land(t);
	for_each_set_bit(idx, t->counter_mask) {
		struct truth_pmc *pmc = &t->pmc[idx];

		truth_settle(t, idx);
		if (pmc->enabled)
			truth_account_time(t, idx);
		if (pmc->touched)
			truth_close_interval(t, idx, visible(ctx, idx), true);
		truth_close_episode(t, idx);
		truth_close_single_episodes(t, idx);
	}
	t->finished = true;
}
