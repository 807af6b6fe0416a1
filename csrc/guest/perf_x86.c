// SPDX-License-Identifier: Apache-2.0
/*
 * perf_x86.c - driving a PMU without global registers, as x86_pmu_*() of Linux: AMD before PerfMonV2,
 * and Intel's version 1. Interface: perf.h.
 *
 * The whole PMU goes off and on selector by selector. Without a global status the counter's top bit
 * tells of an overflow: it is set from the start of a period to its end. An event that is started in
 * the NMI stays off until the PMU goes on next, since perf holds the PMU for off.
 */
#include "guest/apic.h"
#include "guest/insn.h"
#include "guest/kernel_work.h"
#include "guest/perf.h"
#include "guest/percpu.h"
#include "guest/program.h"

void x86_pmu_enable_event(struct perf_event *event)
{
	if (this_cpu()->hw_events.enabled)
		wrmsr(event->hw.config_base, event->hw.config | ARCH_PERFMON_EVENTSEL_ENABLE);
}

void x86_pmu_disable_event(struct perf_event *event)
{
	wrmsr(event->hw.config_base, event->hw.config);
}

static bool is_active(u32 idx)
{
	barrier();
	return this_cpu()->hw_events.active_mask & BIT_ULL(idx);
}

void x86_pmu_enable_all(void)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;
	u32 idx;

	for_each_set_bit(idx, cpuc->active_mask) {
		struct perf_event *event = cpuc->events[idx];

		/* An NMI in between may have throttled it. */
		if (is_active(idx))
			x86_pmu_enable_event(event);
	}
}

void x86_pmu_disable_all(void)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;
	u32 idx;
	u64 val;

	for_each_set_bit(idx, cpuc->active_mask) {
		u32 msr = x86_pmu.eventsel + x86_pmu.stride * idx;

		if (!is_active(idx))
			continue;
		val = rdmsr(msr);
		if (val & ARCH_PERFMON_EVENTSEL_ENABLE)
			wrmsr(msr, val & ~ARCH_PERFMON_EVENTSEL_ENABLE);
	}
}

void x86_pmu_handle_irq(void)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;
	bool enabled = cpuc->enabled;
	u32 idx, handled = 0;

	cpuc->enabled = false;
	kernel_work(KERNEL_WORK_HANDLE_IRQ);
	apic_write(APIC_LVTPC, APIC_DM_NMI);
	for_each_set_bit(idx, cpuc->active_mask) {
		struct perf_event *event = cpuc->events[idx];

		x86_perf_event_update(event);
		if (event->hw.prev_count & BIT_ULL(x86_pmu.cntval_bits - 1))
			continue;
		handled++;
		perf_event_overflow(event);
	}
	if (!handled)
		this_cpu()->report->pmis_empty++;
	cpuc->enabled = enabled;
}
