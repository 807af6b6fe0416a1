// SPDX-License-Identifier: Apache-2.0
/* access.c - what a PMU MSR names, and what kind of access it is. Interface: access.h. */
#include "pmu/access.h"

#include "pmu/msr_index.h"

int pmu_msr_to_counter(const struct pp_pmu *pmu, u32 msr, enum counter_alias *alias)
{
	if (msr - MSR_IA32_PERFCTR0 < pmu->nr_gp) {
		*alias = ALIAS_LEGACY;
		return (int)(msr - MSR_IA32_PERFCTR0);
	}
	if (pmu->fw_write && msr - MSR_IA32_PMC0 < pmu->nr_gp) {
		*alias = ALIAS_FULL_WIDTH;
		return (int)(msr - MSR_IA32_PMC0);
	}
	if (msr - MSR_CORE_PERF_FIXED_CTR0 < pmu->nr_fixed) {
		*alias = ALIAS_FIXED;
		return (int)(INTEL_PMC_IDX_FIXED + msr - MSR_CORE_PERF_FIXED_CTR0);
	}
	return -1;
}

enum access_kind pmu_access_kind(const struct pp_pmu *pmu, u32 msr, bool write)
{
	enum counter_alias alias;

	if (pmu_msr_to_counter(pmu, msr, &alias) >= 0)
		return write ? ACCESS_COUNTER_WRITE : ACCESS_COUNTER_READ;
	if (msr - MSR_IA32_PERFEVTSEL0 < pmu->nr_gp)
		return write ? ACCESS_SELECTOR_WRITE : ACCESS_SELECTOR_READ;
	switch (msr) {
	case MSR_CORE_PERF_FIXED_CTR_CTRL: return write ? ACCESS_FIXED_CTRL_WRITE : ACCESS_OTHER;
	case MSR_CORE_PERF_GLOBAL_CTRL: return write ? ACCESS_GLOBAL_CTRL_WRITE : ACCESS_OTHER;
	case MSR_CORE_PERF_GLOBAL_STATUS: return write ? ACCESS_OTHER : ACCESS_GLOBAL_STATUS_READ;
	case MSR_CORE_PERF_GLOBAL_OVF_CTRL: return write ? ACCESS_OVF_CTRL_WRITE : ACCESS_OTHER;
	case MSR_CORE_PERF_GLOBAL_STATUS_SET:
	case MSR_CORE_PERF_GLOBAL_INUSE:
	case MSR_IA32_PERF_CAPABILITIES: return ACCESS_OTHER;
	default: return ACCESS_NONE;
	}
}
