// SPDX-License-Identifier: Apache-2.0
/*
 * lapic_timer.c - the timer of a local APIC: one-shot, periodic and TSC deadline.
 *
 * Time is ops->now() in TSC cycles; a bus tick is tsc_per_tick_num/den cycles (neither may be 0)
 * times the divisor in TDCR. Nothing ticks: count and expiries are computed from timer_start, so
 * that the n-th period of a periodic timer does not drift by rounding.
 *
 * Interface
 *  - lapic_deadline() says when to call lapic_timer_expired(); calling it early does nothing.
 *  - A change of the divisor or between one-shot and periodic keeps the current count running. A
 *    change to or from TSC deadline mode disarms and clears TMICT.
 *  - Periods that were missed because nobody called in time become one interrupt, as the IRR has
 *    one bit for them.
 *  - An expiry while LVTT is masked is lost; the timer itself goes on. A write to a timer register
 *    first settles an expiry that is due but has not been called for.
 *
 *  - TSC deadlines are in the guest's TSC, ops->now() + tsc_adjust; ticks do not see tsc_adjust.
 *
 * Not modelled
 *  - Early expiry of TSC deadlines (KVM's timer_advance) and the granularity of silicon.
 *  - Mode 11b of LVTT, reserved: x2APIC refuses it, in xAPIC mode the timer stands still.
 */
#include "platform/lapic_internal.h"

static u32 timer_mode(const struct lapic *l)
{
	return lapic_reg(l, APIC_LVTT) & APIC_LVTT_MODE;
}

static bool counts_ticks(u32 mode)
{
	return mode == 0 || mode == APIC_LVTT_PERIODIC;
}

static u64 divisor(const struct lapic *l)
{
	u32 tdcr = l->regs[APIC_TDCR >> 4];
	u32 code = (tdcr & 3) | ((tdcr >> 1) & 4);

	return 1u << ((code + 1) & 7);
}

static u64 cycles_to_ticks(const struct lapic *l, u64 cycles)
{
	return (u64)((u128)cycles * l->tsc_per_tick_den / (l->tsc_per_tick_num * divisor(l)));
}

/* Round up: the first TSC value at which that many ticks have passed. */
static u128 ticks_to_cycles(const struct lapic *l, u128 ticks)
{
	u128 scaled = ticks * (l->tsc_per_tick_num * divisor(l));

	return (scaled + l->tsc_per_tick_den - 1) / l->tsc_per_tick_den;
}

/* Set the deadline to the next expiry after now. Differences only: timer_start may lie before 0. */
static void arm(struct lapic *l, u64 now)
{
	u64 initial = l->regs[APIC_TMICT >> 4];
	u64 elapsed = now - l->timer_start;
	u64 periods = 1;
	u128 expiry;

	if (!initial || !counts_ticks(timer_mode(l))) {
		l->deadline = APIC_NO_DEADLINE;
		return;
	}
	if (timer_mode(l) == APIC_LVTT_PERIODIC)
		periods = cycles_to_ticks(l, elapsed) / initial + 1;
	expiry = ticks_to_cycles(l, (u128)periods * initial) - elapsed + now;
	if (timer_mode(l) == APIC_LVTT_PERIODIC && expiry < (u128)now + l->min_period)
		expiry = (u128)now + l->min_period;
	l->deadline = expiry < APIC_NO_DEADLINE ? (u64)expiry : APIC_NO_DEADLINE - 1;
}

u32 lapic_timer_count(const struct lapic *l)
{
	u64 initial = l->regs[APIC_TMICT >> 4];
	u64 ticks;

	if (l->deadline == APIC_NO_DEADLINE || !initial || !counts_ticks(timer_mode(l)))
		return 0;
	ticks = cycles_to_ticks(l, l->ops->now(l->ctx) - l->timer_start);
	if (timer_mode(l) == APIC_LVTT_PERIODIC)
		return (u32)(initial - ticks % initial);
	return ticks < initial ? (u32)(initial - ticks) : 0;
}

