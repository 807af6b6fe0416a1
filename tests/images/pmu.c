// SPDX-License-Identifier: Apache-2.0
/*
 * pmu.c - the PMU of a test image. Interface: pmu.h.
 *
 * Not modelled: PEBS, LBR, performance metrics; fixed counters with holes (CPUID 0AH ECX).
 */
#include "pmu.h"

/* Numbers and order are those of CPUID 0AH EBX; the encodings are architectural. */
static const struct arch_event_info intel_events[NR_ARCH_EVENTS] = {
	[EVENT_CYCLES] = {"cycles", 0x003c},
	[EVENT_INSTRUCTIONS] = {"instructions", 0x00c0},
	[EVENT_REF_CYCLES] = {"ref-cycles", 0x013c},
	[EVENT_LLC_REFERENCES] = {"LLC references", 0x4f2e},
	[EVENT_LLC_MISSES] = {"LLC misses", 0x412e},
	[EVENT_BRANCHES] = {"branches", 0x00c4},
	[EVENT_BRANCH_MISSES] = {"branch misses", 0x00c5},
	[EVENT_SLOTS] = {"slots", 0x01a4},
};

/* perf's generic events. What perf calls LLC are requests to the second-level cache, and misses of it. */
static const struct arch_event_info amd_events[NR_ARCH_EVENTS] = {
	[EVENT_CYCLES] = {"cycles", 0x0076},
	[EVENT_INSTRUCTIONS] = {"instructions", 0x00c0},
	[EVENT_REF_CYCLES] = {"ref-cycles", 0x100000120},
	[EVENT_LLC_REFERENCES] = {"L2 requests", 0xff60},
	[EVENT_LLC_MISSES] = {"L2 misses", 0x0964},
	[EVENT_BRANCHES] = {"branches", 0x00c2},
	[EVENT_BRANCH_MISSES] = {"branch misses", 0x00c3},
	[EVENT_SLOTS] = {"slots", 0},
};

const struct arch_event_info *arch_events = intel_events;
struct pmu_shape pmu;

/*
 * Event 013cH counts at the rate of the TSC since Golden Cove. Before, it counts the crystal clock,
 * which this machine does not model: it counts zero there.
 */
static bool gp_counts_ref(void)
{
	u32 eax = cpuid(1).eax;
	u32 model = (eax >> 4 & 0xf) | (eax >> 12 & 0xf0);

	return model != 0x55 && model != 0x6a; /* Skylake-SP, Cascade Lake-SP; Ice Lake-SP */
}

static void find_intel(void)
{
	struct cpuid_regs r = cpuid(0xa);

	pmu.version = r.eax & 0xff;
	if (!pmu.version)
		give_up("CPUID announces no PMU");
	pmu.nr_gp = r.eax >> 8 & 0xff;
	pmu.gp_width = r.eax >> 16 & 0xff;
	pmu.events = ~r.ebx & (u32)((1ull << (r.eax >> 24)) - 1);
	if (pmu.version >= 2) {
		pmu.global = true;
		pmu.nr_fixed = r.edx & 0x1f;
		pmu.fixed_width = r.edx >> 5 & 0xff;
		pmu.anythread_deprecated = r.edx >> 15 & 1;
		pmu.fixed_mask = GENMASK_ULL(pmu.fixed_width - 1, 0);
	}
	if (cpuid(1).ecx & BIT_ULL(15)) /* PDCM */
		pmu.full_width = rdmsr(MSR_PERF_CAPABILITIES) & FULL_WIDTH_WRITES;
	pmu.counts_ref = gp_counts_ref();
	pmu.masks_lvt = true;
	pmu.msr_selector = MSR_EVTSEL0;
	pmu.msr_counter = pmu.full_width ? MSR_PMC0 : MSR_PERFCTR0;
	pmu.stride = 1;
	pmu.msr_global_ctrl = MSR_GLOBAL_CTRL;
	pmu.msr_status = MSR_GLOBAL_STATUS;
	pmu.msr_clear = MSR_GLOBAL_OVF_CTRL;
	pmu.msr_set = MSR_GLOBAL_STATUS_SET;
}

