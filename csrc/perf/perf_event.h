/* SPDX-License-Identifier: Apache-2.0 */
/*
 * perf_event.h - the host's perf_events.
 *
 * Stands for kernel/events/core.c and arch/x86/events as far as KVM's kernel counters and the host's own
 * events of the core PMU need them: contexts of CPUs and tasks, the order in which their groups get
 * counters, rotation, sampling, the PMI, and the guest context of the mediated vPMU.
 *
 *	context.c	contexts, their events and times
 *	core.c		events come, go, are switched on and off and read
 *	sched.c		who gets onto the PMU, in which order; rotation
 *	sample.c	overflows: throttling, frequency mode, the tick
 *	x86_assign.c	which counters	x86.c	one event on its counter
 *	intel.c, amd.c	the registers	perf_fault.c	faults by setting
 *
 * The host's scheduler calls perf_event_task_sched_in() and perf_event_task_sched_out(), stops at
 * perf_deadline() for perf_mux_hrtimer_handler(), and keeps the tick running while perf_needs_tick().
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
	u64 sample_period; /* 0: counting; frequency mode: samples a second */
	bool freq;
	bool disabled; /* open it switched off */
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

/* perf_event_throttle(): no sample counts beyond it until the tick. */
#define MAX_INTERRUPTS (~0ull)

struct hw_perf_event {
	int idx;      /* counter index now or last, -1: never placed */
	u32 last_cpu; /* where, and by which assignment of its place in the list (x86_assign.c) */
	u64 last_tag;
	bool running;	/* the selector is enabled for this event */
	bool stays_off; /* stopped, and not to be started by whoever reprograms the PMU */
	u64 counters;	/* constraint: where it may be placed */
	u64 prev_count; /* raw counter value at the last update */
	u64 sample_period, last_period;
	s64 period_left;

	/* Samples since the tick of this number; MAX_INTERRUPTS: throttled */
	u64 interrupts, interrupts_seq;
	u64 freq_time_stamp, freq_count_stamp;

	/* An event of guest and host: what it counts, and the guests' total of it at the last update */
	struct event_formula formula;
	u64 guest_prev;
};

struct perf_event_context;

struct perf_event {
	struct perf_event_attr attr;
	enum perf_event_state state;
	bool in_use; /* slot taken */
	struct perf_event_context *ctx;
	struct perf_event *group_leader; /* itself: it leads, or is alone */
	struct perf_event *next_sibling; /* of the leader: the first */
	struct hw_perf_event hw;
	u64 count;
	perf_overflow_handler_t overflow_handler;
	perf_overflow_handler_t overflow_dropped; /* instead, by a fault; for the books alone */
	void *overflow_context;

	u64 tstamp; /* the context's time at which the times below were brought up to date */
	u64 time_enabled, time_running;
	u64 samples, throttles;
	/* Of count and samples what happened in guest mode; perf_event_guest_count() */
	u64 guest_count, guest_samples;
};

#define PERF_MAX_EVENTS 128

/* Classes of a context */
#define EVENT_PINNED 1u
#define EVENT_FLEXIBLE 2u
#define EVENT_ALL (EVENT_PINNED | EVENT_FLEXIBLE)
#define EVENT_TIME 4u /* is_active: its clock goes */

struct perf_groups {
	struct perf_event *leaders[PERF_MAX_EVENTS]; /* in the order in which they are tried */
	u32 nr;
};

/* The events of a CPU, or of a task, which takes them from CPU to CPU. */
struct perf_event_context {
	bool task;
	unsigned int is_active; /* classes that are scheduled in, EVENT_TIME */
	u32 nr_events, nr_freq;
	bool rotate_necessary; /* a flexible group found no counters */

	/* TSC cycles while the context was in, of those in guest contexts, and at which TSC */
	u64 time, guest_time, timestamp;

	struct perf_groups pinned, flexible;

	/* Faults by setting: calls and overflows since the last that was hit, entries that KVM has waited */
	u32 creations, periods, overflows, waited;

	/* Every event in a slot of its own */
	struct perf_event slots[PERF_MAX_EVENTS];
};

/* What the CPUs of a host share. */
struct perf_system {
	u32 nr_mediated_vms;
	u32 nr_include_guest_events;
	u32 nr_freq_events;

	/* Settings */
	u64 tsc_khz;
	u64 mux_interval, tick_period; /* TSC cycles */
	u64 sample_rate;	       /* kernel.perf_event_max_sample_rate */
	struct pp_period_limit period_limit;
	struct pp_perf_faults faults;
};

struct x86_pmu;

struct perf_cpu {
	struct pcpu *pcpu;
	struct perf_system *system;
	const struct x86_pmu *driver;
	u32 cpu; /* number */

