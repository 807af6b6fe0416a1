// SPDX-License-Identifier: Apache-2.0
/*
 * host_task.c - a thread of the host that computes. Interface: host_task.h.
 *
 * It lands on the cycle on which a counter that counts the host overflows, as guests land on the
 * instruction. Its times are those of the clock itself, never sums of rounded pieces: where a run is cut
 * shows nowhere.
 *
 * Not modelled: what it computes. Its only events are cycles and instructions, at one rate.
 */
#include "sched/host_task.h"

/* Core cycles until a PMI that is under way arrives; ~0: none is. */
static u64 cycles_to_pmi(const struct pcpu *p)
{
	u64 now = pcpu_sub(p);

	if (p->pmi_at == NO_DEADLINE)
		return ~0ull;
	return p->pmi_at > now ? (p->pmi_at - now + SUB_PER_CYCLE - 1) >> SUB_SHIFT : 1;
}

/* Core cycles until the TSC is @tsc or later, one at least. */
static u64 cycles_until(const struct pcpu *p, u64 tsc)
{
	u64 now = pcpu_sub(p), at = ref_to_sub(&p->clk, tsc - p->idle_tsc);

	return at > now ? (at - now + SUB_PER_CYCLE - 1) >> SUB_SHIFT : 1;
}

static void compute(struct host_task *h, u64 cycles)
{
	struct pcpu *p = h->task.rq->pcpu;
	u64 began = pcpu_tsc(p);

	account_charge_user(&p->account, COST_HOST_TASK, cycles);
	h->done += pcpu_tsc(p) - began;
	hwpmu_land(&p->pmu);
	sched_take_pmi(h->task.rq);
}

static enum task_stop host_task_run(struct task *t, u64 *budget, enum pp_stop *stop)
{
	struct host_task *h = t->ctx;
	struct rq *rq = t->rq;
	struct pcpu *p = rq->pcpu;
	u64 now, until, cycles;

	(void)stop;
	for (;;) {
		now = pcpu_tsc(p);
		if (pcpu_time_is_up(p))
			return TASK_TURN_OVER;
		if (!*budget)
			return TASK_BUDGET;
		--*budget;
		if (now >= sched_deadline(rq))
			sched_interrupt(rq);
		if (rq->need_resched)
			return TASK_YIELDS;
		if (h->pause && h->done >= h->burst) {
			h->done = 0;
			h->wakes_at = now + h->pause;
			return TASK_SLEEPS;
		}
		until = min_u64(sched_deadline(rq), p->stop_at);
		if (h->pause)
			until = min_u64(until, now + h->burst - h->done);
		/* Nothing is due: a second at a time. */
		cycles = cycles_until(p, min_u64(until, now + BIT_ULL(31)));
		cycles = min_u64(cycles, cycles_to_pmi(p));
		compute(h, min_u64(cycles,
				   hwpmu_host_room(&p->pmu, PRIV_USR, p->account.host_ipc_q20)));
	}
}

static u64 host_task_wakes_at(const struct task *t)
{
	const struct host_task *h = t->ctx;

	return h->wakes_at;
}

static void host_task_switched(struct task *t)
{
	(void)t;
}

static const struct task_ops host_task_ops = {
	.run = host_task_run,
	.wakes_at = host_task_wakes_at,
	.sched_in = host_task_switched,
	.sched_out = host_task_switched,
};

void host_task_init(struct host_task *h, u64 burst, u64 pause)
{
	perf_event_context_init(&h->perf_ctx);
	h->task = (struct task){.ops = &host_task_ops, .ctx = h, .perf_ctx = &h->perf_ctx};
	h->burst = burst;
	h->pause = pause;
	h->done = h->wakes_at = 0;
}

void host_task_moved(struct host_task *h, const struct move *move)
{
	task_moved(&h->task, move);
	perf_event_context_moved(&h->perf_ctx, move);
}
