// SPDX-License-Identifier: Apache-2.0
/*
 * perf_amd.c - the drivers of AMD's PMU, without and with PerfMonV2. Interface: amd_pmu_init() in perf.h.
 *
 * CPUID 0x80000001 decides between the core extension's registers and the four of K7, 0x80000022 whether
 * there are global ones and how many counters. Counters have 48 bits, which no leaf says.
 *
 * What stops an event waits for its NMI if it has overflowed, but in the NMI itself, as in Linux since
 * 5.19; without a global status the counter's top bit tells. Without global registers most is perf_x86.c's.
 *
 * Not modelled: branch records, IBS, events that take a pair of counters, the window in which Linux claims
 * NMIs that nobody caused.
 */
#include "guest/apic.h"
#include "guest/console.h"
#include "guest/insn.h"
#include "guest/kernel_work.h"
#include "guest/perf.h"
#include "guest/percpu.h"
#include "guest/program.h"
#include "guest/settings.h"

#define MSR_K7_EVNTSEL0 0xc0010000u
#define MSR_K7_PERFCTR0 0xc0010004u
#define MSR_F15H_PERF_CTL 0xc0010200u
#define MSR_F15H_PERF_CTR 0xc0010201u
#define MSR_AMD64_PERF_CNTR_GLOBAL_STATUS 0xc0000300u
#define MSR_AMD64_PERF_CNTR_GLOBAL_CTL 0xc0000301u
#define MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR 0xc0000302u

#define AMD64_NUM_COUNTERS 4
#define AMD64_NUM_COUNTERS_CORE 6
#define AMD_CNTVAL_BITS 48
#define FEATURE_PERFCTR_CORE BIT_ULL(23) /* CPUID.80000001H:ECX */
#define FEATURE_PERFMON_V2 BIT_ULL(0)	 /* CPUID.80000022H:EAX */
#define OVERFLOW_WAIT_COUNT 50

/* ---- overflows whose NMI is on its way ---- */

static bool (*test_overflow)(u32 idx);

static bool test_overflow_topbit(u32 idx)
{
	return !(rdmsr(x86_pmu.perfctr + x86_pmu.stride * idx) & BIT_ULL(AMD_CNTVAL_BITS - 1));
}

static bool test_overflow_status(u32 idx)
{
	return rdmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS) & BIT_ULL(idx);
}

static void delay_one_us(void)
{
	u64 begin = rdtsc();

	while (rdtsc() - begin < us_to_tsc(1))
		__asm__ volatile("pause");
}

static void wait_on_overflow(u32 idx)
{
	u32 i;

	for (i = 0; i < OVERFLOW_WAIT_COUNT && test_overflow(idx); i++)
		delay_one_us();
}

static void check_overflow(void)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;
	u32 idx;

	if (cpuc->in_nmi)
		return;
	/* An NMI in between may have throttled one. */
	for_each_set_bit(idx, cpuc->active_mask) {
		barrier();
		if (cpuc->active_mask & BIT_ULL(idx))
			wait_on_overflow(idx);
	}
}

static void amd_pmu_disable_event(struct perf_event *event)
{
	x86_pmu_disable_event(event);
	if (!this_cpu()->hw_events.in_nmi)
		wait_on_overflow((u32)event->hw.idx);
}

/* ---- without global registers ---- */

static void amd_pmu_disable_all(void)
{
	x86_pmu_disable_all();
	check_overflow();
}

static const struct x86_pmu_ops amd_ops = {
	.enable = x86_pmu_enable_event,
	.disable = amd_pmu_disable_event,
	.enable_all = x86_pmu_enable_all,
	.disable_all = amd_pmu_disable_all,
	.handle_irq = x86_pmu_handle_irq,
};

/* ---- PerfMonV2 ---- */

static void amd_pmu_v2_enable_event(struct perf_event *event)
{
	wrmsr(event->hw.config_base, event->hw.config | ARCH_PERFMON_EVENTSEL_ENABLE);
}

static void amd_pmu_v2_enable_all(void)
{
	wrmsr(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, x86_pmu.all_counters);
}

static void amd_pmu_v2_disable_all(void)
{
	wrmsr(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0);
	check_overflow();
}

static void serve_overflows(u64 status)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;
	u32 idx;

	for_each_set_bit(idx, cpuc->active_mask) {
		struct perf_event *event = cpuc->events[idx];

		x86_perf_event_update(event);
		if (!(status & BIT_ULL(idx)))
			continue;
		status &= ~BIT_ULL(idx);
		perf_event_overflow(event);
	}
	/* What nobody could serve stays; all else is acknowledged. */
	wrmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, ~status);
}

static void amd_pmu_v2_handle_irq(void)
{
	struct cpu_hw_events *cpuc = &this_cpu()->hw_events;
	bool enabled = cpuc->enabled;
	u64 status;

	cpuc->enabled = false;
	wrmsr(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, 0);
	kernel_work(KERNEL_WORK_HANDLE_IRQ);
	status = rdmsr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS) & x86_pmu.all_counters;
	if (status)
		serve_overflows(status);
	else
		this_cpu()->report->pmis_empty++;
	cpuc->enabled = enabled;
	if (enabled)
		amd_pmu_v2_enable_all();
}

static const struct x86_pmu_ops amd_v2_ops = {
	.enable = amd_pmu_v2_enable_event,
	.disable = amd_pmu_disable_event,
	.enable_all = amd_pmu_v2_enable_all,
	.disable_all = amd_pmu_v2_disable_all,
	.handle_irq = amd_pmu_v2_handle_irq,
};

/* ---- what is there ---- */

static void core_init(void)
{
	struct cpuid_regs r = {0};

	x86_pmu.eventsel = MSR_F15H_PERF_CTL;
	x86_pmu.perfctr = MSR_F15H_PERF_CTR;
	x86_pmu.stride = 2;
	x86_pmu.num_counters = AMD64_NUM_COUNTERS_CORE;
	if (cpuid(0x80000000).eax >= 0x80000022)
		r = cpuid(0x80000022);
	if (!(r.eax & FEATURE_PERFMON_V2))
		return;
	x86_pmu.version = 2;
	x86_pmu.num_counters = r.ebx & 0xf;
	x86_pmu.ops = &amd_v2_ops;
	test_overflow = test_overflow_status;
}

void amd_pmu_init(void)
{
	x86_pmu.version = 1;
	x86_pmu.ops = &amd_ops;
	x86_pmu.eventsel = MSR_K7_EVNTSEL0;
	x86_pmu.perfctr = MSR_K7_PERFCTR0;
	x86_pmu.stride = 1;
	x86_pmu.num_counters = AMD64_NUM_COUNTERS;
	test_overflow = test_overflow_topbit;
	if (cpuid(0x80000001).ecx & FEATURE_PERFCTR_CORE)
		core_init();
	if (!x86_pmu.num_counters)
		die("no PMU: CPUID 0x80000022 has no counters");
	x86_pmu.cntval_bits = AMD_CNTVAL_BITS;
	x86_pmu.cntval_mask = BIT_ULL(AMD_CNTVAL_BITS) - 1;
	x86_pmu.max_period = x86_pmu.cntval_mask >> 1;
	x86_pmu.all_counters = BIT_ULL(x86_pmu.num_counters) - 1;
}