/* Change a register that the count depends on, and let a running count go on from where it is. */
static void change_running(struct lapic *l, u32 offset, u32 value)
{
	u32 initial = l->regs[APIC_TMICT >> 4];
	u32 left = lapic_timer_count(l);
	u64 now;

	*lapic_slot(l, offset) = value;
	if (!left)
		return;
	now = l->ops->now(l->ctx);
	l->timer_start = now - (u64)ticks_to_cycles(l, initial - left);
	arm(l, now);
}

void lapic_timer_reset(struct lapic *l)
{
	l->deadline = APIC_NO_DEADLINE;
	l->tsc_deadline = 0;
	l->timer_start = 0;
	*lapic_slot(l, APIC_TMICT) = 0;
}

void lapic_timer_set_lvtt(struct lapic *l, u32 value)
{
	u32 mode;

	/* A reserved bit, then. */
	if (!l->has_tsc_deadline)
		value &= ~APIC_LVT_TIMER_TSCDEADLINE;
	mode = value & APIC_LVTT_MODE;
	u32 old = timer_mode(l);

	lapic_timer_expired(l);
	if (mode == old) {
		*lapic_slot(l, APIC_LVTT) = value;
	} else if (counts_ticks(mode) && counts_ticks(old)) {
		change_running(l, APIC_LVTT, value);
	} else {
		*lapic_slot(l, APIC_LVTT) = value;
		lapic_timer_reset(l);
	}
	l->ops->changed(l->ctx);
}

void lapic_timer_set_divide(struct lapic *l, u32 value)
{
	lapic_timer_expired(l);
	change_running(l, APIC_TDCR, value);
	l->ops->changed(l->ctx);
}

void lapic_timer_set_count(struct lapic *l, u32 value)
{
	if (timer_mode(l) == APIC_LVT_TIMER_TSCDEADLINE)
		return;
	lapic_timer_expired(l);
	*lapic_slot(l, APIC_TMICT) = value;
	l->timer_start = l->ops->now(l->ctx);
	arm(l, l->timer_start);
	l->ops->changed(l->ctx);
}

/* In terms of ops->now(), which does not wrap as the guest's TSC may. */
static void arm_tsc_deadline(struct lapic *l)
{
	u64 now = l->ops->now(l->ctx), guest_now = now + l->tsc_adjust;
	u64 ago = guest_now - l->tsc_deadline, ahead = l->tsc_deadline - guest_now;

	if (!l->tsc_deadline)
		l->deadline = APIC_NO_DEADLINE;
	else if (l->tsc_deadline <= guest_now)
		l->deadline = now > ago ? now - ago : 0;
	else
		l->deadline = now + min_u64(ahead, APIC_NO_DEADLINE - 1 - now);
}

void lapic_timer_set_deadline(struct lapic *l, u64 value)
{
	if (timer_mode(l) != APIC_LVT_TIMER_TSCDEADLINE)
		return;
	lapic_timer_expired(l);
	l->tsc_deadline = value;
	arm_tsc_deadline(l);
	l->ops->changed(l->ctx);
}

void lapic_tsc_adjusted(struct lapic *l, u64 adjust)
{
	/* What was due by the old TSC has fired. */
	lapic_timer_expired(l);
	l->tsc_adjust = adjust;
	if (timer_mode(l) == APIC_LVT_TIMER_TSCDEADLINE)
		arm_tsc_deadline(l);
	l->ops->changed(l->ctx);
}

u64 lapic_deadline(const struct lapic *l)
{
	return l->deadline;
}

void lapic_timer_expired(struct lapic *l)
{
	u32 lvtt = lapic_reg(l, APIC_LVTT);
	u64 now;

	if (l->deadline == APIC_NO_DEADLINE)
		return;
	now = l->ops->now(l->ctx);
	if (now < l->deadline)
		return;
	l->deadline = APIC_NO_DEADLINE;
	l->tsc_deadline = 0;
	if (timer_mode(l) == APIC_LVTT_PERIODIC)
		arm(l, now);
	if (!(lvtt & APIC_LVT_MASKED))
		lapic_post(l, (u8)lvtt);
	l->ops->changed(l->ctx);
}
