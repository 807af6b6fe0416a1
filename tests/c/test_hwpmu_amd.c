// SPDX-License-Identifier: Apache-2.0
/* test_hwpmu_amd.c - the physical PMU of AMD: registers by their numbers, sides of VMRUN, overflow. */
#include "pmu/hwpmu.h"
#include "test.h"

#define INSTRUCTIONS 0x00c0ull
#define COUNT                                                                                      \
	(INSTRUCTIONS | ARCH_PERFMON_EVENTSEL_OS | ARCH_PERFMON_EVENTSEL_USR |                     \
	 ARCH_PERFMON_EVENTSEL_ENABLE)

static const struct core_clock clk = {1, 1, 6};
static const struct event_map_entry entries[] = {
	{.config = INSTRUCTIONS, .counters = 0x3f, .feed = EVENT_INSTRUCTIONS},
	{.config = 0x1000000c0ull, .counters = 0x3f, .feed = EVENT_LOADS},
};

static struct hwpmu pmu;
static struct event_map events;
static struct event_totals guest, host;
static struct thresholds thresholds;
static unsigned int pmis;

static void overflow(void *ctx, unsigned int idx)
{
	(void)ctx;
	(void)idx;
	pmis++;
}

static void start(u32 version, bool core, bool svme)
{
	const struct pp_pmu caps = {
		.vendor = PP_VENDOR_AMD,
		.version = version,
		.nr_gp = core ? 6 : 4,
		.gp_width = 48,
		.perfctr_core = core,
	};

	guest = host = (struct event_totals){0};
	pmis = 0;
	if (!events.entries)
		event_map_init(&events, entries, ARRAY_SIZE(entries));
	hwpmu_init(&pmu, &caps, &events, &clk);
	events.code = pmu.vendor->event_code;
	thresholds = (struct thresholds){0};
	hwpmu_connect(&pmu, &guest, &host, &thresholds);
	pmu.svme = svme;
	pmu.overflow = overflow;
}

static u64 rd(u32 msr)
{
	u64 value = 0;

	EXPECT_EQ(0, hwpmu_rdmsr(&pmu, msr, &value));
	return value;
}

static void wr(u32 msr, u64 value)
{
	EXPECT_EQ(0, hwpmu_wrmsr(&pmu, msr, value));
}

static bool owned(u32 msr)
{
	return hwpmu_owns_msr(&pmu, msr);
}

TEST(registers_come_with_what_cpuid_says)
{
	start(2, true, false);
	EXPECT_EQ(true, owned(MSR_F15H_PERF_CTL0 + 10) && owned(MSR_F15H_PERF_CTR0 + 10));
	EXPECT_EQ(false, owned(MSR_F15H_PERF_CTL0 + 12) || owned(MSR_F15H_PERF_CTR0 + 12));
	EXPECT_EQ(true, owned(MSR_K7_EVNTSEL0 + 3) && owned(MSR_K7_PERFCTR0 + 3));
	EXPECT_EQ(false, owned(MSR_K7_PERFCTR0 + 4));
	EXPECT_EQ(true, owned(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET));
	EXPECT_EQ(false, owned(MSR_CORE_PERF_GLOBAL_CTRL) || owned(MSR_IA32_PERFCTR0));
	start(1, true, false);
	EXPECT_EQ(false, owned(MSR_AMD64_PERF_CNTR_GLOBAL_CTL));
	EXPECT_EQ(true, owned(MSR_F15H_PERF_CTL0));
	start(1, false, false);
	EXPECT_EQ(false, owned(MSR_F15H_PERF_CTL0));
	EXPECT_EQ(true, owned(MSR_K7_EVNTSEL0));
}

TEST(no_write_faults_and_reserved_bits_go)
{
	start(2, true, false);
	wr(MSR_F15H_PERF_CTL0, ~0ull & ~ARCH_PERFMON_EVENTSEL_ENABLE);
	/* 63:42, 39:36, 21, 19 and EN */
	EXPECT_EQ(0x30fffffffffull & ~(BIT_ULL(19) | BIT_ULL(21) | BIT_ULL(22)),
		  rd(MSR_K7_EVNTSEL0));
	wr(MSR_F15H_PERF_CTR0, ~0ull);
	EXPECT_EQ(GENMASK_ULL(47, 0), rd(MSR_K7_PERFCTR0));
	wr(MSR_AMD64_PERF_CNTR_GLOBAL_CTL, ~0ull);
	EXPECT_EQ(0x3f, rd(MSR_AMD64_PERF_CNTR_GLOBAL_CTL));
	wr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS, ~0ull);
	EXPECT_EQ(0, rd(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS));
	wr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_SET, ~0ull);
	EXPECT_EQ(0x3f, rd(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS));
	wr(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS_CLR, ~5ull);
	EXPECT_EQ(5, rd(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS));
}

