/* SPDX-License-Identifier: Apache-2.0 */
/* test_hwpmu.c - the physical PMU: registers, #GP rules, counting, overflow (pmu/hwpmu.h). */
#include "test_pcpu.h"

#define EN ARCH_PERFMON_EVENTSEL_ENABLE
#define OS ARCH_PERFMON_EVENTSEL_OS
#define INT ARCH_PERFMON_EVENTSEL_INT
#define MASK48 ((1ull << 48) - 1)

static u64 rd(struct bench *b, u32 msr)
{
	u64 v = ~0ull;

	EXPECT_EQ(0, hwpmu_rdmsr(&b->pcpu.pmu, msr, &v));
	return v;
}

static int wr(struct bench *b, u32 msr, u64 v)
{
	return hwpmu_wrmsr(&b->pcpu.pmu, msr, v);
}

static struct bench *with_version(u32 version)
{
	struct bench *b = bench_new(8, 3);

	b->pcpu.pmu.caps.version = version;
	return b;
}

TEST(counter_aliases)
{
	struct bench *b = bench_new(8, 4);
	u64 v;

	/* Legacy: 32 bits, sign-extended from bit 31, cut at the width. */
	EXPECT_EQ(0, wr(b, 0xc1, 0x80000000));
	EXPECT_EQ(0xffff80000000ull, rd(b, 0xc1));
	EXPECT_EQ(0, wr(b, 0xc1, 0xdead7fffffffull));
	EXPECT_EQ(0x7fffffff, rd(b, 0xc1));
	/* Full width: what does not fit is #GP and changes nothing. */
	EXPECT_EQ(0, wr(b, 0x4c1, MASK48));
	EXPECT_EQ(-1, wr(b, 0x4c1, 1ull << 48));
	EXPECT_EQ(MASK48, rd(b, 0xc1));
	EXPECT_EQ(-1, wr(b, 0x309, 1ull << 50));
	EXPECT_EQ(0, wr(b, 0x30c, 5));
	EXPECT_EQ(5, rd(b, 0x30c));
	/* Counters that do not exist, by every name. */
	EXPECT_EQ(-1, wr(b, 0xc9, 0));
	EXPECT_EQ(-1, wr(b, 0x4c9, 0));
	EXPECT_EQ(-1, wr(b, 0x30d, 0));
	EXPECT_EQ(-1, wr(b, 0x18e, 0));
	EXPECT_EQ(-1, hwpmu_rdmsr(&b->pcpu.pmu, 0xc0, &v));
	bench_free(b);
}

TEST(full_width_writes_need_the_capability)
{
	struct bench *b = bench_new(4, 3);
	u64 v;

	b->pcpu.pmu.caps.fw_write = 0;
	EXPECT_EQ(-1, wr(b, 0x4c1, 0));
	EXPECT_EQ(-1, hwpmu_rdmsr(&b->pcpu.pmu, 0x4c1, &v));
	EXPECT_TRUE(!hwpmu_owns_msr(&b->pcpu.pmu, 0x4c1));
	bench_free(b);
}

TEST(reserved_bits_of_control_registers)
{
	struct bench *b = bench_new(8, 4);

	EXPECT_EQ(-1, wr(b, 0x186, 1ull << 32));
	EXPECT_EQ(-1, wr(b, 0x186, ARCH_PERFMON_EVENTSEL_ANY)); /* version 5 */
	EXPECT_EQ(0, wr(b, 0x186, 0xffdfffff));
	/* Four fields of PMI, -, USR, OS. */
	EXPECT_EQ(0, wr(b, 0x38d, 0xbbbb));
	EXPECT_EQ(-1, wr(b, 0x38d, 0x4));
	EXPECT_EQ(-1, wr(b, 0x38d, 0x10000));
	EXPECT_EQ(0xbbbb, rd(b, 0x38d));
	EXPECT_EQ(0, wr(b, 0x38f, 0xf000000ffull));
	EXPECT_EQ(-1, wr(b, 0x38f, 1ull << 8));
	EXPECT_EQ(-1, wr(b, 0x38f, 1ull << 36));
	EXPECT_EQ(-1, wr(b, 0x38f, 1ull << 48));
	EXPECT_EQ(-1, wr(b, 0x38e, 0)); /* read-only, even with its own value */
	EXPECT_EQ(-1, wr(b, 0x392, 0));
	EXPECT_EQ(-1, wr(b, 0x345, 1u << 13));
	EXPECT_EQ(1u << 13, rd(b, 0x345));
	EXPECT_EQ(-1, wr(b, 0x390, 1ull << 36));
	EXPECT_EQ(-1, wr(b, 0x391, 1ull << 8));
	bench_free(b);
}

