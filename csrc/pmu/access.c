// SPDX-License-Identifier: Apache-2.0
/* access.c - what a PMU MSR names, and what kind of access it is. Interface: access.h. */
#include "pmu/access.h"

#include "pmu/vendor.h"

int pmu_msr_to_counter(const struct pp_pmu *pmu, u32 msr, enum counter_alias *alias)
{
	return pmu_vendor(pmu)->counter_of(pmu, msr, alias);
}

enum access_kind pmu_access_kind(const struct pp_pmu *pmu, u32 msr, bool write)
{
	const struct pmu_vendor *vendor = pmu_vendor(pmu);
	enum counter_alias alias;

	if (vendor->counter_of(pmu, msr, &alias) >= 0)
		return write ? ACCESS_COUNTER_WRITE : ACCESS_COUNTER_READ;
	if (vendor->selector_of(pmu, msr) >= 0)
		return write ? ACCESS_SELECTOR_WRITE : ACCESS_SELECTOR_READ;
	return vendor->control_kind(msr, write);
}
