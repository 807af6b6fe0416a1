// SPDX-License-Identifier: Apache-2.0
/* sched.c - turns, time slices, sleep, the tick. Interface: sched.h. */
#include "sched/sched.h"

#include <string.h>

void rq_init(struct rq *rq, struct pcpu *pcpu, struct perf_cpu *perf, u64 tick_period, u64 slice)
{
	*rq = (struct rq){
		.pcpu = pcpu,
		.perf = perf,
		.tick_period = tick_period,
		.slice = slice,
		.tick_at = NO_DEADLINE,
		.deadline = NO_DEADLINE,
		.watchdog_at = NO_DEADLINE,
		.watchdog_nmi_at = NO_DEADLINE,
		.call_at = NO_DEADLINE,
	};
}

void rq_moved(struct rq *rq, const struct move *move)
{
	rq->pcpu = moved(move, rq->pcpu);
	rq->perf = moved(move, rq->perf);
	rq->current = moved(move, rq->current);
	for (u32 i = 0; i < SCHED_MAX_TASKS; i++)
		rq->queue[i] = moved(move, rq->queue[i]);
}

void task_moved(struct task *t, const struct move *move)
{
	t->ctx = moved(move, t->ctx);
	t->rq = moved(move, t->rq);
	t->perf_ctx = moved(move, t->perf_ctx);
	t->watches = moved(move, t->watches);
}

static struct account *books(struct rq *rq)
{
	return &rq->pcpu->account;
}

/* ---- the queue ---- */

static void enqueue(struct rq *rq, struct task *t)
{
	if (PP_CHECK(rq->pcpu->check, rq->nr_queued < SCHED_MAX_TASKS))
		rq->queue[rq->nr_queued++] = t;
}

static void dequeue(struct rq *rq, u32 place)
{
	rq->nr_queued--;
	memmove(&rq->queue[place], &rq->queue[place + 1],
		(rq->nr_queued - place) * sizeof(rq->queue[0]));
}

/* The TSC at which a sleeper wakes up, or earlier. */
static u64 wakes_at(const struct task *t)
{
	return max_u64(t->left_at, t->arrives ? 0 : t->ops->wakes_at(t));
}

/* Where in the queue it belongs that has waited for its turn since then: behind those who wait longer. */
static u32 place_by_age(const struct rq *rq, const struct task *t)
{
	u32 i = 0;

	while (i < rq->nr_queued &&
	       (rq->queue[i]->sleeps || rq->queue[i]->waits_since <= t->waits_since))
		i++;
	return i;
}

static void insert(struct rq *rq, struct task *t, u32 place)
{
	enqueue(rq, t);
	memmove(&rq->queue[place + 1], &rq->queue[place],
		(rq->nr_queued - 1 - place) * sizeof(rq->queue[0]));
	rq->queue[place] = t;
}

/* It can run from now on; its new place in the queue. */
static u32 wake(struct rq *rq, struct task *t, u64 now)
{
	u32 place;

	if (!t->arrives)
		t->waits_since = now;
	else if (now - t->waits_since >= rq->slice)
		rq->need_resched = true;
	t->sleeps = t->arrives = false;
	place = place_by_age(rq, t);
	insert(rq, t, place);
	return place;
}

static void wake_sleepers(struct rq *rq, u64 now)
{
	for (u32 i = 0, looked = 0, nr = rq->nr_queued; looked < nr; looked++) {
		struct task *t = rq->queue[i];

		if (!t->sleeps || wakes_at(t) > now) {
			i++;
			continue;
		}
		dequeue(rq, i);
		if (wake(rq, t, now) <= i)
			i++;
	}
}

/* The place in the queue of the first that can run; nr_queued: there is none. */
static u32 first_runnable(const struct rq *rq)
{
	u32 i = 0;

	while (i < rq->nr_queued && rq->queue[i]->sleeps)
		i++;
	return i;
}

static bool somebody_waits(const struct rq *rq)
{
	return first_runnable(rq) < rq->nr_queued;
}

static u64 next_wake_up(const struct rq *rq)
{
	u64 next = NO_DEADLINE;

	for (u32 i = 0; i < rq->nr_queued; i++) {
		const struct task *t = rq->queue[i];

		if (t->sleeps)
			next = min_u64(next, wakes_at(t));
	}
	return next;
}

/* ---- timers ---- */

static u64 watchdog_deadline(const struct rq *rq)
{
	return min_u64(rq->watchdog_at, rq->watchdog_nmi_at);
}

/* What comes whether anybody runs or not */
static u64 interrupt_deadline(const struct rq *rq)
{
	return min_u64(watchdog_deadline(rq), rq->call_at);
}

