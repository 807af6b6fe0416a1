/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_perf_amd.c - host perf on AMD's PMUs (perf/amd.c): selectors and the side that they count, on and off
 * with and without global registers, overflows by the top bit and by the status.
 *
 * Three PMUs: that of the K7, the core extension, PerfMonV2.
 */
#include "perf/perf_event.h"

#include "perf/perf_private.h"
#include "test_pcpu.h"

#define SELECTOR                                                                                   \
	(0xc0ull | ARCH_PERFMON_EVENTSEL_OS | ARCH_PERFMON_EVENTSEL_USR |                          \
	 ARCH_PERFMON_EVENTSEL_INT | ARCH_PERFMON_EVENTSEL_ENABLE)
#define WRAP (1ull << 48)

static struct perf_system perf_system;
static struct perf_cpu perf;
static u32 nr_overflows;

static const struct pp_pmu k7 = {.vendor = PP_VENDOR_AMD, .version = 1, .nr_gp = 4, .gp_width = 48};
static const struct pp_pmu core = {
	.vendor = PP_VENDOR_AMD, .version = 1, .nr_gp = 6, .gp_width = 48, .perfctr_core = 1};
static const struct pp_pmu v2 = {
	.vendor = PP_VENDOR_AMD, .version = 2, .nr_gp = 6, .gp_width = 48, .perfctr_core = 1};
static const struct pp_pmu *const all[] = {&k7, &core, &v2};

static struct bench *host_new(const struct pp_pmu *caps)
{
	struct bench *b = bench_of(caps);

	b->events.code = b->pcpu.pmu.vendor->event_code;
	b->pcpu.pmu.svme = true;
	lapic_mmio_write(&b->pcpu.lapic, APIC_SPIV, 0x1ff);
	lapic_mmio_write(&b->pcpu.lapic, APIC_LVTPC, APIC_DM_NMI);
	perf_system_init(&perf_system, 1000000, 1000000);
	perf_init(&perf, &b->pcpu, &perf_system, 0);
	nr_overflows = 0;
	return b;
}

static void on_overflow(struct perf_event *event)
{
	(void)event;
	nr_overflows++;
}

static struct perf_event *open_attr(const struct perf_event_attr *attr)
{
	int error;

	return perf_event_create_kernel_counter(&perf, attr, NULL, on_overflow, NULL, &error);
}

static struct perf_event *open_period(u64 config, u64 period)
{
	const struct perf_event_attr attr = {
		.config = config, .pinned = true, .sample_period = period};

	return open_attr(&attr);
}

static u64 rd(struct bench *b, u32 msr)
{
	u64 value = 0;

	EXPECT_EQ(0, hwpmu_rdmsr(&b->pcpu.pmu, msr, &value));
	return value;
}

static u64 selector(struct bench *b, const struct perf_event *e)
{
	u32 idx = (u32)e->hw.idx;

	return rd(b, b->pcpu.pmu.caps.perfctr_core ? (u32)MSR_F15H_PERF_CTL0 + 2 * idx
						   : (u32)MSR_K7_EVNTSEL0 + idx);
}

static u64 counter(struct bench *b, const struct perf_event *e)
{
	u32 idx = (u32)e->hw.idx;

	return rd(b, b->pcpu.pmu.caps.perfctr_core ? (u32)MSR_F15H_PERF_CTR0 + 2 * idx
						   : (u32)MSR_K7_PERFCTR0 + idx);
}

/* ---- selectors ---- */

TEST(each_pmu_has_its_driver)
{
	static const struct x86_pmu *const drivers[] = {&amd_pmu, &amd_pmu, &amd_pmu_v2};

	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++) {
		struct bench *b = host_new(all[i]);

		EXPECT_TRUE(perf.driver == drivers[i]);
		bench_free(b);
	}
}