TEST(registers_come_with_their_versions)
{
	struct bench *b = with_version(4);

	EXPECT_EQ(0, wr(b, 0x391, 1));
	EXPECT_EQ(0, wr(b, 0x186, ARCH_PERFMON_EVENTSEL_ANY)); /* AnyThread: versions 3 and 4 */
	EXPECT_EQ(0, wr(b, 0x38d, 0x4));
	bench_free(b);
	b = with_version(3);
	EXPECT_EQ(-1, wr(b, 0x391, 1));
	EXPECT_EQ(0, wr(b, 0x38f, 0));
	bench_free(b);
	b = with_version(1);
	EXPECT_EQ(-1, wr(b, 0x38f, 0));
	EXPECT_EQ(-1, wr(b, 0x38d, 0));
	EXPECT_EQ(-1, wr(b, 0x390, 0));
	bench_free(b);
}

TEST(status_set_and_reset)
{
	struct bench *b = bench_new(8, 4);

	EXPECT_EQ(0, wr(b, 0x391, 0x100000003ull | 1ull << 62 | 1ull << 58));
	EXPECT_EQ(0x100000003ull | 1ull << 62 | 1ull << 58, rd(b, 0x38e));
	EXPECT_EQ(0, wr(b, 0x390, 0x1));
	EXPECT_EQ(0x100000002ull | 1ull << 62 | 1ull << 58, rd(b, 0x38e));
	EXPECT_EQ(0, rd(b, 0x390));
	EXPECT_EQ(0, rd(b, 0x391));
	EXPECT_EQ(0, b->overflows); /* setting a bit is no overflow */
	bench_free(b);
}

TEST(rdpmc_encodings)
{
	struct bench *b = bench_new(8, 4);
	u64 v;

	wr(b, 0x4c8, 77);
	wr(b, 0x30c, 33);
	EXPECT_EQ(0, hwpmu_rdpmc(&b->pcpu.pmu, 7, &v));
	EXPECT_EQ(77, v);
	EXPECT_EQ(0, hwpmu_rdpmc(&b->pcpu.pmu, 0x40000003, &v));
	EXPECT_EQ(33, v);
	EXPECT_EQ(-1, hwpmu_rdpmc(&b->pcpu.pmu, 8, &v));
	EXPECT_EQ(-1, hwpmu_rdpmc(&b->pcpu.pmu, 0x40000004, &v));
	EXPECT_EQ(-1, hwpmu_rdpmc(&b->pcpu.pmu, 0x80000000, &v));
	EXPECT_EQ(-1, hwpmu_rdpmc(&b->pcpu.pmu, 0x20000000, &v));
	EXPECT_EQ(-1, hwpmu_rdpmc(&b->pcpu.pmu, 0x40010000, &v));
	EXPECT_EQ(-1, rdpmc_ecx_to_idx(0, 0, 0));
	bench_free(b);
}

TEST(reset_enables_the_gp_counters_globally)
{
	struct bench *b = bench_new(8, 4);

	EXPECT_EQ(0xff, rd(b, 0x38f));
	EXPECT_EQ(0, rd(b, 0x38d));
	EXPECT_EQ(0, rd(b, 0x186));
	bench_free(b);
}

