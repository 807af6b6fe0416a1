/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_idle.c - loops that wait, over more iterations than anybody could execute: that these
 * tests end shows that the iterations were skipped, and what they counted is derived.
 *
 * Costs of test_cpu_guest.h: 16 subcycles an instruction, PAUSE 640, a branch miss 960. A
 * conditional branch starts as weakly not taken: the first of many taken ones and the last one, which
 * is not taken, miss.
 */
#include "test_cpu_guest.h"

#define SIMPLE 16ull
#define PAUSE 640ull
#define MISS 960ull
#define MANY (1ull << 39) /* a budget of guest_run() is 2^40 */

CODE(loop, "1: loop 1b; hlt");
CODE(loop32, "1: addr32 loop 1b; hlt");
CODE(pause_loop, "1: pause; loop 1b; hlt");
CODE(dec, "stc; 1: dec %r9; jnz 1b; hlt");
CODE(count_up, "1: add $1, %r10d; cmp $0x7fffffff, %r10d; jne 1b; hlt");
CODE(count_down, "1: pause; sub $1, %rdx; test %rdx, %rdx; nop; jne 1b; hlt");
CODE(forever, "1: pause; jmp 1b");
CODE(spin, "mov $0, %ebx; 1: pause; mov 0x100000, %eax; cmp %ebx, %eax; je 1b; hlt");
CODE(increment, "incl 0x100000; iretq");
CODE(two_counters, "1: inc %eax; cmp $0, %edx; jne 1b; hlt");

static struct guest *start(const u8 *code, const u8 *end)
{
	struct guest *g = guest_new();

	guest_bytes(g, CODE_AT, code, end);
	return g;
}
#define START(name) start(code_##name, code_##name##_end)

static u64 os_total(const struct guest *g, unsigned int e)
{
	return guest_total(g, PRIV_OS, e);
}

/* An iteration has @insns instructions that cost @sub, one of them a branch; then there is a HLT. */
static void expect_loop(const struct guest *g, u64 iterations, u64 insns, u64 sub)
{
	EXPECT_EQ(iterations * insns + 1, os_total(g, EVENT_INSTRUCTIONS));
	EXPECT_EQ(iterations, os_total(g, EVENT_BRANCHES));
	EXPECT_EQ(2, os_total(g, EVENT_BRANCH_MISSES));
	EXPECT_EQ(iterations * sub + SIMPLE + 2 * MISS, cpu_totals(g->cpu)->sub[PRIV_OS]);
}

TEST(loop_comes_to_its_end)
{
	struct guest *g = START(loop);

	cpu_set_reg(g->cpu, CPU_RCX, MANY);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	expect_loop(g, MANY, 1, SIMPLE);
	EXPECT_EQ(0, cpu_reg(g->cpu, CPU_RCX));
	guest_free(g);
}

/* The counter is ECX; its first decrement clears the upper half. ECX = 0 is 2^32 iterations. */
TEST(loop_with_32_bit_addresses_counts_in_ecx)
{
	struct guest *g = START(loop32);

	cpu_set_reg(g->cpu, CPU_RCX, 0xdeadbeef00000000ull);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	expect_loop(g, 1ull << 32, 1, SIMPLE);
	EXPECT_EQ(0, cpu_reg(g->cpu, CPU_RCX));
	guest_free(g);
}

TEST(pause_and_loop)
{
	struct guest *g = START(pause_loop);

	cpu_set_reg(g->cpu, CPU_RCX, MANY);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	expect_loop(g, MANY, 2, SIMPLE + PAUSE);
	guest_free(g);
}

/* DEC leaves CF alone. At the end: CF (of STC), ZF, PF. STC is one instruction more. */
TEST(dec_and_jnz_leave_the_flags_of_the_last_iteration)
{
	struct guest *g = START(dec);

	cpu_set_reg(g->cpu, CPU_R9, MANY);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(2 * MANY + 2, os_total(g, EVENT_INSTRUCTIONS));
	EXPECT_EQ(MANY, os_total(g, EVENT_BRANCHES));
	EXPECT_EQ(0, cpu_reg(g->cpu, CPU_R9));
	EXPECT_EQ(0x47, cpu_rflags(g->cpu));
	guest_free(g);
}

/* From 5 to 2^31 - 1. CMP of equal values: ZF and PF. */
TEST(counting_up_to_a_value)
{
	struct guest *g = START(count_up);

	cpu_set_reg(g->cpu, CPU_R10, 0x1234567800000005ull);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	expect_loop(g, 0x7fffffff - 5, 3, 3 * SIMPLE);
	EXPECT_EQ(0x7fffffff, cpu_reg(g->cpu, CPU_R10));
	EXPECT_EQ(0x46, cpu_rflags(g->cpu));
	guest_free(g);
}

