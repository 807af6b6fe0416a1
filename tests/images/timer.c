// SPDX-License-Identifier: Apache-2.0
/*
 * timer.c - the APIC timer: one-shot, periodic, TSC deadline; dividers, masks, both modes of the APIC.
 *
 * At divide by 1 the timer ticks with the TSC (docs/model.md). A timer never fires early; how late the
 * handler runs depends on what the host does in between, so that only a generous bound is set.
 */
#include "apic.h"
#include "runtime.h"

#define VECTOR 0x52
#define LATE 100000 /* TSC cycles */

static u64 nr_fired, fired_at[16];
static bool periods_are_stretched;

static void on_timer(struct trap_frame *f)
{
	(void)f;
	fired_at[nr_fired++ % ARRAY_SIZE(fired_at)] = rdtsc();
	apic_eoi();
}

/* Sleep until the timer has fired so often, or until @cycles have passed. */
static void wait(u64 times, u64 cycles)
{
	u64 end = rdtsc() + cycles;

	while (nr_fired < times && rdtsc() < end)
		__asm__ volatile("sti\n\tpause\n\tcli" : : : "memory");
}

static void sleep(void)
{
	__asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
}

static void check_one_shot(const char *name)
{
	static const u32 counts[] = {1, 1000, 20000, 100000};
	bool right = true;
	u64 begin;

	apic_write(APIC_LVT_TIMER, VECTOR);
	apic_write(APIC_DIVIDE, DIVIDE_BY_1);
	for (u32 i = 0; i < ARRAY_SIZE(counts); i++) {
		nr_fired = 0;
		begin = rdtsc();
		apic_write(APIC_INITIAL_COUNT, counts[i]);
		sleep();
		right &= step(nr_fired, 1, "fired after %u", (u64)counts[i]);
		right &= step(fired_at[0] >= begin + counts[i], 1, "not early, %u", (u64)counts[i]);
		right &= step(fired_at[0] <= begin + counts[i] + LATE, 1, "not late, %u",
			      (u64)counts[i]);
		wait(2, 3 * counts[i]);
		right &= step(nr_fired, 1, "only once");
		right &= step(apic_read(APIC_CURRENT_COUNT), 0, "it stands at 0");
	}
	expect_true(right, "%s: one shot fires once, and not early", name);

	nr_fired = 0;
	begin = rdtsc();
	apic_write(APIC_DIVIDE, DIVIDE_BY_16);
	apic_write(APIC_INITIAL_COUNT, 5000);
	sleep();
	expect_between(fired_at[0] - begin, 80000, 80000 + LATE, "%s: divided by 16", name);

	nr_fired = 0;
	apic_write(APIC_INITIAL_COUNT, 50000);
	right = step(apic_read(APIC_CURRENT_COUNT) <= 50000, 1, "it counts down");
	right &= step(apic_read(APIC_CURRENT_COUNT) > 0, 1, "and has not arrived");
	apic_write(APIC_INITIAL_COUNT, 0);
	wait(1, 2000000);
	right &= step(nr_fired, 0, "a count of 0 stops it");
	expect_true(right, "%s: the count runs down and can be stopped", name);
	apic_write(APIC_DIVIDE, DIVIDE_BY_1);
}

/* Ten periods in a row, each of which must take as long as expected. */
static void run_periodic(u64 period, u64 expected, bool *right)
{
	u64 begin;

	apic_write(APIC_LVT_TIMER, TIMER_PERIODIC | VECTOR);
	nr_fired = 0;
	begin = rdtsc();
	apic_write(APIC_INITIAL_COUNT, (u32)period);
	for (u32 i = 0; i < 10; i++)
		sleep();
	apic_write(APIC_INITIAL_COUNT, 0);
	*right = step(nr_fired, 10, "periodic fires again and again");
	for (u64 i = 0; i < 10; i++) {
		*right &= step(fired_at[i] >= begin + (i + 1) * expected, 1, "period %u not early",
			       i);
		*right &= step(fired_at[i] <= begin + (i + 1) * expected + LATE, 1,
			       "period %u does not drift", i);
	}
}

