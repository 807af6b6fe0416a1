/* SPDX-License-Identifier: Apache-2.0 */
/*
 * perf.h - a guest's perf: events, a context on each CPU, and the drivers of the PMUs.
 *
 * It programs the PMU as Linux's arch/x86/events does (6.8 and 6.9), register access by register
 * access. What Linux does beside them, samples written among it, is retired as work (kernel_work.h).
 *
 * Register accesses, Intel
 *	in		counter, GP: selector on
 *	out		GP: selector off, RDPMC
 *	PMI		GLOBAL_CTRL = 0, STATUS, OVF_CTRL, per overflow RDPMC and counter, STATUS,
 *			GLOBAL_CTRL = all, LVTPC
 *	tick, 6.9	GLOBAL_CTRL = 0, per event that samples at a frequency: out and in (without
 *			the counter write if nothing was counted), GLOBAL_CTRL = all
 *	tick, 6.8	GLOBAL_CTRL = 0 and = all around every active event, counting ones included;
 *			between them out and in of those that sample at a frequency
 *	start		GLOBAL_CTRL = 0, in, LVTPC, [FIXED_CTR_CTRL], GLOBAL_CTRL = all
 *	rotation	GLOBAL_CTRL = 0, all out, as many as fit in, LVTPC, [FIXED_CTR_CTRL],
 *			GLOBAL_CTRL = all
 *	task out	GLOBAL_CTRL = 0, all out, [FIXED_CTR_CTRL], GLOBAL_CTRL = all
 *	task in		as a rotation, with nothing to take out
 *	exit		GLOBAL_CTRL = 0, all out, [FIXED_CTR_CTRL], GLOBAL_CTRL = all
 * [FIXED_CTR_CTRL] is written when the value to be differs from the one last written: by a start, a
 * rotation, a task that goes or comes, or the exit with a fixed counter in it. A PMI that hit while the PMU was off leaves it
 * off. No tick access without an event that samples at a frequency. The first GLOBAL_CTRL = 0 after
 * boot is left out, since perf has not turned the PMU on yet.
 *
 * Register accesses, AMD: an event goes in and out as above, and a stop also looks whether the counter has
 * overflowed. With PerfMonV2 [FIXED_CTR_CTRL] is nothing, every GLOBAL_CTL = 0 outside of a PMI is followed
 * by a look at GLOBAL_STATUS for each active event, and
 *	look		GLOBAL_STATUS
 *	PMI		GLOBAL_CTL = 0, STATUS, per active event RDPMC and per overflow counter,
 *			STATUS_CLR, GLOBAL_CTL = all
 * Without there is no global register (nor a look for Intel's version 1):
 *	look		the counter, RDMSR
 *	off		per active event selector, RDMSR, and off; then a look at each
 *	on		per active event selector on
 *	PMI		LVTPC, per active event RDPMC and per overflow counter; counters go on meanwhile
 *
 * Several CPUs: each opens the events of the settings for itself, as `perf -a` does, and nothing goes from
 * one to another. With tasks=2 they are of the first of a CPU's two tasks, as without `-a`.
 *
 * Contract: everything but perf_nmi() is called with interrupts off; perf_nmi() may come anywhere.
 *
 * Not modelled: groups, pinned events, inheritance; PEBS, LBR; extra registers; a
 * resched of all events when one is enabled (one event is added instead).
 */
#ifndef GUEST_PERF_H_
#define GUEST_PERF_H_

#include "base/types.h"
#include "guest/pp_guest.h"

#define MSR_P6_PERFCTR0 0xc1
#define MSR_IA32_PMC0 0x4c1
#define MSR_P6_EVNTSEL0 0x186
#define MSR_CORE_PERF_FIXED_CTR0 0x309
#define MSR_IA32_PERF_CAPABILITIES 0x345
#define MSR_CORE_PERF_FIXED_CTR_CTRL 0x38d
#define MSR_CORE_PERF_GLOBAL_STATUS 0x38e
#define MSR_CORE_PERF_GLOBAL_CTRL 0x38f
#define MSR_CORE_PERF_GLOBAL_OVF_CTRL 0x390

