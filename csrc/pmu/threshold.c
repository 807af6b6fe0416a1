// SPDX-License-Identifier: Apache-2.0
/*
 * threshold.c - pieces of execution, and what of them reaches a threshold.
 *
 * Interface: threshold.h, which has the definition.
 *
 * Not modelled: events of single cycles, the order of edges; occupancies that last longer than the
 * instruction that began them.
 */
#include "pmu/threshold.h"

#include "base/fault.h"

#define PIECE_SUB ((u64)THRESHOLD_PIECE_CYCLES << SUB_SHIFT)

/* ---- one kind ---- */

static u64 piece_sub(const struct thresholds *thr, const struct threshold_kind *k,
		     enum threshold_side side)
{
	return events_sub(thr->side[side], k->plain.privs) - k->side[side].sub;
}

static u64 piece_events(const struct thresholds *thr, const struct threshold_kind *k,
			enum threshold_side side)
{
	return event_formula_total(&k->plain, thr->clk, thr->side[side]) - k->side[side].events;
}

/* What of the running piece reaches the threshold, in 1 / (64 c) of a cycle. */
static u64 piece_reached(const struct thresholds *thr, const struct threshold_kind *k,
			 enum threshold_side side)
{
	return min_u64(k->cmask * piece_sub(thr, k, side),
		       SUB_PER_CYCLE * piece_events(thr, k, side));
}

static void add_to(struct threshold_count *count, u64 more, u64 parts)
{
	count->cycles += (count->rest + more) / parts;
	count->rest = FAULTY(THRESHOLD_REST_LOST) ? 0 : (count->rest + more) % parts;
}

static void begin_piece(const struct thresholds *thr, struct threshold_kind *k,
			enum threshold_side side)
{
	k->side[side].sub = events_sub(thr->side[side], k->plain.privs);
	k->side[side].events = event_formula_total(&k->plain, thr->clk, thr->side[side]);
}

static void end_piece(const struct thresholds *thr, struct threshold_kind *k,
		      enum threshold_side side)
{
	u64 reached = piece_reached(thr, k, side), parts = (u64)SUB_PER_CYCLE * k->cmask;
	u64 all = k->cmask * piece_sub(thr, k, side);

	add_to(&k->side[side].reached, reached, parts);
	add_to(&k->side[side].missed, all - reached, parts);
	begin_piece(thr, k, side);
}

void thresholds_resume(struct thresholds *thr)
{
	for (u32 i = 0; i < thr->nr; i++)
		begin_piece(thr, &thr->kind[i], THRESHOLD_HOST);
}

/* ---- formulas ---- */

/* How many of an event a cycle can hold. */
static u64 most_a_cycle(const struct core_clock *clk, unsigned int event)
{
	switch (event) {
	case EVENT_CYCLES: return 1;
	case EVENT_REF_CYCLES: return (clk->ref_num + clk->ref_den - 1) / clk->ref_den;
	/* What a profile counts may be an occupancy: no bound is known. */
	default: return event < NR_BASE_EVENTS ? clk->issue_width : ~0ull;
	}
}

/* As many in each cycle as there can be. */
static bool is_steady(const struct core_clock *clk, unsigned int event)
{
	return event == EVENT_CYCLES || event == EVENT_SLOTS ||
	       (event == EVENT_REF_CYCLES && clk->ref_num >= clk->ref_den);
}

/* Reached in every cycle (or in none, inverted), or the other way round. */
static void make_constant(struct event_formula *f, bool reached)
{
	*f = (struct event_formula){
		.event = EVENT_CYCLES,
		.privs = reached == f->inverted ? 0 : f->privs,
	};
}

static struct threshold_kind *find_kind(struct thresholds *thr, const struct event_formula *f,
					u8 cmask)
{
	struct threshold_kind *k;

	for (u32 i = 0; i < thr->nr; i++) {
		k = &thr->kind[i];
		if (k->plain.event == f->event && k->plain.privs == f->privs && k->cmask == cmask)
			return k;
	}
	if (thr->nr == THRESHOLD_MAX_KINDS)
		return NULL;
	k = &thr->kind[thr->nr++];
	*k = (struct threshold_kind){.plain = {.event = f->event, .privs = f->privs},
				     .cmask = cmask};
	for (unsigned int side = 0; side < NR_THRESHOLD_SIDES; side++)
		begin_piece(thr, k, side);
	return k;
}

