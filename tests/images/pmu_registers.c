// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_registers.c - which registers the PMU has, how wide they are, and what a write may hold.
 */
#include "pmu.h"

#define ALL_ONES (~0ull)

static bool reads(u32 msr, u64 expected, const char *name, u64 number)
{
	u64 value;

	return step(attempt_rdmsr(msr, &value), NO_VECTOR, "%s %u can be read", name, number) &&
	       step(value, expected, "%s %u", name, number);
}

/* Refused with #GP(0), and nothing changes. */
static bool refused(u32 msr, u64 value, const char *name, u64 number)
{
	u64 before = 0, after = 0;
	bool readable = attempt_rdmsr(msr, &before) == NO_VECTOR;
	bool right;

	right = step(attempt_wrmsr(msr, value), VECTOR_GP, "%s %u refuses %x", name, number, value);
	right &= step(caught.error, 0, "with error code 0");
	if (!readable)
		return right;
	attempt_rdmsr(msr, &after);
	return right & step(after, before, "%s %u is as it was", name, number);
}

static bool missing(u32 msr, const char *name)
{
	u64 value;

	return step(attempt_rdmsr(msr, &value), VECTOR_GP, "%s %x cannot be read", name, (u64)msr) &
	       step(attempt_wrmsr(msr, 0), VECTOR_GP, "%s %x cannot be written", name, (u64)msr);
}

/* A write through the old address takes 32 bits and extends the sign. */
static void check_old_addresses(void)
{
	static const u64 values[] = {
		0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0x123480000000, 0xffffffff00000005};
	bool right = true;

	for (u32 i = 0; i < pmu.nr_gp; i++) {
		for (u32 j = 0; j < ARRAY_SIZE(values); j++) {
			u64 expected = (u64)(s32)values[j] & pmu.gp_mask;

			wrmsr(MSR_PERFCTR0 + i, values[j]);
			right &= reads(MSR_PERFCTR0 + i, expected, "old address of GP", i);
			right &= step(read_counter(i), expected, "RDPMC %u", (u64)i);
			if (pmu.full_width)
				right &= reads(MSR_PMC0 + i, expected, "full address of GP", i);
		}
	}
	expect_true(right, "a 32-bit write extends its sign to %u bits, on %u counters",
		    (u64)pmu.gp_width, (u64)pmu.nr_gp);
}

static void check_full_addresses(void)
{
	bool right = true;

	if (!pmu.full_width) {
		for (u32 i = 0; i < pmu.nr_gp; i++)
			right &= missing(MSR_PMC0 + i, "full-width address");
		expect_true(right, "without full-width writes their addresses are #GP");
		return;
	}
	for (u32 i = 0; i < pmu.nr_gp; i++) {
		static const u64 values[] = {0, 0x80000000, 0x123456789abc, ALL_ONES >> 16};

		for (u32 j = 0; j < ARRAY_SIZE(values); j++) {
			wrmsr(MSR_PMC0 + i, values[j] & pmu.gp_mask);
			right &= reads(MSR_PMC0 + i, values[j] & pmu.gp_mask, "GP", i);
			right &= reads(MSR_PERFCTR0 + i, values[j] & pmu.gp_mask, "old GP", i);
		}
		for (u32 b = pmu.gp_width; b < 64; b++)
			right &= refused(MSR_PMC0 + i, 1ull << b, "GP counter", i);
	}
	expect_true(right, "full-width writes take %u bits, and a bit above is #GP",
		    (u64)pmu.gp_width);
}

/*
 * A fixed counter refuses bits above its width, as silicon does. The emulated vPMU takes any value
 * and drops them.
 */
