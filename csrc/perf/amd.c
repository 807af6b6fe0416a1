// SPDX-License-Identifier: Apache-2.0
/*
 * amd.c - host perf's drivers of AMD's core PMU: without and with PerfMonV2's global registers.
 *
 * Stands for arch/x86/events/amd/core.c. Interface: amd_pmu and amd_pmu_v2 of perf_private.h.
 *
 * An event that counts one side of VMRUN has the selector's bit for it, so that no entry switches
 * anything. An event that excludes both sides must count nothing: both bits would count all, so it gets
 * neither USR nor OS.
 *
 * Without global registers the PMU goes off and on selector by selector, and an overflow is seen by the
 * counter's top bit. Taking events off looks whether they have overflowed, since their NMI may still be
 * on its way; with none on its way that is one read for each.
 *
 * Not modelled: events that need a pair of counters (0x003: floating-point operations), branch records,
 * IBS; waiting for an NMI, which in this model has always arrived.
 */
#include "perf/perf_event.h"

#include "base/fault.h"
#include "perf/perf_private.h"

static struct account *books(struct perf_cpu *perf)
{
	return &perf->pcpu->account;
}

static u32 selector_msr(const struct perf_cpu *perf, int idx)
{
	const struct hwpmu *pmu = &perf->pcpu->pmu;

	return pmu->vendor->selector_msr(&pmu->caps, (unsigned int)idx);
}

static u32 counter_msr_of(const struct perf_cpu *perf, int idx)
{
	const struct hwpmu *pmu = &perf->pcpu->pmu;

	return pmu->vendor->counter_msr(&pmu->caps, (unsigned int)idx);
}

static u64 amd_max_period(const struct perf_cpu *perf)
{
	return perf->pcpu->pmu.gp_value_mask >> 1;
}

static u64 amd_get_event_constraints(const struct perf_cpu *perf,
				     const struct perf_event_attr *attr)
{
	const struct event_map_entry *e = event_map_find(perf->pcpu->events, attr->config);
	u64 gp = perf->pcpu->pmu.counter_mask;

	return e ? e->counters & gp : gp;
}

static int amd_pmu_hw_config(const struct perf_cpu *perf, const struct perf_event_attr *attr)
{
	(void)perf;
	(void)attr;
	return 0;
}

static u64 eventsel_of(const struct perf_event *event)
{
	u64 eventsel = x86_eventsel(event);

	if (event->attr.exclude_host && event->attr.exclude_guest)
		return eventsel & ~(ARCH_PERFMON_EVENTSEL_USR | ARCH_PERFMON_EVENTSEL_OS);
	if (event->attr.exclude_host)
		return eventsel | (FAULTY(AMD_PERF_NO_GUEST_ONLY) ? 0 : AMD64_EVENTSEL_GUESTONLY);
	if (event->attr.exclude_guest)
		return eventsel | (FAULTY(AMD_PERF_NO_HOST_ONLY) ? 0 : AMD64_EVENTSEL_HOSTONLY);
	return eventsel;
}

static void write_selector(struct perf_cpu *perf, const struct perf_event *event, u64 enable)
{
	u64 eventsel = eventsel_of(event) & ~ARCH_PERFMON_EVENTSEL_ENABLE;

	x86_wrmsr(perf, selector_msr(perf, event->hw.idx), eventsel | enable);
}

/* ---- without global registers ---- */

static void amd_pmu_enable_event(struct perf_cpu *perf, struct perf_event *event)
{
	/* While the PMU is off, enable_all() will do it. */
	if (perf->enabled)
		write_selector(perf, event, ARCH_PERFMON_EVENTSEL_ENABLE);
}

static void amd_pmu_disable_event(struct perf_cpu *perf, struct perf_event *event)
{
	write_selector(perf, event, 0);
	x86_rdmsr(perf, counter_msr_of(perf, event->hw.idx));
}

static void amd_pmu_enable_all(struct perf_cpu *perf)
{
	unsigned int idx;

	for_each_set_bit(idx, perf->pcpu->pmu.counter_mask) {
		if (perf->on_counter[idx])
			amd_pmu_enable_event(perf, perf->on_counter[idx]);
	}
}

