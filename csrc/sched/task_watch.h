/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task_watch.h - what was done while a thread had its pCPU: the truth about events of single threads.
 *
 * A watch adds up one formula from its start to its stop, while its thread has a pCPU, whichever: from
 * before perf's schedule-in of the thread to behind its schedule-out. Each stay is a difference of whole
 * counts of its pCPU, as a counter that is switched on and off counts them.
 */
#ifndef SCHED_TASK_WATCH_H_
#define SCHED_TASK_WATCH_H_

#include "base/move.h"
#include "base/types.h"
#include "pmu/event_map.h"

struct task;

/* What was done, by whom: code of guests, or the host. */
struct task_work {
	u64 guest, host;
};

struct task_watch {
	struct event_formula formula; /* a plain one */
	struct task_watch *next;      /* of this thread */
	struct task_work done;	      /* in the stays that are over */
	struct task_work from;	      /* the pCPU's, at the beginning of this stay */
};

void task_watch_start(struct task *t, struct task_watch *w, const struct event_formula *formula);
void task_watch_stop(struct task *t, struct task_watch *w);
/* Up to now */
struct task_work task_watch_read(const struct task *t, const struct task_watch *w);

/* The thread gets its pCPU, or is about to lose it. */
void task_watch_in(struct task *t);
void task_watch_out(struct task *t);

void task_watch_moved(struct task_watch *w, const struct move *move);

#endif /* SCHED_TASK_WATCH_H_ */