static void check_fixed_counters(void)
{
	bool right = true, truncates = false;

	for (u32 i = 0; i < pmu.nr_fixed; i++) {
		u32 msr = MSR_FIXED_CTR0 + i;

		wrmsr(msr, pmu.fixed_mask);
		right &= reads(msr, pmu.fixed_mask, "fixed counter", i);
		right &= step(read_counter(FIXED_INDEX + i), pmu.fixed_mask, "RDPMC of it");
		wrmsr(msr, 5);
		for (u32 b = pmu.fixed_width; b < 64; b++) {
			if (under_kvm() && attempt_wrmsr(msr, 1ull << b | 7) == NO_VECTOR) {
				truncates = true;
				right &= reads(msr, 7, "fixed counter", i);
				continue;
			}
			right &= refused(msr, 1ull << b | 7, "fixed counter", i);
		}
	}
	if (truncates)
		differs("fixed-counter-truncates");
	expect_true(right, "%u fixed counters of %u bits", (u64)pmu.nr_fixed, (u64)pmu.fixed_width);
}

static void check_selectors(void)
{
	/* All but AnyThread, which depends, and EN, so that nothing runs. */
	u64 every = 0xffffffff & ~(SEL_ANY | SEL_EN);
	bool right = true;

	for (u32 i = 0; i < pmu.nr_gp; i++) {
		wrmsr(MSR_EVTSEL0 + i, every);
		right &= reads(MSR_EVTSEL0 + i, every, "selector", i);
		for (u32 b = 32; b < 64; b++)
			right &= refused(MSR_EVTSEL0 + i, 1ull << b | SEL_OS, "selector", i);
		wrmsr(MSR_EVTSEL0 + i, 0);
	}
	expect_true(right, "selectors keep their bits and refuse 32 to 63");
}

/* AnyThread came with version 3, and CPUID says when it is gone. KVM never offers it. */
static void check_any_thread(void)
{
	bool has_it = pmu.version >= 3 && !pmu.anythread_deprecated;
	bool right = true;

	for (u32 i = 0; i < pmu.nr_gp; i++) {
		right &= step(attempt_wrmsr(MSR_EVTSEL0 + i, SEL_ANY),
			      has_it ? NO_VECTOR : VECTOR_GP, "AnyThread of selector %u", (u64)i);
		wrmsr(MSR_EVTSEL0 + i, 0);
	}
	for (u32 i = 0; i < pmu.nr_fixed; i++) {
		right &= step(attempt_wrmsr(MSR_FIXED_CTR_CTRL, 4ull << 4 * i),
			      has_it ? NO_VECTOR : VECTOR_GP, "AnyThread of fixed %u", (u64)i);
		wrmsr(MSR_FIXED_CTR_CTRL, 0);
	}
	expect_true(right, has_it ? "AnyThread can be set" : "AnyThread is reserved");
}

static void check_fixed_ctr_ctrl(void)
{
	u64 every = 0;
	bool right = true;

	for (u32 i = 0; i < pmu.nr_fixed; i++)
		every |= (FIXED_OS | FIXED_USR | FIXED_INT) << 4 * i;
	wrmsr(MSR_FIXED_CTR_CTRL, every);
	right &= reads(MSR_FIXED_CTR_CTRL, every, "FIXED_CTR_CTRL", 0);
	for (u32 b = 4 * pmu.nr_fixed; b < 64; b++)
		right &= refused(MSR_FIXED_CTR_CTRL, 1ull << b, "FIXED_CTR_CTRL bit", b);
	wrmsr(MSR_FIXED_CTR_CTRL, 0);
	expect_true(right, "FIXED_CTR_CTRL has fields for %u counters", (u64)pmu.nr_fixed);
}

static void check_global(void)
{
	bool right = true;

	wrmsr(MSR_GLOBAL_CTRL, pmu.all);
	right &= reads(MSR_GLOBAL_CTRL, pmu.all, "GLOBAL_CTRL", 0);
	wrmsr(MSR_GLOBAL_CTRL, 0);
	for (u32 b = 0; b < 64; b++) {
		if (pmu.all & 1ull << b)
			continue;
		right &= refused(MSR_GLOBAL_CTRL, 1ull << b, "GLOBAL_CTRL bit", b);
	}
	expect_true(right, "GLOBAL_CTRL has the bits of all counters and no other");

	right = reads(MSR_GLOBAL_STATUS, 0, "GLOBAL_STATUS", 0);
	right &= refused(MSR_GLOBAL_STATUS, 0, "GLOBAL_STATUS", 0);
	right &= refused(MSR_GLOBAL_STATUS, 1, "GLOBAL_STATUS", 1);
	expect_true(right, "GLOBAL_STATUS cannot be written");

	right = reads(MSR_GLOBAL_OVF_CTRL, 0, "OVF_CTRL", 0);
	/* Bits 55 to 63 are of other units and partly there. */
	for (u32 b = 0; b < 55; b++) {
		if (pmu.all & 1ull << b)
			continue;
		right &= step(attempt_wrmsr(MSR_GLOBAL_OVF_CTRL, 1ull << b), VECTOR_GP,
			      "OVF_CTRL bit %u", (u64)b);
	}
	right &= step(attempt_wrmsr(MSR_GLOBAL_OVF_CTRL, pmu.all | 3ull << 62), NO_VECTOR,
		      "OVF_CTRL of all");
	expect_true(right, "OVF_CTRL takes the bits of counters, buffer and condition change");
}

