// SPDX-License-Identifier: Apache-2.0
/*
 * perf_pmu.c - the PMU as a whole: events added and deleted, all on, all off, and its interrupt.
 * Interface: perf.h.
 *
 * Adding an event only finds it a place. x86_pmu_enable() then starts what was added, moves what
 * lost its place, and turns everything on at once.
 *
 * What that takes in registers is the vendor's (perf_intel.c, perf_amd.c).
 */
#include "guest/apic.h"
#include "guest/insn.h"
#include "guest/kernel_work.h"
#include "guest/perf.h"
#include "guest/percpu.h"
#include "guest/program.h"

bool x86_pmu_add(struct perf_event *event)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;
	int assign[PP_GUEST_MAX_EVENTS];
	u32 n = cpuc->n_events;
	u32 i;

	cpuc->event_list[n++] = event;
	if (x86_schedule_events(cpuc->event_list, n, assign))
		return false;
	for (i = 0; i < n; i++)
		cpuc->assign[i] = assign[i];
	event->hw.state = PERF_HES_UPTODATE | PERF_HES_STOPPED;
	cpuc->n_events = n;
	cpuc->n_added++;
	return true;
}

void x86_pmu_del(struct perf_event *event)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;
	u32 i;

	x86_pmu_stop(event, PERF_EF_UPDATE);
	for (i = 0; i < cpuc->n_events && cpuc->event_list[i] != event; i++)
		;
	if (i == cpuc->n_events)
		return;
	if (i >= cpuc->n_events - cpuc->n_added)
		cpuc->n_added--;
	cpuc->n_events--;
	for (; i < cpuc->n_events; i++) {
		cpuc->event_list[i] = cpuc->event_list[i + 1];
		cpuc->assign[i] = cpuc->assign[i + 1];
	}
	perf_event_update_userpage(event);
}

/* Stop whom the new assignment moves, then start them and the added ones where they belong. */
static void start_added(void)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;
	u32 n_running = cpuc->n_events - cpuc->n_added;
	struct perf_event *event;
	bool moved;
	u32 i;

	for (i = 0; i < n_running; i++) {
		event = cpuc->event_list[i];
		if (event->hw.idx == cpuc->assign[i])
			continue;
		if (event->hw.state & PERF_HES_STOPPED)
			event->hw.state |= PERF_HES_ARCH;
		x86_pmu_stop(event, PERF_EF_UPDATE);
	}
	for (i = 0; i < cpuc->n_events; i++) {
		event = cpuc->event_list[i];
		moved = event->hw.idx != cpuc->assign[i];
		if (moved)
			x86_assign_hw_event(event, cpuc->assign[i]);
		if ((!moved && i < n_running) || (event->hw.state & PERF_HES_ARCH))
			continue;
		x86_pmu_start(event, PERF_EF_RELOAD);
	}
	cpuc->n_added = 0;
	/* Linux makes sure of NMI delivery each time an event was added. */
	apic_write(APIC_LVTPC, APIC_DM_NMI);
}

void x86_pmu_enable(void)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;

	if (cpuc->enabled)
		return;
	pmu_hint();
	if (cpuc->n_added)
		start_added();
	cpuc->enabled = true;
	barrier();
	x86_pmu.ops->enable_all();
}

void x86_pmu_disable(void)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;

	if (!cpuc->enabled)
		return;
	cpuc->n_added = 0;
	cpuc->enabled = false;
	barrier();
	x86_pmu.ops->disable_all();
}

static void perf_event_nmi_handler(void)
{
	struct percpu *cpu = this_cpu();
	u64 begin;

	/* A late one, all events gone: Linux's perf would not own it. */
	if (!cpu->perf_context.nr_flexible) {
		cpu->report->pmis_empty++;
		return;
	}
	begin = rdtsc();
	cpu->hw_events.in_nmi = true;
	x86_pmu.ops->handle_irq();
	cpu->hw_events.in_nmi = false;
	begin = rdtsc() - begin;
	cpu->report->pmi_cycles += begin;
	perf_sample_event_took(tsc_to_ns(begin));
}

void perf_nmi(void)
{
	kernel_work(KERNEL_WORK_NMI_ENTRY);
	this_cpu()->report->pmis++;
	perf_event_nmi_handler();
	kernel_work(KERNEL_WORK_NMI_EXIT);
}
