// SPDX-License-Identifier: Apache-2.0
/*
 * hwpmu_intel.c - the registers of Intel's architectural perfmon: which MSRs exist, what faults.
 *
 * Interface: pmu_vendor_intel. -1 is #GP(0).
 *
 * Not modelled: PEBS and LBR registers, PERF_METRICS (its bits stay reserved), RDPMC type 0x2000.
 */
#include "pmu/hwpmu.h"

#include "base/fault.h"
#include "pmu/access.h"
#include "pmu/hwpmu_private.h"

/* ---- the map ---- */

static struct pmu_register intel_find(const struct pp_pmu *pmu, u32 msr)
{
	unsigned int i;

	i = msr - MSR_IA32_PERFCTR0;
	if (i < pmu->nr_gp)
		return pmu_counter_register(i, ALIAS_LEGACY);
	i = msr - MSR_IA32_PERFEVTSEL0;
	if (i < pmu->nr_gp)
		return pmu_selector_register(i);
	i = msr - MSR_IA32_PMC0;
	if (pmu->fw_write && i < pmu->nr_gp)
		return pmu_counter_register(FAULTY(FULL_WIDTH_ALIAS_OF_ANOTHER) ? i ^ 1 : i,
					    ALIAS_FULL_WIDTH);
	i = msr - MSR_CORE_PERF_FIXED_CTR0;
	if (i < pmu->nr_fixed)
		return pmu_counter_register(INTEL_PMC_IDX_FIXED + i, ALIAS_FIXED);
	return (struct pmu_register){.kind = PMU_NO_REGISTER};
}

static int intel_rdpmc_of(const struct pp_pmu *pmu, u32 ecx)
{
	return rdpmc_ecx_to_idx(ecx, pmu->nr_gp, pmu->nr_fixed);
}

static enum access_kind intel_control_kind(u32 msr, bool write)
{
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

static u32 intel_counter_msr(const struct pp_pmu *pmu, unsigned int idx)
{
	return counter_msr(idx, pmu->fw_write);
}

static u32 intel_selector_msr(const struct pp_pmu *pmu, unsigned int idx)
{
	(void)pmu;
	return (u32)MSR_IA32_PERFEVTSEL0 + idx;
}

static bool intel_can_be_mediated(const struct pp_pmu *pmu)
{
	return pmu->version >= 4 && pmu->fw_write;
}

/* ---- the register file ---- */

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
	case MSR_IA32_PERF_CAPABILITIES: return pmu->caps.pdcm;
	default: return false;
	}
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

u64 intel_status_reserved(const struct hwpmu *pmu)
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

static int intel_read_control(struct hwpmu *pmu, u32 msr, u64 *value)
{
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

static int intel_take_counter(const struct hwpmu *pmu, unsigned int idx, enum counter_alias alias,
			      u64 *value)
{
	if (alias == ALIAS_LEGACY)
		*value = sign_extend_legacy_write(*value);
	else if (*value & ~hwpmu_value_mask(pmu, idx) && !FAULTY(HW_WIDE_WRITE_TAKEN))
		return -1;
	return 0;
}

static int intel_take_selector(const struct hwpmu *pmu, unsigned int idx, u64 *value)
{
	return *value & eventsel_reserved(pmu, idx) ? -1 : 0;
}

/* GLOBAL_CTRL is switched by VM-entry and VM-exit: a selector knows no sides. */
static unsigned int intel_sides(const struct hwpmu *pmu, u64 eventsel)
{
	(void)pmu;
	(void)eventsel;
	return SIDE_BOTH;
}

static int intel_write_control(struct hwpmu *pmu, u32 msr, u64 value)
{
	switch (msr) {
	case MSR_CORE_PERF_FIXED_CTR_CTRL:
		if (value & fixed_ctr_ctrl_reserved(pmu))
			return -1;
		if (value == pmu->fixed_ctr_ctrl)
			return 0;
		pmu->fixed_ctr_ctrl = value;
		hwpmu_restart_counters(pmu, GENMASK_ULL(63, INTEL_PMC_IDX_FIXED));
		return 0;
	case MSR_CORE_PERF_GLOBAL_CTRL:
		if (value & ~pmu->counter_mask)
			return -1;
		hwpmu_write_global_ctrl(pmu, value);
		return 0;
	case MSR_CORE_PERF_GLOBAL_OVF_CTRL:
		if (value & intel_status_reserved(pmu))
			return -1;
		pmu->global_status &= FAULTY(HW_CLEARS_ALL) ? 0 : ~value;
		return 0;
	case MSR_CORE_PERF_GLOBAL_STATUS_SET:
		if (value & intel_status_reserved(pmu))
			return -1;
		pmu->global_status |= FAULTY(HW_STATUS_SET_IGNORED) ? 0 : value;
		return 0;
	default: /* GLOBAL_STATUS, GLOBAL_INUSE and PERF_CAPABILITIES are read-only */ return -1;
	}
}

int rdpmc_ecx_to_idx(u32 ecx, unsigned int nr_gp, unsigned int nr_fixed)
{
	unsigned int type = ecx >> INTEL_RDPMC_TYPE_SHIFT, i = ecx & 0xffff;

	if ((type & ~(FAULTY(RDPMC_BIT_31_TAKEN) ? 0x8000u : 0)) == INTEL_RDPMC_GP && i < nr_gp)
		return (int)i;
	if (type == INTEL_RDPMC_FIXED && i < nr_fixed)
		return (int)(INTEL_PMC_IDX_FIXED + (FAULTY(RDPMC_WRONG_FIXED) ? i ^ 1 : i));
	return -1;
}

const struct pmu_vendor pmu_vendor_intel = {
	.name = "Intel",
	.find = intel_find,
	.rdpmc_of = intel_rdpmc_of,
	.control_kind = intel_control_kind,
	.counter_msr = intel_counter_msr,
	.selector_msr = intel_selector_msr,
	.can_be_mediated = intel_can_be_mediated,
	.global_ctrl = MSR_CORE_PERF_GLOBAL_CTRL,
	.global_status = MSR_CORE_PERF_GLOBAL_STATUS,
	.global_ovf_ctrl = MSR_CORE_PERF_GLOBAL_OVF_CTRL,
	.global_status_set = MSR_CORE_PERF_GLOBAL_STATUS_SET,
	.event_code = ARCH_PERFMON_EVENTSEL_EVENT | ARCH_PERFMON_EVENTSEL_UMASK,
	.masks_lvtpc = true,
	.repeats_last_leaf = true,
	.has_control = control_msr_exists,
	.read_control = intel_read_control,
	.write_control = intel_write_control,
	.take_counter = intel_take_counter,
	.take_selector = intel_take_selector,
	.sides = intel_sides,
};