void sched_start_watchdog(struct rq *rq, u64 interval, u64 nmi_interval)
{
	u64 now = pcpu_tsc(rq->pcpu);

	rq->watchdog_interval = interval;
	rq->watchdog_nmi_interval = nmi_interval;
	rq->watchdog_at = interval ? now + interval : NO_DEADLINE;
	rq->watchdog_nmi_at = nmi_interval ? now + nmi_interval : NO_DEADLINE;
	rq->deadline = min_u64(rq->deadline, watchdog_deadline(rq));
}

/* The next of its times behind @now */
static void forward(u64 *at, u64 interval, u64 now)
{
	*at += ((now - *at) / interval + 1) * interval;
}

void sched_call_function(struct rq *rq, enum cost func, u64 tsc)
{
	rq->call_cost = func;
	rq->call_at = min_u64(rq->call_at, tsc);
	rq->nr_calls++;
	rq->nr_ipis++;
	rq->deadline = min_u64(rq->deadline, rq->call_at);
	if (rq->pcpu->cpu)
		cpu_horizon_changed(rq->pcpu->cpu);
}

static void call_functions(struct rq *rq)
{
	account_enter(books(rq), COST_INTERRUPT);
	account_charge_n(books(rq), rq->call_cost, rq->nr_calls);
	account_leave(books(rq));
	rq->nr_calls = 0;
	rq->call_at = NO_DEADLINE;
}

static void watchdog(struct rq *rq, u64 now)
{
	if (now >= rq->watchdog_nmi_at) {
		account_enter(books(rq), COST_NMI);
		account_charge(books(rq), COST_WATCHDOG_NMI);
		account_leave(books(rq));
		forward(&rq->watchdog_nmi_at, rq->watchdog_nmi_interval, now);
	}
	if (now >= rq->watchdog_at) {
		account_enter(books(rq), COST_INTERRUPT);
		account_charge(books(rq), COST_WATCHDOG_TIMER);
		account_leave(books(rq));
		forward(&rq->watchdog_at, rq->watchdog_interval, now);
	}
}

/* Ticks are at whole periods of the TSC. */
static u64 next_tick(const struct rq *rq, u64 now)
{
	return (now / rq->tick_period + 1) * rq->tick_period;
}

/* The tick runs while there is a choice, or perf waits for it. */
static void set_timers(struct rq *rq, u64 now)
{
	if (!rq->current || !(somebody_waits(rq) || perf_needs_tick(rq->perf)))
		rq->tick_at = NO_DEADLINE;
	else if (rq->tick_at == NO_DEADLINE)
		rq->tick_at = next_tick(rq, now);
	rq->deadline = min_u64(rq->tick_at, next_wake_up(rq));
	rq->deadline = min_u64(rq->deadline, interrupt_deadline(rq));
}

void sched_start_tick(struct rq *rq)
{
	rq->tick_at = next_tick(rq, pcpu_tsc(rq->pcpu));
	rq->deadline = min_u64(rq->deadline, rq->tick_at);
}

static void tick(struct rq *rq, u64 now)
{
	account_charge(books(rq), COST_SCHED_TICK);
	rq->tick_at = next_tick(rq, now);
	perf_event_task_tick(rq->perf);
	if (now - rq->slice_began >= rq->slice && somebody_waits(rq))
		rq->need_resched = true;
}

void sched_interrupt(struct rq *rq)
{
	u64 now = pcpu_tsc(rq->pcpu);

	if (now < sched_deadline(rq))
		return;
	if (now >= interrupt_deadline(rq)) {
		watchdog(rq, now);
		if (now >= rq->call_at)
			call_functions(rq);
		set_timers(rq, now);
		if (now < sched_deadline(rq))
			return;
	}
	account_enter(books(rq), COST_INTERRUPT);
	wake_sleepers(rq, now);
	if (now >= rq->tick_at)
		tick(rq, now);
	if (now >= perf_deadline(rq->perf))
		perf_mux_hrtimer_handler(rq->perf);
	account_leave(books(rq));
	set_timers(rq, now);
}

void sched_take_pmi(struct rq *rq)
{
	struct pcpu *p = rq->pcpu;

	if (pcpu_sub(p) >= p->pmi_at)
		perf_take_pmi(rq->perf);
}

void sched_wake(struct task *t)
{
	struct rq *rq = t->rq;
	u64 at;

	if (!rq || !t->sleeps || rq->current == t)
		return;
	at = wakes_at(t);
	if (at >= rq->deadline)
		return;
	rq->deadline = at;
	if (rq->pcpu->cpu)
		cpu_horizon_changed(rq->pcpu->cpu);
}

/* ---- whose turn it is ---- */

/* Who has had the pCPU */
static struct task *take_off(struct rq *rq)
{
	struct task *t = rq->current;