TEST(counting_down_with_a_test_between)
{
	struct guest *g = START(count_down);

	cpu_set_reg(g->cpu, CPU_RDX, MANY);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	expect_loop(g, MANY, 5, 4 * SIMPLE + PAUSE);
	EXPECT_EQ(0, cpu_reg(g->cpu, CPU_RDX));
	guest_free(g);
}

/* Odd counts of instructions stand behind PAUSE, even ones behind JMP. */
TEST(a_limit_is_reached_on_its_instruction)
{
	static const u64 goals[] = {1000000000001, 1000000000002, 1, 2, 3};

	for (unsigned int n = 0; n < ARRAY_SIZE(goals); n++) {
		struct guest *g = START(forever);
		u64 goal = goals[n];

		g->goal[PRIV_OS][EVENT_INSTRUCTIONS] = goal;
		g->stop_on_land = true;
		EXPECT_EQ(CPU_STOP_EVENT, guest_run(g));
		EXPECT_EQ(goal, os_total(g, EVENT_INSTRUCTIONS));
		EXPECT_EQ(goal / 2, os_total(g, EVENT_BRANCHES));
		EXPECT_EQ(CODE_AT + (goal & 1 ? 2 : 0), cpu_rip(g->cpu));
		EXPECT_EQ((goal + 1) / 2 * PAUSE + goal / 2 * SIMPLE,
			  cpu_totals(g->cpu)->sub[PRIV_OS]);
		guest_free(g);
	}
}

/* Time: the first boundary at or behind the deadline. An iteration takes 656, its PAUSE 640. */
TEST(a_deadline_is_reached_on_its_instruction)
{
	static const struct {
		u64 deadline, instructions;
	} cases[] = {
		{MANY * 656, MANY * 2},
		{MANY * 656 + 1, MANY * 2 + 1},
		{MANY * 656 + 640, MANY * 2 + 1},
		{MANY * 656 + 641, MANY * 2 + 2},
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(cases); n++) {
		struct guest *g = START(forever);

		g->goal_sub[PRIV_OS] = cases[n].deadline;
		g->stop_on_land = true;
		EXPECT_EQ(CPU_STOP_EVENT, guest_run(g));
		EXPECT_EQ(cases[n].instructions, os_total(g, EVENT_INSTRUCTIONS));
		guest_free(g);
	}
}

TEST(an_iteration_is_a_block_of_the_budget)
{
	struct guest *g = START(forever);
	u64 budget = 1000000000007;

	EXPECT_EQ(CPU_STOP_BUDGET, cpu_run(g->cpu, &budget));
	EXPECT_EQ(0, budget);
	EXPECT_EQ(1000000000007, os_total(g, EVENT_BRANCHES));
	EXPECT_EQ(CODE_AT, cpu_rip(g->cpu));
	guest_free(g);
}

/*
 * A flag in memory, which the handler of an interrupt changes: MOV, then iterations of four
 * instructions with one load, on a line that is cold once. The interrupt comes at the deadline.
 */
TEST(a_flag_that_an_interrupt_changes_ends_a_spin)
{
	struct guest *g = START(spin);
	u64 spun;

	guest_code(g, HANDLER_AT, increment);
	guest_gate(g, 0x30, HANDLER_AT, 0, 0);
	g->goal[PRIV_OS][EVENT_INSTRUCTIONS] = 1 + 4 * MANY + 2; /* behind the load */
	g->stop_on_land = true;
	EXPECT_EQ(CPU_STOP_EVENT, guest_run(g));
	EXPECT_EQ(MANY + 1, os_total(g, EVENT_LOADS));
	EXPECT_EQ(1, os_total(g, EVENT_LLC_MISSES));
	EXPECT_EQ(1, os_total(g, EVENT_BRANCH_MISSES));
	spun = os_total(g, EVENT_INSTRUCTIONS);
	cpu_inject(g->cpu, CPU_EVENT_IRQ, 0x30, -1);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	/* INC, IRETQ; CMP and JE of the old value, an iteration with the new one, HLT */
	EXPECT_EQ(spun + 2 + 2 + 4 + 1, os_total(g, EVENT_INSTRUCTIONS));
	EXPECT_EQ(2, os_total(g, EVENT_BRANCH_MISSES));
	EXPECT_EQ(1, cpu_reg(g->cpu, CPU_RAX));
	guest_free(g);
}

/* What is counted is not what is compared: the loop is no idle loop of either kind. */
TEST(a_loop_that_changes_another_register_is_executed)
{
	struct guest *g = START(two_counters);
	u64 budget = 5000;

	cpu_set_reg(g->cpu, CPU_RDX, 1);
	EXPECT_EQ(CPU_STOP_BUDGET, cpu_run(g->cpu, &budget));
	EXPECT_EQ(5000, cpu_reg(g->cpu, CPU_RAX));
	EXPECT_EQ(15000, os_total(g, EVENT_INSTRUCTIONS));
	guest_free(g);
}

TEST_MAIN()
