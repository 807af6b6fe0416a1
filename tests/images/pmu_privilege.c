// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_privilege.c - the USR and OS bits of every counter: code of the kernel, of user mode, and the
 * transitions between them.
 *
 * A stretch goes to user mode and comes back:
 *
 *	kernel	WRMSR; mov, 5 pushes, mov, IRETQ; behind INT: mov, JMP; 3 and the WRMSR that stops
 *	user	ROUNDS times DECQ and JNZ, then INT
 *
 * A transition counts at the privilege in which it began, as a branch. So
 *
 *	kernel	FRAME + 8 + 2 instructions, 2 branches (IRETQ, JMP), 1 branch miss (the indirect
 *		JMP goes where it never went since predictions were forgotten)
 *	user	2 * ROUNDS + 1 instructions, ROUNDS + 1 branches, 2 branch misses (first and last JNZ)
 */
#include "pmu.h"

#define ROUNDS 300
#define BACK_VECTOR 0x81

#define KERNEL_INSTRUCTIONS (FRAME + 8 + 2)
#define USER_INSTRUCTIONS (2 * ROUNDS + 1)

extern const u8 back_to_kernel[];
static u8 trap_stack[4096] __attribute__((aligned(16)));

/* From CPL 3 by INT, to where R14 points, on the stack that user code had. */
__asm__("	.text\n"
	"back_to_kernel:\n"
	"	movq	24(%rsp), %rsp\n"
	"	jmp	*%r14\n");

#define THERE_AND_BACK                                                                             \
	"	movq	%%rsp, %%rax\n"                                                                     \
	"	pushq	$0x23\n"                                                                           \
	"	pushq	%%rax\n"                                                                           \
	"	pushq	$2\n"                                                                              \
	"	pushq	$0x2b\n"                                                                           \
	"	pushq	$1f\n"                                                                             \
	"	movl	$3f, %%r14d\n"                                                                      \
	"	iretq\n"                                                                                 \
	"1:	decq	%%rsi\n"                                                                          \
	"	jnz	1b\n"                                                                                \
	"	int	$0x81\n"                                                                             \
	"3:\n"

_Static_assert(USER_DS == 0x23 && USER_CS == 0x2b && BACK_VECTOR == 0x81, "numbers above");

/* The first look makes sure that a PMU which is loaded on demand is there: the write that starts the
 * counters then takes the same time in each run. */
static void run(u64 counters)
{
	read_counter(0);
	wrmsr(MSR_PRED_CMD, 1);
	count_stretch(stretch_of(counters), THERE_AND_BACK, ROUNDS, 0);
}

static u64 expected(enum arch_event event, u64 filter)
{
	u64 total = 0;

	switch (event) {
	case EVENT_INSTRUCTIONS:
		total += filter & SEL_OS ? KERNEL_INSTRUCTIONS : 0;
		total += filter & SEL_USR ? USER_INSTRUCTIONS : 0;
		return total;
	case EVENT_BRANCHES:
		total += filter & SEL_OS ? 2 : 0;
		total += filter & SEL_USR ? ROUNDS + 1 : 0;
		return total;
	case EVENT_BRANCH_MISSES:
		total += filter & SEL_OS ? 1 : 0;
		total += filter & SEL_USR ? 2 : 0;
		return total;
	default: return 0;
	}
}

static const struct {
	u64 bits;
	const char *name;
} filters[] = {
	{0, "neither"},
	{SEL_OS, "OS"},
	{SEL_USR, "USR"},
	{SEL_OS | SEL_USR, "OS and USR"},
};

static void check_counter(u32 index, enum arch_event event)
{
	bool right = true;

	for (u32 i = 0; i < ARRAY_SIZE(filters); i++) {
		pmu_clear();
		set_counter(index, arch_events[event].encoding | filters[i].bits);
		run(1ull << index);
		right &= step(read_counter(index), expected(event, filters[i].bits),
			      "%s on %s counter %u with %s", arch_events[event].name,
			      counter_kind(index), counter_number(index), filters[i].name);
	}
	expect_true(right, "%s counter %u, %s: neither, OS, USR, both", counter_kind(index),
		    counter_number(index), arch_events[event].name);
}

/* Time of the kernel and time of user code are all the time, but for the rounding of each. */
static void check_time(void)
{
	u64 os, usr, both;

	if (pmu.nr_gp < 3) {
		print("# fewer than three GP counters: time is not compared\n");
		return;
	}
	pmu_clear();
	set_counter(0, arch_events[EVENT_CYCLES].encoding | SEL_OS);
	set_counter(1, arch_events[EVENT_CYCLES].encoding | SEL_USR);
	set_counter(2, arch_events[EVENT_CYCLES].encoding | SEL_OS | SEL_USR);
	run(7);
	os = read_counter(0);
	usr = read_counter(1);
	both = read_counter(2);
	/* Each is the difference of two rounded totals, so off by less than 1. */
	expect_between(both, os + usr - 2, os + usr + 2, "cycles of OS and USR add up");
	expect_true(os && usr, "both have some");
	for (u32 i = 1; i < pmu.nr_fixed; i++) {
		u64 seen[ARRAY_SIZE(filters)];

		for (u32 j = 0; j < ARRAY_SIZE(filters); j++) {
			pmu_clear();
			set_counter(FIXED_INDEX + i, filters[j].bits);
			run(1ull << (FIXED_INDEX + i));
			seen[j] = read_counter(FIXED_INDEX + i);
		}
		expect(seen[0], 0, "fixed counter %u with neither", (u64)i);
		/* Likewise, of three runs. */
		expect_between(seen[3], seen[1] + seen[2] - 2, seen[1] + seen[2] + 2,
			       "fixed counter %u: OS and USR add up", (u64)i);
		expect_true(seen[1] && seen[2], "both have some");
	}
}

void image_main(void)
{
	pmu_init();
	tss.rsp[0] = (uintptr_t)(trap_stack + sizeof(trap_stack));
	set_gate(BACK_VECTOR, back_to_kernel, GATE_INTERRUPT | GATE_USER, 0);
	for (u32 i = 0; i < pmu.nr_gp; i++) {
		check_counter(i, EVENT_INSTRUCTIONS);
		check_counter(i, EVENT_BRANCHES);
		check_counter(i, EVENT_BRANCH_MISSES);
	}
	if (pmu.nr_fixed)
		check_counter(FIXED_INDEX, EVENT_INSTRUCTIONS);
	if (pmu.global)
		check_time();
}
