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

static struct timer *timers;
static u64 programmed = ~0ull;
static bool in_interrupt;

static struct timer *first_timer(void)
{
	struct timer *first = NULL;
	struct timer *t;

	for (t = timers; t; t = t->next)
		if (t->active && (!first || t->expires < first->expires))
			first = t;
	return first;
}

static void program_first(void)
{
	struct timer *first = first_timer();

	programmed = first ? first->expires : ~0ull;
	if (first)
		apic_timer_set(programmed);
}

void timer_start(struct timer *t, u64 interval)
{
	struct timer *other;

	if (t->active)
		return;
	for (other = timers; other && other != t; other = other->next)
		;
	if (!other) {
		t->next = timers;
		timers = t;
	}
	t->interval = interval;
	t->expires = rdtsc() + interval;
	t->active = true;
	if (!in_interrupt && t->expires < programmed)
		program_first();
}

void timer_interrupt(void)
{
	struct timer *t;
	u64 now;

	apic_write(APIC_EOI, 0);
	in_interrupt = true;
	now = rdtsc();
	while ((t = first_timer()) && t->expires <= now) {
		t->expires += ((now - t->expires) / t->interval + 1) * t->interval;
		t->active = t->function();
	}
	in_interrupt = false;
	program_first();
}

void timer_stop_all(void)
{
	struct timer *t;

	for (t = timers; t; t = t->next)
		t->active = false;
	if (programmed != ~0ull)
		apic_timer_set(~0ull);
	programmed = ~0ull;
}
