// SPDX-License-Identifier: Apache-2.0
/* access.c - what a PMU MSR names, and what kind of access it is. Interface: access.h. */
#include "pmu/access.h"

#include "pmu/vendor.h"

enum access_kind pmu_register_access_kind(const struct pp_pmu *pmu, const struct pmu_register *reg,
					  bool write)
{
	switch (reg->kind) {
	case PMU_COUNTER: return write ? ACCESS_COUNTER_WRITE : ACCESS_COUNTER_READ;
	case PMU_SELECTOR: return write ? ACCESS_SELECTOR_WRITE : ACCESS_SELECTOR_READ;
	default: return pmu_vendor(pmu)->control_kind(reg->msr, write);
	}
}

enum access_kind pmu_access_kind(const struct pp_pmu *pmu, u32 msr, bool write)
{
	struct pmu_register reg = pmu_find(pmu, msr);

	return pmu_register_access_kind(pmu, &reg, write);
}
