// SPDX-License-Identifier: Apache-2.0
/*
 * registers.c - the register file of the physical PMU, as far as vendors agree: counters, selectors and
 * the rest. Which there are and what they take is the vendor's (vendor.h).
 *
 * Interface: hwpmu_rdmsr(), hwpmu_wrmsr(), hwpmu_rdpmc(). -1 is #GP(0).
 */
#include "pmu/hwpmu.h"

#include "pmu/hwpmu_private.h"

bool hwpmu_owns_msr(const struct hwpmu *pmu, u32 msr)
{
	enum counter_alias alias;

	return pmu->vendor->counter_of(&pmu->caps, msr, &alias) >= 0 ||
	       pmu->vendor->selector_of(&pmu->caps, msr) >= 0 || pmu->vendor->has_control(pmu, msr);
}

int hwpmu_rdmsr(struct hwpmu *pmu, u32 msr, u64 *value)
{
	enum counter_alias alias;
	int idx = pmu->vendor->counter_of(&pmu->caps, msr, &alias);

	if (idx >= 0) {
		*value = hwpmu_counter(pmu, (unsigned int)idx);
		return 0;
	}
	idx = pmu->vendor->selector_of(&pmu->caps, msr);
	if (idx >= 0) {
		*value = pmu->eventsel[idx];
		return 0;
	}
	if (!pmu->vendor->has_control(pmu, msr))
		return -1;
	return pmu->vendor->read_control(pmu, msr, value);
}

int hwpmu_wrmsr(struct hwpmu *pmu, u32 msr, u64 value)
{
	enum counter_alias alias;
	int idx = pmu->vendor->counter_of(&pmu->caps, msr, &alias);

	if (idx >= 0) {
		if (pmu->vendor->take_counter(pmu, (unsigned int)idx, alias, &value))
			return -1;
		hwpmu_set_counter(pmu, (unsigned int)idx, value);
		return 0;
	}
	idx = pmu->vendor->selector_of(&pmu->caps, msr);
	if (idx >= 0) {
		if (pmu->vendor->take_selector(pmu, (unsigned int)idx, &value))
			return -1;
		if (value == pmu->eventsel[idx])
			return 0;
		pmu->eventsel[idx] = value;
		hwpmu_restart_counter(pmu, (unsigned int)idx);
		return 0;
	}
	if (!pmu->vendor->has_control(pmu, msr))
		return -1;
	return pmu->vendor->write_control(pmu, msr, value);
}

int hwpmu_rdpmc(struct hwpmu *pmu, u32 ecx, u64 *value)
{
	int idx = pmu->vendor->rdpmc_of(&pmu->caps, ecx);

	if (idx < 0)
		return -1;
	*value = hwpmu_counter(pmu, (unsigned int)idx);
	return 0;
}

void hwpmu_write_global_ctrl(struct hwpmu *pmu, u64 value)
{
	u64 changed = pmu->global_ctrl ^ value;

	pmu->global_ctrl = value;
	hwpmu_restart_counters(pmu, changed);
}

u64 hwpmu_kept(struct hwpmu *pmu, u32 msr, u64 value)
{
	int idx = pmu->vendor->selector_of(&pmu->caps, msr);

	if (idx >= 0)
		return pmu->eventsel[idx];
	return msr == pmu->vendor->global_ctrl ? pmu->global_ctrl : value;
}
