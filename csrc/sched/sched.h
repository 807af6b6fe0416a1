/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sched.h - the host's threads on one pCPU: whose turn it is, time slices, sleep, the host's timers.
 *
 * A thread is a vCPU's or one of the host's own (host_task.h). Runnable threads take turns, each for a
 * time slice, which ends at the first tick of the host behind it. A thread that sleeps comes back at the
 * end of the queue.
 *
 *	rq_init(&rq, pcpu, perf, tick_period, slice);
 *	sched_add(&rq, &task);
 *	while ((stop = sched_run(&rq, &budget)) == PP_STOP_BUDGET)
 *		...
 *
 * The host is a tickless one (nohz_full): the tick runs only while there is a choice of threads, or perf
 * needs it. What is due at a time (the tick, a sleeper's wake-up, perf's and the watchdog's timers) is
 * sched_deadline(): whoever runs stops there and calls sched_interrupt().
 *
 * sched_move() takes a thread to another pCPU, as sched_setaffinity() does. It arrives as one that wakes up
 * there, no earlier than it has left: the pCPU may be a quantum behind, or have stood idle for long. Its
 * turn comes with it: one that ran has the rest of its slice there at once, one that waited goes before
 * those who have waited less, and at once if it has waited for a slice.
 *
 * Not modelled: weights, deadlines and lags of EEVDF (every thread has the same weight, and a
 * woken one waits for its turn), load balancing, caches that are cold after a move.
 */
#ifndef SCHED_SCHED_H_
#define SCHED_SCHED_H_

#include "base/move.h"
#include "base/types.h"
#include "pcpu/pcpu.h"
#include "perf/perf_event.h"
#include "pmupass.h"
#include "sched/task_watch.h"

/* Threads on one pCPU */
#define SCHED_MAX_TASKS 16

/* Why a thread stopped running. */
enum task_stop {
	TASK_BUDGET,	/* the budget is used up; it goes on where it is */
	TASK_TURN_OVER, /* pcpu->stop_at is reached, likewise */
	TASK_SLEEPS,
	TASK_YIELDS, /* need_resched is served */
	TASK_EXITS,  /* it is no more */
	TASK_ENDS,   /* and with it the machine's run: *stop */
};

struct task;

struct task_ops {
	/* Run until one of the above; stop at sched_deadline() for sched_interrupt(). */
	enum task_stop (*run)(struct task *t, u64 *budget, enum pp_stop *stop);
	/* Asleep: the TSC at which it wakes, or earlier; NO_DEADLINE: nothing it waits for is due. */
	u64 (*wakes_at)(const struct task *t);
	/* It gets the pCPU, and gives it back. */
	void (*sched_in)(struct task *t);
	void (*sched_out)(struct task *t);
};

struct task {
	const struct task_ops *ops;
	void *ctx;
	struct rq *rq;
	struct perf_event_context *perf_ctx; /* NULL: perf knows nothing of it */
	struct task_watch *watches;
	bool sleeps;
	bool exited; /* it is no more; its pCPU was this one */

	/* Moved: it comes from another pCPU, which it has left at @left_at, and runs here no earlier */
	bool arrives; /* it is asleep for that alone */
	u64 left_at;  /* TSC */
	u64 slice_left;
	u64 waits_since; /* TSC at which it could have run on; 0: with the rest of a slice */
};

struct rq {
	struct pcpu *pcpu;
	struct perf_cpu *perf;

	/* In the order of their turns; the current one is not among them */
	struct task *queue[SCHED_MAX_TASKS];
	u32 nr_queued;
	struct task *current;

	/* TSC cycles */
	u64 slice, tick_period;
	u64 tick_at; /* NO_DEADLINE: stopped */
	u64 deadline;
	/* The lockup watchdog's, if it has them: NO_DEADLINE else */
	u64 watchdog_at, watchdog_interval; /* timer */
	u64 watchdog_nmi_at, watchdog_nmi_interval;
	/* Other pCPUs have asked for @nr_calls calls of a function: since when, NO_DEADLINE: none */
	u64 call_at;
	enum cost call_cost;
	u32 nr_calls;
	u64 nr_ipis; /* that have come from other pCPUs */
	u64 slice_began;
	bool need_resched;
};

void rq_init(struct rq *rq, struct pcpu *pcpu, struct perf_cpu *perf, u64 tick_period, u64 slice);
/* It has been copied to another place. */
void rq_moved(struct rq *rq, const struct move *move);
void task_moved(struct task *t, const struct move *move);

void sched_add(struct rq *rq, struct task *t);
/* sched_setaffinity() of a thread: it stops running, and is queued on @to. A vCPU's is out of the guest. */
void sched_move(struct task *t, struct rq *to);
/* smp_call_function_single() by another pCPU, at @tsc: an interrupt here, and a call that costs @func. */
void sched_call_function(struct rq *rq, enum cost func, u64 tsc);

enum pp_stop sched_run(struct rq *rq, u64 *budget);
/* The TSC from which this pCPU can go on, NO_DEADLINE: everybody sleeps, and nothing is due. */
u64 sched_next(const struct rq *rq);

/* The tick starts: perf waits for it. */
void sched_start_tick(struct rq *rq);

static inline u64 sched_deadline(struct rq *rq)
{
	if (unlikely(rq->tick_at == NO_DEADLINE && perf_needs_tick(rq->perf)))
		sched_start_tick(rq);
	return min_u64(rq->deadline, perf_deadline(rq->perf));
}
/* What is due comes as an NMI. */
static inline bool sched_nmi_is_due(const struct rq *rq, u64 now)
{
	return now >= rq->watchdog_nmi_at;
}
/* A timer of the watchdog, and an NMI that is no PMI; TSC cycles, 0: none. */
void sched_start_watchdog(struct rq *rq, u64 interval, u64 nmi_interval);
/* Something that is due has interrupted the current thread. */
void sched_interrupt(struct rq *rq);
/* The host runs, and a PMI is under way: take it if its time has come. */
void sched_take_pmi(struct rq *rq);
/* What a sleeper waits for may have come. */
void sched_wake(struct task *t);

#endif /* SCHED_SCHED_H_ */
