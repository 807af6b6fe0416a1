// SPDX-License-Identifier: Apache-2.0
/*
 * registers.c - the register file of the physical PMU, as far as vendors agree: counters, selectors and
 * the rest. Which there are and what they take is the vendor's (vendor.h).
 *
 * Interface: hwpmu_rdmsr(), hwpmu_wrmsr(), hwpmu_rdpmc(). -1 is #GP(0).
 */
#include "pmu/hwpmu.h"

#include "pmu/hwpmu_private.h"

struct pmu_register hwpmu_find(const struct hwpmu *pmu, u32 msr)
{
	struct pmu_register reg = pmu_find(&pmu->caps, msr);

	if (reg.kind == PMU_NO_REGISTER && pmu->vendor->has_control(pmu, msr))
		reg.kind = PMU_CONTROL;
	return reg;
}

int hwpmu_read(struct hwpmu *pmu, const struct pmu_register *reg, u64 *value)
{
	switch (reg->kind) {
	case PMU_COUNTER: *value = hwpmu_counter(pmu, reg->idx); return 0;
	case PMU_SELECTOR: *value = pmu->eventsel[reg->idx]; return 0;
	case PMU_CONTROL: return pmu->vendor->read_control(pmu, reg->msr, value);
	default: return -1;
	}
}

static int write_counter(struct hwpmu *pmu, const struct pmu_register *reg, u64 value)
{
	if (pmu->vendor->take_counter(pmu, reg->idx, reg->alias, &value))
		return -1;
	hwpmu_set_counter(pmu, reg->idx, value);
	return 0;
}

static int write_selector(struct hwpmu *pmu, unsigned int idx, u64 value)
{
	if (pmu->vendor->take_selector(pmu, idx, &value))
		return -1;
	if (value == pmu->eventsel[idx])
		return 0;
	pmu->eventsel[idx] = value;
	hwpmu_restart_counter(pmu, idx);
	return 0;
}

int hwpmu_write(struct hwpmu *pmu, const struct pmu_register *reg, u64 value)
{
	switch (reg->kind) {
	case PMU_COUNTER: return write_counter(pmu, reg, value);
	case PMU_SELECTOR: return write_selector(pmu, reg->idx, value);
	case PMU_CONTROL: return pmu->vendor->write_control(pmu, reg->msr, value);
	default: return -1;
	}
}

u64 hwpmu_kept(const struct hwpmu *pmu, const struct pmu_register *reg, u64 value)
{
	if (reg->kind == PMU_SELECTOR)
		return pmu->eventsel[reg->idx];
	return reg->msr == pmu->vendor->global_ctrl ? pmu->global_ctrl : value;
}

bool hwpmu_owns_msr(const struct hwpmu *pmu, u32 msr)
{
	return hwpmu_find(pmu, msr).kind != PMU_NO_REGISTER;
}

int hwpmu_rdmsr(struct hwpmu *pmu, u32 msr, u64 *value)
{
	struct pmu_register reg = hwpmu_find(pmu, msr);

	return hwpmu_read(pmu, &reg, value);
}

int hwpmu_wrmsr(struct hwpmu *pmu, u32 msr, u64 value)
{
	struct pmu_register reg = hwpmu_find(pmu, msr);

	return hwpmu_write(pmu, &reg, value);
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
