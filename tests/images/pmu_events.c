// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_events.c - every architectural event that CPUID announces, on every counter: alone, and with
 * all counters at once; every fixed counter.
 *
 * The counted code goes through LINES cold lines, one a round:
 *
 *	1:	movq	(%rdi), %rax
 *		addq	$64, %rdi
 *		decq	%rsi
 *		jnz	1b
 *
 * instructions	4 a round, and the frame
 * branches	1 a round
 * branch misses	2: predictions were forgotten, so the first JNZ is taken against a weak "not
 *		taken", and the last one falls through against a strong "taken"
 * LLC		1 reference and 1 miss a round: the lines were flushed
 *
 * Time follows from the timing model, and is held against the fixed counter that counts the same
 * from the same WRMSR to the same WRMSR: so the two agree to the last cycle.
 */
#include "pmu.h"

#define LINES 64
#define ROUNDS                                                                                     \
	"1:	movq	(%%rdi), %%rax\n"                                                                 \
	"	addq	$64, %%rdi\n"                                                                       \
	"	decq	%%rsi\n"                                                                            \
	"	jnz	1b\n"

static u8 lines[LINES * 64] __attribute__((aligned(64)));

/* What the counters said; fixed ones of the same stretch. */
struct reading {
	u64 gp[32], fixed[8];
};

static struct reading measure(u64 counters)
{
	struct reading r = {0};

	for (u32 n = 0; n < nr_counters(); n++)
		write_counter(counter_index(n), 0);
	for (u32 i = 0; i < LINES; i++)
		__asm__ volatile("clflush %0" : : "m"(lines[64 * i]));
	__asm__ volatile("mfence" : : : "memory");
	wrmsr(MSR_PRED_CMD, 1);
	count_stretch(stretch_of(counters), ROUNDS, LINES, lines);
	for (u32 i = 0; i < pmu.nr_gp; i++)
		r.gp[i] = read_counter(i);
	for (u32 i = 0; i < pmu.nr_fixed; i++)
		r.fixed[i] = read_counter(FIXED_INDEX + i);
	return r;
}

/* Width of the core: slots are so many a cycle, and both are rounded down. */
static bool is_whole_multiple(u64 slots, u64 cycles)
{
	u64 width = (slots + cycles / 2) / cycles;

	return width >= 4 && width <= 8 && slots + width > width * cycles &&
	       slots < width * (cycles + 1);
}

static u64 twin(const struct reading *r, u32 fixed, u64 otherwise)
{
	return fixed < pmu.nr_fixed ? r->fixed[fixed] : otherwise;
}

/* Compare a count with what must be, quietly. The fixed counters ran beside it. */
static bool is_right(enum arch_event event, u64 got, const struct reading *r, u32 counter)
{
	const char *name = arch_events[event].name;
	u64 expected;

	switch (event) {
	case EVENT_INSTRUCTIONS: expected = 4 * LINES + FRAME; break;
	case EVENT_BRANCHES: expected = LINES; break;
	case EVENT_BRANCH_MISSES: expected = 2; break;
	case EVENT_LLC_REFERENCES:
	case EVENT_LLC_MISSES: expected = LINES; break;
	case EVENT_CYCLES: expected = twin(r, 1, got); break;
	case EVENT_REF_CYCLES: expected = pmu.counts_ref ? twin(r, 2, got) : 0; break;
	case EVENT_SLOTS:
		if (pmu.nr_fixed < 4)
			return pmu.nr_fixed < 2 ||
			       step(is_whole_multiple(got, r->fixed[1]), 1,
				    "slots on GP counter %u are a multiple of cycles",
				    (u64)counter);
		expected = r->fixed[3];
		break;
	default: return false;
	}
	return step(got, expected, "%s on GP counter %u", name, (u64)counter);
}

static bool fixed_are_right(const struct reading *r)
{
	bool right = true;

	if (pmu.nr_fixed > 0)
		right &= step(r->fixed[0], 4 * LINES + FRAME, "fixed 0 beside others");
	if (pmu.nr_fixed > 2)
		right &= step(r->fixed[1] > 0 && r->fixed[2] > 0, true, "time runs");
	if (pmu.nr_fixed > 3)
		right &= step(is_whole_multiple(r->fixed[3], r->fixed[1]), true,
			      "slots are a multiple of cycles");
	return right;
}

static u64 all_fixed(void)
{
	return pmu.all & GENMASK_ULL(63, FIXED_INDEX);
}

static void select_all_fixed(void)
{
	for (u32 i = 0; i < pmu.nr_fixed; i++)
		set_counter(FIXED_INDEX + i, SEL_OS);
}

