/* SPDX-License-Identifier: Apache-2.0 */
/* test_threshold.c - cmask, inv and edge: pieces and what of them counts (pmu/threshold.h). */
#include "pmu/threshold.h"

#include <stdlib.h>

#include "pmu/msr_index.h"
#include "test.h"

#define OS ARCH_PERFMON_EVENTSEL_OS
#define USR ARCH_PERFMON_EVENTSEL_USR
#define INV ARCH_PERFMON_EVENTSEL_INV
#define EDGE ARCH_PERFMON_EVENTSEL_EDGE
#define CMASK(n) ((u64)(n) << 24)
#define NAMED NR_BASE_EVENTS

static const struct core_clock clk = {.ref_num = 2, .ref_den = 3, .issue_width = 6};

struct bench {
	struct event_map map;
	struct event_totals guest, host;
	struct thresholds thr;
};

static struct bench *bench_new(void)
{
	static const struct event_map_entry entries[] = {
		{0x00c0, 0xff, EVENT_INSTRUCTIONS}, {0x003c, 0xff, EVENT_CYCLES},
		{0x0300, 0xff, EVENT_REF_CYCLES},   {0x0400, 0xff, EVENT_SLOTS},
		{0x00d0, 0xff, EVENT_LOADS},	    {0x0048, 0xff, NAMED},
		{0x00c4, 0xff, EVENT_NONE},
	};
	struct bench *b = calloc(1, sizeof(*b));

	if (!b || event_map_init(&b->map, entries, ARRAY_SIZE(entries)))
		abort();
	b->thr.clk = &clk;
	b->thr.side[THRESHOLD_GUEST] = &b->guest;
	b->thr.side[THRESHOLD_HOST] = &b->host;
	return b;
}

static void bench_free(struct bench *b)
{
	event_map_free(&b->map);
	free(b);
}

static struct event_formula attached(struct bench *b, u64 eventsel)
{
	struct event_formula f = event_formula_of(&b->map, eventsel);

	EXPECT_TRUE(thresholds_attach(&b->thr, &f));
	return f;
}

/* The count of a formula, attached, whether it has kept its threshold or became a plain one. */
static u64 total(const struct bench *b, const struct event_formula *f)
{
	if (event_formula_is_plain(f))
		return event_formula_total(f, &clk, &b->guest);
	return thresholds_total(&b->thr, f, THRESHOLD_GUEST);
}

static void go(struct bench *b, u64 cycles, u64 instructions)
{
	b->guest.sub[PRIV_OS] += cycles * SUB_PER_CYCLE;
	b->guest.count[PRIV_OS][EVENT_INSTRUCTIONS] += instructions;
}

TEST(a_piece_counts_the_fewer_of_cycles_and_events_by_c)
{
	struct bench *b = bench_new();
	struct event_formula two = attached(b, 0xc0 | OS | CMASK(2));
	struct event_formula rest = attached(b, 0xc0 | OS | CMASK(2) | INV);

	go(b, 30, 41);
	EXPECT_EQ(20, total(b, &two)); /* min(30, 41 / 2) */
	EXPECT_EQ(0, total(b, &rest)); /* the piece is not over */
	thresholds_cut(&b->thr);
	EXPECT_EQ(20, total(b, &two));
	EXPECT_EQ(9, total(b, &rest)); /* 30 - 20.5, rounded down */
	/* Dense: 100 events in 10 cycles. They reach the threshold in these 10 and in no other. */
	go(b, 10, 100);
	thresholds_cut(&b->thr);
	go(b, 50, 0);
	thresholds_cut(&b->thr);
	EXPECT_EQ(30, total(b, &two));	/* 20.5 + 10 */
	EXPECT_EQ(59, total(b, &rest)); /* 9.5 + 0 + 50 */
	bench_free(b);
}

