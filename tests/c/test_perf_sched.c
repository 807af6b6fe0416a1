/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_perf_sched.c - groups, assignment over time, rotation between contexts, throttling and frequency
 * mode of host perf (perf/).
 *
 * Of the events of test_pcpu.h, 0x04d1 fits GP 0 alone, 0x02d1 GP 0 and 1, 0x01d1 GP 0 to 3. A TSC cycle is
 * a nanosecond, the tick 1 ms.
 */
#include "perf/perf_event.h"

#include "perf/perf_private.h"
#include "test_pcpu.h"

#include <errno.h>

#define MUX 1000
#define TICK 1000000

#define GP0 0x04d1
#define GP0_1 0x02d1
#define GP0_3 0x01d1

static struct perf_system host;
static struct perf_cpu perf;
static struct perf_event_context thread;

static struct bench *host_new(void)
{
	struct bench *b = bench_new(8, 4);

	lapic_mmio_write(&b->pcpu.lapic, APIC_SPIV, 0x1ff);
	lapic_mmio_write(&b->pcpu.lapic, APIC_LVTPC, APIC_DM_NMI);
	perf_system_init(&host, 1000000, TICK);
	host.mux_interval = MUX;
	perf_init(&perf, &b->pcpu, &host, 0);
	perf_event_context_init(&thread);
	perf_event_task_sched_in(&perf, &thread);
	return b;
}

static struct perf_event *open_in(struct perf_event_context *ctx, u64 config, bool pinned,
				  struct perf_event *leader)
{
	const struct perf_event_attr attr = {.config = config, .pinned = pinned};
	int error;

	return perf_event_open(&perf, &attr, ctx, leader, NULL, NULL, &error);
}

static struct perf_event *flexible(u64 config)
{
	return open_in(NULL, config, false, NULL);
}

static bool active(const struct perf_event *e)
{
	return e->state == PERF_EVENT_STATE_ACTIVE;
}

static void pass(struct bench *b, u64 tsc)
{
	b->pcpu.idle_tsc += tsc;
}

/* ---- groups ---- */

TEST(a_group_goes_on_as_a_whole_or_not_at_all)
{
	struct bench *b = host_new();
	struct perf_event *leader = flexible(0x00c4);
	struct perf_event *sibling = open_in(NULL, GP0, false, leader), *rival;

	EXPECT_TRUE(active(leader) && active(sibling));
	pass(b, 100);
	/* It takes the only counter of the sibling; the leader could stay, alone. */
	rival = open_in(NULL, GP0, true, NULL);
	EXPECT_TRUE(active(rival));
	EXPECT_EQ(PERF_EVENT_STATE_INACTIVE, leader->state);
	EXPECT_EQ(PERF_EVENT_STATE_INACTIVE, sibling->state);
	bench_count(b, EVENT_BRANCHES, 7);
	pass(b, 40);
	perf_event_release_kernel(&perf, rival);
	perf_mux_hrtimer_handler(&perf);
	EXPECT_TRUE(active(leader) && active(sibling));
	bench_count(b, EVENT_BRANCHES, 2);
	EXPECT_EQ(2, perf_event_read_value(&perf, leader));
	perf_update_times(&perf, sibling);
	EXPECT_EQ(140, sibling->time_enabled);
	EXPECT_EQ(100, sibling->time_running);
	bench_free(b);
}

TEST(a_group_that_never_fits_is_refused)
{
	const struct perf_event_attr attr = {.config = GP0},
				     pinned = {.config = 0xc4, .pinned = true};
	struct bench *b = host_new();
	struct perf_event *leader = flexible(GP0), *sibling = open_in(NULL, 0xc4, false, leader);
	int error;

	EXPECT_TRUE(!perf_event_open(&perf, &attr, NULL, leader, NULL, NULL, &error));
	EXPECT_EQ(-EINVAL, error);
	/* No group of another context, none below a sibling, no pinned sibling. */
	EXPECT_TRUE(!perf_event_open(&perf, &attr, &thread, leader, NULL, NULL, &error));
	EXPECT_EQ(-EINVAL, error);
	EXPECT_TRUE(!perf_event_open(&perf, &attr, NULL, sibling, NULL, NULL, &error));
	EXPECT_EQ(-EINVAL, error);
	EXPECT_TRUE(!perf_event_open(&perf, &pinned, NULL, leader, NULL, NULL, &error));
	EXPECT_EQ(-EINVAL, error);
	EXPECT_TRUE(active(leader) && active(sibling));
	bench_free(b);
}

