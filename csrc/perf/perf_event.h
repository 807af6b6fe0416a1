/* SPDX-License-Identifier: Apache-2.0 */
/*
 * perf_event.h - the host's perf_events on one pCPU.
 *
 * Stands for kernel/events/core.c and arch/x86/events as far as KVM's kernel counters and the
 * host's own CPU-wide events need them: contexts and their order, constraint scheduling, sampling
 * periods, the PMI, and the guest context of the mediated vPMU. A pCPU has a context of its own, and a
 * thread has one, which is there while the thread runs on the pCPU:
 *
 *	perf_event_task_sched_in(perf, &thread->perf_ctx);
 *	...
 *	perf_event_task_sched_out(perf);
 *
 * core.c schedules and knows no counters, rotate.c has flexible events take turns; x86.c places events on
 * counters; intel.c and amd.c program them.
 */
#ifndef PERF_PERF_EVENT_H_
#define PERF_PERF_EVENT_H_

#include "base/move.h"
#include "base/types.h"
#include "pcpu/pcpu.h"

struct perf_event;

typedef void (*perf_overflow_handler_t)(struct perf_event *event);

/* A pinned event of a task that takes the LBR and no counter: its pseudo counter, its encoding. */
#define INTEL_PMC_IDX_FIXED_VLBR 58
#define INTEL_FIXED_VLBR_EVENT 0x1b00

struct perf_event_attr {
	u64 config;	   /* EVENTSEL_WHAT */
	u64 sample_period; /* 0: counting */
	bool pinned;
	bool exclude_user, exclude_kernel;
	bool exclude_host, exclude_guest;
	u8 precise_ip;	   /* not 0: PEBS */
	bool branch_stack; /* a user of the LBR */
};

/* The order of the kernel's: only states above OFF may be scheduled. */
enum perf_event_state {
	PERF_EVENT_STATE_OFF,
	PERF_EVENT_STATE_ERROR, /* pinned and without a counter; until it is enabled again */
	PERF_EVENT_STATE_INACTIVE,
	PERF_EVENT_STATE_ACTIVE,
};

struct hw_perf_event {
	int idx;	/* counter index now or last, -1: never placed */
	bool running;	/* the selector is enabled for this event */
	u64 counters;	/* constraint: where it may be placed */
	u64 prev_count; /* raw counter value at the last update */
	u64 sample_period, last_period;
	s64 period_left;
};

/* Events that are scheduled together: a pCPU's own, or those of a thread. */
struct perf_event_context {
	u32 nr_events, nr_pinned;
	bool rotate_necessary; /* a flexible event has found no counter */
};

struct perf_event {
	struct perf_event_attr attr;
	enum perf_event_state state;
	bool in_use; /* the slot is taken */
	struct perf_event_context *ctx;
	struct hw_perf_event hw;
	u64 count;
	perf_overflow_handler_t overflow_handler;
	void *overflow_context;

	u64 tstamp; /* TSC at which the times below were brought up to date */
	u64 time_enabled, time_running;
};

#define PERF_MAX_EVENTS 128

struct x86_pmu;

/* What all pCPUs of a host have in common */
struct perf_system {
	u32 nr_mediated_vms;
	u32 nr_include_guest_events;
	u64 mux_interval; /* TSC cycles between two turns of flexible events */
};

struct perf_cpu {
	struct pcpu *pcpu;
	struct perf_system *system;
	const struct x86_pmu *driver;

	/* Every event in a slot of its own; contexts go through them in the order of creation */
	struct perf_event slots[PERF_MAX_EVENTS];
	struct perf_event *events[PERF_MAX_EVENTS];
	u32 nr_events;

	struct pp_period_limit period_limit;
	u64 clock; /* of the contexts: TSC when they were last looked at */

	struct perf_event_context cpu_ctx;
	struct perf_event_context *task_ctx; /* of the thread that runs; NULL: none has one */
	u64 mux_at; /* TSC at which flexible events take turns, NO_DEADLINE: they need not */