/* GuestOnly is bit 40, HostOnly bit 41; who counts neither side counts at no privilege. */
TEST(a_selector_has_the_bit_of_the_side_that_it_counts)
{
	static const u64 expected[2][2] = {
		{SELECTOR, SELECTOR | 1ull << 41},
		{SELECTOR | 1ull << 40,
		 SELECTOR & ~(ARCH_PERFMON_EVENTSEL_OS | ARCH_PERFMON_EVENTSEL_USR)}};

	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++) {
		struct bench *b = host_new(all[i]);

		for (unsigned int n = 0; n < 4; n++) {
			const struct perf_event_attr attr = {.config = 0xc0,
							     .pinned = true,
							     .exclude_host = n & 2,
							     .exclude_guest = n & 1};

			EXPECT_EQ(expected[n >> 1][n & 1], selector(b, open_attr(&attr)));
		}
		bench_free(b);
	}
}

/* In cycles; the costs of this host are 0. */
TEST(host_and_guest_are_counted_apart)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++) {
		const struct perf_event_attr attr[] = {
			{.config = 0x3c, .pinned = true},
			{.config = 0x3c, .pinned = true, .exclude_host = true},
			{.config = 0x3c, .pinned = true, .exclude_guest = true},
			{.config = 0x3c,
			 .pinned = true,
			 .exclude_host = true,
			 .exclude_guest = true}};
		static const u64 expected[] = {10 + 7, 10, 7, 0};
		struct bench *b = host_new(all[i]);
		struct perf_event *e[4];

		for (unsigned int n = 0; n < 4; n++)
			e[n] = open_attr(&attr[n]);
		bench_cycles(b, 10);
		b->pcpu.account.host.sub[PRIV_OS] += 7 * SUB_PER_CYCLE;
		for (unsigned int n = 0; n < 4; n++)
			EXPECT_EQ(expected[n], perf_event_read_value(&perf, e[n]));
		bench_free(b);
	}
}

TEST(an_event_goes_where_its_list_says)
{
	struct bench *b = host_new(&v2);
	struct perf_event *only_0 = open_period(0x4d1, 1000), *two;

	EXPECT_EQ(0, only_0->hw.idx); /* counter 0 only */
	two = open_period(0x2d1, 1000);
	EXPECT_EQ(1, two->hw.idx); /* 0 and 1 */
	EXPECT_EQ(PERF_EVENT_STATE_ERROR, open_period(0x2d1, 1000)->state);
	EXPECT_EQ(2, open_period(0xc0, 1000)->hw.idx);
	bench_free(b);
}

/* Longer periods come in parts of half the range, so that a wrap clears the top bit. */
TEST(the_longest_period_keeps_the_top_bit)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++) {
		struct bench *b = host_new(all[i]);

		EXPECT_EQ(WRAP - ((1ull << 47) - 1), counter(b, open_period(0xc0, 1ull << 50)));
		EXPECT_EQ(WRAP - 100, counter(b, open_period(0xc0, 100)));
		bench_free(b);
	}
}

/* ---- on and off ---- */

TEST(what_is_paused_does_not_count)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++) {
		struct bench *b = host_new(all[i]);
		struct perf_event *e = open_period(0xc0, 1 << 20),
				  *other = open_period(0xc0, 1 << 20);

		bench_count(b, EVENT_INSTRUCTIONS, 5);
		EXPECT_EQ(5, perf_event_pause(&perf, e, false));
		EXPECT_EQ(SELECTOR & ~ARCH_PERFMON_EVENTSEL_ENABLE, selector(b, e));
		bench_count(b, EVENT_INSTRUCTIONS, 100);
		perf_event_enable(&perf, e);
		bench_count(b, EVENT_INSTRUCTIONS, 3);
		EXPECT_EQ(5 + 3, perf_event_read_value(&perf, e));
		EXPECT_EQ(5 + 100 + 3, perf_event_read_value(&perf, other));
		bench_free(b);
	}
}

/* Without global registers by the selectors, with PerfMonV2 by GLOBAL_CTL, selectors untouched. */
TEST(the_pmu_goes_off_and_on)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++) {
		struct bench *b = host_new(all[i]);
		struct perf_event *e = open_period(0xc0, 1 << 20);
		bool global = all[i] == &v2;

		perf_pmu_disable(&perf);
		EXPECT_EQ(global ? SELECTOR : SELECTOR & ~ARCH_PERFMON_EVENTSEL_ENABLE,
			  selector(b, e));
		if (global)
			EXPECT_EQ(0, rd(b, MSR_AMD64_PERF_CNTR_GLOBAL_CTL));
		bench_count(b, EVENT_INSTRUCTIONS, 100);
		perf_pmu_enable(&perf);
		EXPECT_EQ(SELECTOR, selector(b, e));
		if (global)
			EXPECT_EQ(0x3f, rd(b, MSR_AMD64_PERF_CNTR_GLOBAL_CTL));
		bench_count(b, EVENT_INSTRUCTIONS, 4);
		EXPECT_EQ(4, perf_event_read_value(&perf, e));
		bench_free(b);
	}
}