/* One GP counter at a time, the fixed ones beside it. */
static void check_each_gp_counter(enum arch_event event)
{
	bool right = true;

	for (u32 i = 0; i < pmu.nr_gp; i++) {
		struct reading r;

		pmu_clear();
		select_all_fixed();
		set_counter(i, arch_events[event].encoding | SEL_OS);
		r = measure(1ull << i | all_fixed());
		right &= is_right(event, r.gp[i], &r, i) && fixed_are_right(&r);
		for (u32 j = 0; j < pmu.nr_gp; j++)
			right &= j == i || step(r.gp[j], 0, "GP counter %u is off", (u64)j);
	}
	expect_true(right, "%s on each of %u GP counters", arch_events[event].name, (u64)pmu.nr_gp);
}

static u32 announced(enum arch_event list[NR_ARCH_EVENTS])
{
	u32 nr = 0;

	for (u32 i = 0; i < NR_ARCH_EVENTS; i++)
		if (pmu.events & 1u << i)
			list[nr++] = (enum arch_event)i;
	return nr;
}

/* All counters at once, in as many rounds as there are events: each event on each counter. */
static void check_all_at_once(const enum arch_event *list, u32 nr)
{
	bool right = true;

	for (u32 round = 0; round < nr; round++) {
		struct reading r;

		pmu_clear();
		select_all_fixed();
		for (u32 i = 0; i < pmu.nr_gp; i++)
			set_counter(i, arch_events[list[(i + round) % nr]].encoding | SEL_OS);
		r = measure(pmu.all);
		for (u32 i = 0; i < pmu.nr_gp; i++)
			right &= is_right(list[(i + round) % nr], r.gp[i], &r, i);
		right &= fixed_are_right(&r);
	}
	expect_true(right, "all %u counters at once, %u times with the events moved on",
		    (u64)nr_counters(), (u64)nr);
}

static void check_each_fixed_counter(void)
{
	for (u32 i = 0; i < pmu.nr_fixed; i++) {
		u32 index = FIXED_INDEX + i;
		struct reading r;

		pmu_clear();
		set_counter(index, SEL_OS);
		r = measure(1ull << index);
		if (fixed_event(index) == EVENT_INSTRUCTIONS)
			expect(r.fixed[i], 4 * LINES + FRAME, "fixed counter %u alone", (u64)i);
		else
			expect_true(r.fixed[i] > 0, "fixed counter %u alone", (u64)i);
		for (u32 j = 0; j < pmu.nr_fixed; j++)
			step(j == i ? 0 : r.fixed[j], 0, "fixed counter %u is off", (u64)j);
	}
}

/*
 * In a stretch without exits the ratio of core and reference cycles is the clocks', whatever the
 * code: so counts of a stretch and of one twenty times as long are in proportion, within the
 * rounding of the four.
 */
static void check_ratio_of_clocks(void)
{
	u64 core[2], ref[2], slack;

	if (pmu.nr_fixed < 3) {
		print("# no fixed counters of both clocks: their ratio is not looked at\n");
		return;
	}
	for (u32 i = 0; i < 2; i++) {
		pmu_clear();
		select_all_fixed();
		wrmsr(MSR_PRED_CMD, 1);
		count_stretch(stretch_of(all_fixed()), "1: decq %%rsi\n jnz 1b\n",
			      i ? 2000000 : 100000, 0);
		core[i] = read_counter(FIXED_INDEX + 1);
		ref[i] = read_counter(FIXED_INDEX + 2);
	}
	/* A count is the difference of two rounded totals, so each is off by less than 1. */
	slack = core[0] + core[1] + ref[0] + ref[1] + 1;
	expect_between(core[0] * ref[1], core[1] * ref[0] - slack, core[1] * ref[0] + slack,
		       "core and reference cycles keep their ratio");
	expect_between(core[1], 18 * core[0], 20 * core[0], "twenty times the work, the time");
}

void image_main(void)
{
	enum arch_event list[NR_ARCH_EVENTS];
	u32 nr;

	pmu_init();
	print("# version %u, %u GP and %u fixed counters\n", (u64)pmu.version, (u64)pmu.nr_gp,
	      (u64)pmu.nr_fixed);
	nr = announced(list);
	expect_between(nr, pmu.amd ? 6 : 7, NR_ARCH_EVENTS,
		       pmu.amd ? "perf's generic events" : "architectural events are announced");
	if (!pmu.counts_ref && !pmu.amd)
		print("# event 013cH counts the crystal clock here, which is not modelled: zero\n");
	for (u32 i = 0; i < nr; i++)
		check_each_gp_counter(list[i]);
	check_each_fixed_counter();
	if (!pmu.global) {
		print("# without GLOBAL_CTRL counters do not start at once\n");
		return;
	}
	check_all_at_once(list, nr);
	check_ratio_of_clocks();
}
