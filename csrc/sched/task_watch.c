// SPDX-License-Identifier: Apache-2.0
/* task_watch.c - what was done while a thread had its pCPU. Interface: task_watch.h. */
#include "sched/task_watch.h"

#include "sched/sched.h"

/* All that guests and host have ever done on the pCPU. */
static struct task_work work_on(const struct pcpu *p, const struct event_formula *formula)
{
	struct event_totals guests;

	pcpu_guest_totals(p, &guests);
	return (struct task_work){
		.guest = event_formula_total(formula, &p->clk, &guests),
		.host = event_formula_total(formula, &p->clk, &p->account.host),
	};
}

static bool has_its_pcpu(const struct task *t)
{
	return t->rq->current == t;
}

static void begin_stay(const struct task *t, struct task_watch *w)
{
	w->from = work_on(t->rq->pcpu, &w->formula);
}

static void add_stay(const struct task *t, const struct task_watch *w, struct task_work *to)
{
	struct task_work now = work_on(t->rq->pcpu, &w->formula);

	to->guest += now.guest - w->from.guest;
	to->host += now.host - w->from.host;
}

void task_watch_start(struct task *t, struct task_watch *w, const struct event_formula *formula)
{
	*w = (struct task_watch){.formula = *formula, .next = t->watches};
	t->watches = w;
	if (has_its_pcpu(t))
		begin_stay(t, w);
}

void task_watch_stop(struct task *t, struct task_watch *w)
{
	struct task_watch **at = &t->watches;

	while (*at && *at != w)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = w->next;
	w->next = NULL;
}

struct task_work task_watch_read(const struct task *t, const struct task_watch *w)
{
	struct task_work work = w->done;

	if (has_its_pcpu(t))
		add_stay(t, w, &work);
	return work;
}

void task_watch_in(struct task *t)
{
	for (struct task_watch *w = t->watches; w; w = w->next)
		begin_stay(t, w);
}

void task_watch_out(struct task *t)
{
	for (struct task_watch *w = t->watches; w; w = w->next)
		add_stay(t, w, &w->done);
}

void task_watch_moved(struct task_watch *w, const struct move *move)
{
	w->next = moved(move, w->next);
}
