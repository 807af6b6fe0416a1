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
	u64 next = NO_DEADLINE;

	if (m->is_native)
		return native_next(&m->cpus[i].native);
	for (u32 n = 0; n < m->nr_vcpus; n++) {
		if (m->vcpus[n].cpu == i)
			next = min_u64(next, kvm_vcpu_next(&m->vcpus[n].vcpu));
	}
	return next;
}

static enum pp_stop run_cpu(struct pp_machine *m, u32 i, u64 *budget)
{
	return m->is_native ? native_run(&m->cpus[i].native, budget)
			    : kvm_vcpu_run(&m->vcpus[i].vcpu, budget);
}

/* The next turn: PP_STOP_BUDGET; else why there is none. */
static enum pp_stop begin_turn(struct pp_machine *m, u64 time_limit, u64 until)
{
	u64 least = NO_DEADLINE, time;
	struct pcpu *p;

	for (u32 i = 0; i < m->nr_cpus; i++) {
		time = next_time(m, i);
		if (time >= least)
			continue;
		least = time;
		m->turn = i;
	}
	if (least >= time_limit)
		return time_limit == NO_DEADLINE ? PP_STOP_HALTED : PP_STOP_TIME;
	if (least >= until)
		return PP_STOP_UNTIL;
	p = &m->cpus[m->turn].pcpu;
	pcpu_limit(p, min_u64(time_limit, least + machine_config(m)->quantum));
	m->turn_is_open = true;
	return PP_STOP_BUDGET;
}

static enum pp_stop run_turns(struct pp_machine *m, u64 *budget, u64 until)
{
	u64 limit = machine_config(m)->time_limit ? machine_config(m)->time_limit : NO_DEADLINE;
	enum pp_stop stop;

	for (;;) {
		stop = m->turn_is_open ? PP_STOP_BUDGET : begin_turn(m, limit, until);
		if (stop != PP_STOP_BUDGET)
			return stop;
		stop = run_cpu(m, m->turn, budget);
		if (stop != PP_STOP_TIME && stop != PP_STOP_HALTED)
			return stop;
		m->turn_is_open = false;
	}
}

static enum pp_stop run_one_cpu(struct pp_machine *m, u64 *budget, u64 until)
{
	struct pcpu *p = &m->cpus[0].pcpu;
	enum pp_stop stop;

	pcpu_stop_at(p, until);
	stop = run_cpu(m, 0, budget);
	pcpu_stop_at(p, NO_DEADLINE);
	return stop == PP_STOP_TIME && !pcpu_is_over(p) ? PP_STOP_UNTIL : stop;
}

static bool is_read_out(struct pp_machine *m)
{
	for (u32 n = 0; n < machine_nr_guests(m); n++) {
		if (machine_guest(m, n)->truth.finished)
			return true;
	}
	return false;
}

int32_t pp_machine_run(struct pp_machine *m, uint64_t blocks)
{
	return pp_machine_run_until(m, blocks, NO_DEADLINE);
}

int32_t pp_machine_run_until(struct pp_machine *m, uint64_t blocks, uint64_t tsc)
{
	u64 budget = blocks;
	enum pp_stop stop;

	/* A machine that has ended stays ended; one that was read out has closed its books. */
	if (m->stop != PP_STOP_BUDGET)
		return (int32_t)m->stop;
	if (is_read_out(m))
		return PP_EINVAL;
	for (u32 i = 0; i < m->nr_vms; i++)
		m->vms[i].ram.changed = true;
	stop = m->nr_cpus > 1 ? run_turns(m, &budget, tsc) : run_one_cpu(m, &budget, tsc);
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