	struct perf_event_context ctx;
	struct perf_event_context *task_ctx; /* of the current task, NULL: it has none */
	u64 clock;	     /* of the contexts: TSC when they were last looked at */
	u64 mux_at;	     /* TSC of the multiplex timer, NO_DEADLINE: off */
	u64 throttled_seq;   /* number of the tick */
	u32 throttled_count; /* events throttled since */
	bool guest_ctx_loaded;
	bool in_nmi;
	bool guest_state; /* the NMI that is being served has interrupted a guest (KVM says so) */

	/* The core PMU's state on this CPU (cpu_hw_events) */
	struct perf_event *list[NR_PMC_IDX]; /* events added, in order */
	int assign[NR_PMC_IDX];		     /* the counter of each */
	u64 tags[NR_PMC_IDX];		     /* assignments of each place */
	u32 nr_list;
	u32 nr_added; /* of those, since the PMU was off */
	u32 nr_txn;   /* of those, in the transaction */
	bool in_txn;
	struct perf_event *on_counter[NR_PMC_IDX];
	bool enabled;		   /* the PMU is on */
	u64 fixed_ctrl_val;	   /* wanted FIXED_CTR_CTRL; written when the PMU is enabled */
	u64 active_fixed_ctrl_val; /* last written */
	u64 intel_ctrl;		   /* every counter's GLOBAL_CTRL bit */
	u64 intel_ctrl_guest_mask; /* counters of exclude_host events */
	u64 intel_ctrl_host_mask;  /* counters of exclude_guest events */
	u64 pebs_enabled;	   /* counters of precise events */
	u32 disable_depth;
};

/* With the settings of a host of this clock that nobody has changed; @tick_period: TSC cycles. */
void perf_system_init(struct perf_system *system, u64 tsc_khz, u64 tick_period);
void perf_init(struct perf_cpu *perf, struct pcpu *pcpu, struct perf_system *system, u32 cpu);
/* An empty context of a task. */
void perf_event_context_init(struct perf_event_context *ctx);
/* They have been copied to another place. */
void perf_moved(struct perf_cpu *perf, const struct move *move);
void perf_event_context_moved(struct perf_event_context *ctx, const struct move *move);

/*
 * perf_event_open() in @ctx, NULL: the CPU's, as a sibling of @group_leader, NULL: alone or to lead. The
 * functions below are called on the CPU where the event's context is, or was last.
 *
 * NULL with *error set to -EOPNOTSUPP (an include-guest event while a mediated VM exists, sampling of what
 * Intel's driver does not sample, a fault), -EINVAL
 * (nothing that the PMU can ever count, alone or with its group) or -ENOSPC.
 */
struct perf_event *perf_event_open(struct perf_cpu *perf, const struct perf_event_attr *attr,
				   struct perf_event_context *ctx, struct perf_event *group_leader,
				   perf_overflow_handler_t handler, void *context, int *error);
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

/* The part of the count that guests made, likewise; that of events with cmask, inv or edge of both sides is
 * not known (~0). */
u64 perf_event_guest_count(struct perf_cpu *perf, const struct perf_event *event);

/* KVM is about to serve a request to reprogram counters of this thread; not yet, by a fault, if true. */
bool perf_reprogram_is_late(struct perf_cpu *perf, struct perf_event_context *ctx);

/* The task of @ctx gets this CPU, or loses it; before KVM hears of it. */
void perf_event_task_sched_in(struct perf_cpu *perf, struct perf_event_context *ctx);
void perf_event_task_sched_out(struct perf_cpu *perf);

/* TSC of the multiplex timer: perf_mux_hrtimer_handler() is due. */
static inline u64 perf_deadline(const struct perf_cpu *perf)
{
	return perf->mux_at;
}
void perf_mux_hrtimer_handler(struct perf_cpu *perf);
/* Something waits for the tick: an event that is throttled, or frequency mode anywhere on the host. */
static inline bool perf_needs_tick(const struct perf_cpu *perf)
{
	return perf->throttled_count || perf->system->nr_freq_events;
}
void perf_event_task_tick(struct perf_cpu *perf);

/* The PMI of the host: update, re-arm and report every overflowed event. */
void perf_event_nmi_handler(struct perf_cpu *perf);
/* The host runs: what has overflowed in its own code interrupts it. Called before it enters a guest, and
 * before perf stops the PMU: work of the host is charged in lumps, of which each ends somewhere here. */
void perf_take_pmi(struct perf_cpu *perf);
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

/* Mediated VMs: -EBUSY while an include-guest event exists. */
int perf_create_mediated_pmu(struct perf_cpu *perf);
void perf_release_mediated_pmu(struct perf_cpu *perf);
/* Whether anybody on this CPU, or its current thread, has an event. */
bool perf_has_events(const struct perf_cpu *perf);
void perf_load_guest_context(struct perf_cpu *perf);
void perf_put_guest_context(struct perf_cpu *perf);

/* Bring an event's enabled and running times up to now. */
void perf_update_times(struct perf_cpu *perf, struct perf_event *event);

#endif /* PERF_PERF_EVENT_H_ */
