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

static const struct access_books *access_books(struct pp_machine *m, u32 n)
{
	return &machine_guest(m, n)->access;
}

/* The VM that CPU @n of the guests belongs to. */
static const struct machine_vm *vm_of(const struct pp_machine *m, u32 n)
{
	u32 i = 0;

	while (n >= m->vms[i].first_guest + m->vms[i].nr_guests)
		i++;
	return &m->vms[i];
}

void pp_read_guest(struct pp_machine *m, uint32_t n, struct pp_guest_info *out)
{
	const struct pcpu_guest *g = machine_guest(m, n);
	const struct machine_vm *vm = vm_of(m, n);
	const struct ports *ports = &vm->ports;
	const struct cpu_skipped *skipped = cpu_skipped(g->cpu);
	const struct event_totals *totals = cpu_totals(g->cpu);
	const struct cpu_exit *exit = cpu_exit_info(g->cpu);

	memset(out, 0, sizeof(*out));
	out->emulated = skipped->instructions[PRIV_OS] + skipped->instructions[PRIV_USR];
	out->instructions = events_count(totals, EVENT_INSTRUCTIONS, BOTH) + out->emulated;
	out->tsc_cycles = kvm_vm_is_gone(&vm->kvm) ? vm->kvm.end_tsc : pcpu_guest_now(g);
	out->core_cycles = events_sub(totals, BOTH) >> SUB_SHIFT;
	out->rip = cpu_rip(g->cpu);
	out->exit_value = ports->exit_value;
	out->exited = ports->exited;
	out->stop = vm == m->vms ? m->stop : vm->kvm.stop;
	out->serial_length = ports->serial.length;
	out->serial_truncated = ports->serial.truncated;
	out->has_report = ports->has_report;
	if (m->stop != PP_STOP_UNIMPLEMENTED || kvm_vm_has_ended(&vm->kvm))
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

uint32_t pp_read_serial(struct pp_machine *m, uint32_t vm, char *out, uint32_t cap)
{
	return copy_bytes(out, cap, m->vms[vm].ports.serial.text, m->vms[vm].ports.serial.length);
}

uint32_t pp_read_report(struct pp_machine *m, uint32_t vm, uint32_t n, uint8_t *out, uint32_t cap)
{
	const struct machine_vm *v = &m->vms[vm];
	uint8_t report[sizeof(struct pp_guest_report)];

	if (!v->ports.has_report ||
	    cpu_read_physical(machine_guest(m, v->first_guest)->cpu,
			      v->ports.report_pa + n * sizeof(report), report, sizeof(report)))
		return 0;
	return copy_bytes(out, cap, report, sizeof(report));
}

uint32_t pp_read_physical(struct pp_machine *m, uint32_t vm, uint64_t pa, uint8_t *out, uint32_t n)
{
	return cpu_read_physical(machine_guest(m, m->vms[vm].first_guest)->cpu, pa, out, n) ? 0 : n;
}

static u64 native_visible(void *ctx, unsigned int idx)
{
	return hwpmu_counter(ctx, idx);
}

static struct truth *finish_truth(struct pp_machine *m, u32 n)
{
	struct truth *truth = &machine_guest(m, n)->truth;

	m->is_read_out = true;
	if (m->is_native)
		truth_finish(truth, native_visible, &m->cpus[n].pcpu.pmu);
	else
		truth_finish(truth, kvm_pmu_visible, &m->vcpus[n].vcpu);
	return truth;
}

uint32_t pp_read_counters(struct pp_machine *m, uint32_t n, struct pp_counter_result *out,
			  uint32_t cap)
{
	const struct truth *truth = finish_truth(m, n);

	for (u32 i = 0; i < truth->nr_results && i < cap; i++)
		out[i] = truth->results[i];
	return truth->nr_results;
}

uint32_t pp_read_silent_errors(struct pp_machine *m, uint32_t n, struct pp_silent_error *out,
			       uint32_t cap)
{
	const struct truth *truth = finish_truth(m, n);

	for (u32 i = 0; i < truth->nr_errors && i < cap; i++)
		out[i] = truth->errors[i];
	return truth->nr_errors;
}

void pp_read_pmi(struct pp_machine *m, uint32_t first, uint32_t nr, struct pp_pmi_result *out)
{
	struct histogram cycles = {0}, instructions = {0};

	memset(out, 0, sizeof(*out));
	for (u32 n = first; n < first + nr; n++) {
		const struct truth *truth = finish_truth(m, n);

		out->due += truth->pmi.due;
		out->delivered += truth->pmi.delivered;
		out->coalesced += truth->pmi.coalesced;
		out->masked += truth->pmi.masked;
		out->dropped += truth->pmi.dropped;
		histogram_add_all(&cycles, &truth->latency_cycles);
		histogram_add_all(&instructions, &truth->latency_instructions);
	}
	out->latency_p50 = histogram_percentile(&cycles, 500);
	out->latency_p99 = histogram_percentile(&cycles, 990);
	out->latency_max = cycles.max;
	out->instructions_p50 = histogram_percentile(&instructions, 500);
	out->instructions_p99 = histogram_percentile(&instructions, 990);
	out->instructions_max = instructions.max;
}

uint32_t pp_read_exits(struct pp_machine *m, uint32_t guest, struct pp_exit_result *out,
		       uint32_t cap)
{
	const struct kvm_vcpu *vcpu = m->is_native ? NULL : &m->vcpus[guest].vcpu;
	u32 n = 0;

	for (u32 reason = 0; vcpu && reason < NR_EXIT_BOOKS; reason++) {
		if (!vcpu->exits[reason])
			continue;
		if (n < cap)
			out[n] = (struct pp_exit_result){
				.reason = reason,
				.count = vcpu->exits[reason],
				.profile = vcpu->profile_exits[reason],
				.cycles = vcpu->exit_cycles[reason],
			};
		n++;
	}
	return n;
}

uint32_t pp_read_accesses(struct pp_machine *m, uint32_t guest, struct pp_access_result *out,
			  uint32_t cap)
{
	const struct access_books *books = access_books(m, guest);
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

void pp_read_switch(struct pp_machine *m, uint32_t n, struct pp_switch_result *out)
{
	memset(out, 0, sizeof(*out));
	if (!m->is_native)
		*out = m->vcpus[n].vcpu.pmu.sw;
}

uint32_t pp_read_costs(struct pp_machine *m, uint32_t cpu, struct pp_cost_result *out, uint32_t cap)
{
	const struct account *a = &m->cpus[cpu].pcpu.account;
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

uint32_t pp_read_trace(struct pp_machine *m, uint32_t cpu, struct pp_trace_record *out,
		       uint32_t cap)
{
	const struct account *a = &m->cpus[cpu].pcpu.account;
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
	u64 stats[NR_STATS] = {0};

	for (u32 i = 0; i < m->nr_cpus; i++) {
		for (u32 k = 0; k < NR_STATS; k++)
			stats[k] += m->cpus[i].pcpu.account.stats[k];
	}
	for (u32 n = 0; n < machine_nr_guests(m); n++) {
		stats[STAT_IGNORED_IPIS] += machine_guest(m, n)->lapic->ignored_ipis;
		stats[STAT_PEBS_MISSED] += machine_guest(m, n)->truth.pebs_missed;
	}
	for (u32 k = 0; k < NR_STATS && k < cap; k++)
		out[k] = stats[k];
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