TEST(counting_follows_all_three_switches)
{
	struct bench *b = bench_new(8, 4);

	wr(b, 0x38f, 1);
	wr(b, 0x186, 0xc0 | OS);
	bench_count(b, EVENT_INSTRUCTIONS, 10); /* EN is off */
	EXPECT_EQ(0, rd(b, 0x4c1));
	wr(b, 0x186, 0xc0 | OS | EN);
	bench_count(b, EVENT_INSTRUCTIONS, 5);
	EXPECT_EQ(5, rd(b, 0x4c1));
	b->guest.count[PRIV_USR][EVENT_INSTRUCTIONS] += 100; /* not asked for */
	EXPECT_EQ(5, rd(b, 0xc1));
	wr(b, 0x38f, 0);
	bench_count(b, EVENT_INSTRUCTIONS, 100);
	EXPECT_EQ(5, rd(b, 0x4c1));
	wr(b, 0x38f, 1);
	bench_count(b, EVENT_INSTRUCTIONS, 2);
	EXPECT_EQ(7, rd(b, 0x4c1));
	/* Neither USR nor OS: nothing. */
	wr(b, 0x186, 0xc0 | EN);
	bench_count(b, EVENT_INSTRUCTIONS, 100);
	EXPECT_EQ(7, rd(b, 0x4c1));
	bench_free(b);
}

TEST(a_write_while_counting_counts_on_from_there)
{
	struct bench *b = bench_new(8, 4);

	wr(b, 0x38f, 1);
	wr(b, 0x186, 0xc0 | OS | EN);
	bench_count(b, EVENT_INSTRUCTIONS, 50);
	wr(b, 0x4c1, 1000);
	EXPECT_EQ(1000, rd(b, 0x4c1));
	bench_count(b, EVENT_INSTRUCTIONS, 1);
	EXPECT_EQ(1001, rd(b, 0x4c1));
	bench_free(b);
}

TEST(fixed_counters_count_their_events)
{
	struct bench *b = bench_new(8, 4);

	wr(b, 0x38d, 0x111);
	wr(b, 0x38f, FIXED(0) | FIXED(1) | FIXED(2));
	bench_count(b, EVENT_INSTRUCTIONS, 3);
	bench_cycles(b, 10);
	EXPECT_EQ(3, rd(b, 0x309));
	EXPECT_EQ(10, rd(b, 0x30a));
	EXPECT_EQ(20, rd(b, 0x30b)); /* two reference cycles a cycle */
	bench_free(b);
}

/* Fixed 2's encoding is a name of perf's; event 0 on a GP counter counts nothing. The same goes
 * for a load event on a counter behind GP 3: the data says it cannot run there. */
TEST(an_event_counts_only_where_it_can_run)
{
	struct bench *b = bench_new(8, 4);

	wr(b, 0x38f, 0xff);
	wr(b, 0x186, 0x300 | OS | EN);
	wr(b, 0x18b, 0x1d1 | OS | EN);
	wr(b, 0x187, 0x1d1 | OS | EN);
	bench_cycles(b, 10);
	bench_count(b, EVENT_LOADS, 7);
	EXPECT_EQ(0, rd(b, 0x4c1));
	EXPECT_EQ(7, rd(b, 0x4c2));
	EXPECT_EQ(0, rd(b, 0x4c6));
	bench_free(b);
}

TEST(overflow_sets_status_and_asks_for_a_pmi_if_int)
{
	struct bench *b = bench_new(8, 4);
	struct cpu_room room;

	wr(b, 0x38f, 3);
	wr(b, 0x4c1, MASK48 - 9); /* ten to go */
	wr(b, 0x4c2, MASK48 - 9);
	wr(b, 0x186, 0xc0 | OS | EN | INT);
	wr(b, 0x187, 0xc0 | OS | EN);
	cpu_room_unlimited(&room);
	hwpmu_room(&b->pcpu.pmu, PRIV_OS, &room);
	EXPECT_EQ(10, room.events[EVENT_INSTRUCTIONS]);
	cpu_room_unlimited(&room);
	hwpmu_room(&b->pcpu.pmu, PRIV_USR, &room);
	EXPECT_EQ(0, room.watched);
	bench_count(b, EVENT_INSTRUCTIONS, 9);
	EXPECT_TRUE(!hwpmu_land(&b->pcpu.pmu));
	EXPECT_EQ(0, rd(b, 0x38e));
	bench_count(b, EVENT_INSTRUCTIONS, 1);
	EXPECT_TRUE(hwpmu_land(&b->pcpu.pmu));
	EXPECT_EQ(3, rd(b, 0x38e));
	EXPECT_EQ(1, b->overflow_mask);
	EXPECT_EQ(0, rd(b, 0x4c1));
	/* Once. */
	EXPECT_TRUE(!hwpmu_land(&b->pcpu.pmu));
	EXPECT_EQ(1, b->overflows);
	bench_free(b);
}

