// SPDX-License-Identifier: Apache-2.0
/*
 * readout.c - what a machine says about its run.
 *
 * Interface: pp_read_*(). Each copies up to @cap records and returns how many there are. Reading
 * counters, silent errors or PMIs closes the truth: run no further after it.
 */
#include "machine.h"

#include <stdio.h>
#include <string.h>

#define BOTH (PRIV_MASK_OS | PRIV_MASK_USR)

static const struct access_books *access_books(const struct pp_machine *m)
{
	return m->is_native ? &m->native.guest.access : &m->vcpu.guest.access;
}

void pp_read_guest(struct pp_machine *m, struct pp_guest_info *out)
{
	const struct cpu_skipped *skipped = cpu_skipped(m->pcpu.cpu);
	const struct event_totals *totals = cpu_totals(m->pcpu.cpu);
	const struct cpu_exit *exit = cpu_exit_info(m->pcpu.cpu);

	memset(out, 0, sizeof(*out));
	out->emulated = skipped->instructions[PRIV_OS] + skipped->instructions[PRIV_USR];
	out->instructions = events_count(totals, EVENT_INSTRUCTIONS, BOTH) + out->emulated;
	out->tsc_cycles = pcpu_tsc(&m->pcpu);
	out->core_cycles = events_sub(totals, BOTH) >> SUB_SHIFT;
	out->rip = cpu_rip(m->pcpu.cpu);
	out->exit_value = m->ports.exit_value;
	out->exited = m->ports.exited;
	out->serial_length = m->ports.serial.length;
	out->serial_truncated = m->ports.serial.truncated;
	out->has_report = m->ports.has_report;
	if (m->stop != PP_STOP_UNIMPLEMENTED)
		return;
	memcpy(out->bytes, exit->bytes, sizeof(out->bytes));
	out->nr_bytes = exit->nr_bytes;
}

static uint32_t copy_bytes(void *out, uint32_t cap, const void *from, uint32_t n)
{
	if (out && cap)
		memcpy(out, from, n < cap ? n : cap);
	return n;
}

uint32_t pp_read_serial(struct pp_machine *m, char *out, uint32_t cap)
{
	return copy_bytes(out, cap, m->ports.serial.text, m->ports.serial.length);
}

uint32_t pp_read_report(struct pp_machine *m, uint8_t *out, uint32_t cap)
{
	uint8_t report[sizeof(struct pp_guest_report)];

	if (!m->ports.has_report ||
	    cpu_read_physical(m->pcpu.cpu, m->ports.report_pa, report, sizeof(report)))
		return 0;
	return copy_bytes(out, cap, report, sizeof(report));
}

uint32_t pp_read_physical(struct pp_machine *m, uint64_t pa, uint8_t *out, uint32_t n)
{
	return cpu_read_physical(m->pcpu.cpu, pa, out, n) ? 0 : n;
}

static u64 native_visible(void *ctx, unsigned int idx)
{
	return hwpmu_counter(ctx, idx);
}

static void finish_truth(struct pp_machine *m)
{
	if (m->is_native)
		truth_finish(&m->pcpu.truth, native_visible, &m->pcpu.pmu);
	else
		truth_finish(&m->pcpu.truth, kvm_pmu_visible, &m->vcpu);
}

uint32_t pp_read_counters(struct pp_machine *m, struct pp_counter_result *out, uint32_t cap)
{
	finish_truth(m);
	for (u32 i = 0; i < m->pcpu.truth.nr_results && i < cap; i++)
		out[i] = m->pcpu.truth.results[i];
	return m->pcpu.truth.nr_results;
}

uint32_t pp_read_silent_errors(struct pp_machine *m, struct pp_silent_error *out, uint32_t cap)
{
	finish_truth(m);
	for (u32 i = 0; i < m->pcpu.truth.nr_errors && i < cap; i++)
		out[i] = m->pcpu.truth.errors[i];
	return m->pcpu.truth.nr_errors;
}

void pp_read_pmi(struct pp_machine *m, struct pp_pmi_result *out)
{
	finish_truth(m);
	*out = m->pcpu.truth.pmi;
}