#define ARCH_PERFMON_EVENTSEL_USR BIT_ULL(16)
#define ARCH_PERFMON_EVENTSEL_OS BIT_ULL(17)
#define ARCH_PERFMON_EVENTSEL_INT BIT_ULL(20)
#define ARCH_PERFMON_EVENTSEL_ENABLE BIT_ULL(22)

#define INTEL_PMC_IDX_FIXED 32
#define INTEL_PMC_FIXED_RDPMC_BASE BIT_ULL(30)
#define X86_PMC_IDX_MAX 64

#define NSEC_PER_SEC 1000000000ull

/* hw_perf_event.state */
#define PERF_HES_STOPPED 0x1u
#define PERF_HES_UPTODATE 0x2u /* count holds all that the counter counted */
#define PERF_HES_ARCH 0x4u     /* stopped by its user: do not start it on a move */

/* Flags of stop and start. */
#define PERF_EF_RELOAD 0x2u
#define PERF_EF_UPDATE 0x4u

struct hw_perf_event {
	u64 config;	      /* selector, INT set, EN clear */
	int idx;	      /* counter: bit of GLOBAL_CTRL; -1 never assigned */
	u32 config_base;      /* MSR of the selector or FIXED_CTR_CTRL */
	u32 event_base;	      /* MSR of the counter */
	u32 event_base_rdpmc; /* ECX of RDPMC */
	u32 state;
	u64 prev_count; /* counter value up to which count is right */
	s64 period_left;
	u64 sample_period;
	u64 last_period;
	u64 freq_time_stamp;  /* nanoseconds, of the last overflow */
	u64 freq_count_stamp; /* count at the last tick */
	u64 interrupts_seq;   /* number of the tick that interrupts are counted in */
	u32 interrupts;	      /* samples in it */
};

/* What user code needs to read an event by itself, as in struct perf_event_mmap_page. */
struct perf_user_page {
	u32 lock;  /* odd or changed: read again */
	u32 index; /* RDPMC's ECX + 1; 0: not on a counter */
	u64 offset;
	u32 pmc_width;
};

enum perf_event_state { PERF_EVENT_STATE_OFF, PERF_EVENT_STATE_INACTIVE, PERF_EVENT_STATE_ACTIVE };

struct perf_event {
	struct hw_perf_event hw;
	u64 idxmsk; /* counters it may use, of those there are */
	u32 weight; /* how many these are */
	bool sampling;
	u64 freq; /* hertz; 0: fixed period or counting */
	enum perf_event_state state;
	u64 count;
	u64 samples;
	u64 tstamp; /* context time up to which the times below are right */
	u64 total_time_enabled;
	u64 total_time_running;
	struct perf_user_page user_page;
};

/* A vendor's driver. */
struct x86_pmu_ops {
	void (*enable)(struct perf_event *event); /* on its counter, with its period loaded */
	void (*disable)(struct perf_event *event);
	void (*enable_all)(void);
	void (*disable_all)(void);
	void (*handle_irq)(void);
};

/* The PMU as CPUID describes it. */
struct x86_pmu {
	const struct x86_pmu_ops *ops;
	u32 version;
	u32 num_counters;
	u32 cntval_bits;
	u64 cntval_mask;
	u64 max_period;
	u64 all_counters; /* GLOBAL_CTRL with everything on */
	u32 eventsel;	  /* MSR of GP selector 0 */
	u32 perfctr;	  /* MSR of GP counter 0 */
	u32 stride;	  /* from one GP counter's MSR to the next one's */
};

/* What runs on this CPU. An NMI reads it. */
struct cpu_hw_events {
	struct perf_event *events[X86_PMC_IDX_MAX];
	u64 active_mask;
	bool enabled;
	bool in_nmi;
	u32 n_events; /* event_list: in the order of their adding */
	u32 n_added;  /* of these, not yet started */
	struct perf_event *event_list[PP_GUEST_MAX_EVENTS];
	int assign[PP_GUEST_MAX_EVENTS];
	u64 hint;		   /* counters that KVM has been told of */
	u64 fixed_ctrl_val;	   /* to be */
	u64 active_fixed_ctrl_val; /* in the register */
};

