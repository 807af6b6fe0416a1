/* SPDX-License-Identifier: Apache-2.0 */
/* perf_private.h - between core.c (contexts), x86.c (counters) and the vendors' drivers. */
#ifndef PERF_PERF_PRIVATE_H_
#define PERF_PERF_PRIVATE_H_

#include "perf/perf_event.h"

/* The driver of a vendor's PMU; intel.c and amd.c have one each. */
struct x86_pmu {
	u64 (*max_period)(const struct perf_cpu *perf);
	u64 (*get_event_constraints)(const struct perf_cpu *perf,
				     const struct perf_event_attr *attr);
	/* One event, placed and with its period loaded: on its counter, and off. */
	void (*enable)(struct perf_cpu *perf, struct perf_event *event);
	void (*disable)(struct perf_cpu *perf, struct perf_event *event);
	/* All that are placed */
	void (*enable_all)(struct perf_cpu *perf);
	void (*disable_all)(struct perf_cpu *perf);
	void (*handle_irq)(struct perf_cpu *perf);
	enum cost irq_cost; /* who is charged for it */
};

#define EVENT_PINNED 1u
#define EVENT_FLEXIBLE 2u

/* core.c: the events of one context and of these types go out, or come in as far as there is room. */
void ctx_sched_out(struct perf_cpu *perf, struct perf_event_context *ctx, unsigned int type);
void ctx_sched_in(struct perf_cpu *perf, struct perf_event_context *ctx, unsigned int type);
void perf_update_clock(struct perf_cpu *perf);
/* rotate.c: the timer runs, if it does not. */
void perf_mux_hrtimer_restart(struct perf_cpu *perf);

extern const struct x86_pmu intel_pmu;
extern const struct x86_pmu amd_pmu;	/* no global control */
extern const struct x86_pmu amd_pmu_v2; /* PerfMonV2 */

/* It has no counter: the guest's virtual LBR. */
static inline bool is_vlbr(const struct perf_event *event)
{
	return event->hw.idx == INTEL_PMC_IDX_FIXED_VLBR;
}

/* x86.c: what drivers are made of. Register accesses are charged. */
void x86_wrmsr(struct perf_cpu *perf, u32 msr, u64 value);
u64 x86_rdmsr(struct perf_cpu *perf, u32 msr);
/* The selector of an event that counts: INT, EN, and USR and OS as asked for. */
u64 x86_eventsel(const struct perf_event *event);
/* An event's counter has overflowed, and is updated: load what is left, report the end of a period. */
void x86_pmu_period_over(struct perf_cpu *perf, struct perf_event *event);

/* What the quirk of the silicon makes of a period: unchanged, longer, or cut. */
u64 x86_pmu_limit_period(const struct perf_cpu *perf, u64 period);

/* Nested; the PMU stops at the first and runs again at the last. */
void perf_pmu_disable(struct perf_cpu *perf);
void perf_pmu_enable(struct perf_cpu *perf);
/* Add an event to the PMU: 0, or -EAGAIN when no assignment exists. With the PMU disabled. */
int x86_pmu_add(struct perf_cpu *perf, struct perf_event *event);
void x86_pmu_del(struct perf_cpu *perf, struct perf_event *event);
void x86_pmu_stop(struct perf_cpu *perf, struct perf_event *event);
void x86_pmu_start(struct perf_cpu *perf, struct perf_event *event, bool reload);
void x86_perf_event_update(struct perf_cpu *perf, struct perf_event *event);
/* Program the distance to the next overflow; true if a period has ended. */
bool x86_perf_event_set_period(struct perf_cpu *perf, struct perf_event *event);

#endif /* PERF_PERF_PRIVATE_H_ */