uint32_t pp_read_exits(struct pp_machine *m, struct pp_exit_result *out, uint32_t cap)
{
	u32 n = 0;

	for (u32 reason = 0; !m->is_native && reason < NR_EXIT_BOOKS; reason++) {
		if (!m->vcpu.exits[reason])
			continue;
		if (n < cap)
			out[n] = (struct pp_exit_result){
				.reason = reason,
				.count = m->vcpu.exits[reason],
				.profile = m->vcpu.profile_exits[reason],
				.cycles = m->vcpu.exit_cycles[reason],
			};
		n++;
	}
	return n;
}

uint32_t pp_read_accesses(struct pp_machine *m, struct pp_access_result *out, uint32_t cap)
{
	const struct access_books *books = access_books(m);
	u32 n = 0;

	for (u32 kind = 0; kind < NR_ACCESS_KINDS; kind++) {
		if (!books->direct[kind] && !books->intercepted[kind])
			continue;
		if (n < cap)
			out[n] = (struct pp_access_result){
				.kind = kind,
				.direct = books->direct[kind],
				.intercepted = books->intercepted[kind],
				.cycles = books->cycles[kind],
			};
		n++;
	}
	return n;
}

void pp_read_switch(struct pp_machine *m, struct pp_switch_result *out)
{
	memset(out, 0, sizeof(*out));
	if (!m->is_native)
		*out = m->vcpu.pmu.sw;
}

uint32_t pp_read_costs(struct pp_machine *m, struct pp_cost_result *out, uint32_t cap)
{
	const struct account *a = &m->pcpu.account;
	u32 n = 0;

	for (u16 node = 1; node < a->nr_nodes; node++) {
		if (!a->nodes[node].count)
			continue;
		if (n < cap) {
			out[n].cost = a->nodes[node].cost;
			out[n].count = a->nodes[node].count;
			out[n].cycles = a->nodes[node].cycles;
			account_stack_name(a, node, out[n].stack, sizeof(out[n].stack));
		}
		n++;
	}
	return n;
}

void machine_read_host_event(struct pp_machine *m, u32 place)
{
	struct pp_host_event_result *out = &m->host_results[place];
	struct perf_event *event = m->host_events[place];

	if (!event)
		return;
	perf_update_times(&m->perf, event);
	out->count = perf_event_peek(&m->perf, event);
	out->time_enabled = event->time_enabled;
	out->time_running = event->time_running;
	out->state = event->state;
}

uint32_t pp_read_host_events(struct pp_machine *m, struct pp_host_event_result *out, uint32_t cap)
{
	for (u32 i = 0; i < m->nr_host_events && i < cap; i++) {
		machine_read_host_event(m, i);
		out[i] = m->host_results[i];
	}
	return m->nr_host_events;
}

uint32_t pp_read_trace(struct pp_machine *m, struct pp_trace_record *out, uint32_t cap)
{
	const struct account *a = &m->pcpu.account;
	u64 n = min_u64(a->trace_count, a->trace_size), first = a->trace_count - n;

	for (u64 i = 0; i < n && i < cap; i++) {
		const struct trace_record *r = &a->trace[(first + i) % a->trace_size];

		out[i] = (struct pp_trace_record){
			.tsc = r->tsc, .type = r->type, .x = r->x, .a = r->a, .b = r->b, .c = r->c};
	}
	return (u32)n;
}

uint32_t pp_read_stats(struct pp_machine *m, uint64_t *out, uint32_t cap)
{
	u64 stats[NR_STATS];

	memcpy(stats, m->pcpu.account.stats, sizeof(stats));
	stats[STAT_IGNORED_IPIS] = (m->is_native ? &m->pcpu.lapic : &m->vcpu.lapic)->ignored_ipis;
	for (u32 i = 0; i < NR_STATS && i < cap; i++)
		out[i] = stats[i];
	return NR_STATS;
}

const char *pp_invariant_text(struct pp_machine *m)
{
	if (!m->check.broken)
		return "";
	snprintf(m->invariant_text, sizeof(m->invariant_text), "%s:%d: %s", m->check.file,
		 m->check.line, m->check.condition);
	return m->invariant_text;
}