/* Four counters of K7, six of the core extension, or as many as PerfMonV2 says. */
static void find_amd(void)
{
	bool core = cpuid(0x80000001).ecx >> 23 & 1;
	struct cpuid_regs v2 = {0};

	if (cpuid(0x80000000).eax >= 0x80000022)
		v2 = cpuid(0x80000022);
	pmu.amd = true;
	pmu.version = 1 + (v2.eax & 1);
	pmu.global = pmu.version == 2;
	pmu.nr_gp = pmu.global ? v2.ebx & 0xf : core ? 6 : 4;
	if (!core && pmu.nr_gp > 4)
		pmu.nr_gp = 4;
	pmu.gp_width = 48;
	pmu.full_width = true;
	pmu.events = 1u << EVENT_CYCLES | 1u << EVENT_INSTRUCTIONS | 1u << EVENT_LLC_REFERENCES |
		     1u << EVENT_LLC_MISSES | 1u << EVENT_BRANCHES | 1u << EVENT_BRANCH_MISSES;
	/* Zen 4 and later: family 19H from model 10H on, and family 1AH */
	pmu.counts_ref = cpuid(1).eax >> 16 > 0xa0;
	if (pmu.counts_ref)
		pmu.events |= 1u << EVENT_REF_CYCLES;
	arch_events = amd_events;
	pmu.msr_selector = core ? MSR_PERF_CTL0 : MSR_K7_EVNTSEL0;
	pmu.msr_counter = core ? MSR_PERF_CTR0 : MSR_K7_PERFCTR0;
	pmu.stride = core ? 2 : 1;
	pmu.msr_global_ctrl = MSR_AMD_GLOBAL_CTL;
	pmu.msr_status = MSR_AMD_GLOBAL_STATUS;
	pmu.msr_clear = MSR_AMD_GLOBAL_STATUS_CLR;
	pmu.msr_set = MSR_AMD_GLOBAL_STATUS_SET;
}

void pmu_init(void)
{
	if (is_amd())
		find_amd();
	else
		find_intel();
	pmu.gp_mask = GENMASK_ULL(pmu.gp_width - 1, 0);
	pmu.all = GENMASK_ULL(pmu.nr_gp - 1, 0);
	if (pmu.nr_fixed)
		pmu.all |= GENMASK_ULL(FIXED_INDEX + pmu.nr_fixed - 1, FIXED_INDEX);
	pmu_clear();
}

u32 selector_msr(u32 gp)
{
	return pmu.msr_selector + pmu.stride * gp;
}

void pmu_clear(void)
{
	if (pmu.global)
		wrmsr(pmu.msr_global_ctrl, 0);
	for (u32 i = 0; i < pmu.nr_gp; i++) {
		wrmsr(selector_msr(i), 0);
		wrmsr(counter_msr(i), 0);
	}
	if (pmu.global && !pmu.amd) {
		wrmsr(MSR_FIXED_CTR_CTRL, 0);
		for (u32 i = 0; i < pmu.nr_fixed; i++)
			wrmsr(MSR_FIXED_CTR0 + i, 0);
	}
	if (pmu.global)
		wrmsr(pmu.msr_clear, rdmsr(pmu.msr_status));
	wrmsr(MSR_PRED_CMD, 1);
}

u32 nr_counters(void)
{
	return pmu.nr_gp + pmu.nr_fixed;
}

u32 counter_index(u32 n)
{
	return n < pmu.nr_gp ? n : FIXED_INDEX + n - pmu.nr_gp;
}

const char *counter_kind(u32 index)
{
	return is_fixed(index) ? "fixed" : "GP";
}

u64 counter_number(u32 index)
{
	return is_fixed(index) ? index - FIXED_INDEX : index;
}

u64 counter_mask(u32 index)
{
	return is_fixed(index) ? pmu.fixed_mask : pmu.gp_mask;
}

u64 read_counter(u32 index)
{
	return rdpmc(is_fixed(index) ? (u32)RDPMC_FIXED + index - FIXED_INDEX : index);
}

u32 counter_msr(u32 index)
{
	if (is_fixed(index))
		return MSR_FIXED_CTR0 + index - FIXED_INDEX;
	return pmu.msr_counter + pmu.stride * index;
}

bool status_is(u64 expected, const char *name, u64 number)
{
	return !pmu.global || step(rdmsr(pmu.msr_status), expected, "%s %u", name, number);
}

u64 read_counter_msr(u32 index)
{
	return rdmsr(counter_msr(index));
}

void write_counter(u32 index, u64 value)
{
	wrmsr(counter_msr(index), value & counter_mask(index));
}

void set_counter(u32 index, u64 select)
{
	u32 shift = 4 * (index - FIXED_INDEX);
	u64 field = 0;

	if (!is_fixed(index)) {
		/* Without GLOBAL_CTRL the stretch starts it. */
		wrmsr(selector_msr(index), pmu.global ? select | SEL_EN : select);
		return;
	}
	if (select & SEL_OS)
		field |= FIXED_OS;
	if (select & SEL_USR)
		field |= FIXED_USR;
	if (select & SEL_INT)
		field |= FIXED_INT;
	wrmsr(MSR_FIXED_CTR_CTRL,
	      (rdmsr(MSR_FIXED_CTR_CTRL) & ~(0xfull << shift)) | field << shift);
}

enum arch_event fixed_event(u32 index)
{
	static const u8 events[] = {EVENT_INSTRUCTIONS, EVENT_CYCLES, EVENT_REF_CYCLES,
				    EVENT_SLOTS};

	return events[index - FIXED_INDEX];
}

struct stretch stretch_of(u64 counters)
{
	u32 index = (u32)__builtin_ctzll(counters);

	if (pmu.global)
		return (struct stretch){pmu.msr_global_ctrl, counters};
	return (struct stretch){selector_msr(index), rdmsr(selector_msr(index)) | SEL_EN};
}
