/* SPDX-License-Identifier: Apache-2.0 */
/* test_event_map.c - encodings, plain formulas and the room they leave (pmu/event_map.h). */
#include "pmu/event_map.h"

#include <stdlib.h>

#include "pmu/msr_index.h"
#include "test.h"

#define OS ARCH_PERFMON_EVENTSEL_OS
#define USR ARCH_PERFMON_EVENTSEL_USR
#define INV ARCH_PERFMON_EVENTSEL_INV
#define EDGE ARCH_PERFMON_EVENTSEL_EDGE
#define CMASK(n) ((u64)(n) << 24)

static const struct core_clock clk = {.ref_num = 5, .ref_den = 3, .issue_width = 6};

static struct event_map map_new(void)
{
	/* Out of order on purpose: init sorts. */
	static const struct event_map_entry entries[] = {
		{0x01c2 | CMASK(1) | INV, 0xff, EVENT_LOADS},
		{0x00c0, 0xff | 1ull << 32, EVENT_INSTRUCTIONS},
		{0x003c, 0xff | 2ull << 32, EVENT_CYCLES},
		{0x01c2, 0xff, EVENT_STORES},
		{0x0300, 4ull << 32, EVENT_REF_CYCLES},
		{0x0400, 8ull << 32, EVENT_SLOTS},
		{0x00c4, 0xff, EVENT_NONE},
	};
	struct event_map map;

	if (event_map_init(&map, entries, ARRAY_SIZE(entries)))
		abort();
	return map;
}

TEST(inv_without_a_threshold_is_ignored)
{
	struct event_map map = map_new();
	struct event_formula f = event_formula_of(&map, 0xc0 | OS | INV);

	EXPECT_TRUE(event_formula_is_plain(&f) && !f.inverted);
	f = event_formula_of(&map, 0xc0 | OS | INV | EDGE);
	EXPECT_TRUE(!event_formula_is_plain(&f) && f.inverted);
	f = event_formula_of(&map, 0xc0 | OS | INV | CMASK(2));
	EXPECT_TRUE(!event_formula_is_plain(&f) && f.inverted);
	event_map_free(&map);
}

TEST(an_exact_entry_comes_before_the_bare_encoding)
{
	struct event_map map = map_new();

	EXPECT_EQ(EVENT_LOADS, event_map_find(&map, 0x01c2 | CMASK(1) | INV)->feed);
	EXPECT_EQ(EVENT_STORES, event_map_find(&map, 0x01c2)->feed);
	EXPECT_EQ(EVENT_STORES, event_map_find(&map, 0x01c2 | CMASK(2))->feed);
	/* Bits that do not decide what is counted are not looked at. */
	EXPECT_EQ(EVENT_STORES, event_map_find(&map, 0x01c2 | OS | USR | 0x590000)->feed);
	EXPECT_TRUE(!event_map_find(&map, 0x02c2));
	EXPECT_EQ(EVENT_NONE, event_formula_of(&map, 0x02c2 | OS).event);
	EXPECT_EQ(EVENT_NONE, event_formula_of(&map, 0x00c4 | OS).event);
	event_map_free(&map);
}

TEST(totals_by_privilege_and_derived_events)
{
	struct event_map map = map_new();
	struct event_totals t = {0};
	struct event_formula f;

	t.count[PRIV_OS][EVENT_INSTRUCTIONS] = 10;
	t.count[PRIV_USR][EVENT_INSTRUCTIONS] = 3;
	t.sub[PRIV_OS] = 64 * 7 + 63;
	t.sub[PRIV_USR] = 1;
	f = event_formula_of(&map, 0xc0 | OS);
	EXPECT_EQ(10, event_formula_total(&f, &clk, &t));
	f = event_formula_of(&map, 0xc0 | USR);
	EXPECT_EQ(3, event_formula_total(&f, &clk, &t));
	f = event_formula_of(&map, 0xc0 | OS | USR);
	EXPECT_EQ(13, event_formula_total(&f, &clk, &t));
	f = event_formula_of(&map, 0xc0);
	EXPECT_EQ(0, event_formula_total(&f, &clk, &t));
	/* Rounded down over the sum: 7 63/64 + 1/64 = 8 cycles, but 7 and 0 apart. */
	f = event_formula_of(&map, 0x3c | OS | USR);
	EXPECT_EQ(8, event_formula_total(&f, &clk, &t));
	f = event_formula_of(&map, 0x3c | OS);
	EXPECT_EQ(7, event_formula_total(&f, &clk, &t));
	/* 8 cycles * 5 / 3 = 13.3; 8 * 6 slots. */
	f = event_formula_of(&map, 0x300 | OS | USR);
	EXPECT_EQ(13, event_formula_total(&f, &clk, &t));
	f = event_formula_of(&map, 0x400 | OS | USR);
	EXPECT_EQ(48, event_formula_total(&f, &clk, &t));
	event_map_free(&map);
}

