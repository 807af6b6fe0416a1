// SPDX-License-Identifier: Apache-2.0
/*
 * event_map.c - encodings, constraints and counting formulas.
 *
 * Interface
 *  - event_map_find() gives the data of an encoding, event_formula_of() how it counts.
 *  - event_formula_total() and event_formula_room() are all that counters need.
 *
 * Not modelled: transactions that do something, thresholds inside of transactions.
 */
#include "pmu/event_map.h"

#include "base/fault.h"

#include "pmu/msr_index.h"

#include <stdlib.h>
#include <string.h>

static int compare_entries(const void *a, const void *b)
{
	const struct event_map_entry *x = a, *y = b;

	return (x->config > y->config) - (x->config < y->config);
}

int event_map_init(struct event_map *map, const struct event_map_entry *entries, u32 nr)
{
	map->nr = nr;
	map->code = ARCH_PERFMON_EVENTSEL_EVENT | ARCH_PERFMON_EVENTSEL_UMASK;
	map->entries = calloc(nr ? nr : 1, sizeof(*entries));
	if (!map->entries)
		return -1;
	if (nr)
		memcpy(map->entries, entries, nr * sizeof(*entries));
	qsort(map->entries, nr, sizeof(*entries), compare_entries);
	return 0;
}

int event_map_clone(struct event_map *to, const struct event_map *from)
{
	u64 code = from->code;

	if (event_map_init(to, from->entries, from->nr))
		return -1;
	to->code = code;
	return 0;
}

void event_map_free(struct event_map *map)
{
	free(map->entries);
	map->entries = NULL;
}

static const struct event_map_entry *find_exact(const struct event_map *map, u64 config)
{
	struct event_map_entry key = {.config = config};

	return bsearch(&key, map->entries, map->nr, sizeof(key), compare_entries);
}

const struct event_map_entry *event_map_find(const struct event_map *map, u64 config)
{
	const struct event_map_entry *e = find_exact(map, config & EVENTSEL_WHAT);

	if (e)
		return e;
	return find_exact(map, config & map->code);
}

static void look_at_transactions(struct event_formula *f, u64 eventsel)
{
	bool in_tx = eventsel & HSW_IN_TX, in_txcp = eventsel & HSW_IN_TX_CHECKPOINTED;
	bool known = event_formula_is_plain(f) && f->event == EVENT_CYCLES;

	if (!in_tx && !in_txcp)
		return;
	/* What is no time does not happen in transactions: there is nothing to leave out. */
	if (!in_tx && !event_is_derived(f->event) && event_formula_is_plain(f))
		return;
	if (!known || (in_tx && in_txcp))
		f->event = EVENT_NONE;
	else if (in_tx)
		f->event = EVENT_TX_CYCLES;
	else
		f->but_transactions = true;
}

struct event_formula event_formula_of(const struct event_map *map, u64 eventsel)
{
	const struct event_map_entry *e = event_map_find(map, eventsel);
	struct event_formula f = {
		.event = e ? (u8)e->feed : EVENT_NONE,
		.cmask = (u8)(eventsel >> 24 & 0xff),
		.edge = eventsel & ARCH_PERFMON_EVENTSEL_EDGE && !FAULTY(THRESHOLD_EDGE_IGNORED),
	};

	if (eventsel & ARCH_PERFMON_EVENTSEL_OS)
		f.privs |= PRIV_MASK_OS;
	if (eventsel & ARCH_PERFMON_EVENTSEL_USR)
		f.privs |= PRIV_MASK_USR;
	/* Without a threshold, inv has nothing to invert: hardware ignores it. */
	f.inverted = eventsel & ARCH_PERFMON_EVENTSEL_INV && !event_formula_is_plain(&f);
	look_at_transactions(&f, eventsel & ~map->code);
	return f;
}

struct event_formula event_formula_on(const struct event_map *map, u64 eventsel, unsigned int idx)
{
	const struct event_map_entry *e = event_map_find(map, eventsel);
	struct event_formula f = event_formula_of(map, eventsel);

	if (e && idx < INTEL_PMC_IDX_FIXED && !(e->counters & BIT_ULL(idx)))
		f.event = EVENT_NONE;
	return f;
}

u64 event_formula_total(const struct event_formula *f, const struct core_clock *clk,
			const struct event_totals *t)
{
	if (f->event == EVENT_NONE || !f->privs)
		return 0;
	if (f->but_transactions)
		return sub_to_event(clk, f->event, events_sub(t, f->privs)) -
		       events_count(t, EVENT_TX_CYCLES, f->privs);
	if (event_is_derived(f->event))
		return sub_to_event(clk, f->event, events_sub(t, f->privs));
	return events_count(t, f->event, f->privs);
}

/* Subcycles until @event, a derived one, has grown by @need. */
static u64 derived_distance(const struct core_clock *clk, unsigned int event, u64 sub, u64 need)
{
	u64 target = sub_to_event(clk, event, sub) + need;

	return event_to_sub(clk, event, target) - sub;
}

struct event_room event_formula_room(const struct event_formula *f, const struct core_clock *clk,
				     const struct event_totals *t, u64 need)
{
	if (f->event == EVENT_NONE || !f->privs)
		return (struct event_room){EVENT_NONE, ~0ull};
	/* The sums below must not overflow; nothing gets that far in one go. */
	need = min_u64(need, BIT_ULL(50));
	if (!event_is_derived(f->event))
		return (struct event_room){f->event, need};
	return (struct event_room){EVENT_NONE,
				   derived_distance(clk, f->event, events_sub(t, f->privs), need)};
}
