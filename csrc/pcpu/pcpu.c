// SPDX-License-Identifier: Apache-2.0
/*
 * pcpu.c - clock and PMI of one physical CPU.
 *
 * Interface: pcpu.h.
 *
 * Not modelled: frequency changes (one ratio of core clock to TSC), SMT siblings, C-states with a
 * wake-up latency (idle time passes and ends exactly on time).
 */
#include "pcpu/pcpu.h"

#include <string.h>

#define BOTH (PRIV_MASK_OS | PRIV_MASK_USR)

u64 pcpu_sub(const struct pcpu *p)
{
	return events_sub(&p->past, BOTH) + events_sub(p->retired, BOTH) +
	       events_sub(&p->account.host, BOTH);
}

u64 pcpu_tsc(const struct pcpu *p)
{
	return p->idle_tsc + sub_to_ref(&p->clk, pcpu_sub(p));
}

static void connect(struct pcpu *p)
{
	p->account.check = p->check;
	p->no_thresholds.clk = &p->clk;
	p->no_thresholds.side[THRESHOLD_GUEST] = &p->no_totals;
	p->no_thresholds.side[THRESHOLD_HOST] = &p->account.host;
	p->pmu.events = p->events;
	p->pmu.clk = &p->clk;
	p->pmu.overflow = pcpu_overflow;
	p->pmu.overflow_ctx = p;
}

void pcpu_start(struct pcpu *p)
{
	connect(p);
	p->retired = &p->no_totals;
	hwpmu_switch_guest(&p->pmu, p->retired, &p->account.host, &p->no_thresholds);
}

void pcpu_connect(struct pcpu *p, struct cpu *cpu, struct truth *truth,
		  struct thresholds *thresholds)
{
	connect(p);
	p->cpu = cpu;
	p->truth = truth;
	p->retired = cpu ? cpu_totals(cpu) : &p->no_totals;
	hwpmu_connect(&p->pmu, p->retired, &p->account.host, cpu ? thresholds : &p->no_thresholds);
}

void pcpu_moved(struct pcpu *p, const struct move *move)
{
	lapic_moved(&p->lapic, move);
	p->check = moved(move, p->check);
	p->events = moved(move, p->events);
}

/* @to += @a - @b, or with NULL for @b, @a. */
static void add_totals(struct event_totals *to, const struct event_totals *a,
		       const struct event_totals *b)
{
	for (unsigned int priv = 0; priv < NR_PRIV; priv++) {
		for (unsigned int e = 0; e < NR_EVENTS; e++)
			to->count[priv][e] += a->count[priv][e] - (b ? b->count[priv][e] : 0);
		to->sub[priv] += a->sub[priv] - (b ? b->sub[priv] : 0);
	}
}

void pcpu_guest_totals(const struct pcpu *p, struct event_totals *totals)
{
	*totals = p->past;
	add_totals(totals, p->retired, NULL);
}

void pcpu_switch(struct pcpu *p, struct cpu *cpu, struct truth *truth,
		 struct thresholds *thresholds)
{
	const struct event_totals *retired = cpu ? cpu_totals(cpu) : &p->no_totals;

	hwpmu_switch_guest(&p->pmu, retired, &p->account.host,
			   cpu ? thresholds : &p->no_thresholds);
	/* The core's clock and all other totals go on, whoever moves them. */
	add_totals(&p->past, p->retired, retired);
	p->retired = retired;
	p->cpu = cpu;
	p->truth = truth;
}

bool pcpu_time_is_up(const struct pcpu *p)
{
	return pcpu_must_stop(p, pcpu_tsc(p), pcpu_sub(p));
}

bool pcpu_is_over(const struct pcpu *p)
{
	return pcpu_tsc(p) >= p->time_limit || pcpu_sub(p) >= PCPU_MAX_SUB;
}

void pcpu_stop_at(struct pcpu *p, u64 tsc)
{
	u64 stop_at = min_u64(p->time_limit, tsc);

	if (stop_at == p->stop_at)
		return;
	p->stop_at = stop_at;
	if (p->cpu)
		cpu_horizon_changed(p->cpu);
}

void pcpu_limit(struct pcpu *p, u64 tsc)
{
	p->time_limit = p->stop_at = tsc;
}

void pcpu_overflow(void *pcpu, unsigned int idx)
{
	struct pcpu *p = pcpu;
	u64 at = pcpu_sub(p) + p->skid_sub;

	p->pmi_at = min_u64(p->pmi_at, at);
	pcpu_trace(p, TRACE_OVERFLOW, idx, BIT_ULL(idx),
		   events_count(p->retired, EVENT_INSTRUCTIONS, 3), 0);
}

void pcpu_room_deadline(const struct pcpu *p, u64 tsc, struct cpu_room *room)
{
	u64 now = pcpu_sub(p), at;

	if (tsc == NO_DEADLINE)
		return;
	at = tsc > p->idle_tsc ? ref_to_sub(&p->clk, tsc - p->idle_tsc) : 0;
	room->sub = min_u64(room->sub, at > now ? at - now : 1);
}

void pcpu_room(struct pcpu *p, enum privilege priv, struct cpu_room *room)
{
	u64 now = pcpu_sub(p);

	hwpmu_room(&p->pmu, priv, room);
	if (p->truth)
		truth_room(p->truth, priv, room);
	if (p->pmi_at != NO_DEADLINE)
		room->sub = min_u64(room->sub, p->pmi_at > now ? p->pmi_at - now : 1);
	room->sub = min_u64(room->sub, now < PCPU_MAX_SUB ? PCPU_MAX_SUB - now : 1);
	pcpu_room_deadline(p, p->stop_at, room);
}

void pcpu_cut_thresholds(struct pcpu *p)
{
	thresholds_cut(p->pmu.thresholds);
	/* An inverted count moves now, and may wrap. */
	hwpmu_land(&p->pmu);
	if (p->truth)
		truth_land(p->truth);
	if (p->cpu)
		cpu_horizon_changed(p->cpu);
}

enum lapic_delivery pcpu_take_pmi(struct pcpu *p)
{
	enum lapic_delivery how;

	p->pmi_at = NO_DEADLINE;
	how = lapic_deliver_lvtpc(&p->lapic);
	p->lapic.nmi_pending = false;
	memset(p->lapic.irr, 0, sizeof(p->lapic.irr));
	return how;
}

void pcpu_idle_until(struct pcpu *p, u64 tsc)
{
	u64 now = pcpu_tsc(p);

	if (tsc > now)
		p->idle_tsc += tsc - now;
}

void pcpu_trace(struct pcpu *p, enum trace_type type, u32 x, u64 a, u64 b, u64 c)
{
	struct trace_record record = {.type = type, .x = x, .a = a, .b = b, .c = c};

	if (!p->account.trace_size)
		return;
	record.tsc = pcpu_tsc(p);
	account_trace_record(&p->account, &record);
}
