/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pmu.h - the PMU as CPUID announces it to a test image, its registers, and counted stretches.
 *
 * A stretch is code between the WRMSR that starts a counter and the one that stops it. A WRMSR takes
 * effect before it retires: the one that starts is counted, the one that stops is not, and three
 * plain instructions stand before that one. So each stretch has a frame of FRAME instructions, no
 * branch, no load and no store.
 *
 * Counters are named by an index as in GLOBAL_CTRL: GP from 0, fixed from FIXED_INDEX.
 */
#ifndef IMAGES_PMU_H_
#define IMAGES_PMU_H_

#include "runtime.h"

#define MSR_PERFCTR0 0xc1
#define MSR_PMC0 0x4c1
#define MSR_EVTSEL0 0x186
#define MSR_FIXED_CTR0 0x309
#define MSR_PERF_CAPABILITIES 0x345
#define MSR_FIXED_CTR_CTRL 0x38d
#define MSR_GLOBAL_STATUS 0x38e
#define MSR_GLOBAL_CTRL 0x38f
#define MSR_GLOBAL_OVF_CTRL 0x390
#define MSR_GLOBAL_STATUS_SET 0x391
#define MSR_PRED_CMD 0x49

#define MSR_K7_EVNTSEL0 0xc0010000
#define MSR_K7_PERFCTR0 0xc0010004
#define MSR_PERF_CTL0 0xc0010200
#define MSR_PERF_CTR0 0xc0010201
#define MSR_AMD_GLOBAL_STATUS 0xc0000300
#define MSR_AMD_GLOBAL_CTL 0xc0000301
#define MSR_AMD_GLOBAL_STATUS_CLR 0xc0000302
#define MSR_AMD_GLOBAL_STATUS_SET 0xc0000303

#define SEL_USR BIT_ULL(16)
#define SEL_OS BIT_ULL(17)
#define SEL_EDGE BIT_ULL(18)
#define SEL_INT BIT_ULL(20)
#define SEL_ANY BIT_ULL(21)
#define SEL_EN BIT_ULL(22)
#define SEL_INV BIT_ULL(23)
#define SEL_CMASK(n) ((u64)(n) << 24)

#define FIXED_OS 1ull
#define FIXED_USR 2ull
#define FIXED_INT 8ull

#define FIXED_INDEX 32
#define RDPMC_FIXED BIT_ULL(30)
#define FRAME 4

#define FULL_WIDTH_WRITES BIT_ULL(13) /* PERF_CAPABILITIES */

enum arch_event {
	EVENT_CYCLES,
	EVENT_INSTRUCTIONS,
	EVENT_REF_CYCLES,
	EVENT_LLC_REFERENCES,
	EVENT_LLC_MISSES,
	EVENT_BRANCHES,
	EVENT_BRANCH_MISSES,
	EVENT_SLOTS,
	NR_ARCH_EVENTS,
};

/* The architectural events of Intel, and what AMD's CPUs count instead. */
struct arch_event_info {
	const char *name;
	u64 encoding;
};

extern const struct arch_event_info *arch_events;

struct pmu_shape {
	bool amd;
	u32 version;
	u32 nr_gp, gp_width;
	u32 nr_fixed, fixed_width;
	u32 events; /* bit n: enum arch_event n is announced */
	bool anythread_deprecated;
	bool global;	 /* GLOBAL_CTRL and its companions: version 2 */
	bool full_width; /* counters can be written at MSR_PMC0 */
	bool counts_ref; /* GP counters count reference cycles, see pmu_init() */
	/* Registers, by the vendor */
	u32 msr_selector, msr_counter, stride;
	u32 msr_global_ctrl, msr_status, msr_clear, msr_set;
	bool masks_lvt; /* delivery of the PMI masks the LVT */
	u64 gp_mask, fixed_mask;
	u64 all; /* every counter, as in GLOBAL_CTRL */
};

extern struct pmu_shape pmu;

/* Read CPUID, stop everything and clear it. Gives up without a PMU. */
void pmu_init(void);
/* Selectors, counters, controls and status are 0 again; branch predictions are forgotten. */
void pmu_clear(void);

static inline bool is_fixed(u32 index)
{
	return index >= FIXED_INDEX;
}

/* Visit every counter. */
u32 nr_counters(void);
u32 counter_index(u32 n);
const char *counter_kind(u32 index); /* "GP" or "fixed" */
u64 counter_number(u32 index);	     /* within its kind */
u64 counter_mask(u32 index);

u32 selector_msr(u32 gp);
u32 counter_msr(u32 index);
/* The status has this value; true where there is none (no GLOBAL_CTRL either). */
bool status_is(u64 expected, const char *name, u64 number);

u64 read_counter(u32 index); /* RDPMC */
u64 read_counter_msr(u32 index);
void write_counter(u32 index, u64 value);
/*
 * Let a counter count, once it is enabled globally: @select is a GP selector without EN; of a fixed
 * counter, which has its own event, USR, OS and INT of it are taken.
 */
void set_counter(u32 index, u64 select);
/* What a fixed counter counts. */
enum arch_event fixed_event(u32 index);

/* Start and stop: GLOBAL_CTRL, or the selector of the only counter in use of a PMU without it. */
struct stretch {
	u32 msr;
	u64 value;
};

struct stretch stretch_of(u64 counters);

/*
 * Count @code. RSI and RDI are @a and @b; RAX, RBX, RCX, RDX and R8 to R14 are free, R15 and RBP are
 * not. Labels 8 and 9 are left to attempt().
 */
#define count_stretch(s, code, a, b)                                                               \
	({                                                                                         \
		u64 rsi_ = (u64)(a), rdi_ = (u64)(b);                                              \
		u64 low_ = (u32)(s).value, high_ = (s).value >> 32, msr_ = (s).msr;                \
                                                                                                   \
		__asm__ volatile("movl %%ecx, %%r15d\n\t"                                          \
				 "wrmsr\n\t" code "\n\t"                                           \
				 "movl %%r15d, %%ecx\n\t"                                          \
				 "xorl %%eax, %%eax\n\t"                                           \
				 "xorl %%edx, %%edx\n\t"                                           \
				 "wrmsr"                                                           \
				 : "+a"(low_), "+d"(high_), "+c"(msr_), "+S"(rsi_), "+D"(rdi_)     \
				 :                                                                 \
				 : "rbx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",    \
				   "memory", "cc");                                                \
	})

#endif /* IMAGES_PMU_H_ */
