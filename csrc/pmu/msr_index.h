/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msr_index.h - PMU MSR numbers and bit layouts, named as in the kernel.
 *
 * IA32_PERFEVTSELx
 *	63     34  33   32  31   24 23  22 21  20  19  18   17  16  15    8 7      0
 *	[ resv  | CP | TX | cmask | I | EN|ANY|INT|PC| E  | OS|USR| umask  | event  ]
 *
 * PERF_CTLx of AMD
 *	63 42  41 40 39 36 35 32 31   24 23  22 21 20 19 18   17 16  15    8 7       0
 *	[ --- | H| G| --- |ev 11:8| cmask| I |EN| -|INT| -| E | OS|USR| umask | ev 7:0 ]
 *
 * IA32_FIXED_CTR_CTRL, four bits a counter
 *	   3     2    1     0
 *	[ PMI | ANY | USR | OS ]
 */
#ifndef PMU_MSR_INDEX_H_
#define PMU_MSR_INDEX_H_

#include "base/fault.h"
#include "base/types.h"

/* AMD's numbers do not fit in an int, which ISO C wants of an enumerator before C23. */
__extension__ enum pmu_msr {
#define MSR(id, number, text) MSR_##id = number,
#include "base/msrs.def"
#undef MSR
};

#define ARCH_PERFMON_EVENTSEL_EVENT 0x000000ffull
#define ARCH_PERFMON_EVENTSEL_UMASK 0x0000ff00ull
#define ARCH_PERFMON_EVENTSEL_USR BIT_ULL(16)
#define ARCH_PERFMON_EVENTSEL_OS BIT_ULL(17)
#define ARCH_PERFMON_EVENTSEL_EDGE BIT_ULL(18)
#define ARCH_PERFMON_EVENTSEL_PIN_CONTROL BIT_ULL(19)
#define ARCH_PERFMON_EVENTSEL_INT BIT_ULL(20)
#define ARCH_PERFMON_EVENTSEL_ANY BIT_ULL(21)
#define ARCH_PERFMON_EVENTSEL_ENABLE BIT_ULL(22)
#define ARCH_PERFMON_EVENTSEL_INV BIT_ULL(23)
#define ARCH_PERFMON_EVENTSEL_CMASK 0xff000000ull

#define HSW_IN_TX BIT_ULL(32)
#define HSW_IN_TX_CHECKPOINTED BIT_ULL(33)
#define HSW_IN_TXCP_COUNTER 2u /* the only one that has it */

/* Intel: IN_TX, IN_TXCP and two reserved bits. AMD: the upper bits of the event select. */
#define EVENTSEL_35_32 GENMASK_ULL(35, 32)
#define AMD64_EVENTSEL_GUESTONLY BIT_ULL(40)
#define AMD64_EVENTSEL_HOSTONLY BIT_ULL(41)

/* What decides which events are counted; the rest only enables, routes or interrupts. */
#define EVENTSEL_WHAT                                                                              \
	(ARCH_PERFMON_EVENTSEL_EVENT | ARCH_PERFMON_EVENTSEL_UMASK | ARCH_PERFMON_EVENTSEL_EDGE |  \
	 ARCH_PERFMON_EVENTSEL_INV | ARCH_PERFMON_EVENTSEL_CMASK | EVENTSEL_35_32)

/* Reserved bits of the selector of GP counter @idx on a CPU with or without RTM, bits 63:32. */
static inline u64 eventsel_reserved_high(bool rtm, unsigned int idx)
{
	u64 reserved = GENMASK_ULL(63, 32);

	if (rtm)
		reserved &= ~HSW_IN_TX;
	if (rtm && idx == HSW_IN_TXCP_COUNTER)
		reserved &= ~HSW_IN_TX_CHECKPOINTED;
	return reserved;
}

#define INTEL_FIXED_0_KERNEL BIT_ULL(0)
#define INTEL_FIXED_0_USER BIT_ULL(1)
#define INTEL_FIXED_0_ANYTHREAD BIT_ULL(2)
#define INTEL_FIXED_0_ENABLE_PMI BIT_ULL(3)
#define INTEL_FIXED_BITS_STRIDE 4
#define INTEL_FIXED_BITS_MASK 0xfull

