// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_overflow.c - overflow and status of every counter, with its exact final value; clearing and
 * setting of status bits. No interrupt is asked for here (pmu_interrupt.c).
 *
 * The counted code is a loop of ROUNDS times DECQ and JNZ: 2 * ROUNDS instructions and the frame,
 * ROUNDS branches. A counter that starts at -n and sees T events ends at T - n, and its status bit
 * is set if T >= n.
 */
#include "pmu.h"

#define ROUNDS 500
#define LOOP "1: decq %%rsi\n jnz 1b\n"
#define INSTRUCTIONS (2 * ROUNDS + FRAME)

static u64 bit(u32 index)
{
	return 1ull << index;
}

static void run(u64 counters)
{
	wrmsr(MSR_PRED_CMD, 1);
	count_stretch(stretch_of(counters), LOOP, ROUNDS, 0);
}

static u64 status(void)
{
	return rdmsr(pmu.msr_status);
}

static void clear_status(void)
{
	if (pmu.global)
		wrmsr(pmu.msr_clear, pmu.all);
}

static u64 events_of(enum arch_event event)
{
	return event == EVENT_BRANCHES ? ROUNDS : INSTRUCTIONS;
}

/* A counter of which the number of events is known beforehand, from n before the wrap. */
static bool overflows(u32 index, enum arch_event event, u64 n)
{
	u64 total = events_of(event);
	bool right;

	clear_status();
	/* Without GLOBAL_CTRL the selector is what a stretch leaves cleared. */
	set_counter(index, arch_events[event].encoding | SEL_OS);
	write_counter(index, 0 - n);
	right = step(read_counter(index), counter_mask(index) + 1 - n, "-%u reads back", n);
	run(bit(index));
	right &= step(read_counter(index), (total - n) & counter_mask(index),
		      "%s counter %u from -%u", counter_kind(index), counter_number(index), n);
	right &= step(read_counter_msr(index), (total - n) & counter_mask(index),
		      "%s counter %u from -%u as an MSR", counter_kind(index),
		      counter_number(index), n);
	return right & status_is(total >= n ? bit(index) : 0, "status from -", n);
}

static void check_counter(u32 index, enum arch_event event)
{
	u64 total = events_of(event);
	const u64 starts[] = {2,
			      3,
			      100,
			      total / 2,
			      total - 1,
			      total /* wraps to 0 with the last event */,
			      total + 1 /* ends at all ones */,
			      total + 1000};
	bool right = true;

	pmu_clear();
	set_counter(index, arch_events[event].encoding | SEL_OS);
	for (u32 i = 0; i < ARRAY_SIZE(starts); i++)
		right &= overflows(index, event, starts[i]);
	expect_true(right, "%s counter %u, %s: value and status after %u starts below 0",
		    counter_kind(index), counter_number(index), arch_events[event].name,
		    ARRAY_SIZE(starts));
}

/*
 * Counters of time: how many events there will be is not known, but a counter of the other kind
 * that counts the same from the same WRMSR on says it afterwards.
 */
static void check_time(u32 index, u32 twin, enum arch_event event)
{
	u64 encoding = arch_events[event].encoding, n, total;

	pmu_clear();
	set_counter(index, encoding | SEL_OS);
	set_counter(twin, encoding | SEL_OS);
	write_counter(twin, 0);
	run(bit(index) | bit(twin));
	n = read_counter(twin) / 2;
	write_counter(index, 0 - n);
	write_counter(twin, 0);
	clear_status();
	run(bit(index) | bit(twin));
	total = read_counter(twin);
	expect(read_counter(index), total - n, "%s counter %u, %s: exact from half way",
	       counter_kind(index), counter_number(index), arch_events[event].name);
	expect(status(), bit(index), "and its status bit alone");
}

static void check_times(void)
{
	const enum arch_event event = EVENT_CYCLES;

	if (pmu.nr_fixed < 2) {
		print("# no fixed counter of cycles: time is not compared\n");
		return;
	}
	for (u32 i = 0; i < pmu.nr_gp; i++)
		check_time(i, FIXED_INDEX + 1, event);
	check_time(FIXED_INDEX + 1, 0, event);
	if (pmu.nr_fixed > 2 && pmu.counts_ref)
		check_time(FIXED_INDEX + 2, 0, EVENT_REF_CYCLES);
	if (pmu.nr_fixed > 3)
		check_time(FIXED_INDEX + 3, 0, EVENT_SLOTS);
}

