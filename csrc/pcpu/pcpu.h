/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pcpu.h - one physical CPU: guest CPU, PMU, local APIC, clock and books.
 *
 * The clock: the core clock runs while guest code runs (the guest CPU's subcycles) and while the host
 * works (its charges); the TSC follows at a fixed ratio and also runs while the CPU is idle.
 *
 * The PMI: an overflow with INT asks for a PMI, which reaches the local APIC a skid later. What the
 * LVTPC makes of it then is the owner's business (native: the guest; KVM: the host).
 */
#ifndef PCPU_PCPU_H_
#define PCPU_PCPU_H_

#include "account/account.h"
#include "base/check.h"
#include "base/events.h"
#include "base/move.h"
#include "cpu/cpu.h"
#include "platform/lapic.h"
#include "pmu/hwpmu.h"
#include "truth/truth.h"

#define NO_DEADLINE (~0ull)
/* Core clock at which a run ends whatever its limit, 2^56 cycles: no sum of times can overflow. */
#define PCPU_MAX_SUB (1ull << 62)

struct pcpu {
	struct hwpmu pmu;
	struct lapic lapic; /* the physical one; native: also the guest's */
	struct core_clock clk;
	struct account account;
	const struct event_map *events;
	struct pp_check *check;

	/* Whose guest code runs here (pcpu_switch()) */
	struct cpu *cpu;		    /* NULL: nobody's */
	struct truth *truth;		    /* NULL: nobody's */
	const struct event_totals *retired; /* of nobody: no_totals */
	struct event_totals no_totals;
	struct event_totals past; /* of the guests before, less what *retired had when it came */
	struct thresholds no_thresholds;

	/* Clock */
	u64 idle_tsc;	/* TSC cycles spent with nothing running */
	u64 time_limit; /* TSC at which the run ends, NO_DEADLINE: none */
	u64 stop_at;	/* that, or the time before it to which the caller runs */

	/* A PMI under way: core clock (subcycles) at which it reaches the APIC */
	u64 pmi_at;
	u64 skid_sub;
};

/*
 * From now on the code of this guest runs here, as @cpu, and the PMU counts it; NULL, NULL: nobody's. Before
 * the first: pcpu_start().
 */
void pcpu_start(struct pcpu *p);
/* The struct has been copied to another place: its parts look at each other, and at @cpu's copy. */
void pcpu_connect(struct pcpu *p, struct cpu *cpu, struct truth *truth,
		  struct thresholds *thresholds);
void pcpu_switch(struct pcpu *p, struct cpu *cpu, struct truth *truth,
		 struct thresholds *thresholds);

void pcpu_moved(struct pcpu *p, const struct move *move);

/* What all guests have done on this pCPU. */
void pcpu_guest_totals(const struct pcpu *p, struct event_totals *totals);

u64 pcpu_tsc(const struct pcpu *p);
/* Core clock since the start, subcycles: guest and host. */
u64 pcpu_sub(const struct pcpu *p);

/* Time to stop: the caller's, the limit, or the end of the clock; with @tsc and @sub of now. */
static inline bool pcpu_must_stop(const struct pcpu *p, u64 tsc, u64 sub)
{
	return tsc >= p->stop_at || sub >= PCPU_MAX_SUB;
}
bool pcpu_time_is_up(const struct pcpu *p);
/* The run itself is over: the limit, or the end of the clock. */
bool pcpu_is_over(const struct pcpu *p);
/* Set the limit, NO_DEADLINE: none; before guest code runs. */
void pcpu_limit(struct pcpu *p, u64 tsc);
/* Stop at @tsc at the latest, NO_DEADLINE: at the limit. */
void pcpu_stop_at(struct pcpu *p, u64 tsc);

/* An overflow that asks for a PMI; simultaneous ones are one PMI. For hwpmu.overflow. */
void pcpu_overflow(void *pcpu, unsigned int idx);
/* Shorten @room to what counters, truth and PMI skid allow. */
void pcpu_room(struct pcpu *p, enum privilege priv, struct cpu_room *room);
/* Shorten @room to a TSC deadline. */
void pcpu_room_deadline(const struct pcpu *p, u64 tsc, struct cpu_room *room);
/* The guest is about to access its PMU, directly or by an exit: thresholds are cut here (threshold.h).
 * Before the access does anything, and before anything is switched. */
void pcpu_cut_thresholds(struct pcpu *p);
static inline void pcpu_guest_accesses_pmu(struct pcpu *p)
{
	if (unlikely(p->pmu.thresholds->nr))
		pcpu_cut_thresholds(p);
}

/* A PMI under way reaches the physical APIC, whose owner acknowledges it at once: how it was signalled. */
enum lapic_delivery pcpu_take_pmi(struct pcpu *p);

/* Let time pass with nothing running, until @tsc. */
void pcpu_idle_until(struct pcpu *p, u64 tsc);

void pcpu_trace(struct pcpu *p, enum trace_type type, u32 x, u64 a, u64 b, u64 c);

#endif /* PCPU_PCPU_H_ */
