// SPDX-License-Identifier: Apache-2.0
/*
 * perf_intel.c - the driver of Intel's PMU. Interface: intel_pmu_init() in perf.h.
 *
 * CPUID 0xA decides the counters and their width; PERF_CAPABILITIES decides between the full-width
 * counter MSRs and the old ones, whose writes sign-extend from bit 31 and so halve the period range
 * to 31 bits, as Linux has it. A fixed counter's control bits are only noted by enable and disable;
 * enable_all() writes them.
 *
 * A PMI is served in one order (GLOBAL_CTRL off, STATUS, acknowledge, each overflow, STATUS, on,
 * LVTPC), which tests count exits by. GLOBAL_CTRL stays off when the PMI hit while perf had it off.
 *
 * Not modelled: hypervisor quirks (Linux assumes 3 fixed counters on bare metal before version 5),
 * arch perfmon 6 (CPUID 0x23), the reset of a PMU whose status never clears (the loop is left with a
 * message).
 */
#include "guest/apic.h"
#include "guest/console.h"
#include "guest/insn.h"
#include "guest/kernel_work.h"
#include "guest/perf.h"
#include "guest/percpu.h"
#include "guest/program.h"

#define FEATURE_PDCM BIT_ULL(15) /* CPUID.1:ECX */
#define PERF_CAP_FW_WRITES BIT_ULL(13)
#define INTEL_FIXED_0_KERNEL 0x1u
#define INTEL_FIXED_0_USER 0x2u
#define INTEL_FIXED_0_ENABLE_PMI 0x8u
#define INTEL_FIXED_BITS_MASK 0xfull
#define PMI_LOOP_MAX 100

static bool is_fixed(const struct hw_perf_event *hwc)
{
	return hwc->idx >= INTEL_PMC_IDX_FIXED;
}

static u32 fixed_shift(const struct hw_perf_event *hwc)
{
	return 4 * (u32)(hwc->idx - INTEL_PMC_IDX_FIXED);
}

static void intel_pmu_enable_event(struct perf_event *event)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;
	struct hw_perf_event *hwc = &event->hw;
	u64 bits = INTEL_FIXED_0_ENABLE_PMI;

	if (!is_fixed(hwc)) {
		wrmsr(hwc->config_base, hwc->config | ARCH_PERFMON_EVENTSEL_ENABLE);
		return;
	}
	if (hwc->config & ARCH_PERFMON_EVENTSEL_USR)
		bits |= INTEL_FIXED_0_USER;
	if (hwc->config & ARCH_PERFMON_EVENTSEL_OS)
		bits |= INTEL_FIXED_0_KERNEL;
	cpuc->fixed_ctrl_val &= ~(INTEL_FIXED_BITS_MASK << fixed_shift(hwc));
	cpuc->fixed_ctrl_val |= bits << fixed_shift(hwc);
}

static void intel_pmu_disable_event(struct perf_event *event)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;
	struct hw_perf_event *hwc = &event->hw;

	if (is_fixed(hwc))
		cpuc->fixed_ctrl_val &= ~(INTEL_FIXED_BITS_MASK << fixed_shift(hwc));
	else
		wrmsr(hwc->config_base, hwc->config);
}

static void intel_pmu_enable_all(void)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;

	if (cpuc->fixed_ctrl_val != cpuc->active_fixed_ctrl_val) {
		wrmsr(MSR_CORE_PERF_FIXED_CTR_CTRL, cpuc->fixed_ctrl_val);
		cpuc->active_fixed_ctrl_val = cpuc->fixed_ctrl_val;
	}
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, x86_pmu.all_counters);
}

static void intel_pmu_disable_all(void)
{
	wrmsr(MSR_CORE_PERF_GLOBAL_CTRL, 0);
}

static void handle_overflows(u64 status)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;
	u32 bit;

	for_each_set_bit(bit, status & x86_pmu.all_counters) {
		struct perf_event *event = cpuc->events[bit];

		if (!(cpuc->active_mask & BIT_ULL(bit)))
			continue;
		x86_perf_event_update(event);
		perf_event_overflow(event);
	}
}

static void intel_pmu_handle_irq(void)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;
	bool enabled = cpuc->enabled;
	u32 loops = 0;
	u64 status;

	cpuc->enabled = false;
	intel_pmu_disable_all();
	kernel_work(KERNEL_WORK_HANDLE_IRQ);
	status = rdmsr(MSR_CORE_PERF_GLOBAL_STATUS);
	if (!status)
		this_cpu()->report->pmis_empty++;
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

static const struct x86_pmu_ops intel_ops = {
	.enable = intel_pmu_enable_event,
	.disable = intel_pmu_disable_event,
	.enable_all = intel_pmu_enable_all,
	.disable_all = intel_pmu_disable_all,
	.handle_irq = intel_pmu_handle_irq,
};

/* Version 1. */
static const struct x86_pmu_ops core_ops = {
	.enable = x86_pmu_enable_event,
	.disable = x86_pmu_disable_event,
	.enable_all = x86_pmu_enable_all,
	.disable_all = x86_pmu_disable_all,
	.handle_irq = x86_pmu_handle_irq,
};

void intel_pmu_init(u32 last_leaf)
{
	struct cpuid_regs r;
	u32 fixed, i;

	if (last_leaf < 0xa)
		die("no PMU: there is no CPUID leaf 0xa");
	r = cpuid(0xa);
	x86_pmu.version = r.eax & 0xff;
	if (!x86_pmu.version)
		die("no PMU: CPUID 0xa has version 0");
	x86_pmu.num_counters = min_u64(r.eax >> 8 & 0xff, INTEL_PMC_IDX_FIXED);
	x86_pmu.cntval_bits = r.eax >> 16 & 0xff;
	if (x86_pmu.cntval_bits < 32 || x86_pmu.cntval_bits > 63)
		die("the PMU's counters have %u bits", (u64)x86_pmu.cntval_bits);
	x86_pmu.cntval_mask = BIT_ULL(x86_pmu.cntval_bits) - 1;
	x86_pmu.all_counters = BIT_ULL(x86_pmu.num_counters) - 1;
	fixed = r.edx & 0x1f;
	for (i = 0; x86_pmu.version >= 2 && i < 32; i++)
		if (i < fixed || (x86_pmu.version >= 5 && (r.ecx >> i & 1)))
			x86_pmu.all_counters |= BIT_ULL(INTEL_PMC_IDX_FIXED + i);

	x86_pmu.ops = x86_pmu.version < 2 ? &core_ops : &intel_ops;
	x86_pmu.eventsel = MSR_P6_EVNTSEL0;
	x86_pmu.perfctr = MSR_P6_PERFCTR0;
	x86_pmu.stride = 1;
	x86_pmu.max_period = BIT_ULL(31) - 1;
	if ((cpuid(1).ecx & FEATURE_PDCM) &&
	    (rdmsr(MSR_IA32_PERF_CAPABILITIES) & PERF_CAP_FW_WRITES)) {
		x86_pmu.perfctr = MSR_IA32_PMC0;
		x86_pmu.max_period = x86_pmu.cntval_mask >> 1;
	}
}