/* All counters of instructions at once, each from another start: every bit, every value. */
static void check_all_at_once(void)
{
	u64 expected = 0;
	bool right = true;

	pmu_clear();
	for (u32 i = 0; i < pmu.nr_gp; i++)
		set_counter(i, arch_events[EVENT_INSTRUCTIONS].encoding | SEL_OS);
	for (u32 i = 0; i < pmu.nr_fixed; i++)
		set_counter(FIXED_INDEX + i, SEL_OS);
	for (u32 n = 0; n < nr_counters(); n++) {
		u32 index = counter_index(n);

		/* Cycles are about a quarter of the instructions or more. */
		write_counter(index, 0 - (10ull * n + 2));
		expected |= bit(index);
	}
	run(pmu.all);
	for (u32 i = 0; i < pmu.nr_gp; i++)
		right &= step(read_counter(i), INSTRUCTIONS - (10ull * i + 2), "GP counter %u",
			      (u64)i);
	expect_true(right, "all counters at once end at their values");
	expect(status(), expected, "all status bits at once");
	/* One by one they are cleared, and no other with them. */
	right = true;
	for (u32 n = 0; n < nr_counters(); n++) {
		expected &= ~bit(counter_index(n));
		wrmsr(pmu.msr_clear, bit(counter_index(n)));
		right &= step(status(), expected, "status after clearing %u", (u64)n);
	}
	expect_true(right, "each status bit is cleared alone");
}

/* A bit stays until it is cleared; a second overflow leaves it set. */
static void check_sticky(void)
{
	pmu_clear();
	set_counter(0, arch_events[EVENT_BRANCHES].encoding | SEL_OS);
	write_counter(0, 0 - 100ull);
	run(1);
	run(1);
	expect(status(), 1, "a status bit outlives a stretch without overflow");
	write_counter(0, 0 - 100ull);
	run(1);
	expect(status(), 1, "a second overflow leaves it set");
	expect(rdmsr(pmu.msr_clear), 0, "the clearing register reads 0");
	wrmsr(pmu.msr_clear, 0);
	expect(status(), 1, "writing 0 clears nothing");
	wrmsr(pmu.msr_clear, 1);
	expect(status(), 0, "writing the bit clears it");
	run(1);
	expect(status(), 0, "counting on from above 0 does not set it");
	write_counter(0, 0 - 100ull);
	run(1);
	expect(status(), 1, "and it can be set again");
}

/*
 * One event before the wrap, and then one event. Silicon overflows. The emulated vPMU asks the
 * host's perf for a period of 1, which perf rounds up to 2: the value is right, the overflow would
 * come with the next event.
 */
static void check_one_before(void)
{
	u64 bits;

	pmu_clear();
	set_counter(0, arch_events[EVENT_BRANCHES].encoding | SEL_OS);
	write_counter(0, ~0ull);
	count_stretch(stretch_of(1), "jmp 1f\n1:\n", 0, 0);
	bits = status();
	expect(read_counter(0), 0, "one event wraps from -1 to 0");
	if (!bits && under_kvm())
		differs("period-of-one");
	else
		expect(bits, 1, "and sets the status bit");
	write_counter(0, ~0ull);
	run(1);
	expect(status(), 1, "from -1 with more than one event the bit is set");
}

/* Version 4 has a register that sets status bits, and one that says which counters are in use. */
static void check_version_4(void)
{
	u64 value;

	pmu_clear();
	if (pmu.amd) {
		wrmsr(pmu.msr_set, pmu.all);
		expect(status(), pmu.all, "STATUS_SET sets the bits of all counters");
		wrmsr(pmu.msr_clear, pmu.all);
		expect(status(), 0, "and they are cleared");
		return;
	}
	if (pmu.version < 4) {
		expect(attempt_wrmsr(MSR_GLOBAL_STATUS_SET, 1), VECTOR_GP,
		       "STATUS_SET is of version 4: #GP");
		expect(attempt_rdmsr(MSR_GLOBAL_STATUS_SET + 1, &value), VECTOR_GP,
		       "INUSE is of version 4: #GP");
		return;
	}
	wrmsr(MSR_GLOBAL_STATUS_SET, pmu.all);
	expect(status(), pmu.all, "STATUS_SET sets the bits of all counters");
	wrmsr(pmu.msr_clear, pmu.all);
	expect(status(), 0, "and they are cleared");
	set_counter(1, arch_events[EVENT_BRANCHES].encoding | SEL_OS);
	set_counter(FIXED_INDEX, SEL_OS | SEL_INT);
	expect(rdmsr(MSR_GLOBAL_STATUS_SET + 1), 1ull << 63 | bit(FIXED_INDEX) | 2,
	       "INUSE: GP 1, fixed 0, the interrupt");
}

void image_main(void)
{
	pmu_init();
	for (u32 i = 0; i < pmu.nr_gp; i++) {
		check_counter(i, EVENT_INSTRUCTIONS);
		check_counter(i, EVENT_BRANCHES);
	}
	if (pmu.nr_fixed)
		check_counter(FIXED_INDEX, EVENT_INSTRUCTIONS);
	if (!pmu.global) {
		print("# no status register before version 2\n");
		return;
	}
	check_times();
	check_all_at_once();
	check_sticky();
	check_one_before();
	check_version_4();
}