/* A sibling's enabled time is the leader's too: it goes only while both are enabled. */
TEST(a_disabled_leader_takes_its_siblings_out)
{
	struct bench *b = host_new();
	struct perf_event *leader = flexible(0xc4), *sibling = open_in(NULL, GP0, false, leader);

	pass(b, 10);
	perf_event_disable(&perf, leader);
	EXPECT_EQ(PERF_EVENT_STATE_OFF, leader->state);
	EXPECT_EQ(PERF_EVENT_STATE_INACTIVE, sibling->state);
	pass(b, 100);
	perf_event_enable(&perf, leader);
	EXPECT_TRUE(active(leader) && active(sibling));
	pass(b, 5);
	perf_update_times(&perf, sibling);
	EXPECT_EQ(15, sibling->time_enabled);
	EXPECT_EQ(15, sibling->time_running);
	bench_free(b);
}

/* Two for GP 0: the second waits, and would go on if anybody scheduled the context anew. */
TEST(a_sibling_of_a_group_that_is_off_moves_nobody)
{
	struct bench *b = host_new();
	struct perf_event *leader = open_in(NULL, GP0, true, NULL), *waits = flexible(GP0),
			  *sibling;

	EXPECT_TRUE(active(leader) && !active(waits));
	perf_event_disable(&perf, leader);
	sibling = open_in(NULL, 0xc4, false, leader);
	EXPECT_EQ(PERF_EVENT_STATE_INACTIVE, sibling->state);
	EXPECT_EQ(PERF_EVENT_STATE_INACTIVE, waits->state);
	pass(b, 10);
	perf_update_times(&perf, sibling);
	EXPECT_EQ(0, sibling->time_enabled);
	/* Any other event does schedule it. */
	EXPECT_TRUE(active(flexible(0xc4)) && active(waits));
	bench_free(b);
}

TEST(siblings_outlive_their_leader)
{
	struct bench *b = host_new();
	struct perf_event *leader = open_in(NULL, 0xc4, true, NULL);
	struct perf_event *sibling = open_in(NULL, GP0, false, leader);

	perf_event_release_kernel(&perf, leader);
	EXPECT_TRUE(active(sibling));
	EXPECT_TRUE(sibling->group_leader == sibling);
	/* Alone it is what it was opened as: flexible, which gives way. */
	open_in(NULL, GP0, true, NULL);
	EXPECT_EQ(PERF_EVENT_STATE_INACTIVE, sibling->state);
	bench_free(b);
}

/* ---- counters ---- */

TEST(who_can_stay_stays)
{
	struct bench *b = host_new();
	struct perf_event *a = flexible(GP0_1), *second = flexible(GP0_3), *c;

	EXPECT_EQ(0, a->hw.idx);
	EXPECT_EQ(1, second->hw.idx);
	perf_event_release_kernel(&perf, a);
	/* By weight it would go to GP 0; where it was last is free. */
	c = flexible(GP0_3);
	EXPECT_EQ(0, second->hw.idx); /* a new event was nowhere: all are placed anew */
	EXPECT_EQ(1, c->hw.idx);
	perf_event_disable(&perf, second);
	perf_event_enable(&perf, second);
	EXPECT_EQ(0, second->hw.idx);
	perf_event_disable(&perf, c);
	perf_event_disable(&perf, second);
	perf_event_enable(&perf, c);
	EXPECT_EQ(1, c->hw.idx); /* GP 0 is free as well */
	bench_free(b);
}

/* ---- rotation ---- */

/* Three of the CPU, two of the thread, one counter: those of the CPU take turns, and the thread's, which
 * rank below them, wait although they rotate too. */
