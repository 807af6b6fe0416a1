// SPDX-License-Identifier: Apache-2.0
/*
 * hwpmu_msr.c - the register file of the physical PMU: which MSRs exist, what faults.
 *
 * Interface: hwpmu_rdmsr(), hwpmu_wrmsr(), hwpmu_rdpmc(). -1 is #GP(0).
 *
 * Not modelled: PEBS and LBR registers, PERF_METRICS (its bits stay reserved), RDPMC type 0x2000.
 */
#include "pmu/hwpmu.h"

#include "pmu/access.h"
#include "pmu/hwpmu_private.h"

static bool is_eventsel(const struct hwpmu *pmu, u32 msr)
{
	return msr - MSR_IA32_PERFEVTSEL0 < pmu->caps.nr_gp;
}

/* Registers other than counters and selectors, with the version that brought them. */
static bool control_msr_exists(const struct hwpmu *pmu, u32 msr)
{
	switch (msr) {
	case MSR_CORE_PERF_FIXED_CTR_CTRL:
	case MSR_CORE_PERF_GLOBAL_STATUS:
	case MSR_CORE_PERF_GLOBAL_CTRL:
	case MSR_CORE_PERF_GLOBAL_OVF_CTRL: return pmu->caps.version >= 2;
	case MSR_CORE_PERF_GLOBAL_STATUS_SET:
	case MSR_CORE_PERF_GLOBAL_INUSE: return pmu->caps.version >= 4;
	case MSR_IA32_PERF_CAPABILITIES: return pmu->caps.version >= 2;
	default: return false;
	}
}

bool hwpmu_owns_msr(const struct hwpmu *pmu, u32 msr)
{
	enum counter_alias alias;

	return pmu_msr_to_counter(&pmu->caps, msr, &alias) >= 0 || is_eventsel(pmu, msr) ||
	       control_msr_exists(pmu, msr);
}

/* AnyThread was a feature of versions 3 and 4; from 5 on its bit is reserved. */
static bool has_any_thread(const struct hwpmu *pmu)
{
	return pmu->caps.version == 3 || pmu->caps.version == 4;
}

static u64 eventsel_reserved(const struct hwpmu *pmu, unsigned int idx)
{
	u64 reserved = eventsel_reserved_high(pmu->caps.rtm, idx);

	return has_any_thread(pmu) ? reserved : reserved | ARCH_PERFMON_EVENTSEL_ANY;
}

static u64 fixed_ctr_ctrl_reserved(const struct hwpmu *pmu)
{
	u64 field = INTEL_FIXED_0_KERNEL | INTEL_FIXED_0_USER | INTEL_FIXED_0_ENABLE_PMI;
	u64 valid = 0;

	if (has_any_thread(pmu))
		field |= INTEL_FIXED_0_ANYTHREAD;
	for (unsigned int i = 0; i < pmu->caps.nr_fixed; i++)
		valid |= field << (INTEL_FIXED_BITS_STRIDE * i);
	return ~valid;
}

static u64 status_reserved(const struct hwpmu *pmu)
{
	u64 valid = pmu->counter_mask | GLOBAL_STATUS_BUFFER_OVF | GLOBAL_STATUS_COND_CHG |
		    GLOBAL_STATUS_TRACE_TOPAPMI;

	if (pmu->caps.version >= 4)
		valid |= GLOBAL_STATUS_LBRS_FROZEN | GLOBAL_STATUS_COUNTERS_FROZEN |
			 GLOBAL_STATUS_ASIF;
	return ~valid;
}

static u64 counters_in_use(const struct hwpmu *pmu)
{
	u64 inuse = 0;

	for (unsigned int i = 0; i < pmu->caps.nr_gp; i++) {
		if (pmu->eventsel[i] & ARCH_PERFMON_EVENTSEL_EVENT)
			inuse |= BIT_ULL(i);
		if (pmu->eventsel[i] & ARCH_PERFMON_EVENTSEL_INT)
			inuse |= BIT_ULL(63);
	}
	for (unsigned int i = 0; i < pmu->caps.nr_fixed; i++) {
		u64 field = fixed_ctrl_field(pmu->fixed_ctr_ctrl, i);

		if (field & (INTEL_FIXED_0_KERNEL | INTEL_FIXED_0_USER))
			inuse |= BIT_ULL(INTEL_PMC_IDX_FIXED + i);
		if (field & INTEL_FIXED_0_ENABLE_PMI)
			inuse |= BIT_ULL(63);
	}
	return inuse;
}

