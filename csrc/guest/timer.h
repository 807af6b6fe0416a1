/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timer.h - several timers on the one APIC timer of a CPU, as hrtimers share it: the HZ tick and perf's
 * multiplexing. Times are TSC cycles. Call with interrupts off, for the CPU that calls.
 *
 *	timer_start(&this_cpu()->tick_timer, tick, interval);
 *
 * A timer interrupt is one EOI, the functions of all timers that are due, and one write that arms
 * the next (none when no timer is left).
 */
#ifndef GUEST_TIMER_H_
#define GUEST_TIMER_H_

#include "base/types.h"

#define NO_TIMER (~0ull)

struct timer {
	bool (*function)(void); /* true: again after the interval */
	u64 interval;
	u64 expires;
	bool active;
	struct timer *next; /* in the list of all that were ever started */
};

/* A CPU's. */
struct timer_queue {
	struct timer *timers;
	u64 programmed; /* NO_TIMER: none is */
	bool in_interrupt;
};

/* Call @function each @interval cycles from now on. Nothing happens when it is active already. */
void timer_start(struct timer *t, bool (*function)(void), u64 interval);
void timer_interrupt(void);
void timer_stop_all(void);

#endif /* GUEST_TIMER_H_ */