TEST(the_cpus_groups_keep_the_threads_out)
{
	struct bench *b = host_new();
	struct perf_event *cpu[3], *task[2];

	for (unsigned int i = 0; i < 3; i++)
		cpu[i] = flexible(GP0);
	for (unsigned int i = 0; i < 2; i++)
		task[i] = open_in(&thread, GP0, false, NULL);
	for (unsigned int turn = 0; turn < 7; turn++) {
		for (unsigned int i = 0; i < 3; i++)
			EXPECT_EQ(i == turn % 3, active(cpu[i]));
		EXPECT_TRUE(!active(task[0]) && !active(task[1]));
		EXPECT_EQ((turn + 1) * MUX, perf_deadline(&perf));
		pass(b, MUX);
		perf_mux_hrtimer_handler(&perf);
	}
	for (unsigned int i = 0; i < 3; i++)
		perf_event_release_kernel(&perf, cpu[i]);
	perf_mux_hrtimer_handler(&perf);
	EXPECT_EQ(1, active(task[0]) + active(task[1]));
	bench_free(b);
}

TEST(the_timer_stops_when_everybody_is_in)
{
	struct bench *b = host_new();
	struct perf_event *first = flexible(GP0), *second = flexible(GP0);

	EXPECT_EQ(MUX, perf_deadline(&perf));
	perf_event_release_kernel(&perf, first);
	pass(b, MUX);
	perf_mux_hrtimer_handler(&perf);
	EXPECT_TRUE(active(second));
	/* It has rotated one that waited; at the next expiry there is none. */
	EXPECT_EQ(2 * MUX, perf_deadline(&perf));
	pass(b, MUX);
	perf_mux_hrtimer_handler(&perf);
	EXPECT_EQ(NO_DEADLINE, perf_deadline(&perf));
	bench_free(b);
}

/* ---- samples ---- */

static struct perf_event *sampling(u64 period, bool freq, struct perf_event *leader)
{
	const struct perf_event_attr attr = {.config = 0xc4, .sample_period = period, .freq = freq};
	int error;

	return perf_event_open(&perf, &attr, NULL, leader, NULL, NULL, &error);
}

static void overflow(struct bench *b, u64 n)
{
	bench_count(b, EVENT_BRANCHES, n);
	if (hwpmu_land(&b->pcpu.pmu))
		perf_event_nmi_handler(&perf);
}

/* 3000 a second are 3 a tick of 1 ms: with the third the group is off until the tick, on its counters. */
TEST(too_many_samples_wait_for_the_tick)
{
	struct bench *b = host_new();
	struct perf_event *e, *sibling;

	host.sample_rate = 3000;
	e = sampling(10, false, NULL);
	sibling = open_in(NULL, 0xc4, false, e);
	for (unsigned int i = 0; i < 5; i++)
		overflow(b, 10);
	EXPECT_EQ(3, e->samples);
	EXPECT_EQ(1, e->throttles);
	EXPECT_TRUE(active(e) && active(sibling) && perf_needs_tick(&perf));
	EXPECT_EQ(30, perf_event_peek(&perf, e));
	EXPECT_EQ(30, perf_event_peek(&perf, sibling));
	perf_event_task_tick(&perf);
	EXPECT_TRUE(!perf_needs_tick(&perf));
	overflow(b, 10);
	EXPECT_EQ(4, e->samples);
	EXPECT_EQ(40, perf_event_read_value(&perf, e));
	EXPECT_EQ(40, perf_event_read_value(&perf, sibling));
	bench_free(b);
}

/* Two a tick, in a row of ticks: nobody is throttled. */
TEST(each_tick_counts_its_own_samples)
{
	struct bench *b = host_new();
	struct perf_event *e;

	host.sample_rate = 3000;
	e = sampling(10, false, NULL);
	for (unsigned int i = 0; i < 4; i++) {
		overflow(b, 10);
		overflow(b, 10);
		perf_event_task_tick(&perf);
	}
	EXPECT_EQ(8, e->samples);
	EXPECT_EQ(0, e->throttles);
	bench_free(b);
}

/* 1000 samples a second of an event that comes a million times a second want a period of 1000. At each tick
 * the period goes an eighth of the way there, rounded away from zero: up from 1 to within 7 of it. */
