// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_emulated.c - instructions that a hypervisor completes in the guest's place: each is counted
 * once, as natively, and it is no branch, no cache access and none of another privilege.
 *
 * None of them takes the guest's time under KVM, so time is not compared here.
 */
#include "apic.h"
#include "pmu.h"

#define ROUNDS 50

/* Stretches of ROUNDS rounds; behind the instructions, DECQ and JNZ. */
#define LOOP(code)                                                                                 \
	"1:\n" code "	decq	%%rsi\n"                                                                \
	"	jnz	1b\n"

static u64 seen[3], status;

/* Instructions on GP 0, branches on GP 1 or, without another, left out; fixed 0 beside them. */
static u64 selected(void)
{
	u64 counters = 1;

	pmu_clear();
	set_counter(0, arch_events[EVENT_INSTRUCTIONS].encoding | SEL_OS);
	if (pmu.global && pmu.nr_gp > 1) {
		set_counter(1, arch_events[EVENT_BRANCHES].encoding | SEL_OS);
		counters |= 2;
	}
	if (pmu.nr_fixed) {
		set_counter(FIXED_INDEX, SEL_OS);
		counters |= 1ull << FIXED_INDEX;
	}
	return counters;
}

static void expect_counts(u64 a_round, const char *name)
{
	bool right;

	seen[0] = read_counter(0);
	right = step(seen[0], FRAME + ROUNDS * (a_round + 2), "instructions, %s", name);
	if (pmu.global && pmu.nr_gp > 1)
		right &= step(read_counter(1), ROUNDS, "branches, %s", name);
	if (pmu.nr_fixed)
		right &= step(read_counter(FIXED_INDEX), seen[0], "fixed counter 0, %s", name);
	expect_true(right, "%s: counted once each", name);
}

#define check(code, instructions, name)                                                            \
	do {                                                                                       \
		struct stretch s_ = stretch_of(selected());                                        \
                                                                                                   \
		count_stretch(s_, LOOP(code), ROUNDS, 0);                                          \
		expect_counts(instructions, name);                                                 \
	} while (0)

/* An overflow by an emulated instruction: the counter wraps with CPUID, the third of the stretch. */
static void check_wrap(void)
{
	u64 counters;

	if (!pmu.global)
		return;
	counters = selected();
	write_counter(0, 0 - 4ull);
	count_stretch(stretch_of(counters), "xorl %%eax, %%eax\n xorl %%ecx, %%ecx\n cpuid\n", 0,
		      0);
	status = rdmsr(pmu.msr_status);
	expect(read_counter(0), 3, "CPUID wraps a counter to 0, and three come behind it");
	expect(status, 1, "which sets the status bit");
}

static u64 user_cpuids(u64 rounds)
{
	__asm__ volatile("1: xorl %%eax, %%eax\n\t"
			 "xorl %%ecx, %%ecx\n\t"
			 "cpuid\n\t"
			 "decq %0\n\t"
			 "jnz 1b"
			 : "+r"(rounds)
			 :
			 : "eax", "ebx", "ecx", "edx", "cc");
	return rounds;
}

static u64 user_nothing(u64 rounds)
{
	/* As user_cpuids(), without CPUID. */
	__asm__ volatile("1: xorl %%eax, %%eax\n\t"
			 "xorl %%ecx, %%ecx\n\t"
			 "decq %0\n\t"
			 "jnz 1b"
			 : "+r"(rounds)
			 :
			 : "eax", "ebx", "ecx", "edx", "cc");
	return rounds;
}

static u64 count_user(u64 (*function)(u64), u64 select)
{
	struct stretch s;

	pmu_clear();
	set_counter(0, arch_events[EVENT_INSTRUCTIONS].encoding | select);
	s = stretch_of(1);
	wrmsr(s.msr, s.value);
	run_user(function, ROUNDS);
	wrmsr(s.msr, 0);
	return read_counter(0);
}

/* CPUID in user mode is credited to counters of user mode alone. */
static void check_user(void)
{
	expect(count_user(user_cpuids, SEL_USR) - count_user(user_nothing, SEL_USR), ROUNDS,
	       "CPUID in user mode counts for USR");
	expect(count_user(user_cpuids, SEL_OS), count_user(user_nothing, SEL_OS), "and not for OS");
}

void image_main(void)
{
	pmu_init();
	apic_enter(X2APIC);
	check("	xorl %%eax, %%eax\n xorl %%ecx, %%ecx\n cpuid\n", 3, "CPUID");
	check("	movl $0x834, %%ecx\n movl $0x10400, %%eax\n xorl %%edx, %%edx\n wrmsr\n", 4,
	      "WRMSR of the LVT");
	check("	movl $0x834, %%ecx\n rdmsr\n", 2, "RDMSR of the LVT");
	if (cpuid(1).ecx & BIT_ULL(15)) /* PDCM */
		check("	movl $0x345, %%ecx\n rdmsr\n", 2, "RDMSR of PERF_CAPABILITIES");
	check("	xorl %%ecx, %%ecx\n rdpmc\n", 2, "RDPMC");
	if (pmu.nr_gp > 2 && pmu.amd)
		check("	movl $0xc0010002, %%ecx\n xorl %%eax, %%eax\n xorl %%edx, %%edx\n wrmsr\n",
		      4, "WRMSR of a selector that is not in use");
	else if (pmu.nr_gp > 2)
		check("	movl $0x188, %%ecx\n xorl %%eax, %%eax\n xorl %%edx, %%edx\n wrmsr\n", 4,
		      "WRMSR of a selector that is not in use");
	else
		print("# every selector is in use: none is written\n");
	check("	movw $0x80, %%dx\n outb %%al, %%dx\n", 2, "OUT");
	check("	movw $0x3fd, %%dx\n inb %%dx, %%al\n", 2, "IN");
	check("	movl $0x10, %%ecx\n rdmsr\n rdtsc\n", 3, "RDMSR of the TSC and RDTSC");
	check_wrap();
	check_user();
}
