// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_registers_amd.c - the registers of AMD's PMU: K7, the core extension, PerfMonV2; how wide they are
 * and what a write leaves. No write of one that is there faults.
 */
#include "pmu.h"

#define ALL_ONES (~0ull)
#define NR_K7 4u
#define SIDES (3ull << 40) /* GuestOnly, HostOnly */

static bool holds(u32 msr, u64 value, u64 expected, const char *name)
{
	u64 kept = 0;

	return step(attempt_wrmsr(msr, value), NO_VECTOR, "%s %x takes %x", name, (u64)msr, value) &
	       step(attempt_rdmsr(msr, &kept), NO_VECTOR, "%s %x can be read", name, (u64)msr) &
	       step(kept, expected, "%s %x written with %x", name, (u64)msr, value);
}

static bool missing(u32 msr)
{
	u64 value;

	return step(attempt_rdmsr(msr, &value), VECTOR_GP, "MSR %x cannot be read", (u64)msr) &
	       step(attempt_wrmsr(msr, 0), VECTOR_GP, "MSR %x cannot be written", (u64)msr);
}

/* 48 bits: what is above is dropped, and no sign is extended. */
static void check_counters(void)
{
	static const u64 values[] = {
		0, 1, 0x7fffffff, 0x80000000, 0x123456789abc, ALL_ONES, 0xabcd800000000005};
	bool right = true;

	for (u32 i = 0; i < pmu.nr_gp; i++) {
		for (u32 j = 0; j < ARRAY_SIZE(values); j++) {
			u64 expected = values[j] & pmu.gp_mask;

			right &= holds(counter_msr(i), values[j], expected, "counter");
			right &= step(read_counter(i), expected, "RDPMC %u", (u64)i);
		}
	}
	expect_true(right, "%u counters of 48 bits drop the bits above", (u64)pmu.nr_gp);
}

/* K7's registers are the first four of the core extension. */
static void check_k7(void)
{
	bool core = pmu.stride == 2, right = true;
	u64 value;

	for (u32 i = 0; i < NR_K7 && i < pmu.nr_gp; i++) {
		right &= holds(MSR_K7_PERFCTR0 + i, 0x1000 + i, 0x1000 + i, "K7 counter");
		right &= step(read_counter(i), 0x1000 + i, "RDPMC of K7 %u", (u64)i);
		right &= holds(MSR_K7_EVNTSEL0 + i, SEL_OS | i, SEL_OS | i, "K7 selector");
		if (!core)
			continue;
		right &= step(rdmsr(counter_msr(i)), 0x1000 + i, "the counter of K7 %u", (u64)i);
		right &= step(rdmsr(selector_msr(i)), SEL_OS | i, "the selector of K7 %u", (u64)i);
		wrmsr(selector_msr(i), 0);
		attempt_rdmsr(MSR_K7_EVNTSEL0 + i, &value);
		right &= step(value, 0, "K7 selector %u behind a write of the other", (u64)i);
	}
	right &= missing(MSR_K7_PERFCTR0 + NR_K7);
	pmu_clear();
	expect_true(right, "K7 registers are other numbers of the first counters");
}

/* Reserved: 63:42, 39:36, 21, 19; of a guest of KVM, which has no SVM, GuestOnly and HostOnly too. */
static void check_selectors(void)
{
	u64 kept = GENMASK_ULL(35, 0) & ~BIT_ULL(19) & ~SEL_ANY & ~SEL_EN;
	bool right = true;

	if (!under_kvm())
		kept |= SIDES;
	for (u32 i = 0; i < pmu.nr_gp; i++) {
		right &= holds(selector_msr(i), ALL_ONES & ~SEL_EN, kept, "selector");
		for (u32 b = 0; b < 64; b++) {
			if (BIT_ULL(b) != SEL_EN)
				right &= holds(selector_msr(i), BIT_ULL(b), BIT_ULL(b) & kept,
					       "selector");
		}
		wrmsr(selector_msr(i), 0);
	}
	expect_true(right, "selectors keep 12 bits of event and drop what is reserved");
}