bool thresholds_attach(struct thresholds *thr, struct event_formula *f)
{
	u8 cmask = f->cmask ? f->cmask : 1;
	struct threshold_kind *k;

	if (event_formula_is_plain(f) || f->event == EVENT_NONE)
		return true;
	if (cmask > most_a_cycle(thr->clk, f->event)) {
		make_constant(f, false);
		return true;
	}
	if (is_steady(thr->clk, f->event)) {
		make_constant(f, true);
		return true;
	}
	k = find_kind(thr, f, cmask);
	if (!k) {
		f->event = EVENT_NONE;
		return false;
	}
	f->kind = (u8)(k - thr->kind);
	return true;
}

u64 thresholds_total(const struct thresholds *thr, const struct event_formula *f,
		     enum threshold_side side)
{
	const struct threshold_kind *k = &thr->kind[f->kind];

	if (f->event == EVENT_NONE || !f->privs)
		return 0;
	if (f->inverted && !FAULTY(THRESHOLD_INV_IGNORED))
		return k->side[side].missed.cycles;
	return k->side[side].reached.cycles +
	       (k->side[side].reached.rest + piece_reached(thr, k, side)) /
		       ((u64)SUB_PER_CYCLE * k->cmask);
}

struct event_room thresholds_formula_room(const struct thresholds *thr,
					  const struct event_formula *f, u64 need)
{
	const struct threshold_kind *k = &thr->kind[f->kind];
	u64 parts = (u64)SUB_PER_CYCLE * k->cmask, events, wanted;

	/* An inverted count moves at the end of a piece only, and thresholds_room() knows that. */
	if (f->event == EVENT_NONE || !f->privs || f->inverted)
		return (struct event_room){EVENT_NONE, ~0ull};
	need = min_u64(need, BIT_ULL(40));
	wanted = (thresholds_total(thr, f, THRESHOLD_GUEST) + need -
		  k->side[THRESHOLD_GUEST].reached.cycles) *
			 parts -
		 k->side[THRESHOLD_GUEST].reached.rest;
	/* No more than the events make of it, and no more than one a cycle: wait for the events first. */
	events = piece_events(thr, k, THRESHOLD_GUEST);
	if (!event_is_derived(f->event) && SUB_PER_CYCLE * events < wanted)
		return (struct event_room){f->event,
					   (wanted + SUB_PER_CYCLE - 1) / SUB_PER_CYCLE - events};
	wanted -= piece_reached(thr, k, THRESHOLD_GUEST);
	return (struct event_room){EVENT_NONE, max_u64((wanted + k->cmask - 1) / k->cmask, 1)};
}

/* ---- pieces ---- */

u64 thresholds_room(const struct thresholds *thr, enum privilege priv)
{
	u64 room = ~0ull, gone;

	for (u32 i = 0; i < thr->nr; i++) {
		const struct threshold_kind *k = &thr->kind[i];

		if (!(k->plain.privs & BIT_ULL(priv)))
			continue;
		gone = piece_sub(thr, k, THRESHOLD_GUEST);
		room = min_u64(room, gone < PIECE_SUB ? PIECE_SUB - gone : 1);
	}
	return room;
}

void thresholds_advance(struct thresholds *thr)
{
	for (u32 i = 0; i < thr->nr; i++) {
		if (piece_sub(thr, &thr->kind[i], THRESHOLD_GUEST) >= PIECE_SUB)
			end_piece(thr, &thr->kind[i], THRESHOLD_GUEST);
	}
}

void thresholds_cut_host(struct thresholds *thr)
{
	for (u32 i = 0; i < thr->nr; i++)
		end_piece(thr, &thr->kind[i], THRESHOLD_HOST);
}

void thresholds_cut(struct thresholds *thr)
{
	for (u32 i = 0; i < thr->nr && !FAULTY(THRESHOLD_NOT_CUT); i++)
		end_piece(thr, &thr->kind[i], THRESHOLD_GUEST);
}
