/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_work.c - the `work` instruction: exact floors, however it is cut; exits of a profile.
 */
#include "test_cpu_guest.h"

#define NAMED_EVENT (NR_BASE_EVENTS + 3)
#define RATE_ONE (1u << 20)

static const struct cpu_profile profiles[] = {
	{.id = 1,
	 .rate = {[EVENT_BRANCHES] = 200000,
		  [EVENT_LOADS] = 350001,
		  [EVENT_STORES] = 100003,
		  [EVENT_BRANCH_MISSES] = 3001,
		  [EVENT_LLC_REFERENCES] = 1009,
		  [EVENT_LLC_MISSES] = 77,
		  [EVENT_CYCLES] = 700001,
		  [NAMED_EVENT] = 12345},
	 .nr_exits = 2,
	 .exits = {{.reason = 10, .rate = 1000}, {.reason = 32, .rate = 1700}}},
	{.id = 7, .rate = {[EVENT_CYCLES] = 3 * RATE_ONE, [EVENT_LOADS] = 2 * RATE_ONE}},
	/* Both exits at the same instructions. */
	{.id = 9,
	 .rate = {[EVENT_CYCLES] = RATE_ONE, [EVENT_LOADS] = RATE_ONE},
	 .nr_exits = 2,
	 .exits = {{.reason = 1, .rate = RATE_ONE / 4}, {.reason = 2, .rate = RATE_ONE / 4}}},
};

#define WORK ".byte 0x0f, 0x1f, 0x80, 0x01, 0x55, 0x4d, 0x50\n"
CODE(work, "mov $1, %eax\n"
	   "mov $1234567, %ecx\n" WORK "nop\n"
	   "mov $1000, %ecx\n" WORK "mov $7, %eax\n"
	   "mov $10, %ecx\n" WORK "mov %rcx, %rdx\n"
	   "mov $55, %eax\n" /* no such profile: a NOP */
	   "mov $1000, %ecx\n" WORK "mov %rcx, %rsi\n"
	   "mov $1, %eax\n"
	   "xor %ecx, %ecx\n" WORK /* nothing to do: nothing retires */
	   "hlt\n");
#define REAL_INSNS 14u
#define WORK_1 (1234567u + 1000u)
#define WORK_7 10u

static u64 floor_of(u64 n, u64 rate)
{
	return (u64)((u128)n * rate >> 20);
}

static struct guest *work_guest(void)
{
	struct guest *g = guest_new_with(profiles, ARRAY_SIZE(profiles));

	guest_code(g, CODE_AT, work);
	return g;
}