static void check_missing(void)
{
	bool right = true;

	if (pmu.stride == 2) {
		right &= missing(MSR_PERF_CTL0 + 2 * pmu.nr_gp);
		right &= missing(MSR_PERF_CTR0 + 2 * pmu.nr_gp);
	} else {
		right &= missing(MSR_PERF_CTL0);
		right &= missing(MSR_PERF_CTR0);
	}
	if (!pmu.global) {
		right &= missing(MSR_AMD_GLOBAL_STATUS);
		right &= missing(MSR_AMD_GLOBAL_CTL);
		right &= missing(MSR_AMD_GLOBAL_STATUS_CLR);
		right &= missing(MSR_AMD_GLOBAL_STATUS_SET);
	}
	expect_true(right, "what CPUID does not announce is #GP");
}

static void check_global(void)
{
	bool right = holds(MSR_AMD_GLOBAL_CTL, ALL_ONES, pmu.all, "global control");

	right &= holds(MSR_AMD_GLOBAL_CTL, 1, 1, "global control");
	right &= holds(MSR_AMD_GLOBAL_CTL, 0, 0, "global control");
	expect_true(right, "the global control has the counters' bits and drops others");

	right = holds(MSR_AMD_GLOBAL_STATUS, ALL_ONES, 0, "status");
	expect_true(right, "the status ignores writes");
	wrmsr(MSR_AMD_GLOBAL_STATUS_SET, ALL_ONES);
	expect(rdmsr(MSR_AMD_GLOBAL_STATUS), pmu.all, "STATUS_SET knows the counters' bits");
	expect(rdmsr(MSR_AMD_GLOBAL_STATUS_SET), 0, "and reads 0");
	right = true;
	for (u32 i = 0; i < pmu.nr_gp; i++) {
		wrmsr(MSR_AMD_GLOBAL_STATUS_CLR, BIT_ULL(i) | GENMASK_ULL(63, 32));
		right &= step(rdmsr(MSR_AMD_GLOBAL_STATUS), pmu.all & ~GENMASK_ULL(i, 0),
			      "status behind the clearing of %u", (u64)i);
	}
	expect_true(right, "STATUS_CLR clears what is written and takes every bit");
	expect(rdmsr(MSR_AMD_GLOBAL_STATUS_CLR), 0, "and reads 0");
}

/*
 * Without SVM a counter with either bit counts nothing on silicon; KVM's guest cannot set them, and
 * its counter counts.
 */
static void check_sides(void)
{
	static const u64 bits[] = {BIT_ULL(40), BIT_ULL(41), SIDES};
	bool right = true;

	for (u32 i = 0; i < ARRAY_SIZE(bits); i++) {
		pmu_clear();
		set_counter(0, arch_events[EVENT_INSTRUCTIONS].encoding | SEL_OS | bits[i]);
		count_stretch(stretch_of(1), "nop\n nop\n", 0, 0);
		right &= step(read_counter(0), under_kvm() ? FRAME + 2 : 0, "with %x", bits[i]);
	}
	expect_true(right, "GuestOnly and HostOnly without SVM");
}

static void check_of_another_vendor(void)
{
	bool right = missing(MSR_K7_EVNTSEL0);

	right &= missing(MSR_K7_PERFCTR0);
	right &= missing(MSR_PERF_CTL0);
	right &= missing(MSR_PERF_CTR0);
	right &= missing(MSR_AMD_GLOBAL_CTL);
	expect_true(right, "AMD's registers are #GP");
}

void image_main(void)
{
	u64 ctl = 0;

	if (!is_amd()) {
		check_of_another_vendor();
		return;
	}
	/* Before pmu_init(): all counters are enabled globally after a reset. */
	attempt_rdmsr(MSR_AMD_GLOBAL_CTL, &ctl);
	pmu_init();
	print("# %u counters%s\n", (u64)pmu.nr_gp, pmu.global ? ", PerfMonV2" : "");
	if (pmu.global)
		expect(ctl, pmu.all, "global control after reset");
	check_counters();
	check_k7();
	check_selectors();
	check_missing();
	if (pmu.global)
		check_global();
	check_sides();
}