static void check_missing(void)
{
	bool right = true;

	right &= missing(MSR_PERFCTR0 + pmu.nr_gp, "counter");
	right &= missing(MSR_PMC0 + pmu.nr_gp, "counter");
	right &= missing(MSR_EVTSEL0 + pmu.nr_gp, "selector");
	right &= missing(MSR_FIXED_CTR0 + pmu.nr_fixed, "fixed counter");
	if (!pmu.global) {
		right &= missing(MSR_GLOBAL_CTRL, "GLOBAL_CTRL");
		right &= missing(MSR_GLOBAL_OVF_CTRL, "OVF_CTRL");
		right &= missing(MSR_FIXED_CTR_CTRL, "FIXED_CTR_CTRL");
	}
	expect_true(right, "counters that CPUID does not announce are #GP");
}

static void check_capabilities(void)
{
	u64 value;

	if (!(cpuid(1).ecx & BIT_ULL(15))) {
		expect_true(missing(MSR_PERF_CAPABILITIES, "PERF_CAPABILITIES"),
			    "PERF_CAPABILITIES comes with PDCM");
		return;
	}
	value = rdmsr(MSR_PERF_CAPABILITIES);
	expect_true(refused(MSR_PERF_CAPABILITIES, value, "PERF_CAPABILITIES", 0) &
			    refused(MSR_PERF_CAPABILITIES, 0, "PERF_CAPABILITIES", 0),
		    "PERF_CAPABILITIES cannot be written");
}

/* On another vendor's CPU these registers are not there (pmu_registers_amd.c has its own). */
static void check_of_another_vendor(void)
{
	bool right = missing(MSR_PERFCTR0, "counter");

	right &= missing(MSR_PMC0, "counter");
	right &= missing(MSR_EVTSEL0, "selector");
	right &= missing(MSR_FIXED_CTR0, "fixed counter");
	right &= missing(MSR_FIXED_CTR_CTRL, "FIXED_CTR_CTRL");
	right &= missing(MSR_GLOBAL_CTRL, "GLOBAL_CTRL");
	right &= missing(MSR_GLOBAL_STATUS, "GLOBAL_STATUS");
	right &= missing(MSR_GLOBAL_OVF_CTRL, "OVF_CTRL");
	right &= missing(MSR_PERF_CAPABILITIES, "PERF_CAPABILITIES");
	expect_true(right, "Intel's registers are #GP");
}

void image_main(void)
{
	u64 ctrl = 0, vector;

	if (is_amd()) {
		check_of_another_vendor();
		return;
	}

	/* Before pmu_init(): GP counters are enabled globally after a reset, fixed ones are not. */
	vector = attempt_rdmsr(MSR_GLOBAL_CTRL, &ctrl);
	pmu_init();
	if (pmu.global)
		expect(ctrl, GENMASK_ULL(pmu.nr_gp - 1, 0), "GLOBAL_CTRL after reset");
	else
		expect(vector, VECTOR_GP, "version 1 has no GLOBAL_CTRL");
	check_old_addresses();
	check_full_addresses();
	check_selectors();
	check_any_thread();
	if (pmu.global) {
		check_fixed_counters();
		check_fixed_ctr_ctrl();
		check_global();
	}
	check_missing();
	check_capabilities();
}