/* The events of one task of a CPU, all flexible. */
struct perf_context {
	struct perf_event *flexible[PP_GUEST_MAX_EVENTS]; /* enabled; in the order of their turns */
	u32 nr_flexible;
	u32 nr_freq; /* active ones that sample at a frequency */
	u64 time; /* TSC as of the operation under way, or when its task went: one for all its events */
	u32 pmu_disable_count;
	u64 throttled_seq;	   /* number of the tick */
	u32 throttled_count;	   /* events stopped in it for too many samples */
	u64 running_sample_length; /* of PMIs: 128 times the mean, nanoseconds */
	bool rotate_necessary;	   /* not all of them fit */
	bool task_is_out;	   /* another task runs */
};

struct percpu; /* percpu.h: a CPU's perf_context, cpu_hw_events, and the settings' events */

extern struct x86_pmu x86_pmu;

/*
 * perf_init.c: find the PMU; check the settings' events and make them on a CPU. No register is touched if
 * perf=0.
 */
void perf_init(void);
void perf_init_cpu(struct percpu *cpu);

/* perf_x86.c: what drivers of PMUs without global registers share */
void x86_pmu_enable_event(struct perf_event *event);
void x86_pmu_disable_event(struct perf_event *event);
void x86_pmu_enable_all(void);
void x86_pmu_disable_all(void);
void x86_pmu_handle_irq(void);

/* perf_intel.c, perf_amd.c: fill x86_pmu, or give up. */
void intel_pmu_init(u32 last_leaf); /* of CPUID */
void amd_pmu_init(void);

/* perf_context.c: what a task's events go through. With perf=0 they do nothing. */
void perf_event_enable(u32 nr);	 /* of the settings' events */
void perf_event_exit_task(void); /* all events off, times and counts final */
void perf_event_task_sched_out(void);
void perf_event_task_sched_in(void);
void perf_report(void);
void perf_pmu_disable(void);
void perf_pmu_enable(void);

/* pmu_hint.c: whether KVM wants to know; once on each CPU; before the PMU goes on. */
void pmu_hint_init(void);
void pmu_hint_init_cpu(void);
void pmu_hint(void);

/* perf_throttle.c: how many samples a tick may bring. */
void perf_throttle_init(void);
u64 tick_nsec(void);
u64 perf_max_sample_rate(void); /* a second, as of now */
void perf_sample_event_took(u64 ns);
bool perf_event_account_throttle(struct perf_event *event);
bool perf_throttle_tick(void);
bool perf_event_unthrottled(struct perf_event *event);
void perf_event_unthrottle(struct perf_event *event);

/* perf_freq.c: samples, and sampling at a frequency. */
void perf_event_task_tick(void);
void perf_event_overflow(struct perf_event *event);

/* perf_assign.c */
u32 x86_schedule_events(struct perf_event **events, u32 n, int *assign);

/* perf_counter.c: one event on one counter. */
void x86_assign_hw_event(struct perf_event *event, int idx);
bool x86_perf_event_set_period(struct perf_event *event);
void x86_perf_event_update(struct perf_event *event);
void x86_pmu_start(struct perf_event *event, u32 flags);
void x86_pmu_stop(struct perf_event *event, u32 flags);

/* perf_pmu.c: the PMU as a whole. */
bool x86_pmu_add(struct perf_event *event); /* false: it does not fit now */
void x86_pmu_del(struct perf_event *event);
void x86_pmu_enable(void);
void x86_pmu_disable(void);
void perf_nmi(void);

/* perf_read.c: from user code, CR4.PCE set. */
u64 perf_user_read(const struct perf_event *event);
void perf_event_update_userpage(struct perf_event *event);

#endif /* GUEST_PERF_H_ */
