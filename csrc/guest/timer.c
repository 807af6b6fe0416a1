// SPDX-License-Identifier: Apache-2.0
/*
 * timer.c - the timer queue. Interface: timer.h.
 *
 * A timer that is late by more than its interval runs once and keeps its phase, as
 * hrtimer_forward_now() would have it.
 */
#include "guest/timer.h"

#include "guest/apic.h"
#include "guest/insn.h"
#include "guest/percpu.h"

static struct timer *first_timer(const struct timer_queue *q)
{
	struct timer *first = NULL;
	struct timer *t;

	for (t = q->timers; t; t = t->next)
		if (t->active && (!first || t->expires < first->expires))
			first = t;
	return first;
}

static void program_first(struct timer_queue *q)
{
	struct timer *first = first_timer(q);

	q->programmed = first ? first->expires : NO_TIMER;
	if (first)
		apic_timer_set(q->programmed);
}

void timer_start(struct timer *t, bool (*function)(void), u64 interval)
{
	struct timer_queue *q = &this_cpu()->timers;
	struct timer *other;

	if (t->active)
		return;
	for (other = q->timers; other && other != t; other = other->next)
		;
	if (!other) {
		t->next = q->timers;
		q->timers = t;
	}
	t->function = function;
	t->interval = interval;
	t->expires = rdtsc() + interval;
	t->active = true;
	if (!q->in_interrupt && t->expires < q->programmed)
		program_first(q);
}

void timer_interrupt(void)
{
	struct timer_queue *q = &this_cpu()->timers;
	struct timer *t;
	u64 now;

	apic_write(APIC_EOI, 0);
	q->in_interrupt = true;
	now = rdtsc();
	while ((t = first_timer(q)) && t->expires <= now) {
		t->expires += ((now - t->expires) / t->interval + 1) * t->interval;
		t->active = t->function();
	}
	q->in_interrupt = false;
	program_first(q);
}

void timer_stop_all(void)
{
	struct timer_queue *q = &this_cpu()->timers;
	struct timer *t;

	for (t = q->timers; t; t = t->next)
		t->active = false;
	if (q->programmed != NO_TIMER)
		apic_timer_set(NO_TIMER);
	q->programmed = NO_TIMER;
}