TEST(fractions_are_carried_on)
{
	struct bench *b = bench_new();
	struct event_formula five = attached(b, 0xc0 | OS | CMASK(5));

	/* 100 pieces of 2 events: 200 / 5. */
	for (unsigned int k = 0; k < 100; k++) {
		go(b, 3, 2);
		thresholds_cut(&b->thr);
	}
	EXPECT_EQ(40, total(b, &five));
	bench_free(b);
}

TEST(edge_counts_as_cmask)
{
	struct bench *b = bench_new();
	struct event_formula edge = attached(b, 0xc0 | OS | EDGE);
	struct event_formula edges = attached(b, 0xc0 | OS | EDGE | CMASK(3));

	go(b, 30, 12);
	EXPECT_EQ(12, total(b, &edge)); /* as cmask 1 */
	EXPECT_EQ(4, total(b, &edges));
	thresholds_cut(&b->thr);
	go(b, 10, 60); /* six a cycle: ten cycles have any, and ten have three */
	EXPECT_EQ(12 + 10, total(b, &edge));
	EXPECT_EQ(4 + 10, total(b, &edges));
	bench_free(b);
}

/* The core handles 6 things a cycle: a threshold of 7 is never reached, and inverted always. */
TEST(what_a_cycle_cannot_hold)
{
	struct bench *b = bench_new();
	struct event_formula never = attached(b, 0xc0 | OS | CMASK(7));
	struct event_formula always = attached(b, 0xc0 | OS | CMASK(16) | INV);
	struct event_formula user = attached(b, 0xc0 | USR | CMASK(16) | INV);
	struct event_formula clock = attached(b, 0x3c | OS | CMASK(1));
	struct event_formula no_clock = attached(b, 0x3c | OS | CMASK(1) | INV);
	struct event_formula two_clocks = attached(b, 0x3c | OS | CMASK(2));
	struct event_formula slots = attached(b, 0x400 | OS | CMASK(6));
	struct event_formula no_slots = attached(b, 0x400 | OS | CMASK(7));

	go(b, 1000, 4000);
	EXPECT_EQ(0, total(b, &never));
	EXPECT_EQ(1000, total(b, &always));
	EXPECT_EQ(0, total(b, &user));
	EXPECT_EQ(1000, total(b, &clock));
	EXPECT_EQ(0, total(b, &no_clock));
	EXPECT_EQ(0, total(b, &two_clocks));
	EXPECT_EQ(1000, total(b, &slots));
	EXPECT_EQ(0, total(b, &no_slots));
	/* None of these needs a piece. */
	EXPECT_EQ(0, b->thr.nr);
	EXPECT_EQ(~0ull, thresholds_room(&b->thr, PRIV_OS));
	bench_free(b);
}

/* What a profile counts may be an occupancy: 20 a cycle is possible. */
TEST(a_named_event_has_no_bound)
{
	struct bench *b = bench_new();
	struct event_formula f = attached(b, 0x48 | OS | CMASK(20));

	go(b, 60, 0);
	b->guest.count[PRIV_OS][NAMED] = 1000;
	EXPECT_EQ(50, total(b, &f));
	bench_free(b);
}

TEST(reference_cycles_are_fewer_than_cycles)
{
	struct bench *b = bench_new();
	struct event_formula ref = attached(b, 0x300 | OS | CMASK(1));
	struct event_formula rest = attached(b, 0x300 | OS | CMASK(1) | INV);

	/* 2 for 3 cycles. */
	go(b, 60, 0);
	thresholds_cut(&b->thr);
	EXPECT_EQ(40, total(b, &ref));
	EXPECT_EQ(20, total(b, &rest));
	bench_free(b);
}

