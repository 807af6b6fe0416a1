// SPDX-License-Identifier: Apache-2.0
/*
 * perf_init.c - which PMU is there, and can it do what the settings ask. Interface: perf.h.
 *
 * CPUID 0xA decides the counters and their width; PERF_CAPABILITIES decides between the full-width
 * counter MSRs and the old ones, whose writes sign-extend from bit 31 and so halve the period range
 * to 31 bits, as Linux has it.
 *
 * Not modelled: hypervisor quirks (Linux assumes 3 fixed counters on bare metal before version 5),
 * arch perfmon 6 (CPUID 0x23).
 */
#include "guest/apic.h"
#include "guest/console.h"
#include "guest/insn.h"
#include "guest/perf.h"
#include "guest/settings.h"

#define FEATURE_PDCM BIT_ULL(15) /* CPUID.1:ECX */
#define PERF_CAP_FW_WRITES BIT_ULL(13)
#define FIXED_MASK GENMASK_ULL(63, INTEL_PMC_IDX_FIXED)
/* EDGE, PC, ANY, INV, CMASK and above: a fixed counter knows none of them. */
#define NOT_ON_FIXED (BIT_ULL(18) | BIT_ULL(19) | BIT_ULL(21) | GENMASK_ULL(63, 23))

struct x86_pmu x86_pmu;
struct perf_event perf_events[PP_GUEST_MAX_EVENTS];

static void detect(void)
{
	struct cpuid_regs r;
	u32 fixed, i;

	if (cpuid(0).eax < 0xa)
		die("no PMU: there is no CPUID leaf 0xa");
	r = cpuid(0xa);
	x86_pmu.version = r.eax & 0xff;
	if (!x86_pmu.version)
		die("no PMU: CPUID 0xa has version 0");
	if (x86_pmu.version < 2)
		die("PMU version 1 is not driven: it has no GLOBAL_CTRL");
	x86_pmu.num_counters = min_u64(r.eax >> 8 & 0xff, INTEL_PMC_IDX_FIXED);
	x86_pmu.cntval_bits = r.eax >> 16 & 0xff;
	if (x86_pmu.cntval_bits < 32 || x86_pmu.cntval_bits > 63)
		die("the PMU's counters have %u bits", (u64)x86_pmu.cntval_bits);
	x86_pmu.cntval_mask = BIT_ULL(x86_pmu.cntval_bits) - 1;
	x86_pmu.intel_ctrl = BIT_ULL(x86_pmu.num_counters) - 1;
	fixed = r.edx & 0x1f;
	for (i = 0; i < 32; i++)
		if (i < fixed || (x86_pmu.version >= 5 && (r.ecx >> i & 1)))
			x86_pmu.intel_ctrl |= BIT_ULL(INTEL_PMC_IDX_FIXED + i);

	x86_pmu.perfctr = MSR_P6_PERFCTR0;
	x86_pmu.max_period = BIT_ULL(31) - 1;
	if ((cpuid(1).ecx & FEATURE_PDCM) &&
	    (rdmsr(MSR_IA32_PERF_CAPABILITIES) & PERF_CAP_FW_WRITES)) {
		x86_pmu.perfctr = MSR_IA32_PMC0;
		x86_pmu.max_period = x86_pmu.cntval_mask >> 1;
	}
}

static void event_init(struct perf_event *event, const struct event_setting *setting)
{
	struct hw_perf_event *hwc = &event->hw;

	hwc->config = setting->config | ARCH_PERFMON_EVENTSEL_INT;
	hwc->idx = -1;
	hwc->state = PERF_HES_STOPPED | PERF_HES_UPTODATE;
	event->idxmsk = setting->mask & x86_pmu.intel_ctrl;
	if (setting->config & NOT_ON_FIXED)
		event->idxmsk &= ~FIXED_MASK;
	if (!event->idxmsk)
		die("ev=%x:%x: none of its counters is there; the PMU has %x", setting->config,
		    setting->mask, x86_pmu.intel_ctrl);
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
	u32 i;

	if (!settings.perf)
		return;
	detect();
	for (i = 0; i < settings.nr_events; i++)
		event_init(&perf_events[i], &settings.events[i]);
	/* As Linux does when it finds a PMU at boot. */
	apic_write(APIC_LVTPC, APIC_DM_NMI);
}
