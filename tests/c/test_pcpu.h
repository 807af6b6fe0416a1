/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_pcpu.h - a pCPU whose guest events a test adds by hand, for test_perf*.c and test_hwpmu.c.
 *
 *	struct bench *b = bench_new(8, 4);
 *	b->guest.count[PRIV_OS][EVENT_INSTRUCTIONS] += 5;
 *	bench_free(b);
 *
 * The PMU sees b->guest instead of the guest CPU's totals; the CPU itself never runs. Two reference
 * cycles make a core cycle and four slots, so that derived events differ from each other.
 */
#ifndef TESTS_C_TEST_PCPU_H_
#define TESTS_C_TEST_PCPU_H_

#include <stdlib.h>

#include "pcpu/pcpu.h"
#include "test.h"

#define ALL_GP(nr) ((1ull << (nr)) - 1)
#define FIXED(i) (1ull << (32 + (i)))

struct bench {
	struct pcpu pcpu;
	struct event_totals guest;
	struct thresholds thresholds;
	struct event_map events;
	struct cpu *cpu;
	struct pp_check check;
	void *memory;
	u32 overflows;	   /* that asked for a PMI */
	u64 overflow_mask; /* on these counters */
};

static const struct cpu_ops bench_ops;

static void bench_overflow(void *ctx, unsigned int idx)
{
	struct bench *b = ctx;

	b->overflows++;
	b->overflow_mask |= 1ull << idx;
}

static u64 bench_now(void *ctx)
{
	return pcpu_tsc(ctx);
}

static void bench_changed(void *ctx)
{
	(void)ctx;
}

static const struct lapic_ops bench_lapic_ops = {.now = bench_now, .changed = bench_changed};

static struct bench *bench_of(const struct pp_pmu *caps)
{
	const u64 gp = ALL_GP(caps->nr_gp);
	const struct event_map_entry events[] = {
		{0x00c0, gp | FIXED(0), EVENT_INSTRUCTIONS},
		{0x003c, gp | FIXED(1), EVENT_CYCLES},
		{0x0300, FIXED(2), EVENT_REF_CYCLES},
		{0x00c4, gp, EVENT_BRANCHES},
		{0x01d1, gp & 0xf, EVENT_LOADS}, /* GP 0-3 only */
		{0x02d1, gp & 0x3, EVENT_STORES},
		{0x04d1, gp & 0x1, EVENT_LLC_MISSES},
	};
	u32 *costs = calloc(NR_COSTS, sizeof(*costs));
	struct bench *b = calloc(1, sizeof(*b));
	struct cpu_config config;
	struct pcpu *p = &b->pcpu;

	b->memory = aligned_alloc(4096, 4096);
	memset(b->memory, 0, 4096);
	config = (struct cpu_config){
		.ram = {b->memory, 4096}, .ops = &bench_ops, .ops_ctx = b, .check = &b->check};
	if (cpu_new(&b->cpu, &config))
		abort();
	p->check = &b->check;
	p->clk = (struct core_clock){.ref_num = 2, .ref_den = 1, .issue_width = 4};
	p->pmi_at = NO_DEADLINE;
	p->time_limit = NO_DEADLINE;
	p->stop_at = NO_DEADLINE;
	if (account_init(&p->account, &b->check, costs, 0, 0) ||
	    event_map_init(&b->events, events, ARRAY_SIZE(events)))
		abort();
	p->events = &b->events;
	hwpmu_init(&p->pmu, caps, &b->events, &p->clk);
	pcpu_start(p);
	p->cpu = b->cpu;
	hwpmu_switch_guest(&p->pmu, &b->guest, &p->account.host, &b->thresholds);
	p->pmu.overflow = bench_overflow;
	p->pmu.overflow_ctx = b;
	lapic_init(&p->lapic, 0, &bench_lapic_ops, p);
	free(costs);
	return b;
}

static inline struct bench *bench_new(unsigned int nr_gp, unsigned int nr_fixed)
{
	const struct pp_pmu caps = {.version = 5,
				    .nr_gp = nr_gp,
				    .nr_fixed = nr_fixed,
				    .gp_width = 48,
				    .fixed_width = 48,
				    .fw_write = 1,
				    .pdcm = 1,
				    .perf_capabilities = 1u << 13};

	return bench_of(&caps);
}

static void bench_free(struct bench *b)
{
	EXPECT_TRUE(!b->check.broken);
	cpu_free(b->cpu);
	event_map_free(&b->events);
	account_free(&b->pcpu.account);
	free(b->memory);
	free(b);
}

static inline void bench_cycles(struct bench *b, u64 cycles)
{
	b->guest.sub[PRIV_OS] += cycles * SUB_PER_CYCLE;
}

static inline void bench_count(struct bench *b, unsigned int event, u64 n)
{
	b->guest.count[PRIV_OS][event] += n;
}

#endif /* TESTS_C_TEST_PCPU_H_ */