/* AMD's CPUID does not tell: what the four models run at. */
static u64 base_mhz(void)
{
	if (!is_amd())
		return cpuid(0x16).eax & 0xffff;
	switch (cpuid(1).eax >> 16) {
	case 0x83: return 2250; /* Zen 2 */
	case 0xa0: return 2450; /* Zen 3 */
	case 0xa1: return 2400; /* Zen 4 */
	default: return 2700;	/* Zen 5 */
	}
}

static void check_periodic(const char *name)
{
	const u64 period = 1000000, shorter = 150000;
	u64 shortest = 200 * base_mhz(); /* 200 us of TSC cycles */
	bool right;

	run_periodic(period, period, &right);
	expect_true(right, "%s: ten periods, each in its time", name);
	/* KVM has no periods below 200 us, whatever the count is. */
	run_periodic(shorter, under_kvm() ? shortest : shorter, &right);
	expect_true(right, "%s: a short period", name);
	if (right && under_kvm())
		periods_are_stretched = true;
}

static void check_masked(const char *name)
{
	apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR);
	nr_fired = 0;
	apic_write(APIC_INITIAL_COUNT, 1000);
	wait(1, 50000);
	expect(nr_fired, 0, "%s: masked, it does not fire", name);
	expect(apic_read(APIC_CURRENT_COUNT), 0, "%s: but runs down", name);
	apic_write(APIC_LVT_TIMER, VECTOR);
	wait(1, 50000);
	expect(nr_fired, 0, "%s: and is not kept", name);
}

static void check_deadline(const char *name)
{
	bool right = true;
	u64 at;

	if (!(cpuid(1).ecx & BIT_ULL(24))) {
		print("# no TSC deadline\n");
		return;
	}
	apic_write(APIC_LVT_TIMER, TIMER_TSC_DEADLINE | VECTOR);
	__asm__ volatile("mfence" : : : "memory");
	for (u32 i = 0; i < 10; i++) {
		nr_fired = 0;
		at = rdtsc() + 30000 * i;
		wrmsr(MSR_TSC_DEADLINE, at);
		sleep();
		right &= step(nr_fired, 1, "deadline %u", (u64)i);
		right &= step(fired_at[0] >= at, 1, "not before %u", (u64)i);
		right &= step(fired_at[0] <= at + LATE, 1, "not long after %u", (u64)i);
		right &= step(rdmsr(MSR_TSC_DEADLINE), 0, "it is disarmed");
	}
	expect_true(right, "%s: TSC deadlines", name);
	nr_fired = 0;
	at = rdtsc() + 10000000;
	wrmsr(MSR_TSC_DEADLINE, at);
	expect(rdmsr(MSR_TSC_DEADLINE), at, "%s: an armed deadline reads back", name);
	wrmsr(MSR_TSC_DEADLINE, 0);
	expect(rdmsr(MSR_TSC_DEADLINE), 0, "%s: 0 disarms it", name);
	apic_write(APIC_INITIAL_COUNT, 1000);
	expect(apic_read(APIC_INITIAL_COUNT), 0, "%s: there is no count in this mode", name);
	wait(1, 50000);
	expect(nr_fired, 0, "%s: nothing fires", name);
	apic_write(APIC_LVT_TIMER, VECTOR);
	wrmsr(MSR_TSC_DEADLINE, at);
	expect(rdmsr(MSR_TSC_DEADLINE), 0, "%s: there are no deadlines in the others", name);
}

static void check_in(enum apic_mode mode)
{
	const char *name = mode == X2APIC ? "x2APIC" : "xAPIC";

	apic_enter(mode);
	check_one_shot(name);
	check_periodic(name);
	check_masked(name);
	check_deadline(name);
}

void image_main(void)
{
	on_trap(VECTOR, on_timer);
	check_in(XAPIC);
	if (apic_has_x2apic())
		check_in(X2APIC);
	if (periods_are_stretched)
		differs("shortest-period");
}
