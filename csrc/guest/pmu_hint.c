// SPDX-License-Identifier: Apache-2.0
/*
 * pmu_hint.c - KVM is told which counters this CPU uses, where it wants to know. Interface: perf.h.
 *
 * Linux has no such thing; what it is: base/pmu_hint.h. A counter that falls out of use is set to 0, so that
 * KVM may leave it where it is.
 */
#include "base/pmu_hint.h"

#include "guest/insn.h"
#include "guest/percpu.h"
#include "guest/perf.h"
#include "guest/settings.h"

#define CPUID_1_ECX_HYPERVISOR BIT_ULL(31)

static bool offered;

void pmu_hint_init(void)
{
	struct cpuid_regs r;

	if (!settings.hint || !(cpuid(1).ecx & CPUID_1_ECX_HYPERVISOR))
		return;
	r = cpuid(PMU_HINT_CPUID);
	offered = r.ebx == PMU_HINT_EBX && r.ecx == PMU_HINT_ECX && r.edx == PMU_HINT_EDX;
}

void pmu_hint_init_cpu(void)
{
	if (offered)
		wrmsr(MSR_PMUPASS_PMU_HINT, PMU_HINT_VALID);
}

static u32 counter_msr(u32 idx)
{
	if (idx >= INTEL_PMC_IDX_FIXED)
		return MSR_CORE_PERF_FIXED_CTR0 + idx - INTEL_PMC_IDX_FIXED;
	return x86_pmu.perfctr + x86_pmu.stride * idx;
}

/* Events on their way from one counter to another are on both. */
static u64 counters_in_use(const struct cpu_hw_events *cpuc)
{
	u64 counters = cpuc->active_mask;
	u32 i;

	for (i = 0; i < cpuc->n_events; i++)
		counters |= BIT_ULL(cpuc->assign[i]);
	return counters;
}

void pmu_hint(void)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;
	u64 counters;
	u32 idx;

	if (!offered)
		return;
	counters = counters_in_use(cpuc);
	if (counters == cpuc->hint)
		return;
	for_each_set_bit(idx, cpuc->hint & ~counters)
		wrmsr(counter_msr(idx), 0);
	cpuc->hint = counters;
	wrmsr(MSR_PMUPASS_PMU_HINT, PMU_HINT_VALID | counters);
}