TEST(frequency_mode_finds_its_period)
{
	struct bench *b = host_new();
	struct perf_event *e = sampling(1000, true, NULL);
	s64 period = 1;

	host.sample_rate = 1ull << 40;
	EXPECT_EQ(1, e->hw.sample_period);
	EXPECT_TRUE(perf_needs_tick(&perf));
	for (unsigned int i = 0; i < 60; i++) {
		bench_count(b, EVENT_BRANCHES, 1000);
		pass(b, TICK);
		perf_event_task_tick(&perf);
		period += (1000 - period + (period <= 1000 ? 7 : -7)) / 8;
		EXPECT_EQ(period, e->hw.sample_period);
	}
	EXPECT_TRUE(period >= 1000 - 7 && period <= 1000 + 7);
	bench_free(b);
}

TEST(no_more_samples_a_second_than_the_host_allows)
{
	const struct perf_event_attr attr = {.config = 0xc4, .sample_period = 100001, .freq = true};
	struct bench *b = host_new();
	int error;

	EXPECT_TRUE(!perf_event_open(&perf, &attr, NULL, NULL, NULL, NULL, &error));
	EXPECT_EQ(-EINVAL, error);
	EXPECT_TRUE(!perf_needs_tick(&perf));
	bench_free(b);
}

/* ---- guest and host ---- */

static struct perf_event *open_sides(bool no_host, bool no_guest)
{
	const struct perf_event_attr attr = {.config = 0x3c,
					     .sample_period = 100,
					     .exclude_host = no_host,
					     .exclude_guest = no_guest};
	int error;

	return perf_event_open(&perf, &attr, NULL, NULL, NULL, NULL, &error);
}

static void host_works(struct bench *b, u64 cycles)
{
	b->pcpu.account.host.sub[PRIV_OS] += cycles * SUB_PER_CYCLE;
}

/* 30 cycles of the guest and 50 of the host, then 30 and 0 while it is off, then 25 and 5. */
TEST(a_count_is_the_guests_and_the_hosts)
{
	struct bench *b = host_new();
	struct perf_event *both;

	/* The guest's CPU produces the totals here, as pcpu.c sees them. */
	b->pcpu.retired = &b->guest;
	bench_cycles(b, 1000); /* before it was there */
	both = open_sides(false, false);
	bench_cycles(b, 30);
	host_works(b, 50);
	EXPECT_EQ(30, perf_event_guest_count(&perf, both));
	perf_event_disable(&perf, both);
	bench_cycles(b, 30);
	perf_event_enable(&perf, both);
	bench_cycles(b, 25);
	host_works(b, 5);
	EXPECT_EQ(30 + 50 + 25 + 5, perf_event_read_value(&perf, both));
	EXPECT_EQ(30 + 25, perf_event_guest_count(&perf, both));
	EXPECT_EQ(0, perf_event_guest_count(&perf, open_sides(false, true)));
	bench_free(b);
}

TEST(a_sample_is_whose_code_the_nmi_interrupted)
{
	struct bench *b = host_new();
	struct perf_event *e = open_sides(false, false);

	for (unsigned int i = 0; i < 3; i++) {
		bench_cycles(b, 100);
		EXPECT_TRUE(hwpmu_land(&b->pcpu.pmu));
		perf.guest_state = i == 1;
		perf_event_nmi_handler(&perf);
	}
	EXPECT_EQ(3, e->samples);
	EXPECT_EQ(1, e->guest_samples);
	bench_free(b);
}

/* ---- another CPU ---- */

TEST(a_threads_events_go_with_it_to_another_cpu)
{
	struct bench *b = host_new(), *b2 = bench_new(8, 4);
	static struct perf_cpu second;
	struct perf_event *e = open_in(&thread, 0xc4, true, NULL);

	perf_init(&second, &b2->pcpu, &host, 1);
	bench_count(b, EVENT_BRANCHES, 5);
	pass(b, 100);
	perf_event_task_sched_out(&perf);
	pass(b2, 7777);
	perf_event_task_sched_in(&second, &thread);
	EXPECT_TRUE(active(e));
	bench_count(b, EVENT_BRANCHES, 50);
	bench_count(b2, EVENT_BRANCHES, 3);
	pass(b2, 10);
	EXPECT_EQ(8, perf_event_read_value(&second, e));
	EXPECT_EQ(110, e->time_enabled);
	EXPECT_EQ(110, e->time_running);
	bench_free(b2);
	bench_free(b);
}

TEST_MAIN()
