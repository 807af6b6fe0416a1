// SPDX-License-Identifier: Apache-2.0
/*
 * loss.c - intervals, causes and silent errors.
 *
 * Interface
 *  - truth_counter_read() keeps what a read showed; truth_set_cause() says why nothing is counted.
 *  - truth_close_interval() is where true and counted meet.
 *
 * Not modelled: scaling; what the guest's perf makes of enabled and running times is in its report.
 */
#include "truth/truth.h"

#include "truth/truth_private.h"

#include <string.h>

#define CONFIG_OTHER (~0ull)

struct pp_counter_result *truth_result_of(struct truth *t, u64 config)
{
	struct pp_counter_result *r;

	for (u32 i = 0; i < t->nr_results; i++) {
		if (t->results[i].config == config)
			return &t->results[i];
	}
	if (t->nr_results == TRUTH_MAX_EVENTS)
		return &t->results[TRUTH_MAX_EVENTS - 1];
	r = &t->results[t->nr_results++];
	r->config = t->nr_results == TRUTH_MAX_EVENTS ? CONFIG_OTHER : config;
	r->fed = event_formula_of(t->events, config).event != EVENT_NONE;
	return r;
}

static void push_error(struct truth *t, const struct truth_episode *e)
{
	if (!e->lost || t->nr_errors == TRUTH_MAX_SILENT_ERRORS)
		return;
	t->errors[t->nr_errors++] = (struct pp_silent_error){
		.config = e->config,
		.tsc = e->tsc,
		.until = t->tsc(t->tsc_ctx),
		.lost = e->lost,
		.cause = e->cause,
	};
}

static void close_episode(struct truth *t, struct truth_episode *e)
{
	if (e->open)
		push_error(t, e);
	memset(e, 0, sizeof(*e));
}

/* Add to the episode of a cause that comes in single events: from the first to the last of an event. */
static void add_to_episode(struct truth *t, const struct truth_pmc *pmc, struct truth_episode *e,
			   enum loss_cause cause, s64 lost)
{
	if (e->open && e->config != pmc->config)
		close_episode(t, e);
	if (!e->open)
		*e = (struct truth_episode){
			.open = true,
			.cause = (u8)cause,
			.config = pmc->config,
			.tsc = t->tsc(t->tsc_ctx),
		};
	e->lost += lost;
}

/* One instruction too few or too many credited. */
static void lose_credit(struct truth *t, struct truth_pmc *pmc, s64 lost)
{
	pmc->causes[CAUSE_UNCREDITED] += lost;
	add_to_episode(t, pmc, &pmc->uncredited, CAUSE_UNCREDITED, lost);
}

void truth_overcounted(struct truth *t, unsigned int idx, u32 n)
{
	struct truth_pmc *pmc = &t->pmc[idx];

	truth_settle(t, idx);
	pmc->causes[CAUSE_ERRATUM] -= n;
	add_to_episode(t, pmc, &pmc->overcounted, CAUSE_ERRATUM, -(s64)n);
}

void truth_settle(struct truth *t, unsigned int idx)
{
	struct truth_pmc *pmc = &t->pmc[idx];
	u64 delta = truth_delta(t, idx), lost = delta - pmc->cause_delta;

	pmc->cause_delta = delta;
	if (pmc->unresolved)
		lose_credit(t, pmc, pmc->unresolved);
	pmc->unresolved = 0;
	if (pmc->cause == CAUSE_NONE)
		return;
	if (pmc->cause == CAUSE_FILTERED && pmc->enabled)
		truth_result_of(t, pmc->config)->filtered = 1;
	pmc->causes[pmc->cause] += (s64)lost;
	if (pmc->episode.open)
		pmc->episode.lost += (s64)lost;
}

/* The ideal count of a dead counter goes to its cause; not this one. */
static void unlose(struct truth_pmc *pmc)
{
	pmc->causes[pmc->cause]--;
	if (pmc->episode.open)
		pmc->episode.lost--;
}

void truth_correct(struct truth *t, unsigned int idx, bool counts, bool got)
{
	struct truth_pmc *pmc = &t->pmc[idx];

	if (counts && got) {
		unlose(pmc);
		return;
	}
	if (counts && pmc->unexplained) {
		/* Nobody has said yet why; what held for the old setting says nothing of this one. */
		pmc->unresolved++;
		if (pmc->cause != CAUSE_NONE)
			unlose(pmc);
	} else if (counts && pmc->cause == CAUSE_NONE) {
		lose_credit(t, pmc, 1);
	}
	if (got && !counts)
		lose_credit(t, pmc, -1);
}

void truth_account_time(struct truth *t, unsigned int idx)
{
	struct truth_pmc *pmc = &t->pmc[idx];
	struct pp_counter_result *r = truth_result_of(t, pmc->config);
	u64 now = t->tsc(t->tsc_ctx), time = now - pmc->enabled_since;

	r->enabled_cycles += time;
	if (pmc->cause == CAUSE_NONE && !t->off_cpu)
		r->true_running_cycles += time;
	pmc->enabled_since = now;
}

void truth_on_cpu(struct truth *t, bool on_cpu)
{
	unsigned int idx;

	if (t->finished)
		return;
	for_each_set_bit(idx, t->enabled)
		truth_account_time(t, idx);
	t->off_cpu = !on_cpu;
}

