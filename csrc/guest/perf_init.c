// SPDX-License-Identifier: Apache-2.0
/*
 * perf_init.c - which PMU is there, and can it do what the settings ask. Interface: perf.h.
 *
 * The vendor's name picks the driver, as in Linux.
 */
#include "guest/apic.h"
#include "guest/console.h"
#include "guest/insn.h"
#include "guest/perf.h"
#include "guest/percpu.h"
#include "guest/settings.h"

/* "AuthenticAMD" */
#define VENDOR_AMD_EBX 0x68747541u
#define VENDOR_AMD_EDX 0x69746e65u
#define VENDOR_AMD_ECX 0x444d4163u
#define FIXED_MASK GENMASK_ULL(63, INTEL_PMC_IDX_FIXED)
/* EDGE, PC, ANY, INV, CMASK and above: a fixed counter knows none of them. */
#define NOT_ON_FIXED (BIT_ULL(18) | BIT_ULL(19) | BIT_ULL(21) | GENMASK_ULL(63, 23))

struct x86_pmu x86_pmu;

static void detect(void)
{
	struct cpuid_regs r = cpuid(0);

	if (r.ebx == VENDOR_AMD_EBX && r.edx == VENDOR_AMD_EDX && r.ecx == VENDOR_AMD_ECX)
		amd_pmu_init();
	else
		intel_pmu_init(r.eax);
}

static void event_init(struct perf_event *event, const struct event_setting *setting)
{
	struct hw_perf_event *hwc = &event->hw;

	hwc->config = setting->config | ARCH_PERFMON_EVENTSEL_INT;
	hwc->idx = -1;
	hwc->state = PERF_HES_STOPPED | PERF_HES_UPTODATE;
	event->idxmsk = setting->mask & x86_pmu.all_counters;
	if (setting->config & NOT_ON_FIXED)
		event->idxmsk &= ~FIXED_MASK;
	if (!event->idxmsk)
		die("ev=%x:%x: none of its counters is there; the PMU has %x", setting->config,
		    setting->mask, x86_pmu.all_counters);
	for (u64 m = event->idxmsk; m; m &= m - 1)
		event->weight++;
	event->sampling = setting->kind != KIND_COUNT;
	switch (setting->kind) {
	case KIND_COUNT: hwc->sample_period = x86_pmu.max_period; break;
	case KIND_FREQ:
		event->freq = setting->rate;
		hwc->sample_period = 1;
		break;
	case KIND_PERIOD: hwc->sample_period = setting->rate; break;
	}
	hwc->last_period = hwc->sample_period;
	hwc->period_left = (s64)hwc->sample_period;
	event->user_page.pmc_width = x86_pmu.cntval_bits;
}

void perf_init(void)
{
	pmu_hint_init();
	if (!settings.perf)
		return;
	detect();
	perf_throttle_init();
}

void perf_init_cpu(struct percpu *cpu)
{
	u32 i;

	pmu_hint_init_cpu();
	if (!settings.perf)
		return;
	for (i = 0; i < settings.nr_events; i++)
		event_init(&cpu->perf_events[i], &settings.events[i]);
	/* As Linux does when it finds a PMU at boot. */
	apic_write(APIC_LVTPC, APIC_DM_NMI);
}
