/* SPDX-License-Identifier: Apache-2.0 */
/* test_perf_fault.c - faults of host perf by setting: who is hit, and how often (perf/perf_fault.c). */
#include "perf/perf_event.h"

#include "test_pcpu.h"

#include <errno.h>

#define TSC_KHZ 1000000
#define TICK 1000000 /* TSC cycles */

static struct perf_system host;
static struct perf_event_context thread, other_thread;
static struct perf_cpu perf;
static u32 nr_told, nr_dropped;

static struct bench *host_new(struct pp_perf_faults faults)
{
	struct bench *b = bench_new(8, 4);

	perf_system_init(&host, TSC_KHZ, TICK);
	host.faults = faults;
	perf_event_context_init(&thread);
	perf_event_context_init(&other_thread);
	perf_init(&perf, &b->pcpu, &host, 0);
	perf_event_task_sched_in(&perf, &thread);
	nr_told = nr_dropped = 0;
	return b;
}

static void told(struct perf_event *event)
{
	(void)event;
	nr_told++;
}

static void dropped(struct perf_event *event)
{
	(void)event;
	nr_dropped++;
}

static struct perf_event *make(struct perf_event_context *ctx, int *error)
{
	const struct perf_event_attr attr = {.config = 0xd0, .pinned = true, .sample_period = 1000};

	return perf_event_create_kernel_counter(&perf, &attr, ctx, told, NULL, error);
}

/* A bit for each of @nr creations, lowest first: it was refused. */
static u64 refusals(struct perf_event_context *ctx, unsigned int nr)
{
	u64 refused = 0;

	for (unsigned int i = 0; i < nr; i++) {
		int error = 0;
		struct perf_event *event = make(ctx, &error);

		EXPECT_EQ(event ? 0 : -EOPNOTSUPP, error);
		if (event)
			perf_event_release_kernel(&perf, event);
		else
			refused |= BIT_ULL(i);
	}
	return refused;
}

TEST(every_nth_creation_is_refused)
{
	static const u64 expected[] = {0, 0xff, 0xaa, 0x24, 0x88};

	for (u32 interval = 0; interval < ARRAY_SIZE(expected); interval++) {
		struct bench *b = host_new((struct pp_perf_faults){.event_create = interval});

		EXPECT_EQ(expected[interval], refusals(&thread, 8));
		/* Another thread begins to count anew; the CPU's own events are not asked for. */
		EXPECT_EQ(expected[interval], refusals(&other_thread, 8));
		EXPECT_EQ(0, refusals(NULL, 8));
		bench_free(b);
	}
}

/* perf_event_open() is the host's own. */
TEST(what_is_no_kernel_counter_is_opened)
{
	struct bench *b = host_new((struct pp_perf_faults){.event_create = 1});
	const struct perf_event_attr attr = {.config = 0xd0};
	int error;

	EXPECT_TRUE(perf_event_open(&perf, &attr, &thread, NULL, NULL, NULL, &error));
	EXPECT_EQ(0, error);
	bench_free(b);
}

TEST(a_refused_period_changes_nothing)
{
	struct bench *b = host_new((struct pp_perf_faults){.event_period = 2});
	struct perf_event *event;
	int error;

	event = make(&thread, &error);
	EXPECT_EQ(0, perf_event_period(&perf, event, 500));
	EXPECT_EQ(-EINVAL, perf_event_period(&perf, event, 600));
	EXPECT_EQ(500, event->attr.sample_period);
	EXPECT_EQ(500, event->hw.sample_period);
	/* One that perf refuses by itself is not counted. */
	EXPECT_EQ(0, perf_event_period(&perf, event, 700));
	EXPECT_EQ(-EINVAL, perf_event_period(&perf, event, 0));
	EXPECT_EQ(-EINVAL, perf_event_period(&perf, event, 800));
	EXPECT_EQ(700, event->attr.sample_period);
	bench_free(b);
}

static void overflow(struct perf_event *event, u64 n)
{
	perf_event_disable(&perf, event);
	event->hw.period_left = 0; /* at its end */
	perf_event_enable(&perf, event);
	while (n--) {
		hwpmu_wrmsr(&perf.pcpu->pmu, MSR_IA32_PMC0 + (u32)event->hw.idx, 0);
		perf.pcpu->pmu.global_status |= BIT_ULL(event->hw.idx);
		event->hw.prev_count = hwpmu_value_mask(&perf.pcpu->pmu, 0) + 1 - 1000;
		event->hw.period_left = 1000;
		perf_event_nmi_handler(&perf);
	}
}

/* The sample is counted all the same: perf has seen it. */
TEST(every_nth_overflow_is_kept_from_its_handler)
{
	static const u32 expected[] = {0, 9, 4, 3, 2};

	for (u32 interval = 0; interval < ARRAY_SIZE(expected); interval++) {
		struct bench *b = host_new((struct pp_perf_faults){.overflow = interval});
		struct perf_event *event;
		int error;

		event = make(&thread, &error);
		event->overflow_dropped = dropped;
		overflow(event, 9);
		EXPECT_EQ(9, event->samples);
		EXPECT_EQ(expected[interval], nr_dropped);
		EXPECT_EQ(9 - expected[interval], nr_told);
		perf_event_release_kernel(&perf, event);
		nr_told = 0;
		event = make(NULL, &error);
		overflow(event, 9);
		EXPECT_EQ(9, nr_told);
		bench_free(b);
	}
}

TEST(a_request_waits_for_so_many_entries)
{
	struct bench *b = host_new((struct pp_perf_faults){.late_reprogram = 2});

	for (unsigned int request = 0; request < 3; request++) {
		EXPECT_TRUE(perf_reprogram_is_late(&perf, &thread));
		EXPECT_TRUE(perf_reprogram_is_late(&perf, &thread));
		EXPECT_TRUE(!perf_reprogram_is_late(&perf, &thread));
		EXPECT_EQ(request + 1, b->pcpu.account.stats[STAT_PERF_FAULTS]);
	}
	host.faults.late_reprogram = 0;
	EXPECT_TRUE(!perf_reprogram_is_late(&perf, &thread));
	bench_free(b);
}

TEST_MAIN()
