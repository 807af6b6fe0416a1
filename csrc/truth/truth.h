/* SPDX-License-Identifier: Apache-2.0 */
/*
 * truth.h - what exact hardware would have counted for this guest, and what the guest missed.
 *
 * The truth is an ideal PMU beside the real arrangement. It is fed with the guest's own register
 * writes that did not fault and with the guest CPU's own totals (what retired, plus what the host
 * completed in the guest's place); it never looks at the physical PMU or at KVM's credits. Whoever
 * serves a guest access tells it what the guest saw; the difference is the loss.
 *
 * Definitions
 *  - An interval runs from a write of a counter to its next write. Before a rewrite the guest could
 *    have read the counter: true and counted are taken there. The last interval ends at its last
 *    read, or at the end of the run if nobody read it (unread). A change of event ends an interval
 *    as a rewrite does.
 *  - lost = true - counted, signed, modulo the counter's width. While the arrangement cannot count for
 *    a counter it says why (truth_set_cause()); what the ideal counter counts meanwhile is lost to
 *    that cause. What an erratum of the silicon adds is lost, negative, to that; so is a rest that no
 *    cause explains, unless the arrangement owns up to it (truth_blame()). When the event changes, what
 *    the guest could have read is taken to be the ideal value less what the causes explain.
 *  - An emulated instruction that the ideal counter counts and nobody credits is lost as uncredited.
 *  - A PMI is due when ideal counters overflow with INT set and LVTPC unmasked; those of one
 *    instruction are one PMI. One that falls due while another is outstanding is coalesced. One that
 *    finds the LVTPC masked is masked, unless the mask is lifted while it is under way (skid).
 */
#ifndef TRUTH_TRUTH_H_
#define TRUTH_TRUTH_H_

#include "base/events.h"
#include "base/room.h"
#include "base/types.h"
#include "pmu/event_map.h"
#include "pmu/msr_index.h"
#include "pmu/threshold.h"
#include "pmu/vendor.h"
#include "pmupass.h"
#include "truth/histogram.h"

enum loss_cause {
#define LOSS_CAUSE(id, name, text) CAUSE_##id,
#include "base/loss_causes.def"
#undef LOSS_CAUSE
	NR_CAUSES,
	CAUSE_NONE = NR_CAUSES, /* the arrangement counts */
};

#define TRUTH_MAX_EVENTS 1024
#define TRUTH_MAX_SILENT_ERRORS 4096

struct truth_episode {
	bool open;
	u8 cause;
	u64 config;
	u64 tsc; /* begin */
	s64 lost;
};

struct truth_pmc {
	/* The ideal counter */
	u64 config; /* EVENTSEL_WHAT, USR and OS of what it counts */
	struct event_formula formula;
	bool enabled, interrupt;
	u64 start; /* formula total at the last start; enabled only */

	/* The interval since the last write */
	u64 written;
	u64 delta;	  /* true count at the last stop */
	u64 wraps;	  /* overflows already seen */
	u8 cause;	  /* why the arrangement does not count now */
	bool unexplained; /* enabled, and no cause has been told since */
	s64 unresolved;	  /* not credited meanwhile */
	u64 cause_delta;  /* true count that has been attributed */
	s64 causes[NR_CAUSES];
	u8 blame;     /* the cause that a rest which no other explains goes to ... */
	u64 blamed;   /* ... since this TSC, unless it is CAUSE_UNEXPLAINED */
	bool touched; /* written or enabled: there is something to close */

	/* Its last read */
	bool read;
	u64 read_delta;
	s64 read_lost;
	s64 read_causes[NR_CAUSES];

	u64 enabled_since;	      /* TSC; enabled only */
	struct truth_episode episode; /* of the cause that holds */
	struct truth_episode uncredited;
	struct truth_episode overcounted;
};

struct truth_totals {
	const struct event_totals *retired;
	const u64 *skipped_instructions; /* by privilege */
	const u64 *skipped_branches;
	struct thresholds *thresholds; /* the guest's side */
};

