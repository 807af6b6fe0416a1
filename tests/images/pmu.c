// SPDX-License-Identifier: Apache-2.0
/*
 * pmu.c - the PMU of a test image. Interface: pmu.h.
 *
 * Not modelled: PEBS, LBR, performance metrics; fixed counters with holes (CPUID 0AH ECX).
 */
#include "pmu.h"

/* Numbers and order are those of CPUID 0AH EBX; the encodings are architectural. */
const struct arch_event_info arch_events[NR_ARCH_EVENTS] = {
	[EVENT_CYCLES] = {"cycles", 0x003c},
	[EVENT_INSTRUCTIONS] = {"instructions", 0x00c0},
	[EVENT_REF_CYCLES] = {"ref-cycles", 0x013c},
	[EVENT_LLC_REFERENCES] = {"LLC references", 0x4f2e},
	[EVENT_LLC_MISSES] = {"LLC misses", 0x412e},
	[EVENT_BRANCHES] = {"branches", 0x00c4},
	[EVENT_BRANCH_MISSES] = {"branch misses", 0x00c5},
	[EVENT_SLOTS] = {"slots", 0x01a4},
};

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

void pmu_init(void)
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
	pmu.gp_mask = GENMASK_ULL(pmu.gp_width - 1, 0);
	pmu.all = GENMASK_ULL(pmu.nr_gp - 1, 0);
	if (pmu.nr_fixed)
		pmu.all |= GENMASK_ULL(FIXED_INDEX + pmu.nr_fixed - 1, FIXED_INDEX);
	if (cpuid(1).ecx & BIT_ULL(15)) /* PDCM */
		pmu.full_width = rdmsr(MSR_PERF_CAPABILITIES) & FULL_WIDTH_WRITES;
	pmu.counts_ref = gp_counts_ref();
	pmu_clear();
}

void pmu_clear(void)
{
	if (pmu.global)
		wrmsr(MSR_GLOBAL_CTRL, 0);
	for (u32 i = 0; i < pmu.nr_gp; i++) {
		wrmsr(MSR_EVTSEL0 + i, 0);
		wrmsr(MSR_PERFCTR0 + i, 0);
	}
	if (pmu.global) {
		wrmsr(MSR_FIXED_CTR_CTRL, 0);
		for (u32 i = 0; i < pmu.nr_fixed; i++)
			wrmsr(MSR_FIXED_CTR0 + i, 0);
		wrmsr(MSR_GLOBAL_OVF_CTRL, rdmsr(MSR_GLOBAL_STATUS));
	}
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

static u32 counter_msr(u32 index)
{
	if (is_fixed(index))
		return MSR_FIXED_CTR0 + index - FIXED_INDEX;
	return (pmu.full_width ? MSR_PMC0 : MSR_PERFCTR0) + index;
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
		wrmsr(MSR_EVTSEL0 + index, pmu.global ? select | SEL_EN : select);
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
		return (struct stretch){MSR_GLOBAL_CTRL, counters};
	return (struct stretch){MSR_EVTSEL0 + index, rdmsr(MSR_EVTSEL0 + index) | SEL_EN};
}