void truth_close_episode(struct truth *t, unsigned int idx)
{
	close_episode(t, &t->pmc[idx].episode);
}

void truth_close_single_episodes(struct truth *t, unsigned int idx)
{
	close_episode(t, &t->pmc[idx].uncredited);
	close_episode(t, &t->pmc[idx].overcounted);
}

static void change_cause(struct truth *t, unsigned int idx, enum loss_cause cause, bool first)
{
	struct truth_pmc *pmc = &t->pmc[idx];

	truth_settle(t, idx);
	/* The time since the counter was enabled belongs to the first cause told after it. */
	if (pmc->enabled && !first)
		truth_account_time(t, idx);
	truth_close_episode(t, idx);
	pmc->cause = (u8)cause;
	/* What the filter denies is policy, not an error. */
	if (cause == CAUSE_NONE || cause == CAUSE_FILTERED)
		return;
	pmc->episode = (struct truth_episode){
		.open = true,
		.cause = (u8)cause,
		.config = pmc->config,
		.tsc = t->tsc(t->tsc_ctx),
	};
}

void truth_set_cause(struct truth *t, unsigned int idx, enum loss_cause cause)
{
	struct truth_pmc *pmc = &t->pmc[idx];
	bool first = pmc->unexplained;

	/* So do the instructions that nobody credited meanwhile. */
	if (cause != CAUSE_NONE) {
		pmc->causes[cause] += pmc->unresolved;
		pmc->unresolved = 0;
	}
	pmc->unexplained = false;
	if (pmc->cause != cause || (pmc->episode.open && pmc->episode.config != pmc->config))
		change_cause(t, idx, cause, first);
}

void truth_blame(struct truth *t, unsigned int idx, enum loss_cause cause)
{
	struct truth_pmc *pmc = &t->pmc[idx];

	if (pmc->blame == cause)
		return;
	pmc->blame = (u8)cause;
	pmc->blamed = t->tsc(t->tsc_ctx);
}

static s64 explained(const struct truth_pmc *pmc)
{
	s64 sum = 0;

	for (unsigned int c = 0; c < NR_CAUSES; c++)
		sum += pmc->causes[c];
	return sum;
}

u64 truth_expected(const struct truth *t, unsigned int idx)
{
	return (truth_counter(t, idx) - (u64)explained(&t->pmc[idx])) & truth_value_mask(t, idx);
}

/* ideal - visible: of the numbers that are the same modulo the counter's width, the one nearest to
 * what the causes explain. */
static s64 lost_now(const struct truth *t, unsigned int idx, u64 visible)
{
	unsigned int width = idx < INTEL_PMC_IDX_FIXED ? t->caps.gp_width : t->caps.fixed_width;
	s64 rest = (s64)((truth_expected(t, idx) - visible) << (64 - width)) >> (64 - width);

	return explained(&t->pmc[idx]) + rest;
}

void truth_counter_read(struct truth *t, unsigned int idx, u64 visible)
{
	struct truth_pmc *pmc = &t->pmc[idx];
	struct pp_counter_result *r;

	if (!pmc->touched)
		return;
	truth_settle(t, idx);
	r = truth_result_of(t, pmc->config);
	r->reads++;
	pmc->read = true;
	pmc->read_delta = truth_delta(t, idx);
	pmc->read_lost = lost_now(t, idx, visible);
	memcpy(pmc->read_causes, pmc->causes, sizeof(pmc->causes));
	if (pmc->read_lost)
		r->wrong_reads++;
}

/* The rest that no cause explains: what somebody owned up to, or a gap of the model. */
static s64 unexplained(s64 lost, const s64 *causes)
{
	for (unsigned int c = 0; c < NR_CAUSES; c++)
		lost -= causes[c];
	return lost;
}

void truth_close_interval(struct truth *t, unsigned int idx, u64 visible, bool last)
{
	struct truth_pmc *pmc = &t->pmc[idx];
	struct pp_counter_result *r = truth_result_of(t, pmc->config);
	bool at_read = last && pmc->read;
	u64 delta = at_read ? pmc->read_delta : truth_delta(t, idx);
	s64 lost = at_read ? pmc->read_lost : lost_now(t, idx, visible);
	const s64 *causes = at_read ? pmc->read_causes : pmc->causes;

	r->true_count += delta;
	r->counted += delta - (u64)lost;
	for (unsigned int c = 0; c < NR_CAUSES; c++)
		r->causes[c] += causes[c];
	r->causes[pmc->blame] += unexplained(lost, causes);
	push_error(t, &(struct truth_episode){
			      .cause = pmc->blame,
			      .config = pmc->config,
			      .tsc = pmc->blame == CAUSE_UNEXPLAINED ? t->tsc(t->tsc_ctx)
								     : pmc->blamed,
			      .lost = unexplained(lost, causes),
		      });
	if (!pmc->read && delta)
		r->unread++;

	pmc->written = visible;
	pmc->delta = 0;
	pmc->wraps = 0;
	pmc->cause_delta = 0;
	pmc->read = false;
	memset(pmc->causes, 0, sizeof(pmc->causes));
}
