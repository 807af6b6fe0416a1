// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_writes.c - counters, selectors and controls that are read and written while they count.
 *
 * A write takes effect before it retires: behind WRMSR to a counter of instructions stands the value
 * and 1; the WRMSR that starts is counted, the one that stops is not. RDPMC and RDMSR read before
 * they retire.
 */
#include "pmu.h"

#define INSTRUCTIONS 0x00c0
#define BRANCHES arch_events[EVENT_BRANCHES].encoding

/* A write of RDI to the MSR in ESI: 5 instructions, the last of which writes. */
#define WRITE_RDI                                                                                  \
	"	movl	%%esi, %%ecx\n"                                                                     \
	"	movl	%%edi, %%eax\n"                                                                     \
	"	movq	%%rdi, %%rdx\n"                                                                     \
	"	shrq	$32, %%rdx\n"                                                                       \
	"	wrmsr\n"
#define NOPS "	.rept 50\n	nop\n	.endr\n"

/* 50 NOPs and a write, 50 NOPs: what was before is gone, what comes behind is on top. */
static void check_write(u32 index, u64 value)
{
	bool right;

	pmu_clear();
	set_counter(index, INSTRUCTIONS | SEL_OS);
	write_counter(index, 12345);
	count_stretch(stretch_of(1ull << index), NOPS WRITE_RDI NOPS, counter_msr(index), value);
	right = step(read_counter(index), (value + 1 + 50 + 3) & counter_mask(index),
		     "%s counter %u written with %x", counter_kind(index), counter_number(index),
		     value);
	if (pmu.global)
		right &= step(rdmsr(pmu.msr_status),
			      value + 1 + 50 + 3 > counter_mask(index) ? 1ull << index : 0,
			      "status behind it");
	expect_true(right, "%s counter %u: %x written while it counts", counter_kind(index),
		    counter_number(index), value);
}

static void check_writes(void)
{
	for (u32 i = 0; i < pmu.nr_gp; i++) {
		check_write(i, 0);
		check_write(i, pmu.gp_mask - 19); /* wraps */
		check_write(i, 1000);
	}
	if (pmu.nr_fixed) {
		check_write(FIXED_INDEX, 0);
		check_write(FIXED_INDEX, pmu.fixed_mask - 19);
		check_write(FIXED_INDEX, 1ull << 40);
	}
}

/* Time that is written while it passes: not below what was written, and not far above. */
static void check_time(void)
{
	for (u32 i = 1; i < pmu.nr_fixed; i++) {
		u32 index = FIXED_INDEX + i;

		pmu_clear();
		set_counter(index, SEL_OS);
		count_stretch(stretch_of(1ull << index), NOPS WRITE_RDI NOPS, counter_msr(index),
			      1ull << 32);
		expect_between(read_counter(index), 1ull << 32, (1ull << 32) + 10000,
			       "fixed counter %u written while it counts", (u64)i);
	}
}

/* Reading while it counts, by both ways, leaves it alone. */
static void check_reads(void)
{
	u64 first, second, third;

	pmu_clear();
	set_counter(0, INSTRUCTIONS | SEL_OS);
	write_counter(0, 0);
	/*
	 * Behind the WRMSR (1): mov (2), RDPMC reads 2; shl, or, mov, mov (7), RDMSR reads 7; shl,
	 * or, mov, mov (12), RDPMC reads 12.
	 */
	__asm__ volatile("wrmsr\n\t"
			 "movl %%esi, %%ecx\n\t"
			 "rdpmc\n\t"
			 "shlq $32, %%rdx\n\t"
			 "orq %%rdx, %%rax\n\t"
			 "movq %%rax, %%r8\n\t"
			 "movl %%edi, %%ecx\n\t"
			 "rdmsr\n\t"
			 "shlq $32, %%rdx\n\t"
			 "orq %%rdx, %%rax\n\t"
			 "movq %%rax, %%r9\n\t"
			 "movl %%esi, %%ecx\n\t"
			 "rdpmc\n\t"
			 "shlq $32, %%rdx\n\t"
			 "orq %%rdx, %%rax\n\t"
			 "movq %%r8, %%rsi\n\t"
			 "movq %%r9, %%rdi\n\t"
			 : "=a"(third), "=S"(first), "=D"(second)
			 : "a"((u32)stretch_of(1).value), "d"(0), "c"(stretch_of(1).msr), "S"(0),
			   "D"(counter_msr(0))
			 : "r8", "r9", "memory", "cc");
	pmu_clear();
	expect(first, 2, "RDPMC while it counts");
	expect(second, 7, "RDMSR while it counts");
	expect(third, 12, "RDPMC again");
}