TEST(a_privilege_has_pieces_of_its_own)
{
	struct bench *b = bench_new();
	struct event_formula user = attached(b, 0xc0 | USR | CMASK(1) | INV);
	struct event_formula both = attached(b, 0xc0 | USR | OS | CMASK(1) | INV);

	go(b, 40, 10);
	EXPECT_EQ(24 * 64, thresholds_room(&b->thr, PRIV_OS)); /* of both: 64 - 40 */
	EXPECT_EQ(24 * 64, thresholds_room(&b->thr, PRIV_USR));
	b->guest.sub[PRIV_USR] += 64 * 64;
	b->guest.count[PRIV_USR][EVENT_INSTRUCTIONS] += 50;
	thresholds_advance(&b->thr);
	EXPECT_EQ(14, total(b, &user)); /* 64 - 50 */
	EXPECT_EQ(44, total(b, &both)); /* 104 - 60 */
	bench_free(b);
}

TEST(nothing_is_counted_from_before_the_first_use)
{
	struct bench *b = bench_new();
	struct event_formula f;

	go(b, 500, 100);
	f = attached(b, 0xc0 | OS | CMASK(1));
	EXPECT_EQ(0, total(b, &f));
	go(b, 5, 3);
	EXPECT_EQ(3, total(b, &f));
	bench_free(b);
}

TEST(more_kinds_than_there_is_room_for)
{
	struct bench *b = bench_new();
	struct event_formula f;

	for (unsigned int k = 0; k < THRESHOLD_MAX_KINDS; k++)
		attached(b, 0x48 | OS | CMASK(1 + k));
	f = event_formula_of(&b->map, 0x48 | OS | CMASK(200));
	EXPECT_TRUE(!thresholds_attach(&b->thr, &f));
	EXPECT_EQ(EVENT_NONE, f.event);
	go(b, 100, 100);
	EXPECT_EQ(0, total(b, &f));
	/* Kinds that there are can still be used, and inverted ones share them. */
	attached(b, 0x48 | OS | CMASK(3) | INV);
	bench_free(b);
}

static u32 rng = 1;

static u32 next(u32 below)
{
	rng = rng * 1664525u + 1013904223u;
	return (rng >> 8) % below;
}

/* One instruction: now and then a stall, and a load or two. */
static void one_instruction(struct event_totals *t, unsigned int priv)
{
	t->count[priv][EVENT_INSTRUCTIONS]++;
	t->count[priv][EVENT_LOADS] += next(3);
	t->sub[priv] += next(40) ? 16 + next(30) : 64 * next(300);
}

#define KINDS 6

static void attach_all(struct bench *b, struct event_formula *f)
{
	static const u64 kinds[KINDS] = {
		0xc0 | OS | CMASK(1),	    0xc0 | OS | CMASK(1) | INV,
		0xd0 | OS | USR | CMASK(2), 0xd0 | OS | USR | CMASK(2) | INV,
		0xc0 | USR | EDGE | INV,    0xd0 | OS | CMASK(6) | INV,
	};

	for (unsigned int k = 0; k < KINDS; k++)
		f[k] = attached(b, kinds[k]);
}

/*
 * Two machines do the same; one looks only where it has to, the other at random as well. They see
 * the same totals. No total falls, none grows by more than the cycles of its privileges.
 */
