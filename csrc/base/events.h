/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.h - event identities, cumulative totals and the core clock.
 *
 * Every producer of events (the guest CPU, the host's own execution) keeps one struct
 * event_totals; every consumer (physical PMU, truth) reads totals and works with differences.
 * Totals only grow.
 *
 * The core clock is kept in subcycles: 1/64 core cycle, so that an instruction can cost less
 * than a cycle without floating point. Cycles, reference cycles and slots are derived:
 *
 *	cycles     = sub / 64
 *	ref-cycles = sub * ref_num / (64 * ref_den)
 *	slots      = sub * issue_width / 64
 *
 * each rounded down, over the sum of the privileges asked for.
 */
#ifndef BASE_EVENTS_H_
#define BASE_EVENTS_H_

#include "base/types.h"

enum base_event {
#define BASE_EVENT(id, name, text) EVENT_##id,
#include "base/base_events.def"
#undef BASE_EVENT
	NR_BASE_EVENTS,
	NR_COUNTED_EVENTS = EVENT_CYCLES, /* events below this are stored, not derived */
	NR_EVENTS = 32,			  /* named events of profiles: NR_BASE_EVENTS..31 */
	EVENT_NONE = 0xff,		  /* a valid encoding that nothing feeds */
};

enum privilege { PRIV_OS, PRIV_USR, NR_PRIV };
#define PRIV_MASK_OS 1u
#define PRIV_MASK_USR 2u

#define SUB_PER_CYCLE 64u
#define SUB_SHIFT 6

/* CPU data: the core clock and what is derived from it. */
struct core_clock {
	u32 ref_num, ref_den; /* TSC cycles per core cycle */
	u32 issue_width;      /* slots per core cycle */
};

struct event_totals {
	u64 count[NR_PRIV][NR_EVENTS]; /* stored events; derived ones stay 0 here */
	u64 sub[NR_PRIV];	       /* core clock, subcycles */
};

static inline bool event_is_derived(unsigned int event)
{
	return event >= EVENT_CYCLES && event < NR_BASE_EVENTS;
}

static inline u64 sub_to_ref(const struct core_clock *clk, u64 sub)
{
	return (u64)((u128)sub * clk->ref_num / ((u64)clk->ref_den * SUB_PER_CYCLE));
}

/* The smallest number of subcycles that make at least @ref reference cycles. */
static inline u64 ref_to_sub(const struct core_clock *clk, u64 ref)
{
	u128 n = (u128)ref * clk->ref_den * SUB_PER_CYCLE;

	return (u64)((n + clk->ref_num - 1) / clk->ref_num);
}

/* A derived event's count after @sub subcycles. */
static inline u64 sub_to_event(const struct core_clock *clk, unsigned int event, u64 sub)
{
	switch (event) {
	case EVENT_CYCLES: return sub >> SUB_SHIFT;
	case EVENT_REF_CYCLES: return sub_to_ref(clk, sub);
	default: return (u64)((u128)sub * clk->issue_width >> SUB_SHIFT);
	}
}

/* The smallest number of subcycles after which a derived event has counted at least @count. */
static inline u64 event_to_sub(const struct core_clock *clk, unsigned int event, u64 count)
{
	switch (event) {
	case EVENT_CYCLES: return count << SUB_SHIFT;
	case EVENT_REF_CYCLES: return ref_to_sub(clk, count);
	default:
		return (u64)((((u128)count << SUB_SHIFT) + clk->issue_width - 1) /
			     clk->issue_width);
	}
}

static inline u64 events_sub(const struct event_totals *t, unsigned int priv_mask)
{
	u64 sub = 0;

	if (priv_mask & PRIV_MASK_OS)
		sub += t->sub[PRIV_OS];
	if (priv_mask & PRIV_MASK_USR)
		sub += t->sub[PRIV_USR];
	return sub;
}

/* Total of one stored event over the privileges in @priv_mask; not for derived events. */
static inline u64 events_count(const struct event_totals *t, unsigned int event,
			       unsigned int priv_mask)
{
	u64 n = 0;

	if (event >= NR_EVENTS)
		return 0;
	if (priv_mask & PRIV_MASK_OS)
		n += t->count[PRIV_OS][event];
	if (priv_mask & PRIV_MASK_USR)
		n += t->count[PRIV_USR][event];
	return n;
}

#endif /* BASE_EVENTS_H_ */