/* The index of a counter everywhere but in RDPMC: GP 0..31, fixed at 32, as in GLOBAL_CTRL. */
#define INTEL_PMC_IDX_FIXED 32
#define NR_PMC_IDX 64

/* AMD: the counters that the K7's registers and the core extension's are for, there or not */
#define NR_K7_COUNTERS 4u
#define NR_CORE_COUNTERS 6u

#define PERF_CAP_FW_WRITES BIT_ULL(13)
#define PERF_CAP_LBR_FMT GENMASK_ULL(5, 0)
#define PERF_CAP_PEBS_FORMAT GENMASK_ULL(11, 8)
#define PERF_CAP_PEBS_BASELINE BIT_ULL(14)
/* TRAP, ARCH_REG, FORMAT, BASELINE */
#define PERF_CAP_PEBS_MASK (GENMASK_ULL(11, 6) | PERF_CAP_PEBS_BASELINE)

/* GLOBAL_STATUS bits beside the counters' own */
#define GLOBAL_STATUS_TRACE_TOPAPMI BIT_ULL(55)
#define GLOBAL_STATUS_LBRS_FROZEN BIT_ULL(58)
#define GLOBAL_STATUS_COUNTERS_FROZEN BIT_ULL(59)
#define GLOBAL_STATUS_ASIF BIT_ULL(60)
#define GLOBAL_STATUS_BUFFER_OVF BIT_ULL(62)
#define GLOBAL_STATUS_COND_CHG BIT_ULL(63)

#define INTEL_RDPMC_TYPE_SHIFT 16
#define INTEL_RDPMC_GP 0x0000
#define INTEL_RDPMC_FIXED 0x4000

/* The architectural event of each fixed counter, as a selector would name it. */
static inline u64 fixed_counter_event(unsigned int i)
{
	static const u64 events[] = {0x00c0, 0x003c, 0x0300, 0x0400};

	return i < ARRAY_SIZE(events) ? events[FAULTY(FIXED_EVENTS_SWAPPED) ? i ^ 1 : i] : 0;
}

/* The MSR that writes a counter at full width, or by the legacy alias where there is no other. */
static inline u32 counter_msr(unsigned int idx, bool fw_write)
{
	if (idx >= INTEL_PMC_IDX_FIXED)
		return (u32)MSR_CORE_PERF_FIXED_CTR0 + idx - INTEL_PMC_IDX_FIXED;
	return (u32)(fw_write ? MSR_IA32_PMC0 : MSR_IA32_PERFCTR0) + idx;
}

/* A fixed counter's control field as the USR, OS and INT bits of a selector. */
static inline u64 fixed_field_to_eventsel(u64 field)
{
	u64 bits = 0;

	if (field & INTEL_FIXED_0_KERNEL)
		bits |= ARCH_PERFMON_EVENTSEL_OS;
	if (field & INTEL_FIXED_0_USER)
		bits |= ARCH_PERFMON_EVENTSEL_USR;
	if (field & INTEL_FIXED_0_ENABLE_PMI)
		bits |= ARCH_PERFMON_EVENTSEL_INT;
	return bits;
}

static inline u64 fixed_ctrl_field(u64 fixed_ctr_ctrl, unsigned int i)
{
	return fixed_ctr_ctrl >> (INTEL_FIXED_BITS_STRIDE * i) & INTEL_FIXED_BITS_MASK;
}

static inline u64 pmu_counter_mask(unsigned int nr_gp, unsigned int nr_fixed)
{
	return (nr_gp ? GENMASK_ULL(nr_gp - 1, 0) : 0) |
	       (nr_fixed ? GENMASK_ULL(INTEL_PMC_IDX_FIXED + nr_fixed - 1, INTEL_PMC_IDX_FIXED)
			 : 0);
}

static inline u64 width_mask(unsigned int width)
{
	return width ? GENMASK_ULL(width - 1, 0) : 0;
}

#endif /* PMU_MSR_INDEX_H_ */
