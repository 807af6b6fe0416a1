/* SPDX-License-Identifier: Apache-2.0 */
/*
 * threshold.h - counters with cmask, edge and inv: cycles with enough events, and cycles without.
 *
 * Silicon looks at each cycle; the model knows totals. So the guest's execution is cut into pieces,
 * and a piece of S cycles with E events has min(S, E / c) cycles that reach threshold c. The others,
 * S less those, are what an inverted threshold counts, when the piece is over. Edge counts as cmask
 * does, with c = 1 if there is none.
 *
 * A piece ends at the first instruction boundary behind THRESHOLD_PIECE_CYCLES cycles of the privileges
 * that count, and at each access of the guest to its PMU: so what a guest reads is whole, and
 * neither exits nor the budget of a run move a cut. What follows from it:
 *  - both counts only grow, and no stretch has more of them than it has cycles;
 *  - at an access of the guest to its PMU the two add up to the cycles, but for one of rounding;
 *  - fractions are carried on: with enough cycles, E events make E / c, in however many pieces.
 *
 * What cannot reach a threshold in one cycle, since the core handles issue_width things a cycle at most
 * and a clock has one edge a cycle, never does: its inverted count is every cycle. So 0xc0 with inv and
 * cmask=16, perf's cycles:ppp, counts cycles.
 *
 * A total is kept per kind (event, privileges, c), not per counter, from the kind's first use: whoever
 * counts it, physical counter or truth, sees one total, and stopping and moving counters loses
 * nothing. The guest's totals need their landings: thresholds_room() says where a piece ends.
 *
 *	thresholds_attach(&thr, &formula);	once, when a counter gets a formula
 *	thresholds_total(&thr, &formula, THRESHOLD_GUEST);
 */
#ifndef PMU_THRESHOLD_H_
#define PMU_THRESHOLD_H_

#include "base/events.h"
#include "base/types.h"
#include "pmu/event_map.h"

#define THRESHOLD_PIECE_CYCLES 64u
#define THRESHOLD_MAX_KINDS 32

enum threshold_side { THRESHOLD_GUEST, THRESHOLD_HOST, NR_THRESHOLD_SIDES };

/* Cycles, and a rest in 1 / (64 c) of a cycle. */
struct threshold_count {
	u64 cycles, rest;
};

struct threshold_kind {
	struct event_formula plain; /* event and privileges, no threshold */
	u8 cmask;

	struct {
		u64 sub, events;			/* totals at the beginning of the piece */
		struct threshold_count reached, missed; /* of the pieces before */
	} side[NR_THRESHOLD_SIDES];
};

struct thresholds {
	const struct core_clock *clk;
	const struct event_totals *side[NR_THRESHOLD_SIDES];
	struct threshold_kind kind[THRESHOLD_MAX_KINDS];
	u32 nr;
};

/*
 * Make a formula with a threshold one that can be counted. False if there are THRESHOLD_MAX_KINDS other
 * kinds already: it counts nothing (EVENT_NONE).
 */
bool thresholds_attach(struct thresholds *thr, struct event_formula *f);

/* Cumulative count of an attached formula with a threshold, over one producer's totals. */
u64 thresholds_total(const struct thresholds *thr, const struct event_formula *f,
		     enum threshold_side side);

/* As event_formula_room(), for the guest's side. */
struct event_room thresholds_formula_room(const struct thresholds *thr,
					  const struct event_formula *f, u64 need);

/* The guest runs again, perhaps on another pCPU: what that host has done before is in no piece. */
void thresholds_resume(struct thresholds *thr);

/* Subcycles that a producer can run at @priv until the first piece ends. */
u64 thresholds_room(const struct thresholds *thr, enum privilege priv);
/* End the guest's pieces that are long enough. */
void thresholds_advance(struct thresholds *thr);
/*
 * The host's code runs at one rate, so that any cut will do: where a counter starts or stops. It must be
 * cut there, lest a counter that starts be given what was missed before.
 */
void thresholds_cut_host(struct thresholds *thr);
/* The guest accesses its PMU: end all of its pieces. */
void thresholds_cut(struct thresholds *thr);

#endif /* PMU_THRESHOLD_H_ */
