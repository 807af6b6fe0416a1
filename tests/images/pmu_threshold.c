// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_threshold.c - CMASK, EDGE and INV of a selector, on every GP counter.
 *
 * The machine cuts the guest's execution into pieces of at most some 64 cycles, and in each a threshold
 * of c is reached in min(cycles, events / c) cycles (docs/model.md). The loop below has one branch in
 * each round of two cycles or so, and three instructions, the same in every piece. So of T events there
 * are T / c, as long as c is not more than a cycle can hold: MOST here, the least issue width of all
 * CPU models. Beyond the issue width there is none. EDGE counts as CMASK does, as with CMASK 1 if there
 * is none. INV without CMASK and EDGE has nothing to invert and changes nothing; with them it counts the
 * cycles that do not reach the threshold.
 *
 * The counted code is ROUNDS times IMULQ, DECQ and JNZ.
 */
#include "pmu.h"

#define ROUNDS 1200
#define MOST 4
#define TOO_MANY 16
#define LOOP                                                                                       \
	"1:	imulq	%%rdi, %%rdi\n"                                                                  \
	"	decq	%%rsi\n"                                                                            \
	"	jnz	1b\n"

#define BRANCHES arch_events[EVENT_BRANCHES].encoding
#define INSTRUCTIONS arch_events[EVENT_INSTRUCTIONS].encoding
#define CYCLES arch_events[EVENT_CYCLES].encoding

static u64 count(u32 counter, u64 select)
{
	pmu_clear();
	set_counter(counter, select | SEL_OS);
	write_counter(counter, 0);
	count_stretch(stretch_of(1ull << counter), LOOP, ROUNDS, 3);
	return read_counter(counter);
}

/*
 * Each reading may have one more for events from before. Under KVM a WRMSR that starts and exits is
 * credited to instructions, whatever the threshold (check_emulated()).
 */
static bool near(u64 got, u64 expected, const char *what, u64 number)
{
	u64 more = under_kvm() ? 2 : 1;

	return step(got >= expected && got <= expected + more, 1, "%s %u: %u instead of %u", what,
		    number, got, expected);
}

static void check_cmask(u32 i)
{
	static const u32 masks[] = {1, 2, 3, MOST}, never[] = {TOO_MANY, 100, 255};
	bool right = true;

	for (u32 j = 0; j < ARRAY_SIZE(masks); j++) {
		u32 c = masks[j];

		right &= near(count(i, BRANCHES | SEL_CMASK(c)), ROUNDS / c, "branches, CMASK", c);
		if (c >= 4)
			right &= near(count(i, INSTRUCTIONS | SEL_CMASK(c)),
				      (3 * ROUNDS + FRAME) / c, "instructions, CMASK", c);
	}
	for (u32 j = 0; j < ARRAY_SIZE(never); j++)
		right &= near(count(i, BRANCHES | SEL_CMASK(never[j])), 0, "branches, CMASK",
			      never[j]);
	right &= near(count(i, BRANCHES | SEL_EDGE), ROUNDS, "branches, EDGE, counter", i);
	right &= near(count(i, BRANCHES | SEL_EDGE | SEL_CMASK(4)), ROUNDS / 4,
		      "branches, EDGE and CMASK 4, counter", i);
	expect_true(right, "GP counter %u: thresholds of branches and instructions", (u64)i);
}

/* A threshold of 1 on cycles counts cycles in which there was one: all of them. */
static void check_cycles(void)
{
	u64 seen, cycles;

	if (pmu.nr_gp < 2 || !pmu.global)
		return;
	pmu_clear();
	set_counter(0, CYCLES | SEL_CMASK(1) | SEL_OS);
	set_counter(1, CYCLES | SEL_OS);
	count_stretch(stretch_of(3), LOOP, ROUNDS, 3);
	seen = read_counter(0);
	cycles = read_counter(1);
	expect(seen, cycles, "cycles with a cycle are all cycles");
}

/*
 * KVM credits an instruction that it completes by event and umask alone: a counter with a threshold
 * gets one for each. Silicon gets one for each four of all T instructions.
 */
static void check_emulated(void)
{
	const u64 rounds = 100, total = 5 * rounds + FRAME;
	u64 seen;

	pmu_clear();
	set_counter(0, INSTRUCTIONS | SEL_CMASK(4) | SEL_OS);
	count_stretch(stretch_of(1),
		      "1: xorl %%eax, %%eax\n xorl %%ecx, %%ecx\n cpuid\n decq %%rsi\n jnz 1b\n",
		      rounds, 0);
	seen = read_counter(0);
	if (!under_kvm()) {
		expect_between(seen, total / 4, total / 4 + 1, "CPUIDs among others, CMASK 4");
		return;
	}
	/* The WRMSR that starts is credited as well where it exits. */
	if (expect_between(seen, rounds + (total - rounds) / 4 - 1,
			   rounds + (total - rounds) / 4 + 2,
			   "CPUIDs among others, CMASK 4: all CPUIDs, a quarter of the others"))
		differs("credit-ignores-threshold");
}

/* Two counters over the same stretch: a threshold inverted and cycles, or a threshold both ways. */
static void count_two(u64 first, u64 second, u64 *a, u64 *b)
{
	pmu_clear();
	set_counter(0, first | SEL_OS);
	set_counter(1, second | SEL_OS);
	write_counter(0, 0);
	write_counter(1, 0);
	count_stretch(stretch_of(3), LOOP, ROUNDS, 3);
	*a = read_counter(0);
	*b = read_counter(1);
}

static void check_inv(void)
{
	u64 value = BRANCHES | SEL_INV | SEL_OS, reached, missed, cycles;

	expect(count(0, BRANCHES | SEL_INV), ROUNDS, "INV without CMASK changes nothing");
	pmu_clear();
	wrmsr(selector_msr(0), value | SEL_CMASK(1));
	expect(rdmsr(selector_msr(0)), value | SEL_CMASK(1), "INV with CMASK reads back");
	/* One GLOBAL_CTRL write stops both. */
	if (pmu.nr_gp < 2 || !pmu.global)
		return;
	count_two(BRANCHES | SEL_INV | SEL_CMASK(TOO_MANY), CYCLES, &missed, &cycles);
	expect(missed, cycles, "cycles with fewer than 16 branches are all cycles");
	count_two(BRANCHES | SEL_CMASK(1), BRANCHES | SEL_CMASK(1) | SEL_INV, &reached, &missed);
	expect_between(reached, ROUNDS, ROUNDS + 1, "cycles with a branch");
	/* The stretch's own cycles, from the reading before; the two may each lose one by rounding. */
	expect_between(reached + missed, cycles - 2, cycles + 2,
		       "with those without one they are all cycles");
	pmu_clear();
}

/* Overflow by a threshold: the counter stands 10 short and gets ROUNDS / 4. */
static void check_overflow(void)
{
	if (!pmu.global)
		return;
	pmu_clear();
	set_counter(0, BRANCHES | SEL_CMASK(4) | SEL_OS);
	write_counter(0, 0 - 10ull);
	count_stretch(stretch_of(1), LOOP, ROUNDS, 3);
	expect_between(read_counter(0), ROUNDS / 4 - 10, ROUNDS / 4 - 9, "it overflows");
	expect(rdmsr(pmu.msr_status), 1, "and sets its status bit");
}

void image_main(void)
{
	pmu_init();
	for (u32 i = 0; i < pmu.nr_gp; i++)
		check_cmask(i);
	check_cycles();
	check_emulated();
	check_inv();
	check_overflow();
}
