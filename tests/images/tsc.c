// SPDX-License-Identifier: Apache-2.0
/*
 * tsc.c - the time-stamp counter: it never goes back, keeps step with reference cycles while the
 * guest runs, and goes on while the host does.
 */
#include "pmu.h"

/* Between two fences: nothing from before or behind is between the two reads. */
static u64 fenced(void)
{
	u32 low, high;

	__asm__ volatile("mfence\n\tlfence\n\trdtsc\n\tlfence"
			 : "=a"(low), "=d"(high)
			 :
			 : "memory");
	return (u64)high << 32 | low;
}

static void check_monotonic(void)
{
	u64 last = fenced(), now, back = 0, still = 0;

	for (u32 i = 0; i < 5000; i++) {
		now = fenced();
		back += now < last;
		still += now == last;
		last = now;
	}
	expect(back, 0, "5000 reads between fences never go back");
	expect(still, 0, "nor stand still");
	for (u32 i = 0; i < 200; i++) {
		now = rdmsr(0x10);
		back += now < last;
		last = now;
		cpuid(0);
		now = fenced();
		back += now < last;
		last = now;
	}
	expect(back, 0, "with exits between, and as an MSR");
}

/* Fixed counter 2, or another one that counts reference cycles: AMD's from Zen 4 on. */
static u32 ref_counter(void)
{
	return pmu.nr_fixed > 2 ? FIXED_INDEX + 2 : 0;
}

/*
 * A loop of @rounds between two RDTSC, all of it counted by one counter. The reads are in R8 and R9; what
 * is counted before the first and behind the second is the same for each number of rounds.
 */
static void time_loop(u64 rounds, u64 *tsc, u64 *ref)
{
	static u64 stamps[2];

	pmu_clear();
	set_counter(ref_counter(), arch_events[EVENT_REF_CYCLES].encoding | SEL_OS);
	stamps[0] = stamps[1] = 0;
	count_stretch(stretch_of(1ull << ref_counter()),
		      "lfence\n rdtsc\n"
		      "shlq $32, %%rdx\n"
		      "orq %%rdx, %%rax\n"
		      "movq %%rax, %%r8\n"
		      "1: decq %%rsi\n jnz 1b\n"
		      "lfence\n rdtsc\n"
		      "shlq $32, %%rdx\n"
		      "orq %%rdx, %%rax\n"
		      "movq %%r8, (%%rdi)\n"
		      "movq %%rax, 8(%%rdi)\n",
		      rounds, stamps);
	*tsc = stamps[1] - stamps[0];
	*ref = read_counter(ref_counter());
}

static void check_reference_cycles(void)
{
	u64 tsc[2], ref[2];

	time_loop(1000, &tsc[0], &ref[0]);
	time_loop(201000, &tsc[1], &ref[1]);
	/* 200000 rounds more, in both: four reads, each off by less than 1. */
	expect_between(tsc[1] - tsc[0], ref[1] - ref[0] - 4, ref[1] - ref[0] + 4,
		       "TSC and reference cycles keep step in a loop");
	expect_true(ref[1] - ref[0] > 10000, "which is long");
}

/* Exits: the TSC passes with the host, reference cycles do not. Natively there is no host. */
static void check_host_time(void)
{
	u64 begin, tsc, ref;

	pmu_clear();
	set_counter(ref_counter(), arch_events[EVENT_REF_CYCLES].encoding | SEL_OS);
	begin = fenced();
	count_stretch(stretch_of(1ull << ref_counter()),
		      "1: xorl %%eax, %%eax\n xorl %%ecx, %%ecx\n cpuid\n decq %%rsi\n jnz 1b\n",
		      1000, 0);
	tsc = fenced() - begin;
	ref = read_counter(ref_counter());
	expect_true(ref > 0 && ref <= tsc, "reference cycles are part of the TSC's");
	if (under_kvm())
		expect_true(tsc > 4 * ref, "a thousand exits are time of the host");
	else
		expect_true(tsc < ref + 5000, "without exits they are all of it");
}

static void check_rate(void)
{
	struct cpuid_regs r = cpuid(0x15);

	expect_true(r.ebx / r.eax > 1, "the TSC is faster than its crystal");
}

void image_main(void)
{
	pmu_init();
	check_monotonic();
	if (pmu.nr_fixed > 2 || (pmu.amd && pmu.counts_ref)) {
		check_reference_cycles();
		check_host_time();
	} else {
		print("# no counter of reference cycles: they are not compared\n");
	}
	if (!pmu.amd)
		check_rate();
}
