// SPDX-License-Identifier: Apache-2.0
/*
 * transactions.c - RTM. Without it, which is the default, its instructions are #UD and its bits of a
 * selector are reserved. With it (--set cpu.rtm=1) every transaction aborts, which the architecture
 * allows: XBEGIN goes to its fallback address, and the time of what was aborted can be told apart.
 *
 * The first line says what was found; it is the setting of the run that decides.
 */
#include "pmu.h"

#define SEL_IN_TX BIT_ULL(32)
#define SEL_IN_TXCP BIT_ULL(33)
#define ROUNDS 100
#define STARTED 0xffffffff /* EAX behind XBEGIN, in a transaction */

#define XEND ".byte 0x0f, 0x01, 0xd5\n"
#define XTEST ".byte 0x0f, 0x01, 0xd6\n"
#define XABORT ".byte 0xc6, 0xf8, 0x07\n"
/* With the fallback address right behind. */
#define XBEGIN ".byte 0xc7, 0xf8, 0, 0, 0, 0\n"

static void check_off(void)
{
	bool right = true;

	expect(attempt(XBEGIN, :: : "rax", "memory"), VECTOR_UD, "XBEGIN is #UD");
	expect(attempt(XEND, :: : "memory"), VECTOR_UD, "XEND is #UD");
	expect(attempt(XTEST, :: : "cc"), VECTOR_UD, "XTEST is #UD");
	expect(attempt(XABORT, :: : "rax", "memory"), VECTOR_UD, "XABORT is #UD");
	/* Bits of AMD's event select. */
	if (pmu.amd)
		return;
	for (u32 i = 0; i < pmu.nr_gp; i++) {
		right &= step(attempt_wrmsr(MSR_EVTSEL0 + i, SEL_IN_TX), VECTOR_GP, "IN_TX");
		right &= step(attempt_wrmsr(MSR_EVTSEL0 + i, SEL_IN_TXCP), VECTOR_GP, "IN_TXCP");
	}
	expect_true(right, "IN_TX and IN_TXCP are reserved bits of each selector");
}

static void check_abort(void)
{
	u64 eax = STARTED, value = 5;
	bool zero;

	/* What a guest does: in the transaction it would set 7; the fallback leaves it. */
	__asm__ volatile("xbegin 1f\n\t"
			 "movl $7, %k1\n\t"
			 "xend\n"
			 "1:"
			 : "+a"(eax), "+r"(value)
			 :
			 : "memory");
	expect_true((u32)eax != STARTED, "XBEGIN goes to its fallback address");
	expect(value, 5, "as if it had never been");
	__asm__ volatile(XTEST : "=@ccz"(zero));
	expect(zero, 1, "XTEST: not in a transaction");
	expect(attempt(XEND, :: : "memory"), VECTOR_GP, "XEND outside of one is #GP");
	expect(attempt(XABORT, :: : "rax", "memory"), NO_VECTOR,
	       "XABORT outside of one is nothing");
}

#define TRANSACTIONS "1: " XBEGIN " decq %%rsi\n jnz 1b\n"

static void check_counting(void)
{
	u64 all, inside, outside;
	bool right = true;

	pmu_clear();
	set_counter(0, arch_events[EVENT_INSTRUCTIONS].encoding | SEL_OS);
	count_stretch(stretch_of(1), TRANSACTIONS, ROUNDS, 0);
	expect(read_counter(0), FRAME + 3 * ROUNDS, "an XBEGIN that aborts is one instruction");
	for (u32 i = 0; i < pmu.nr_gp; i++) {
		right &= step(attempt_wrmsr(MSR_EVTSEL0 + i, SEL_IN_TX), NO_VECTOR,
			      "IN_TX of selector %u", (u64)i);
		right &= step(attempt_wrmsr(MSR_EVTSEL0 + i, SEL_IN_TXCP),
			      i == 2 ? NO_VECTOR : VECTOR_GP, "IN_TXCP of selector %u", (u64)i);
	}
	expect_true(right, "IN_TX is a bit of each selector, IN_TXCP of that of GP counter 2");
	if (pmu.nr_gp < 3 || !pmu.global)
		return;
	pmu_clear();
	set_counter(0, arch_events[EVENT_CYCLES].encoding | SEL_OS);
	set_counter(1, arch_events[EVENT_CYCLES].encoding | SEL_OS | SEL_IN_TX);
	set_counter(2, arch_events[EVENT_CYCLES].encoding | SEL_OS | SEL_IN_TXCP);
	count_stretch(stretch_of(7), TRANSACTIONS, ROUNDS, 0);
	all = read_counter(0);
	inside = read_counter(1);
	outside = read_counter(2);
	expect_true(inside > 0, "cycles of aborted regions are counted");
	expect_between(inside + outside, all - 1, all + 1,
		       "with those outside they are all cycles");
	pmu_clear();
	set_counter(1, arch_events[EVENT_CYCLES].encoding | SEL_OS | SEL_IN_TX);
	count_stretch(stretch_of(2), "1: decq %%rsi\n jnz 1b\n", ROUNDS, 0);
	expect(read_counter(1), 0, "without transactions there are none");
}

void image_main(void)
{
	bool on = cpuid_count(7, 0).ebx >> 11 & 1;

	pmu_init();
	print("# RTM is %s\n", on ? "on" : "off");
	expect(cpuid_count(7, 0).ebx >> 4 & 1, 0, "there is no HLE");
	if (!on) {
		check_off();
		return;
	}
	check_abort();
	check_counting();
}