int hwpmu_rdmsr(struct hwpmu *pmu, u32 msr, u64 *value)
{
	enum counter_alias alias;
	int idx = pmu_msr_to_counter(&pmu->caps, msr, &alias);

	if (idx >= 0) {
		*value = hwpmu_counter(pmu, (unsigned int)idx);
		return 0;
	}
	if (is_eventsel(pmu, msr)) {
		*value = pmu->eventsel[msr - MSR_IA32_PERFEVTSEL0];
		return 0;
	}
	if (!control_msr_exists(pmu, msr))
		return -1;
	switch (msr) {
	case MSR_CORE_PERF_FIXED_CTR_CTRL: *value = pmu->fixed_ctr_ctrl; break;
	case MSR_CORE_PERF_GLOBAL_STATUS: *value = pmu->global_status; break;
	case MSR_CORE_PERF_GLOBAL_CTRL: *value = pmu->global_ctrl; break;
	case MSR_CORE_PERF_GLOBAL_INUSE: *value = counters_in_use(pmu); break;
	case MSR_IA32_PERF_CAPABILITIES: *value = pmu->caps.perf_capabilities; break;
	default: *value = 0; break;
	}
	return 0;
}

static int write_counter(struct hwpmu *pmu, unsigned int idx, enum counter_alias alias, u64 value)
{
	if (alias == ALIAS_LEGACY)
		value = sign_extend_legacy_write(value);
	else if (value & ~hwpmu_value_mask(pmu, idx))
		return -1;
	hwpmu_set_counter(pmu, idx, value);
	return 0;
}

static int write_control(struct hwpmu *pmu, u32 msr, u64 value)
{
	u64 changed;

	switch (msr) {
	case MSR_CORE_PERF_FIXED_CTR_CTRL:
		if (value & fixed_ctr_ctrl_reserved(pmu))
			return -1;
		pmu->fixed_ctr_ctrl = value;
		hwpmu_restart_counters(pmu, GENMASK_ULL(63, INTEL_PMC_IDX_FIXED));
		return 0;
	case MSR_CORE_PERF_GLOBAL_CTRL:
		if (value & ~pmu->counter_mask)
			return -1;
		changed = pmu->global_ctrl ^ value;
		pmu->global_ctrl = value;
		hwpmu_restart_counters(pmu, changed);
		return 0;
	case MSR_CORE_PERF_GLOBAL_OVF_CTRL:
		if (value & status_reserved(pmu))
			return -1;
		pmu->global_status &= ~value;
		return 0;
	case MSR_CORE_PERF_GLOBAL_STATUS_SET:
		if (value & status_reserved(pmu))
			return -1;
		pmu->global_status |= value;
		return 0;
	default: /* GLOBAL_STATUS, GLOBAL_INUSE and PERF_CAPABILITIES are read-only */ return -1;
	}
}

int hwpmu_wrmsr(struct hwpmu *pmu, u32 msr, u64 value)
{
	enum counter_alias alias;
	int idx = pmu_msr_to_counter(&pmu->caps, msr, &alias);

	if (idx >= 0)
		return write_counter(pmu, (unsigned int)idx, alias, value);
	if (is_eventsel(pmu, msr)) {
		if (value & eventsel_reserved(pmu, msr - MSR_IA32_PERFEVTSEL0))
			return -1;
		pmu->eventsel[msr - MSR_IA32_PERFEVTSEL0] = value;
		hwpmu_restart_counter(pmu, msr - MSR_IA32_PERFEVTSEL0);
		return 0;
	}
	if (!control_msr_exists(pmu, msr))
		return -1;
	return write_control(pmu, msr, value);
}

int rdpmc_ecx_to_idx(u32 ecx, unsigned int nr_gp, unsigned int nr_fixed)
{
	unsigned int type = ecx >> INTEL_RDPMC_TYPE_SHIFT, i = ecx & 0xffff;

	if (type == INTEL_RDPMC_GP && i < nr_gp)
		return (int)i;
	if (type == INTEL_RDPMC_FIXED && i < nr_fixed)
		return (int)(INTEL_PMC_IDX_FIXED + i);
	return -1;
}

int hwpmu_rdpmc(struct hwpmu *pmu, u32 ecx, u64 *value)
{
	int idx = rdpmc_ecx_to_idx(ecx, pmu->caps.nr_gp, pmu->caps.nr_fixed);

	if (idx < 0)
		return -1;
	*value = hwpmu_counter(pmu, (unsigned int)idx);
	return 0;
}