/* What the guest and the host retire, by the two bits and SVME. */
TEST(sides_of_vmrun)
{
	static const struct {
		u64 bits;
		bool svme;
		u64 expected;
	} cases[] = {
		{0, false, 11},
		{0, true, 11},
		{AMD64_EVENTSEL_GUESTONLY, true, 1},
		{AMD64_EVENTSEL_HOSTONLY, true, 10},
		{AMD64_EVENTSEL_GUESTONLY | AMD64_EVENTSEL_HOSTONLY, true, 11},
		{AMD64_EVENTSEL_GUESTONLY, false, 0},
		{AMD64_EVENTSEL_HOSTONLY, false, 0},
		{AMD64_EVENTSEL_GUESTONLY | AMD64_EVENTSEL_HOSTONLY, false, 0},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		start(2, true, cases[i].svme);
		wr(MSR_F15H_PERF_CTL0, COUNT | cases[i].bits);
		guest.count[PRIV_OS][EVENT_INSTRUCTIONS] += 1;
		host.count[PRIV_OS][EVENT_INSTRUCTIONS] += 10;
		EXPECT_EQ(cases[i].expected, rd(MSR_F15H_PERF_CTR0));
	}
}

/* A counter that does not count the guest does not stop it. */
TEST(room_is_that_of_counters_that_count_the_guest)
{
	struct cpu_room room;

	start(2, true, true);
	wr(MSR_F15H_PERF_CTL0, COUNT | AMD64_EVENTSEL_HOSTONLY);
	wr(MSR_F15H_PERF_CTR0, GENMASK_ULL(47, 0) - 4);
	cpu_room_unlimited(&room);
	hwpmu_room(&pmu, PRIV_OS, &room);
	EXPECT_EQ(0, room.watched);
	wr(MSR_F15H_PERF_CTL0, COUNT | AMD64_EVENTSEL_GUESTONLY);
	hwpmu_room(&pmu, PRIV_OS, &room);
	EXPECT_EQ(5, room.events[EVENT_INSTRUCTIONS]);
}

TEST(the_event_select_has_twelve_bits)
{
	start(2, true, false);
	wr(MSR_F15H_PERF_CTL0, COUNT);
	wr(MSR_F15H_PERF_CTL0 + 2, COUNT | 1ull << 32);
	wr(MSR_F15H_PERF_CTL0 + 4, COUNT | 2ull << 32);
	guest.count[PRIV_OS][EVENT_INSTRUCTIONS] += 7;
	guest.count[PRIV_OS][EVENT_LOADS] += 3;
	EXPECT_EQ(7, rd(MSR_F15H_PERF_CTR0));
	EXPECT_EQ(3, rd(MSR_F15H_PERF_CTR0 + 2));
	EXPECT_EQ(0, rd(MSR_F15H_PERF_CTR0 + 4));
}

TEST(an_overflow_sets_the_status_and_asks_for_a_pmi)
{
	start(2, true, false);
	wr(MSR_F15H_PERF_CTR0 + 10, GENMASK_ULL(47, 0));
	wr(MSR_F15H_PERF_CTL0 + 10, COUNT | ARCH_PERFMON_EVENTSEL_INT);
	guest.count[PRIV_OS][EVENT_INSTRUCTIONS] += 3;
	EXPECT_EQ(true, hwpmu_land(&pmu));
	EXPECT_EQ(1, pmis);
	EXPECT_EQ(1u << 5, rd(MSR_AMD64_PERF_CNTR_GLOBAL_STATUS));
	EXPECT_EQ(2, rd(MSR_F15H_PERF_CTR0 + 10));
}

TEST(rdpmc_takes_an_index)
{
	u64 value;

	start(2, true, false);
	wr(MSR_F15H_PERF_CTR0 + 10, 77);
	EXPECT_EQ(0, hwpmu_rdpmc(&pmu, 5, &value));
	EXPECT_EQ(77, value);
	EXPECT_EQ(-1, hwpmu_rdpmc(&pmu, 6, &value));
	EXPECT_EQ(-1, hwpmu_rdpmc(&pmu, 1u << 30, &value));
	EXPECT_EQ(-1, hwpmu_rdpmc(&pmu, 1u << 31, &value));
}

TEST_MAIN()