struct truth {
	const struct event_map *events;
	const struct core_clock *clk;
	struct truth_totals totals;
	u64 (*tsc)(const void *ctx);
	const void *tsc_ctx;
	const u32 *lvtpc; /* the LVTPC the guest sees */

	/* The guest's registers as it wrote them */
	const struct pmu_vendor *vendor;
	struct pp_pmu caps;
	u64 counter_mask;
	u64 eventsel[PP_MAX_GP];
	u64 fixed_ctr_ctrl;
	u64 global_ctrl;
	struct truth_pmc pmc[NR_PMC_IDX];
	bool off_cpu; /* nobody executes the guest: no counter stands behind an event */
	u64 enabled;  /* by index: pmc[].enabled */
	u64 pebs;     /* counters whose overflow is a PEBS record, as the guest wrote PEBS_ENABLE */
	u64 pebs_off; /* counters whose records the arrangement does not write now */
	bool pebs_overflowed; /* BUFFER_OVF of the ideal status */
	u64 pebs_missed;      /* overflows while off */

	/* Results */
	struct pp_counter_result *results;
	u32 nr_results;
	struct pp_silent_error *errors;
	u32 nr_errors;
	struct pp_pmi_result pmi;
	struct histogram latency_cycles, latency_instructions;
	bool finished;

	/* The PMI outstanding */
	bool outstanding;
	bool was_masked; /* the last one found the LVTPC masked */
	u64 due_tsc, due_instructions;
};

int truth_init(struct truth *t, const struct pp_pmu *guest, const struct event_map *events,
	       const struct core_clock *clk);
void truth_free(struct truth *t);
/* A copy, which still looks at the original's totals, clocks and events. -1 when memory is short. */
int truth_clone(struct truth *to, const struct truth *from);

/* ---- the guest's accesses, after they have succeeded ---- */
/* A selector, FIXED_CTR_CTRL or GLOBAL_CTRL and what it holds now; other MSRs change nothing here. */
void truth_control_written(struct truth *t, u32 msr, u64 value);
/* A counter: what a read just before the write would have shown, and what it holds now. */
void truth_counter_written(struct truth *t, unsigned int idx, u64 visible_before, u64 value);
void truth_counter_read(struct truth *t, unsigned int idx, u64 visible);

/* ---- what the arrangement does ---- */
void truth_set_cause(struct truth *t, unsigned int idx, enum loss_cause cause);
/* What no cause explains of the interval is this one's from now on, and no erratum. */
void truth_blame(struct truth *t, unsigned int idx, enum loss_cause cause);
/* The host completed one instruction (after cpu_skip_insn()); @credited: counters it credited;
 * @branch: it was a branch. */
void truth_insn_skipped(struct truth *t, u64 credited, enum privilege priv, bool branch);
/* Silicon added @n to the counter behind @idx that were no events. */
void truth_overcounted(struct truth *t, unsigned int idx, u32 n);
/* The guest has written PEBS_ENABLE; the arrangement has PEBS off for @off of its counters. */
void truth_pebs_written(struct truth *t, u64 enable);
void truth_pebs_off(struct truth *t, u64 off);
/* Somebody executes the guest from now on, or nobody does. */
void truth_on_cpu(struct truth *t, bool on_cpu);
void truth_pmi_delivered(struct truth *t);
void truth_pmi_dropped(struct truth *t);

/* ---- exact landing ---- */
void truth_room(struct truth *t, enum privilege priv, struct cpu_room *room);
void truth_land(struct truth *t);

/* Close every interval with what the guest could read now (@visible by index). Idempotent. */
void truth_finish(struct truth *t, u64 (*visible)(void *ctx, unsigned int idx), void *ctx);

/* The ideal value of a counter. */
u64 truth_counter(const struct truth *t, unsigned int idx);

#endif /* TRUTH_TRUTH_H_ */
