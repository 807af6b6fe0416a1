// SPDX-License-Identifier: Apache-2.0
/*
 * turns.c - runs a machine for a budget: whose turn it is among the pCPUs.
 *
 * Interface: pp_machine_run(), pp_machine_run_until(), pp_machine_pause().
 *
 * One host thread runs all pCPUs. It is the turn of the one with the least time, of several the first;
 * one that sleeps has the time of the next event that may wake it. A turn lasts one quantum, so that no
 * pCPU is ahead of another by more than that. Turns begin and end at times of the machine, not of the
 * budget: where a run is cut shows nowhere. Of several pCPUs a run to a time ends between two turns, with
 * each of them at that time or up to one quantum beyond, or asleep.
 *
 * Not modelled: an interrupt or a store of another CPU that takes effect within a quantum of its time.
 */
#include "machine.h"

/* The TSC from which a pCPU can go on, NO_DEADLINE: nothing that it waits for is due. */
static u64 next_time(struct pp_machine *m, u32 i)
{
	return m->is_native ? native_next(&m->cpus[i].native) : sched_next(&m->cpus[i].rq);
}

static enum pp_stop run_cpu(struct pp_machine *m, u32 i, u64 *budget)
{
	return m->is_native ? native_run(&m->cpus[i].native, budget)
			    : sched_run(&m->cpus[i].rq, budget);
}

/* The first VM could be woken, if only by an interrupt that nobody sends. */
static bool first_vm_takes_irqs(struct pp_machine *m)
{
	bool takes = false;

	for (u32 n = 0; n < m->vms[0].nr_guests; n++)
		takes |= cpu_irqs_on(machine_guest(m, n)->cpu);
	return takes;
}

/* Nobody can go on. */
static enum pp_stop end_asleep(struct pp_machine *m, u64 limit)
{
	if (limit == NO_DEADLINE || !first_vm_takes_irqs(m))
		return PP_STOP_HALTED;
	for (u32 i = 0; i < m->nr_cpus; i++)
		pcpu_idle_until(&m->cpus[i].pcpu, limit);
	return PP_STOP_TIME;
}

/* What has gone from pCPU to pCPU so far: IPIs of guests and host, and signals to threads of a VM that ends. */
static u64 nr_calls(const struct pp_machine *m)
{
	u64 sum = 0;

	for (u32 i = 0; i < m->nr_cpus; i++)
		sum += m->cpus[i].rq.nr_ipis;
	for (u32 i = 0; i < m->nr_vms; i++)
		sum += m->vms[i].apics.nr_ipis + m->vms[i].kvm.nr_signals;
	return sum;
}

static void look_at_all(struct pp_machine *m)
{
	for (u32 i = 0; i < m->nr_cpus; i++)
		m->next_time[i] = next_time(m, i);
}

/* Nothing else changes when another pCPU can go on. */
static enum pp_stop run_turn(struct pp_machine *m, u64 *budget)
{
	u64 calls = nr_calls(m);
	enum pp_stop stop = run_cpu(m, m->turn, budget);

	if (nr_calls(m) == calls)
		m->next_time[m->turn] = next_time(m, m->turn);
	else
		look_at_all(m);
	return stop;
}

/* The next turn: PP_STOP_BUDGET; else why there is none. */
static enum pp_stop begin_turn(struct pp_machine *m, u64 limit, u64 until)
{
	u64 least = NO_DEADLINE;

	for (u32 i = 0; i < m->nr_cpus; i++) {
		if (m->next_time[i] >= least)
			continue;
		least = m->next_time[i];
		m->turn = i;
	}
	if (least == NO_DEADLINE)
		return end_asleep(m, limit);
	if (least >= limit)
		return PP_STOP_TIME;
	if (least >= until)
		return PP_STOP_UNTIL;
	pcpu_limit(&m->cpus[m->turn].pcpu, min_u64(limit, least + machine_config(m)->quantum));
	m->turn_is_open = true;
	return PP_STOP_BUDGET;
}

static enum pp_stop run_turns(struct pp_machine *m, u64 limit, u64 until, u64 *budget)
{
	enum pp_stop stop;

	look_at_all(m);
	for (;;) {
		stop = m->turn_is_open ? PP_STOP_BUDGET : begin_turn(m, limit, until);
		if (stop != PP_STOP_BUDGET)
			return stop;
		stop = run_turn(m, budget);
		/* A pCPU where everybody sleeps, unless it is the first VM for good. */
		if (stop == PP_STOP_HALTED && kvm_vm_has_ended(&m->vms[0].kvm))
			return stop;
		if (stop != PP_STOP_TIME && stop != PP_STOP_HALTED)
			return stop;
		m->turn_is_open = false;
	}
}

static enum pp_stop run_one_cpu(struct pp_machine *m, u64 limit, u64 until, u64 *budget)
{
	struct pcpu *p = &m->cpus[0].pcpu;
	enum pp_stop stop;

	pcpu_stop_at(p, until);
	stop = run_cpu(m, 0, budget);
	pcpu_stop_at(p, NO_DEADLINE);
	if (stop == PP_STOP_HALTED)
		return end_asleep(m, limit);
	return stop == PP_STOP_TIME && !pcpu_is_over(p) ? PP_STOP_UNTIL : stop;
}

int32_t pp_machine_run(struct pp_machine *m, uint64_t blocks)
{
	return pp_machine_run_until(m, blocks, NO_DEADLINE);
}

int32_t pp_machine_run_until(struct pp_machine *m, uint64_t blocks, uint64_t tsc)
{
	u64 limit = machine_config(m)->time_limit ? machine_config(m)->time_limit : NO_DEADLINE;
	u64 budget = blocks;
	enum pp_stop stop;

	/* A machine that has ended stays ended; one that was read out has closed its books. */
	if (m->stop != PP_STOP_BUDGET)
		return (int32_t)m->stop;
	if (m->is_read_out)
		return PP_EINVAL;
	for (u32 i = 0; i < m->nr_vms; i++)
		m->vms[i].ram.changed = true;
	stop = m->nr_cpus > 1 ? run_turns(m, limit, tsc, &budget)
			      : run_one_cpu(m, limit, tsc, &budget);
	if (m->check.broken)
		stop = PP_STOP_INVARIANT;
	/* The caller's time is no end: there is more to do. */
	m->stop = stop == PP_STOP_UNTIL ? PP_STOP_BUDGET : stop;
	for (u32 n = 0; n < machine_nr_guests(m); n++)
		cpu_forget_pause(machine_guest(m, n)->cpu);
	return (int32_t)stop;
}

void pp_machine_pause(struct pp_machine *m)
{
	for (u32 n = 0; n < machine_nr_guests(m); n++)
		cpu_ask_pause(machine_guest(m, n)->cpu);
}