	/* The core PMU's state on this CPU (cpu_hw_events) */
	struct perf_event *list[NR_PMC_IDX]; /* events added, in order */
	u32 nr_list;
	struct perf_event *on_counter[NR_PMC_IDX];
	bool enabled;		   /* the PMU is on */
	u64 fixed_ctrl_val;	   /* wanted FIXED_CTR_CTRL; written when the PMU is enabled */
	u64 active_fixed_ctrl_val; /* last written */
	u64 intel_ctrl;		   /* every counter's GLOBAL_CTRL bit */
	u64 intel_ctrl_guest_mask; /* counters of exclude_host events */
	u64 intel_ctrl_host_mask;  /* counters of exclude_guest events */
	u64 pebs_enabled;	   /* counters of precise events */
	u32 disable_depth;

	bool guest_ctx_loaded; /* a mediated guest owns the counters */
};

void perf_init(struct perf_cpu *perf, struct pcpu *pcpu, struct perf_system *system);
/* It has been copied to another place. */
void perf_moved(struct perf_cpu *perf, const struct move *move);

/*
 * perf_event_create_kernel_counter() and the host's own perf_event_open(), in a thread's context or, with
 * NULL, the pCPU's. NULL with *error set to
 * -EOPNOTSUPP (an include-guest event while a mediated VM exists), -EINVAL or -ENOSPC.
 */
struct perf_event *perf_event_create_kernel_counter(struct perf_cpu *perf,
						    const struct perf_event_attr *attr,
						    struct perf_event_context *ctx,
						    perf_overflow_handler_t handler, void *context,
						    int *error);
void perf_event_release_kernel(struct perf_cpu *perf, struct perf_event *event);
void perf_event_enable(struct perf_cpu *perf, struct perf_event *event);
void perf_event_disable(struct perf_cpu *perf, struct perf_event *event);
/* Stop the event and return its count; with @reset the count starts anew from 0. */
u64 perf_event_pause(struct perf_cpu *perf, struct perf_event *event, bool reset);
int perf_event_period(struct perf_cpu *perf, struct perf_event *event, u64 value);
u64 perf_event_read_value(struct perf_cpu *perf, struct perf_event *event);
/* The count without doing or charging anything. */
u64 perf_event_peek(struct perf_cpu *perf, const struct perf_event *event);

/* A thread gets the pCPU, and gives it back: so do its events. */
void perf_event_task_sched_in(struct perf_cpu *perf, struct perf_event_context *ctx);
void perf_event_task_sched_out(struct perf_cpu *perf);

/* The timer of flexible events, due at perf->mux_at. */
void perf_mux_hrtimer_handler(struct perf_cpu *perf);

/* The PMI of the host: update, re-arm and report every overflowed event. */
void perf_event_nmi_handler(struct perf_cpu *perf);
/* Intel: GLOBAL_CTRL while the host runs: everything but the counters that only count guests. */
static inline u64 perf_host_global_ctrl(const struct perf_cpu *perf)
{
	return perf->intel_ctrl & ~perf->intel_ctrl_guest_mask;
}

/* Intel: GLOBAL_CTRL outside and inside the guest (emulated design). */
void perf_guest_get_msrs(struct perf_cpu *perf, u64 *host, u64 *guest);

/*
 * Intel: PEBS at a VM-entry, by the index of physical counters. @enable: the guest's PEBS_ENABLE;
 * @cross_mapped: physical counters that stand for a guest's counter of another index.
 */
struct perf_guest_pebs {
	u64 host;    /* PEBS_ENABLE while the host runs */
	u64 guest;   /* PEBS_ENABLE while the guest runs */
	u64 stopped; /* counters that stand still in the guest on account of PEBS */
};

void perf_guest_get_pebs(const struct perf_cpu *perf, u64 enable, u64 cross_mapped,
			 struct perf_guest_pebs *pebs);

/* Mediated VMs: -EBUSY (negative) while an include-guest event exists. */
int perf_create_mediated_pmu(struct perf_cpu *perf);
void perf_release_mediated_pmu(struct perf_cpu *perf);
void perf_load_guest_context(struct perf_cpu *perf);
void perf_put_guest_context(struct perf_cpu *perf);

/* Bring an event's enabled and running times up to now. */
void perf_update_times(struct perf_cpu *perf, struct perf_event *event);

#endif /* PERF_PERF_EVENT_H_ */