static void amd_pmu_disable_all(struct perf_cpu *perf)
{
	unsigned int idx;

	for_each_set_bit(idx, perf->pcpu->pmu.counter_mask) {
		const struct perf_event *event = perf->on_counter[idx];

		if (event &&
		    x86_rdmsr(perf, selector_msr(perf, (int)idx)) & ARCH_PERFMON_EVENTSEL_ENABLE)
			write_selector(perf, event, 0);
	}
	for_each_set_bit(idx, perf->pcpu->pmu.counter_mask) {
		if (perf->on_counter[idx])
			x86_rdmsr(perf, counter_msr_of(perf, (int)idx));
	}
}

/* Counters go on while they are served: one that runs on has wrapped again or not. */
static void amd_pmu_handle_irq(struct perf_cpu *perf)
{
	bool enabled = perf->enabled;
	unsigned int idx;

	perf->enabled = false;
	account_charge(books(perf), COST_LVTPC_WRITE);
	lapic_mmio_write(&perf->pcpu->lapic, APIC_LVTPC, APIC_DM_NMI);
	for_each_set_bit(idx, perf->pcpu->pmu.counter_mask) {
		struct perf_event *event = perf->on_counter[idx];

		if (!event)
			continue;
		x86_perf_event_update(perf, event);
		if (event->hw.prev_count & BIT_ULL(perf->pcpu->pmu.caps.gp_width - 1))
			continue;
		x86_pmu_period_over(perf, event);
	}
	perf->enabled = enabled;
}

/* ---- PerfMonV2 ---- */

static void amd_pmu_v2_enable_event(struct perf_cpu *perf, struct perf_event *event)
{
	write_selector(perf, event, ARCH_PERFMON_EVENTSEL_ENABLE);
}

static void amd_pmu_v2_disable_event(struct perf_cpu *perf, struct perf_event *event)
{
	write_selector(perf, event, 0);
	x86_rdmsr(perf, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS);
}

static void amd_pmu_v2_enable_all(struct perf_cpu *perf)
{
	x86_wrmsr(perf, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, perf->pcpu->pmu.counter_mask);
}

static void amd_pmu_v2_disable_all(struct perf_cpu *perf)
{
	unsigned int idx;

	x86_wrmsr(perf, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0);
	for_each_set_bit(idx, perf->pcpu->pmu.counter_mask) {
		if (perf->on_counter[idx])
			x86_rdmsr(perf, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS);
	}
}

static void amd_pmu_v2_handle_irq(struct perf_cpu *perf)
{
	bool enabled = perf->enabled;
	unsigned int idx;
	u64 status;

	perf->enabled = false;
	x86_wrmsr(perf, MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0);
	status = x86_rdmsr(perf, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS);
	for_each_set_bit(idx, status ? perf->pcpu->pmu.counter_mask : 0) {
		struct perf_event *event = perf->on_counter[idx];

		if (!event)
			continue;
		x86_perf_event_update(perf, event);
		if (status & BIT_ULL(idx))
			x86_pmu_period_over(perf, event);
	}
	if (status)
		x86_wrmsr(perf, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, status);
	perf->enabled = enabled;
	if (enabled)
		amd_pmu_v2_enable_all(perf);
}

const struct x86_pmu amd_pmu = {
	.max_period = amd_max_period,
	.get_event_constraints = amd_get_event_constraints,
	.hw_config = amd_pmu_hw_config,
	.enable = amd_pmu_enable_event,
	.disable = amd_pmu_disable_event,
	.enable_all = amd_pmu_enable_all,
	.disable_all = amd_pmu_disable_all,
	.handle_irq = amd_pmu_handle_irq,
	.irq_cost = COST_AMD_HANDLE_IRQ,
};

const struct x86_pmu amd_pmu_v2 = {
	.max_period = amd_max_period,
	.get_event_constraints = amd_get_event_constraints,
	.hw_config = amd_pmu_hw_config,
	.enable = amd_pmu_v2_enable_event,
	.disable = amd_pmu_v2_disable_event,
	.enable_all = amd_pmu_v2_enable_all,
	.disable_all = amd_pmu_v2_disable_all,
	.handle_irq = amd_pmu_v2_handle_irq,
	.irq_cost = COST_AMD_V2_HANDLE_IRQ,
};
