/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event_map.h - what a selector's encoding counts, and on which counters it may run.
 *
 * Data of the CPU model, compiled by Python. Looked up with event, umask, edge, inv and cmask
 * first, then with event and umask alone; an encoding in no list is valid, runs on any GP counter
 * and counts nothing.
 *
 * struct event_formula says how base events become counts: a plain event, or one with cmask, inv and
 * edge, which threshold.h counts. Plain ones count on cumulative totals, so that counts do not depend
 * on where a counter was stopped in between.
 *
 * IN_TX counts what happens in transactions, IN_TXCP leaves out what an abort throws away. All
 * transactions abort at once (csrc/cpu/transaction.c), so cycles are all that happens in them, and with
 * both bits nothing is left. Reference cycles, slots and thresholds with either bit feed nothing.
 */
#ifndef PMU_EVENT_MAP_H_
#define PMU_EVENT_MAP_H_

#include "base/events.h"
#include "base/types.h"

struct event_map_entry {
	u64 config;   /* bits of EVENTSEL_WHAT */
	u64 counters; /* bit n: GP n, bit 32+n: fixed n */
	u32 feed;     /* event id, or EVENT_NONE */
};

struct event_map {
	struct event_map_entry *entries; /* sorted by config */
	u32 nr;
	u64 code; /* bits that name the event; where bits 33:32 are among them there is no IN_TX */
};

struct event_formula {
	u8 event; /* event id, or EVENT_NONE */
	u8 privs; /* PRIV_MASK_* */
	u8 cmask;
	bool edge;
	bool inverted;	       /* of a threshold: the cycles that do not reach it */
	bool but_transactions; /* less the cycles of transactions that aborted (IN_TXCP) */
	u8 kind;	       /* of a threshold: where its total is kept (thresholds_attach()) */
};

/* Room a formula leaves until it has counted @need more; see event_formula_room(). */
struct event_room {
	u8 event; /* stored event to watch, or EVENT_NONE: watch .sub */
	u64 distance;
};

int event_map_init(struct event_map *map, const struct event_map_entry *entries, u32 nr);
int event_map_clone(struct event_map *to, const struct event_map *from);
void event_map_free(struct event_map *map);
const struct event_map_entry *event_map_find(const struct event_map *map, u64 config);

/* The formula of a selector value (event, umask, cmask, inv, edge, USR, OS). */
struct event_formula event_formula_of(const struct event_map *map, u64 eventsel);
/* The same on counter @idx: a GP counter that cannot count the event counts nothing. */
struct event_formula event_formula_on(const struct event_map *map, u64 eventsel, unsigned int idx);

/* Cumulative count of @f, a plain one, over one producer's totals. */
u64 event_formula_total(const struct event_formula *f, const struct core_clock *clk,
			const struct event_totals *t);

/*
 * A distance (>= 1) that the producer can go, at the privileges of @f, a plain one, before it can have
 * counted
 * @need (>= 1) more than now. Never too long; may be short.
 */
struct event_room event_formula_room(const struct event_formula *f, const struct core_clock *clk,
				     const struct event_totals *t, u64 need);

static inline bool event_formula_is_plain(const struct event_formula *f)
{
	return !f->cmask && !f->edge;
}

#endif /* PMU_EVENT_MAP_H_ */