/* ---- overflows ---- */

TEST(an_overflow_is_served_and_the_next_period_is_loaded)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++) {
		struct bench *b = host_new(all[i]);
		struct perf_event *e = open_period(0xc0, 50), *longer = open_period(0xc0, 1000);

		bench_count(b, EVENT_INSTRUCTIONS, 49);
		EXPECT_TRUE(!hwpmu_land(&b->pcpu.pmu));
		/* Two late, as by a skid: the next period is shorter by them. */
		bench_count(b, EVENT_INSTRUCTIONS, 3);
		EXPECT_TRUE(hwpmu_land(&b->pcpu.pmu));
		perf_event_nmi_handler(&perf);
		EXPECT_EQ(1, nr_overflows);
		EXPECT_EQ(WRAP - 48, counter(b, e));
		EXPECT_EQ(52, perf_event_read_value(&perf, e));
		EXPECT_EQ(52, perf_event_read_value(&perf, longer));
		EXPECT_EQ(SELECTOR, selector(b, e));
		if (all[i] == &v2) {
			EXPECT_EQ(0, rd(b, MSR_AMD64_PERF_CNTR_GLOBAL_STATUS));
			EXPECT_EQ(0x3f, rd(b, MSR_AMD64_PERF_CNTR_GLOBAL_CTL));
		}
		bench_free(b);
	}
}

TEST(overflows_at_one_moment_are_all_served)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++) {
		struct bench *b = host_new(all[i]);

		for (unsigned int n = 0; n < 3; n++)
			open_period(0xc0, 50);
		open_period(0xc0, 51);
		bench_count(b, EVENT_INSTRUCTIONS, 50);
		EXPECT_TRUE(hwpmu_land(&b->pcpu.pmu));
		perf_event_nmi_handler(&perf);
		EXPECT_EQ(3, nr_overflows);
		bench_free(b);
	}
}

/* Of another NMI: nothing has overflowed, and nothing is disturbed. */
TEST(an_nmi_for_nothing)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++) {
		struct bench *b = host_new(all[i]);
		struct perf_event *e = open_period(0xc0, 50);

		bench_count(b, EVENT_INSTRUCTIONS, 20);
		perf_event_nmi_handler(&perf);
		EXPECT_EQ(0, nr_overflows);
		bench_count(b, EVENT_INSTRUCTIONS, 5);
		EXPECT_EQ(25, perf_event_read_value(&perf, e));
		EXPECT_EQ(WRAP - 25, counter(b, e));
		bench_free(b);
	}
}

/* A handler may pause the event whose period is over: it stays off behind the PMI. */
static void pause_it(struct perf_event *event)
{
	nr_overflows++;
	perf_event_pause(&perf, event, false);
}

TEST(a_handler_may_pause_its_event)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++) {
		const struct perf_event_attr attr = {
			.config = 0xc0, .pinned = true, .sample_period = 50};
		struct bench *b = host_new(all[i]);
		struct perf_event *e;
		int error;

		e = perf_event_create_kernel_counter(&perf, &attr, NULL, pause_it, NULL, &error);
		bench_count(b, EVENT_INSTRUCTIONS, 50);
		EXPECT_TRUE(hwpmu_land(&b->pcpu.pmu));
		perf_event_nmi_handler(&perf);
		EXPECT_EQ(1, nr_overflows);
		bench_count(b, EVENT_INSTRUCTIONS, 500);
		EXPECT_EQ(50, perf_event_read_value(&perf, e));
		EXPECT_TRUE(!(selector(b, e) & ARCH_PERFMON_EVENTSEL_ENABLE));
		bench_free(b);
	}
}

TEST_MAIN()
