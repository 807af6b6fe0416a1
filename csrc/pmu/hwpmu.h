/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwpmu.h - the physical PMU of one pCPU, Intel's or AMD's.
 *
 * The registers, what a RDMSR, WRMSR or RDPMC does to them, counting, overflow. Counters do not
 * tick: a running counter holds its value at the last start and a snapshot of the producers' totals,
 * so counting costs nothing while code runs. Producers are the guest CPU and the host's own work.
 *
 *	hwpmu_wrmsr(pmu, MSR_CORE_PERF_GLOBAL_CTRL, 1);
 *	hwpmu_room(pmu, priv, room);	how far the guest may run
 *	hwpmu_land(pmu);		who has overflowed?
 *
 * A counter index is the bit in GLOBAL_CTRL: GP 0..31, fixed 32 + i. RDPMC's own encoding is taken
 * apart here and nowhere else.
 */
#ifndef PMU_HWPMU_H_
#define PMU_HWPMU_H_

#include "base/events.h"
#include "base/fault.h"
#include "base/room.h"
#include "base/types.h"
#include "pmu/event_map.h"
#include "pmu/msr_index.h"
#include "pmu/threshold.h"
#include "pmu/vendor.h"
#include "pmupass.h"

struct hwpmc {
	u64 value; /* at the last start, stop or write */
	u64 start; /* formula total at that time; running only */
	struct event_formula formula;
	bool interrupt; /* INT bit; running only */
	u8 sides;	/* SIDE_*: whose events it counts; running only */
};

struct hwpmu {
	/* The silicon */
	const struct pmu_vendor *vendor;
	struct pp_pmu caps;
	bool svme; /* EFER.SVME: the host can run guests, and a selector may count on one side (AMD) */
	const struct event_map *events;
	const struct core_clock *clk;
	u64 counter_mask; /* existing counters by index */
	u64 gp_value_mask, fixed_value_mask;

	/* Producers of events; their totals only grow (hwpmu_switch_guest()) */
	const struct event_totals *guest, *host;
	struct thresholds *thresholds; /* of the guest whose code runs */

	/* Architectural registers */
	u64 eventsel[PP_MAX_GP];
	u64 fixed_ctr_ctrl;
	u64 global_ctrl;
	u64 global_status;
	struct hwpmc pmc[NR_PMC_IDX];
	u64 running; /* counters that count, by index */

	/* Told of each overflow whose INT bit asks for a PMI */
	void (*overflow)(void *ctx, unsigned int idx);
	void *overflow_ctx;
};

void hwpmu_init(struct hwpmu *pmu, const struct pp_pmu *caps, const struct event_map *events,
		const struct core_clock *clk);

/*
 * Who produces the guest's events and the host's from now on. What was counted until now stays, and
 * @thresholds, which go with the guest, have not seen what happened since it was here last.
 */
void hwpmu_switch_guest(struct hwpmu *pmu, const struct event_totals *guest,
			const struct event_totals *host, struct thresholds *thresholds);

/* The same producers as before, at other places. */
void hwpmu_connect(struct hwpmu *pmu, const struct event_totals *guest,
		   const struct event_totals *host, struct thresholds *thresholds);

/* As pmu_find(), and PMU_CONTROL for the other registers of this PMU. */
struct pmu_register hwpmu_find(const struct hwpmu *pmu, u32 msr);

/* 0, or -1 for #GP(0): no such register, reserved bit, read-only. */
int hwpmu_read(struct hwpmu *pmu, const struct pmu_register *reg, u64 *value);
int hwpmu_write(struct hwpmu *pmu, const struct pmu_register *reg, u64 value);
int hwpmu_rdpmc(struct hwpmu *pmu, u32 ecx, u64 *value);
/* What a selector or GLOBAL_CTRL holds of @value, which was written to it; others: @value. */
u64 hwpmu_kept(const struct hwpmu *pmu, const struct pmu_register *reg, u64 value);

/* By number: whether @msr belongs to this PMU (other MSRs are nobody's here), and accesses. */
bool hwpmu_owns_msr(const struct hwpmu *pmu, u32 msr);
int hwpmu_rdmsr(struct hwpmu *pmu, u32 msr, u64 *value);
int hwpmu_wrmsr(struct hwpmu *pmu, u32 msr, u64 value);

/* Bits that GLOBAL_OVF_CTRL and GLOBAL_STATUS_SET of Intel's silicon do not take. */
u64 intel_status_reserved(const struct hwpmu *pmu);

/* The index that ECX of Intel's RDPMC names among @nr_gp and @nr_fixed counters, or -1 (#GP). */
int rdpmc_ecx_to_idx(u32 ecx, unsigned int nr_gp, unsigned int nr_fixed);

/* A counter's value now. */
u64 hwpmu_counter(const struct hwpmu *pmu, unsigned int idx);

/* An erratum: add @n to every running counter of stored event @event at @priv, though nothing happened
 * that it should count. Returns those counters. Counters with a threshold or edge are left alone. */
u64 hwpmu_overcount(struct hwpmu *pmu, unsigned int event, enum privilege priv, u32 n);

/* Shorten @room to what the armed counters allow at @priv. */
void hwpmu_room(struct hwpmu *pmu, enum privilege priv, struct cpu_room *room);
/* Core cycles that the host can compute at @priv, with this many instructions a cycle, before a counter
 * overflows; ~0: none does. */
u64 hwpmu_host_room(const struct hwpmu *pmu, enum privilege priv, u32 ipc_q20);
/* Find wrapped counters: set status bits, tell of PMIs. True if any wrapped. */
bool hwpmu_land(struct hwpmu *pmu);

static inline u64 hwpmu_value_mask(const struct hwpmu *pmu, unsigned int idx)
{
	return idx < INTEL_PMC_IDX_FIXED ? pmu->gp_value_mask : pmu->fixed_value_mask;
}

/* Legacy counter writes carry 32 bits, sign-extended from bit 31. */
static inline u64 sign_extend_legacy_write(u64 value)
{
	return FAULTY(SIGN_EXTENSION_MISSING) ? (u32)value : (u64)(s64)(s32)(u32)value;
}

#endif /* PMU_HWPMU_H_ */
