// SPDX-License-Identifier: Apache-2.0
/*
 * perf_pmu.c - the PMU as a whole: events added and deleted, all on, all off, and its interrupt.
 * Interface: perf.h.
 *
 * Adding an event only finds it a place. x86_pmu_enable() then starts what was added, moves what
 * lost its place, and turns everything on at once.
 *
 * A PMI is served in one order (GLOBAL_CTRL off, STATUS, acknowledge, each overflow, STATUS, on,
 * LVTPC), which tests count exits by. GLOBAL_CTRL stays off when the PMI hit while perf had it off.
 *
 * Not modelled: the reset of a PMU whose status never clears (the loop is left with a message).
 */
#include "guest/apic.h"
#include "guest/console.h"
#include "guest/insn.h"
#include "guest/perf.h"
#include "guest/program.h"

#define PMI_LOOP_MAX 100

struct cpu_hw_events cpu_hw_events;

static void intel_pmu_enable_all(void)
{
	struct cpu_hw_events *cpuc = &cpu_hw_events;

	if (cpuc->fixed_ctrl_val != cpuc->active_fixed_ctrl_val) {
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, cpuc->fixed_ctrl_val);
		cpuc->active_fixed_ctrl_val = cpuc->fixed_ctrl_val;
	}
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, x86_pmu.intel_ctrl);
}

static void intel_pmu_disable_all(void)
{
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
}

bool x86_pmu_add(struct perf_event *event)
{
	struct cpu_hw_events *cpuc = &cpu_hw_events;
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
	struct cpu_hw_events *cpuc = &cpu_hw_events;
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
	struct cpu_hw_events *cpuc = &cpu_hw_events;
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
	struct cpu_hw_events *cpuc = &cpu_hw_events;

	if (cpuc->enabled)
		return;
	if (cpuc->n_added)
		start_added();
	cpuc->enabled = true;
	barrier();
	intel_pmu_enable_all();
}

void x86_pmu_disable(void)
{
	struct cpu_hw_events *cpuc = &cpu_hw_events;

	if (!cpuc->enabled)
		return;
	cpuc->n_added = 0;
	cpuc->enabled = false;
	barrier();
	intel_pmu_disable_all();
}

static void handle_overflows(u64 status)
{
	u32 bit;

	for_each_set_bit(bit, status & x86_pmu.intel_ctrl) {
		struct perf_event *event = cpu_hw_events.events[bit];

		if (!(cpu_hw_events.active_mask & BIT_ULL(bit)))
			continue;
		x86_perf_event_update(event);
		/* No sample where only a part of a very long period is over. */
		if (!x86_perf_event_set_period(event))
			continue;
		event->samples++;
		perf_event_account_interrupt(event);
	}
}

static void intel_pmu_handle_irq(void)
{
	struct cpu_hw_events *cpuc = &cpu_hw_events;
	bool enabled = cpuc->enabled;
	u32 loops = 0;
	u64 status;

	cpuc->enabled = false;
	intel_pmu_disable_all();
	status = rdmsr(MSR_CORE_PERF_GLOBAL_STATUS);
	if (!status)
		report.pmis_empty++;
	while (status) {
		wrmsr(MSR_CORE_PERF_GLOBAL_OVF_CTRL, status);
		if (++loops > PMI_LOOP_MAX) {
			print("perf: PMU status %x does not clear\n", status);
			break;
		}
		handle_overflows(status);
		status = rdmsr(MSR_CORE_PERF_GLOBAL_STATUS);
	}
	cpuc->enabled = enabled;
	if (enabled)
		intel_pmu_enable_all();
	/* Delivery masked it. */
	apic_write(APIC_LVTPC, APIC_DM_NMI);
}

void perf_nmi(void)
{
	report.pmis++;
	/* A late one, all events gone: Linux's perf would not own it. */
	if (!perf_context.nr_flexible) {
		report.pmis_empty++;
		return;
	}
	intel_pmu_handle_irq();
}
