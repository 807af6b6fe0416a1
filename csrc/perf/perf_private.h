/* SPDX-License-Identifier: Apache-2.0 */
/* perf_private.h - between the files of this room. */
#ifndef PERF_PERF_PRIVATE_H_
#define PERF_PERF_PRIVATE_H_

#include "perf/perf_event.h"

/* The driver of a vendor's PMU; intel.c and amd.c have one each. */
struct x86_pmu {
	u64 (*max_period)(const struct perf_cpu *perf);
	u64 (*get_event_constraints)(const struct perf_cpu *perf,
				     const struct perf_event_attr *attr);
	/* 0, or why the driver has no such event */
	int (*hw_config)(const struct perf_cpu *perf, const struct perf_event_attr *attr);
	/* One event, placed and with its period loaded: on its counter, and off. */
	void (*enable)(struct perf_cpu *perf, struct perf_event *event);
	void (*disable)(struct perf_cpu *perf, struct perf_event *event);
	/* All that are placed */
	void (*enable_all)(struct perf_cpu *perf);
	void (*disable_all)(struct perf_cpu *perf);
	void (*handle_irq)(struct perf_cpu *perf);
	enum cost irq_cost; /* who is charged for it */
};

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
/*
 * x86_assign.c. Add an event to the PMU, or take it off, with the PMU disabled; it is programmed when
 * the PMU is enabled. 0, or -EAGAIN when no assignment exists. Between start and commit or cancel nobody
 * looks for one: the commit does for all that were added.
 */
int x86_pmu_add(struct perf_cpu *perf, struct perf_event *event);
void x86_pmu_del(struct perf_cpu *perf, struct perf_event *event);
void x86_pmu_start_txn(struct perf_cpu *perf);
int x86_pmu_commit_txn(struct perf_cpu *perf);
void x86_pmu_cancel_txn(struct perf_cpu *perf);
/* What was added goes to its counters. */
void x86_pmu_apply(struct perf_cpu *perf);
/* -EINVAL if this event, or its group with it, cannot be on the PMU even alone. */
int x86_pmu_validate(const struct perf_cpu *perf, const struct perf_event *event,
		     const struct perf_event *leader);

void x86_pmu_stop(struct perf_cpu *perf, struct perf_event *event);
void x86_pmu_start(struct perf_cpu *perf, struct perf_event *event, bool reload);
void x86_perf_event_update(struct perf_cpu *perf, struct perf_event *event);
/* Program the distance to the next overflow; true if a period has ended. */
bool x86_perf_event_set_period(struct perf_cpu *perf, struct perf_event *event);

/* context.c. The clock stands still while events are scheduled, so that what goes out and what comes in
 * at one occasion does so at one time. */
static inline void perf_update_clock(struct perf_cpu *perf)
{
	perf->clock = pcpu_tsc(perf->pcpu);
}
/* Bring the context's time to the clock, if it goes. */
void perf_context_update_time(struct perf_cpu *perf, struct perf_event_context *ctx);
void perf_event_update_time(struct perf_event *event);
void perf_event_set_state(struct perf_event *event, enum perf_event_state state);
/* This CPU has the context now. */
static inline bool perf_context_is_here(const struct perf_cpu *perf,
					const struct perf_event_context *ctx)
{
	return ctx == &perf->ctx || ctx == perf->task_ctx;
}
struct perf_event *perf_context_new_slot(struct perf_event_context *ctx);
void perf_context_add(struct perf_event *event, struct perf_event *leader);
void perf_context_remove(struct perf_event *event);
void perf_groups_rotate(struct perf_groups *groups, struct perf_event *leader);

#define for_each_sibling_event(event, leader)                                                      \
	for (struct perf_event *event = (leader)->next_sibling; event; event = event->next_sibling)

/* sched.c */
void perf_event_sched_out(struct perf_cpu *perf, struct perf_event *event);
void perf_group_sched_out(struct perf_cpu *perf, struct perf_event *leader);
/* Make room for an event that has become ready. */
void perf_ctx_resched(struct perf_cpu *perf, const struct perf_event *event);

/* perf_fault.c: whether a fault by setting hits this call, or this overflow. */
bool perf_fault_event_create(struct perf_cpu *perf, struct perf_event_context *ctx);
bool perf_fault_event_period(struct perf_cpu *perf, struct perf_event_context *ctx);
bool perf_fault_overflow(struct perf_cpu *perf, struct perf_event_context *ctx);

/* sample.c */
void perf_event_overflow(struct perf_cpu *perf, struct perf_event *event);
/* With @start its counter goes on, if it is to. */
void perf_event_unthrottle(struct perf_cpu *perf, struct perf_event *event, bool start);
void perf_event_unthrottle_group(struct perf_cpu *perf, struct perf_event *event, bool skip_start);

#endif /* PERF_PERF_PRIVATE_H_ */
