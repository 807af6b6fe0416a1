// SPDX-License-Identifier: Apache-2.0
/*
 * hwpmu_amd.c - the registers of AMD's core PMU: K7, the core extension, PerfMonV2.
 *
 * Interface: pmu_vendor_amd.
 *
 * The four K7 selectors and counters are other numbers of the first four of the core extension. No write
 * faults: reserved bits of selectors and GLOBAL_CTL are cleared, bits of a counter above its width are
 * dropped, GLOBAL_STATUS ignores writes. A register that CPUID does not announce is #GP.
 *
 * GuestOnly and HostOnly hold a counter to one side of VMRUN. Both together count on both sides, as none
 * does; with EFER.SVME clear a counter with either counts nothing.
 *
 * Not modelled: freezing of counters and branch records (bits 58 and 59 of the status), large increments
 * per cycle by merged counters, the counters of data fabric, L3 and memory controllers and their RDPMC
 * indices, instruction-based sampling.
 */
#include "pmu/hwpmu.h"

#include "base/fault.h"
#include "pmu/access.h"
#include "pmu/hwpmu_private.h"

#define EVENTSEL_RESERVED                                                                          \
	(GENMASK_ULL(63, 42) | GENMASK_ULL(39, 36) | BIT_ULL(21) |                                 \
	 ARCH_PERFMON_EVENTSEL_PIN_CONTROL)

/* ---- the map ---- */

static u32 nr_k7(const struct pp_pmu *pmu)
{
	return pmu->nr_gp < NR_K7_COUNTERS ? pmu->nr_gp : NR_K7_COUNTERS;
}

static struct pmu_register amd_find(const struct pp_pmu *pmu, u32 msr)
{
	bool k7_counters = !(FAULTY(AMD_K7_GONE_WITH_CORE) && pmu->perfctr_core);
	u32 n = msr - MSR_F15H_PERF_CTL0;

	if (k7_counters && msr - MSR_K7_PERFCTR0 < nr_k7(pmu))
		return pmu_counter_register(msr - MSR_K7_PERFCTR0, ALIAS_FULL_WIDTH);
	if (msr - MSR_K7_EVNTSEL0 < nr_k7(pmu))
		return pmu_selector_register(msr - MSR_K7_EVNTSEL0);
	/* Selectors and counters of the core extension take turns. */
	if (!pmu->perfctr_core || n / 2 >= pmu->nr_gp)
		return (struct pmu_register){.kind = PMU_NO_REGISTER};
	return n & 1 ? pmu_counter_register(n / 2, ALIAS_FULL_WIDTH) : pmu_selector_register(n / 2);
}

static int amd_rdpmc_of(const struct pp_pmu *pmu, u32 ecx)
{
	return ecx < pmu->nr_gp + FAULTY(AMD_RDPMC_ONE_BEYOND) ? (int)ecx : -1;
}

static enum access_kind amd_control_kind(u32 msr, bool write)
{
	switch (msr) {
	case MSR_AMD64_PERF_CNTR_GLOBAL_CTL: return write ? ACCESS_GLOBAL_CTRL_WRITE : ACCESS_OTHER;
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS:
		return write ? ACCESS_OTHER : ACCESS_GLOBAL_STATUS_READ;
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR:
		return write ? ACCESS_OVF_CTRL_WRITE : ACCESS_OTHER;
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET: return ACCESS_OTHER;
	default: return ACCESS_NONE;
	}
}

static u32 amd_counter_msr(const struct pp_pmu *pmu, unsigned int idx)
{
	return pmu->perfctr_core ? (u32)MSR_F15H_PERF_CTR0 + 2 * idx : (u32)MSR_K7_PERFCTR0 + idx;
}

static u32 amd_selector_msr(const struct pp_pmu *pmu, unsigned int idx)
{
	return pmu->perfctr_core ? (u32)MSR_F15H_PERF_CTL0 + 2 * idx : (u32)MSR_K7_EVNTSEL0 + idx;
}

static bool amd_can_be_mediated(const struct pp_pmu *pmu)
{
	return pmu->version >= 2;
}

/* ---- the register file ---- */

static bool amd_has_control(const struct hwpmu *pmu, u32 msr)
{
	return pmu->caps.version >= 2 && amd_control_kind(msr, false) != ACCESS_NONE;
}

static int amd_read_control(struct hwpmu *pmu, u32 msr, u64 *value)
{
	switch (msr) {
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS: *value = pmu->global_status; break;
	case MSR_AMD64_PERF_CNTR_GLOBAL_CTL: *value = pmu->global_ctrl; break;
	default: *value = 0; break;
	}
	return 0;
}

static int amd_write_control(struct hwpmu *pmu, u32 msr, u64 value)
{
	switch (msr) {
	case MSR_AMD64_PERF_CNTR_GLOBAL_CTL:
		hwpmu_write_global_ctrl(pmu, value & pmu->counter_mask);
		break;
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR: pmu->global_status &= ~value; break;
	case MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET:
		pmu->global_status |=
			value & (FAULTY(AMD_HW_STATUS_SET_TAKES_ALL) ? ~0ull : pmu->counter_mask);
		break;
	default: /* GLOBAL_STATUS is read-only */ break;
	}
	return 0;
}

static int amd_take_counter(const struct hwpmu *pmu, unsigned int idx, enum counter_alias alias,
			    u64 *value)
{
	(void)alias;
	if (FAULTY(AMD_HW_WIDE_WRITE_FAULTS) && *value & ~hwpmu_value_mask(pmu, idx))
		return -1;
	*value &= hwpmu_value_mask(pmu, idx);
	return 0;
}

static int amd_take_selector(const struct hwpmu *pmu, unsigned int idx, u64 *value)
{
	(void)pmu;
	(void)idx;
	*value &= ~EVENTSEL_RESERVED;
	return 0;
}

static unsigned int amd_sides(const struct hwpmu *pmu, u64 eventsel)
{
	bool guest = eventsel & AMD64_EVENTSEL_GUESTONLY, host = eventsel & AMD64_EVENTSEL_HOSTONLY;

	if ((!guest && !host) || FAULTY(AMD_HW_GUEST_ONLY_IGNORED))
		return SIDE_BOTH;
	if (!pmu->svme && !FAULTY(AMD_HW_SIDES_WITHOUT_SVME))
		return 0;
	return (guest ? SIDE_GUEST : 0) | (host ? SIDE_HOST : 0);
}

const struct pmu_vendor pmu_vendor_amd = {
	.name = "AMD",
	.find = amd_find,
	.rdpmc_of = amd_rdpmc_of,
	.control_kind = amd_control_kind,
	.counter_msr = amd_counter_msr,
	.selector_msr = amd_selector_msr,
	.can_be_mediated = amd_can_be_mediated,
	.global_ctrl = MSR_AMD64_PERF_CNTR_GLOBAL_CTL,
	.global_status = MSR_AMD64_PERF_CNTR_GLOBAL_STATUS,
	.global_ovf_ctrl = MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR,
	.global_status_set = MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET,
	.event_code = ARCH_PERFMON_EVENTSEL_EVENT | ARCH_PERFMON_EVENTSEL_UMASK | EVENTSEL_35_32,
	.has_control = amd_has_control,
	.read_control = amd_read_control,
	.write_control = amd_write_control,
	.take_counter = amd_take_counter,
	.take_selector = amd_take_selector,
	.sides = amd_sides,
};