TEST(a_look_changes_nothing)
{
	struct bench *seldom = bench_new(), *often = bench_new();
	struct event_formula f[KINDS], g[KINDS];
	u64 last[KINDS] = {0}, cycles[KINDS] = {0};
	u32 differ = 0, fell = 0, fast = 0;

	attach_all(seldom, f);
	attach_all(often, g);
	for (unsigned int step = 0; step < 60000; step++) {
		unsigned int priv = step / 500 % 2;

		one_instruction(&seldom->guest, priv);
		often->guest = seldom->guest;
		/* Where thresholds_room() has the guest CPU land: the boundary that ends a piece. */
		if (thresholds_room(&seldom->thr, priv) == 1)
			thresholds_advance(&seldom->thr);
		if (thresholds_room(&often->thr, priv) == 1 || !next(3))
			thresholds_advance(&often->thr);
		if (step % 977 == 0) {
			thresholds_cut(&seldom->thr);
			thresholds_cut(&often->thr);
		}
		for (unsigned int k = 0; k < KINDS; k++) {
			u64 now = total(seldom, &f[k]);
			u64 clock = events_sub(&seldom->guest, f[k].privs);

			differ += now != total(often, &g[k]);
			fell += now < last[k];
			/* An inverted count comes with the end of its piece: look there only. */
			if (step % 977)
				continue;
			fast += (now - last[k]) > (clock - cycles[k]) / SUB_PER_CYCLE + 1;
			last[k] = now;
			cycles[k] = clock;
		}
	}
	EXPECT_EQ(0, differ);
	EXPECT_EQ(0, fell);
	EXPECT_EQ(0, fast);
	/* Reached and missed are all cycles, but for one of rounding. */
	for (unsigned int k = 0; k < 4; k += 2) {
		u64 all = events_sub(&seldom->guest, f[k].privs) / SUB_PER_CYCLE;

		thresholds_cut(&seldom->thr);
		EXPECT_TRUE(total(seldom, &f[k]) > 1000 && total(seldom, &f[k + 1]) > 1000);
		EXPECT_TRUE(all - total(seldom, &f[k]) - total(seldom, &f[k + 1]) <= 1);
	}
	bench_free(seldom);
	bench_free(often);
}

/* Whatever the guest does within the room, fewer than @need are counted. */
TEST(room_is_never_too_long)
{
	static const u64 kinds[] = {0xc0 | CMASK(1), 0xc0 | CMASK(5), 0xd0 | EDGE,
				    0x300 | CMASK(1) | INV, 0xc0 | CMASK(3) | INV};

	for (unsigned int round = 0; round < 4000; round++) {
		struct bench *b = bench_new();
		struct event_formula f = attached(b, kinds[round % ARRAY_SIZE(kinds)] | OS);
		u64 need = 1 + next(50), start, left;
		struct event_room room;

		for (unsigned int k = next(200); k; k--) {
			one_instruction(&b->guest, PRIV_OS);
			if (thresholds_room(&b->thr, PRIV_OS) == 1)
				thresholds_advance(&b->thr);
		}
		start = total(b, &f);
		room = thresholds_formula_room(&b->thr, &f, need);
		left = thresholds_room(&b->thr, PRIV_OS);
		EXPECT_TRUE(room.distance >= 1 && left >= 1);
		/* To just before the limits, in both quantities at once. */
		b->guest.sub[PRIV_OS] +=
			min_u64(left, room.event == EVENT_NONE ? room.distance : left) - 1;
		if (room.event != EVENT_NONE)
			b->guest.count[PRIV_OS][room.event] += room.distance - 1;
		else
			b->guest.count[PRIV_OS][f.event] += next(2) ? 100000 : 0;
		EXPECT_TRUE(total(b, &f) - start < need);
		bench_free(b);
	}
}

/* What the host missed before a counter starts is not the counter's; both sides are apart. */
TEST(the_hosts_side)
{
	struct bench *b = bench_new();
	struct event_formula f = attached(b, 0xc0 | OS | CMASK(2));
	struct event_formula rest = attached(b, 0xc0 | OS | CMASK(2) | INV);

	b->host.sub[PRIV_OS] = 100 * 64;
	b->host.count[PRIV_OS][EVENT_INSTRUCTIONS] = 100;
	thresholds_cut_host(&b->thr);
	EXPECT_EQ(50, thresholds_total(&b->thr, &rest, THRESHOLD_HOST));
	go(b, 100, 4);
	thresholds_advance(&b->thr);
	EXPECT_EQ(50, thresholds_total(&b->thr, &rest, THRESHOLD_HOST));
	EXPECT_EQ(50, thresholds_total(&b->thr, &f, THRESHOLD_HOST));
	EXPECT_EQ(2, thresholds_total(&b->thr, &f, THRESHOLD_GUEST));
	EXPECT_EQ(98, thresholds_total(&b->thr, &rest, THRESHOLD_GUEST));
	bench_free(b);
}

TEST_MAIN()