/* A selector starts, stops and changes what is counted; the value goes on. */
static void check_selector(void)
{
	pmu_clear();
	if (pmu.global)
		wrmsr(pmu.msr_global_ctrl, 1);
	count_stretch(((struct stretch){selector_msr(0), INSTRUCTIONS | SEL_OS | SEL_EN}), NOPS, 0,
		      0);
	expect(read_counter(0), FRAME + 50, "a selector starts and stops");
	/* FRAME + 50 stand there; then WRMSR, 50 NOPs, 4 movs count, then branches. */
	count_stretch(((struct stretch){selector_msr(0), INSTRUCTIONS | SEL_OS | SEL_EN}),
		      NOPS WRITE_RDI ".rept 20\n jmp 1f\n1:\n .endr\n", selector_msr(0),
		      BRANCHES | SEL_OS | SEL_EN);
	expect(read_counter(0), FRAME + 50 + 1 + 50 + 4 + 20,
	       "a new event counts on from the value of the old one");
	count_stretch(((struct stretch){selector_msr(0), INSTRUCTIONS | SEL_OS | SEL_EN}),
		      NOPS WRITE_RDI NOPS, selector_msr(0), INSTRUCTIONS | SEL_OS | SEL_EN);
	expect(read_counter(0), FRAME + 50 + 1 + 50 + 4 + 20 + FRAME + 50 + 5 + 50,
	       "the same selector again changes nothing");
}

static void check_fixed_control(void)
{
	if (!pmu.nr_fixed)
		return;
	pmu_clear();
	wrmsr(MSR_GLOBAL_CTRL, 1ull << FIXED_INDEX);
	count_stretch(((struct stretch){MSR_FIXED_CTR_CTRL, FIXED_OS}), NOPS, 0, 0);
	expect(read_counter(FIXED_INDEX), FRAME + 50, "FIXED_CTR_CTRL starts and stops");
	if (pmu.nr_fixed < 2)
		return;
	/* A neighbour's field changes: fixed 0 counts on. */
	count_stretch(((struct stretch){MSR_FIXED_CTR_CTRL, FIXED_OS}), NOPS WRITE_RDI NOPS,
		      MSR_FIXED_CTR_CTRL, FIXED_OS | FIXED_OS << 4);
	expect(read_counter(FIXED_INDEX), FRAME + 50 + FRAME + 50 + 5 + 50,
	       "and leaves the neighbours alone");
}

/* Off and on again and again: nothing gets lost between. */
static void check_toggling(void)
{
	struct stretch s;

	pmu_clear();
	for (u32 i = 0; i < pmu.nr_gp; i++)
		set_counter(i, INSTRUCTIONS | SEL_OS);
	if (pmu.nr_fixed)
		set_counter(FIXED_INDEX, SEL_OS);
	s = stretch_of(pmu.all);
	for (u32 i = 0; i < 100; i++)
		count_stretch(s, NOPS, 0, 0);
	for (u32 i = 0; i < pmu.nr_gp && (pmu.global || !i); i++)
		step(read_counter(i), 100 * (FRAME + 50), "GP counter %u toggled", (u64)i);
	expect(read_counter(pmu.nr_fixed ? FIXED_INDEX : 0), 100 * (FRAME + 50),
	       "100 times on and off");
}

void image_main(void)
{
	pmu_init();
	check_writes();
	check_time();
	check_reads();
	check_selector();
	check_fixed_control();
	check_toggling();
}