/* 100 cycles, of which 30 in transactions, all aborted; 43 instructions, none of them in one. */
TEST(transactions)
{
	struct event_map map = map_new();
	struct event_totals t = {0};
	static const struct {
		u64 config, count;
	} cases[] = {
		{0x3c, 100},
		{0x3c | HSW_IN_TX, 30},
		{0x3c | HSW_IN_TX_CHECKPOINTED, 70},
		{0x3c | HSW_IN_TX | HSW_IN_TX_CHECKPOINTED, 0}, /* committed ones */
		{0xc0 | HSW_IN_TX, 0},
		{0xc0 | HSW_IN_TX_CHECKPOINTED, 43},
		{0x300 | HSW_IN_TX_CHECKPOINTED, 0}, /* feeds nothing */
		{0x3c | HSW_IN_TX_CHECKPOINTED | CMASK(1), 0},
		{0xc0 | HSW_IN_TX | EDGE, 0},
	};

	t.sub[PRIV_OS] = 64 * 100;
	t.count[PRIV_OS][EVENT_TX_CYCLES] = 30;
	t.count[PRIV_OS][EVENT_INSTRUCTIONS] = 43;
	for (unsigned int k = 0; k < ARRAY_SIZE(cases); k++) {
		struct event_formula f = event_formula_of(&map, cases[k].config | OS);

		EXPECT_EQ(cases[k].count, event_formula_total(&f, &clk, &t));
	}
	event_map_free(&map);
}

/* Counters are differences of totals: a total that falls makes a counter run backwards, and a
 * running counter takes that for an overflow. */
TEST(no_total_ever_falls)
{
	static const u64 kinds[] = {0xc0, 0x3c, 0x300, 0x400, 0xc0 | INV};
	struct event_map map = map_new();

	for (unsigned int k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct event_formula f = event_formula_of(&map, kinds[k] | OS);
		struct event_totals t = {0};
		u64 last = 0;
		bool fell = false;

		/* A stall of 200 cycles, then 4 instructions a cycle, and again. */
		for (unsigned int step = 0; step < 1000; step++) {
			t.count[PRIV_OS][EVENT_INSTRUCTIONS]++;
			t.sub[PRIV_OS] += step % 300 ? 16 : 200 * 64;
			fell |= event_formula_total(&f, &clk, &t) < last;
			last = event_formula_total(&f, &clk, &t);
		}
		if (fell)
			printf("# eventsel 0x%" PRIx64 " falls\n", kinds[k]);
		EXPECT_TRUE(!fell);
	}
	event_map_free(&map);
}

static u32 rng = 1;

static u32 next(u32 below)
{
	rng = rng * 1664525u + 1013904223u;
	return (rng >> 8) % below;
}

/* Whatever the producer does within the room, fewer than @need are counted; one step at a time. */
TEST(room_is_never_too_long)
{
	static const u64 kinds[] = {0xc0, 0x3c, 0x300, 0x400};
	struct event_map map = map_new();

	for (unsigned int round = 0; round < 4000; round++) {
		struct event_formula f = event_formula_of(&map,
							  kinds[round % ARRAY_SIZE(kinds)] | OS);
		struct event_totals t = {0}, before;
		u64 need = 1 + next(50), moved, start;
		struct event_room room;

		t.count[PRIV_OS][EVENT_INSTRUCTIONS] = next(100000);
		t.sub[PRIV_OS] = next(6400000);
		before = t;
		start = event_formula_total(&f, &clk, &t);
		room = event_formula_room(&f, &clk, &t, need);
		EXPECT_TRUE(room.distance >= 1);
		/* All of the room but one, in the quantity it watches; the other runs wild. */
		moved = room.distance - 1;
		if (room.event == EVENT_NONE) {
			t.sub[PRIV_OS] += moved;
			t.count[PRIV_OS][EVENT_INSTRUCTIONS] += next(2) ? 100000 : 0;
		} else {
			t.count[PRIV_OS][room.event] += moved;
			t.sub[PRIV_OS] += next(2) ? 64 * 100000 : 0;
		}
		if (event_formula_total(&f, &clk, &t) - start >= need)
			printf("# kind 0x%" PRIx64 " need %" PRIu64 " instr %" PRIu64
			       " sub %" PRIu64 "\n",
			       kinds[round % ARRAY_SIZE(kinds)], need,
			       before.count[PRIV_OS][EVENT_INSTRUCTIONS], before.sub[PRIV_OS]);
		EXPECT_TRUE(event_formula_total(&f, &clk, &t) - start < need);
	}
	event_map_free(&map);
}

TEST(room_of_plain_events_is_exact)
{
	struct event_map map = map_new();
	struct event_totals t = {0};
	struct event_formula f = event_formula_of(&map, 0xc0 | OS);
	struct event_room r = event_formula_room(&f, &clk, &t, 17);

	EXPECT_EQ(EVENT_INSTRUCTIONS, r.event);
	EXPECT_EQ(17, r.distance);
	/* 3 ref-cycles are the first multiple of 5/3 >= 3: 1.8 cycles = 115.2 subcycles, up to 116. */
	f = event_formula_of(&map, 0x300 | OS);
	r = event_formula_room(&f, &clk, &t, 3);
	EXPECT_EQ(EVENT_NONE, r.event);
	EXPECT_EQ(116, r.distance);
	/* Nothing feeds it: no limit. */
	f = event_formula_of(&map, 0xc4 | OS);
	r = event_formula_room(&f, &clk, &t, 1);
	EXPECT_EQ(~0ull, r.distance);
	/* A need as large as a counter does not overflow the sums. */
	f = event_formula_of(&map, 0x3c | OS);
	r = event_formula_room(&f, &clk, &t, 1ull << 63);
	EXPECT_TRUE(r.distance >= 1ull << 50);
	event_map_free(&map);
}

TEST_MAIN()