static void expect_totals(const struct guest *g, u64 skipped)
{
	const struct cpu_profile *p = &profiles[0];
	u64 sub = (floor_of(WORK_1, p->rate[EVENT_CYCLES]) + 3 * WORK_7) * SUB_PER_CYCLE +
		  REAL_INSNS * 16;

	EXPECT_EQ(REAL_INSNS + WORK_1 + WORK_7 - skipped,
		  guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(skipped, cpu_skipped(g->cpu)->instructions[PRIV_OS]);
	for (unsigned int e = EVENT_BRANCHES; e < NR_EVENTS; e++) {
		u64 want = floor_of(WORK_1, p->rate[e]) + (e == EVENT_LOADS ? 2 * WORK_7 : 0);

		if (!event_is_derived(e))
			EXPECT_EQ(want, guest_total(g, PRIV_OS, e));
	}
	EXPECT_EQ(sub, cpu_totals(g->cpu)->sub[PRIV_OS]);
	EXPECT_EQ(0, cpu_reg(g->cpu, CPU_RDX));
	EXPECT_EQ(1000, cpu_reg(g->cpu, CPU_RSI));
}

TEST(work_counts_floors)
{
	struct guest *g = work_guest();
	u64 budget = 1000;

	EXPECT_EQ(CPU_STOP_HALT, cpu_run(g->cpu, &budget));
	EXPECT_TRUE(budget > 980); /* O(1), however long */
	expect_totals(g, 0);
	guest_free(g);
}

TEST(work_lands_exactly)
{
	static const int events[] = {
		EVENT_INSTRUCTIONS,  EVENT_BRANCHES,   EVENT_LOADS, EVENT_STORES,
		EVENT_BRANCH_MISSES, EVENT_LLC_MISSES, NAMED_EVENT, -1};

	for (unsigned int k = 0; k < ARRAY_SIZE(events); k++) {
		int e = events[k];
		struct guest *g = work_guest();
		u64 step = e < 0 ? 64000 : e == EVENT_LLC_MISSES ? 10 : 397;

		if (e < 0) {
			g->goal_sub[PRIV_OS] = step;
			g->step_sub = step;
		} else {
			g->goal[PRIV_OS][e] = step;
			g->step[e] = step;
		}
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		expect_totals(g, 0);
		EXPECT_TRUE(g->nr_landings > 5);
		for (u32 n = 0; n < g->nr_landings && !test_failed; n++) {
			const struct event_totals *t = &g->landings[n].totals;
			u64 v = e < 0 ? t->sub[PRIV_OS] : t->count[PRIV_OS][e];

			/* The goal is reached, and was not one instruction before. */
			EXPECT_TRUE(v >= step * (n + 1));
			EXPECT_TRUE(v < step * (n + 1) + (e < 0 ? 3 * SUB_PER_CYCLE : 2));
		}
		guest_free(g);
	}
}

/* Random limits cut the work anywhere; the totals do not notice. */
TEST(work_does_not_depend_on_cuts)
{
	u64 seed = 12345;

	for (unsigned int round = 0; round < 200 && !test_failed; round++) {
		struct guest *g = work_guest();

		for (unsigned int e = 0; e < NR_EVENTS; e++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			if (event_is_derived(e) || (seed >> 40 & 3))
				continue;
			g->step[e] = 100 + (seed >> 33) % 50000;
			g->goal[PRIV_OS][e] = g->step[e];
		}
		g->step_sub = 1000 + (seed >> 35);
		g->goal_sub[PRIV_OS] = g->step_sub;
		g->budget_slice = round % 4;
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		expect_totals(g, 0);
		guest_free(g);
	}
}

/* Each exit at its instruction; the host completes it; the totals are those without exits. */
static void run_with_exits(struct guest *g, struct cpu_intercept *in, u64 *exits)
{
	cpu_set_intercept(g->cpu, in);
	for (;;) {
		enum cpu_stop stop = guest_run(g);
		const struct cpu_exit *e = cpu_exit_info(g->cpu);

		if (stop == CPU_STOP_HALT)
			return;
		EXPECT_EQ(CPU_STOP_INTERCEPT, stop);
		EXPECT_EQ(CPU_INSN_WORK, e->insn);
		EXPECT_EQ(cpu_rip(g->cpu), e->rip);
		exits[e->reason]++;
		cpu_skip_insn(g->cpu);
		if (test_failed)
			return;
	}
}

TEST(work_exits)
{
	struct cpu_intercept *in = calloc(1, sizeof(*in));

	in->work = true;
	for (u64 slice = 0; slice < 3; slice++) {
		struct guest *g = work_guest();
		u64 exits[64] = {0};
		u64 want10 = floor_of(WORK_1, 1000), want32 = floor_of(WORK_1, 1700);

		g->budget_slice = slice;
		g->step[EVENT_LOADS] = 3001;
		g->goal[PRIV_OS][EVENT_LOADS] = 3001;
		run_with_exits(g, in, exits);
		EXPECT_EQ(want10, exits[10]);
		EXPECT_EQ(want32, exits[32]);
		expect_totals(g, want10 + want32);
		guest_free(g);
	}
	free(in);
}

CODE(coincide, "mov $9, %eax\nmov $22, %ecx\n" WORK "hlt");

TEST(two_exits_at_one_instruction)
{
	struct cpu_intercept *in = calloc(1, sizeof(*in));
	struct guest *g = work_guest();
	static const u64 at[] = {3, 4, 7, 8, 11, 12, 15, 16, 19, 20};

	in->work = true;
	guest_code(g, CODE_AT, coincide);
	cpu_set_intercept(g->cpu, in);
	for (unsigned int n = 0; n < ARRAY_SIZE(at); n++) {
		EXPECT_EQ(CPU_STOP_INTERCEPT, guest_run(g));
		EXPECT_EQ(1 + (n & 1), cpu_exit_info(g->cpu)->reason);
		EXPECT_EQ(at[n], 22 - cpu_reg(g->cpu, CPU_RCX));
		cpu_skip_insn(g->cpu);
	}
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(10, cpu_skipped(g->cpu)->instructions[PRIV_OS]);
	EXPECT_EQ(22, guest_total(g, PRIV_OS, EVENT_LOADS));
	EXPECT_EQ(3 + 12, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	guest_free(g);
	free(in);
}

TEST_MAIN()