/* Running counters of the event at the privilege, without a threshold: GP 0 and fixed 0 of these. */
TEST(an_erratum_adds_to_the_counters_it_names)
{
	struct bench *b = bench_new(8, 4);
	struct hwpmu *pmu = &b->pcpu.pmu;

	wr(b, 0x38f, FIXED(0) | 0x1f);
	wr(b, 0x186, 0xc0 | OS | EN | INT);
	wr(b, 0x187, 0xc0 | ARCH_PERFMON_EVENTSEL_USR | EN); /* the other privilege */
	wr(b, 0x188, 0xc4 | OS | EN);			     /* another event */
	wr(b, 0x189, 0xc0 | OS | EN | 1ull << 24);	     /* a threshold */
	wr(b, 0x18a, 0xc0 | OS);			     /* off */
	wr(b, 0x38d, 1);
	wr(b, 0x4c1, MASK48 - 9); /* ten to go */
	bench_count(b, EVENT_INSTRUCTIONS, 4);
	EXPECT_EQ(FIXED(0) | 1, hwpmu_overcount(pmu, EVENT_INSTRUCTIONS, PRIV_OS, 5));
	EXPECT_EQ(MASK48, rd(b, 0x4c1)); /* 4 counted and 5 added: one to go */
	EXPECT_EQ(9, rd(b, 0x309));
	for (u32 msr = 0x4c2; msr <= 0x4c5; msr++)
		EXPECT_EQ(0, rd(b, msr));
	EXPECT_EQ(0, rd(b, 0x38e));
	EXPECT_EQ(FIXED(0) | 1, hwpmu_overcount(pmu, EVENT_INSTRUCTIONS, PRIV_OS, 3));
	EXPECT_EQ(2, rd(b, 0x4c1));
	EXPECT_EQ(1, rd(b, 0x38e));
	EXPECT_EQ(1, b->overflow_mask);
	EXPECT_EQ(0, hwpmu_overcount(pmu, EVENT_BRANCHES, PRIV_USR, 3));
	bench_free(b);
}

/* Whoever stops or rewrites a counter that has wrapped must not lose the overflow: cycles are also
 * charged where nobody lands (delivery of an event right before an exit, the host's own work). */
TEST(an_overflow_survives_a_stop_before_the_landing)
{
	struct bench *b = bench_new(8, 4);

	wr(b, 0x38f, 1);
	wr(b, 0x4c1, MASK48 - 9);
	wr(b, 0x186, 0x3c | OS | EN | INT);
	bench_cycles(b, 12);
	wr(b, 0x38f, 0);
	EXPECT_EQ(2, rd(b, 0x4c1));
	EXPECT_EQ(1, rd(b, 0x38e));
	EXPECT_EQ(1, b->overflows);
	bench_free(b);
}

TEST(inuse_says_what_is_programmed)
{
	struct bench *b = bench_new(8, 4);

	EXPECT_EQ(0, rd(b, 0x392));
	wr(b, 0x187, 0x3c);
	wr(b, 0x38d, 0x10);
	EXPECT_EQ(2 | FIXED(1), rd(b, 0x392));
	wr(b, 0x187, 0x3c | INT);
	EXPECT_EQ(2 | FIXED(1) | 1ull << 63, rd(b, 0x392));
	bench_free(b);
}

TEST_MAIN()