	perf_event_task_sched_out(rq->perf);
	task_watch_out(t);
	t->ops->sched_out(t);
	t->waits_since = pcpu_tsc(rq->pcpu);
	rq->current = NULL;
	return t;
}

static void switch_out(struct rq *rq)
{
	enqueue(rq, take_off(rq));
}

static void exit_task(struct rq *rq)
{
	account_charge(books(rq), COST_SCHEDULE);
	take_off(rq)->exited = true;
}

/* False if nobody can run. */
static bool switch_in(struct rq *rq, u64 now)
{
	u32 i = first_runnable(rq);
	struct task *t;

	if (i == rq->nr_queued)
		return false;
	t = rq->queue[i];
	dequeue(rq, i);
	rq->current = t;
	rq->slice_began = now - (t->slice_left ? rq->slice - t->slice_left : 0);
	t->slice_left = 0;
	rq->need_resched = false;
	task_watch_in(t);
	perf_event_task_sched_in(rq->perf, t->perf_ctx);
	t->ops->sched_in(t);
	return true;
}

static void yield(struct rq *rq)
{
	rq->need_resched = false;
	rq->slice_began = pcpu_tsc(rq->pcpu);
	if (!somebody_waits(rq))
		return;
	account_charge(books(rq), COST_SCHEDULE);
	switch_out(rq);
}

u64 sched_next(const struct rq *rq)
{
	u64 now = pcpu_tsc(rq->pcpu), next;

	if (rq->current || somebody_waits(rq))
		return now;
	next = min_u64(next_wake_up(rq), rq->call_at);
	return next == NO_DEADLINE ? next : max_u64(now, next);
}

/* Nobody runs: let time pass until somebody can. False when nobody ever will. */
static bool idle(struct rq *rq, u64 *budget)
{
	u64 next = sched_next(rq), timer;

	if (next == NO_DEADLINE)
		return false;
	--*budget;
	timer = min_u64(perf_deadline(rq->perf), interrupt_deadline(rq));
	next = min_u64(next, timer);
	pcpu_idle_until(rq->pcpu, min_u64(next, rq->pcpu->stop_at));
	if (pcpu_tsc(rq->pcpu) >= timer)
		sched_interrupt(rq);
	return true;
}

enum pp_stop sched_run(struct rq *rq, u64 *budget)
{
	struct pcpu *p = rq->pcpu;
	enum pp_stop stop = PP_STOP_BUDGET;

	for (;;) {
		u64 now = pcpu_tsc(p);

		if (p->check->broken)
			return PP_STOP_INVARIANT;
		/* Whoever ran goes on as if nothing had been between: a budget shows nowhere. */
		if (!rq->current) {
			wake_sleepers(rq, now);
			if (switch_in(rq, now)) {
				set_timers(rq, now);
				continue;
			}
			if (pcpu_time_is_up(p))
				return PP_STOP_TIME;
			if (!*budget)
				return PP_STOP_BUDGET;
			if (!idle(rq, budget))
				return PP_STOP_HALTED;
			continue;
		}
		switch (rq->current->ops->run(rq->current, budget, &stop)) {
		case TASK_BUDGET: return PP_STOP_BUDGET;
		case TASK_TURN_OVER: return PP_STOP_TIME;
		case TASK_ENDS: return stop;
		case TASK_SLEEPS:
			rq->current->sleeps = true;
			switch_out(rq);
			break;
		case TASK_YIELDS: yield(rq); break;
		case TASK_EXITS: exit_task(rq); break;
		}
	}
}

void sched_add(struct rq *rq, struct task *t)
{
	t->rq = rq;
	enqueue(rq, t);
}

/* ---- to another pCPU ---- */

/* The stopper thread comes in between, and takes a running thread off. */
static void stop(struct rq *rq)
{
	u64 used = pcpu_tsc(rq->pcpu) - rq->slice_began;
	struct task *t = rq->current;

	account_charge(books(rq), COST_SCHEDULE);
	account_charge(books(rq), COST_MIGRATION_CPU_STOP);
	switch_out(rq);
	if (used >= rq->slice)
		return;
	t->slice_left = rq->slice - used;
	t->waits_since = 0;
}

static u32 place_of(const struct rq *rq, const struct task *t)
{
	u32 i = 0;

	while (rq->queue[i] != t)
		i++;
	return i;
}

void sched_move(struct task *t, struct rq *to)
{
	struct rq *from = t->rq;

	if (from == to)
		return;
	if (from->current == t)
		stop(from);
	dequeue(from, place_of(from, t));
	t->left_at = max_u64(t->left_at, pcpu_tsc(from->pcpu));
	t->arrives |= !t->sleeps;
	t->sleeps = true;
	t->rq = to;
	account_stat(books(to), STAT_CPU_MIGRATIONS);
	enqueue(to, t);
	sched_wake(t);
}
