/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_perf.c - host perf: placement, periods, error state, order, guest context (perf/).
 *
 * Placement is compared to a slow reference: every subset of counters is tried. perf's own greedy
 * search may fail where an assignment exists only when constraints overlap without nesting; those
 * here nest.
 */
#include "perf/perf_event.h"

#include "perf/perf_private.h"
#include "test_pcpu.h"

#include <errno.h>

#define MUX 1000 /* TSC cycles */
#define TSC_KHZ 1000000
#define TICK 1000000 /* TSC cycles: 1 ms */

static struct perf_system perf_system;
static struct perf_event_context thread, other_thread;
static struct perf_cpu perf;

static struct bench *host_new(void)
{
	struct bench *b = bench_new(8, 4);

	lapic_mmio_write(&b->pcpu.lapic, APIC_SPIV, 0x1ff);
	lapic_mmio_write(&b->pcpu.lapic, APIC_LVTPC, APIC_DM_NMI);
	perf_system_init(&perf_system, TSC_KHZ, TICK);
	perf_system.mux_interval = MUX;
	perf_event_context_init(&thread);
	perf_event_context_init(&other_thread);
	perf_init(&perf, &b->pcpu, &perf_system, 0);
	perf_event_task_sched_in(&perf, &thread);
	return b;
}

static u32 nr_overflows;

static void on_overflow(struct perf_event *event)
{
	(void)event;
	nr_overflows++;
}

static struct perf_event *open_event(u64 config, bool pinned, bool task)
{
	struct perf_event_attr attr = {.config = config,
				       .pinned = pinned,
				       .exclude_host = task,
				       .sample_period = 1ull << 40};
	int error;

	return perf_event_create_kernel_counter(&perf, &attr, task ? &thread : NULL, on_overflow,
						NULL, &error);
}

static struct perf_event *open_period(u64 config, u64 period)
{
	struct perf_event_attr attr = {.config = config, .pinned = true, .sample_period = period};
	int error;

	nr_overflows = 0;
	return perf_event_create_kernel_counter(&perf, &attr, NULL, on_overflow, NULL, &error);
}

static bool active(const struct perf_event *e)
{
	return e->state == PERF_EVENT_STATE_ACTIVE;
}

/* ---- placement ---- */

TEST(an_event_with_a_fixed_counter_of_its_own_goes_there)
{
	struct bench *b = host_new();
	struct perf_event *second;

	EXPECT_EQ(32, open_event(0xc0, true, false)->hw.idx);
	EXPECT_EQ(33, open_event(0x3c, true, false)->hw.idx);
	EXPECT_EQ(34, open_event(0x300, true, false)->hw.idx);
	second = open_event(0xc0, true, false);
	EXPECT_EQ(0, second->hw.idx); /* taken: the first GP */
	/* 0x1234 fits 8 counters, 0xc0 fits 9: the tighter one chooses first, and the other moves. */
	EXPECT_EQ(0, open_event(0x1234, true, false)->hw.idx);
	EXPECT_EQ(1, second->hw.idx);
	bench_free(b);
}

/* A fixed counter has no cmask, inv or edge: perf's constraint matches the whole raw encoding. */
TEST(thresholds_stay_off_the_fixed_counters)
{
	static const u64 configs[] = {0xc0 | 1u << 24, 0x3c | 1u << 24, 0xc0 | 1u << 18,
				      0x3c | 1u << 23 | 1u << 24};
	struct bench *b = host_new();

	for (unsigned int i = 0; i < ARRAY_SIZE(configs); i++)
		EXPECT_TRUE(open_event(configs[i], true, false)->hw.idx < 32);
	bench_free(b);
}

static u64 counters_of(u64 config)
{
	const struct perf_event_attr attr = {.config = config};

	return perf.driver->get_event_constraints(&perf, &attr);
}

/* Whether @nr events can all have a counter: try everything. */
static bool can_place(const u64 *sets, unsigned int nr, u64 used)
{
	unsigned int bit;

	if (!nr)
		return true;
	for_each_set_bit(bit, sets[0] & ~used) {
		if (can_place(sets + 1, nr - 1, used | 1ull << bit))
			return true;
	}
	return false;
}

TEST(as_many_are_placed_as_an_exhaustive_search_finds)
{
	static const u64 kinds[] = {0xc0, 0x3c, 0x300, 0xc4, 0x1d1, 0x2d1, 0x4d1, 0x777};
	u32 rng = 7;

	for (unsigned int round = 0; round < 300; round++) {
		struct bench *b = host_new();
		struct perf_event *e[12];
		u64 sets[12], used = 0;
		unsigned int nr = 0;

		for (unsigned int i = 0; i < 10; i++) {
			u64 config;

			rng = rng * 1664525u + 1013904223u;
			config = kinds[(rng >> 16) % ARRAY_SIZE(kinds)];
			e[nr] = open_event(config, true, false);
			sets[nr] = counters_of(config);
			EXPECT_EQ(can_place(sets, nr + 1, 0), active(e[nr]));
			/* A pinned event that does not fit is out, the others stay in. */
			if (!active(e[nr]))
				EXPECT_EQ(PERF_EVENT_STATE_ERROR, e[nr]->state);
			else
				nr++;
		}
		for (unsigned int i = 0; i < nr; i++) {
			EXPECT_TRUE(active(e[i]));
			EXPECT_TRUE(sets[i] >> e[i]->hw.idx & 1);
			EXPECT_TRUE(!(used >> e[i]->hw.idx & 1));
			used |= 1ull << e[i]->hw.idx;
			EXPECT_TRUE(perf.on_counter[e[i]->hw.idx] == e[i]);
		}
		bench_free(b);
	}
}

TEST(moving_an_event_loses_none_of_its_count)
{
	struct bench *b = host_new();
	struct perf_event *loads[2], *misses;

	/* Both take GP 0 and 1; the one that fits GP 0 only makes them move up. */
	loads[0] = open_event(0x1d1, true, false);
	loads[1] = open_event(0x1d1, true, false);
	bench_count(b, EVENT_LOADS, 11);
	misses = open_event(0x4d1, true, false);
	bench_count(b, EVENT_LOADS, 22);
	bench_count(b, EVENT_LLC_MISSES, 3);
	EXPECT_EQ(0, misses->hw.idx);
	EXPECT_TRUE(loads[0]->hw.idx != loads[1]->hw.idx && loads[0]->hw.idx && loads[1]->hw.idx);
	EXPECT_EQ(33, perf_event_read_value(&perf, loads[0]));
	EXPECT_EQ(33, perf_event_peek(&perf, loads[1]));
	EXPECT_EQ(3, perf_event_read_value(&perf, misses));
	bench_free(b);
}

/* ---- contexts ---- */

TEST(cpu_pinned_beats_task_pinned_beats_cpu_flexible)
{
	struct bench *b = host_new();
	struct perf_event *flexible = open_event(0x300, false, false);
	struct perf_event *task, *cpu;

	EXPECT_TRUE(active(flexible));
	task = open_event(0x300, true, true);
	EXPECT_TRUE(active(task));
	EXPECT_EQ(PERF_EVENT_STATE_INACTIVE, flexible->state); /* waits, no error */
	cpu = open_event(0x300, true, false);
	EXPECT_TRUE(active(cpu));
	EXPECT_EQ(PERF_EVENT_STATE_ERROR, task->state);
	perf_event_release_kernel(&perf, cpu);
	/* An error stays until the event is enabled again. */
	EXPECT_EQ(PERF_EVENT_STATE_ERROR, task->state);
	perf_event_enable(&perf, task);
	EXPECT_TRUE(active(task));
	bench_free(b);
}

/* Linux since 5.6: once an event of a pass does not fit, no later one of that pass is tried
 * (merge_sched_in(): can_add_hw), so later pinned events go to error state with it. */
TEST(after_one_pinned_event_fails_the_rest_of_the_pass_fails)
{
	struct bench *b = host_new();
	struct perf_event *first = open_event(0x300, true, true), *second;

	perf_event_pause(&perf, first, true);
	second = open_event(0x777, true, true);
	EXPECT_TRUE(active(second));
	/* The host takes fixed 2 before the guest's event comes back. */
	EXPECT_TRUE(active(open_event(0x300, true, false)));
	perf_event_enable(&perf, first);
	EXPECT_EQ(PERF_EVENT_STATE_ERROR, first->state);
	EXPECT_EQ(PERF_EVENT_STATE_ERROR, second->state);
	bench_free(b);
}

TEST(enabled_and_running_times)
{
	struct bench *b = host_new();
	struct perf_event *flexible = open_event(0x300, false, false), *pinned;

	b->pcpu.idle_tsc += 100;
	pinned = open_event(0x300, true, false);
	b->pcpu.idle_tsc += 50;
	perf_update_times(&perf, flexible);
	perf_update_times(&perf, pinned);
	EXPECT_EQ(150, flexible->time_enabled);
	EXPECT_EQ(100, flexible->time_running);
	EXPECT_EQ(50, pinned->time_enabled);
	EXPECT_EQ(50, pinned->time_running);
	perf_event_disable(&perf, pinned);
	b->pcpu.idle_tsc += 30;
	perf_update_times(&perf, pinned);
	EXPECT_EQ(50, pinned->time_enabled);
	bench_free(b);
}

/* ---- sides of a VM-entry ---- */

TEST(global_ctrl_inside_and_outside_the_guest)
{
	struct bench *b = host_new();
	struct perf_event_attr attr = {.config = 0x3c, .pinned = true, .exclude_guest = true};
	u64 host, guest, all = b->pcpu.pmu.counter_mask;
	struct perf_event *inside = open_event(0xc0, true, true); /* exclude_host */
	struct perf_event *outside;
	int error;

	outside = perf_event_create_kernel_counter(&perf, &attr, NULL, NULL, NULL, &error);
	perf_guest_get_msrs(&perf, &host, &guest);
	EXPECT_EQ(all & ~(1ull << inside->hw.idx), host);
	EXPECT_EQ(all & ~(1ull << outside->hw.idx), guest);
	EXPECT_EQ(host, b->pcpu.pmu.global_ctrl); /* we are the host */
	bench_count(b, EVENT_INSTRUCTIONS, 10);
	EXPECT_EQ(0, perf_event_read_value(&perf, inside));
	hwpmu_wrmsr(&b->pcpu.pmu, MSR_CORE_PERF_GLOBAL_CTRL, guest);
	bench_count(b, EVENT_INSTRUCTIONS, 10);
	bench_cycles(b, 10);
	EXPECT_EQ(10, perf_event_read_value(&perf, inside));
	EXPECT_EQ(0, perf_event_read_value(&perf, outside));
	/* Leaving the PMU clears the marks. */
	perf_event_release_kernel(&perf, inside);
	perf_event_release_kernel(&perf, outside);
	perf_guest_get_msrs(&perf, &host, &guest);
	EXPECT_EQ(all, host);
	EXPECT_EQ(all, guest);
	bench_free(b);
}

TEST(mediated_vms_and_include_guest_events_exclude_each_other)
{
	struct perf_event_attr include = {.config = 0x3c},
			       exclude = {.config = 0x3c, .exclude_guest = true},
			       never = {.config = 0x3c, .sample_period = 1ull << 63};
	struct bench *b = host_new();
	struct perf_event *e = open_event(0x3c, false, false);
	int error = 0;

	EXPECT_EQ(-EBUSY, perf_create_mediated_pmu(&perf));
	perf_event_release_kernel(&perf, e);
	EXPECT_EQ(0, perf_create_mediated_pmu(&perf));
	EXPECT_EQ(0, perf_create_mediated_pmu(&perf));
	EXPECT_TRUE(!perf_event_create_kernel_counter(&perf, &include, false, NULL, NULL, &error));
	EXPECT_EQ(-EOPNOTSUPP, error);
	/* What no PMU can count is refused as that, VM or not. */
	EXPECT_TRUE(!perf_event_create_kernel_counter(&perf, &never, NULL, NULL, NULL, &error));
	EXPECT_EQ(-EINVAL, error);
	EXPECT_TRUE(perf_event_create_kernel_counter(&perf, &exclude, false, NULL, NULL, &error));
	perf_release_mediated_pmu(&perf);
	EXPECT_TRUE(!perf_event_create_kernel_counter(&perf, &include, false, NULL, NULL, &error));
	perf_release_mediated_pmu(&perf);
	EXPECT_TRUE(perf_event_create_kernel_counter(&perf, &include, false, NULL, NULL, &error));
	bench_free(b);
}

TEST(a_loaded_guest_context_keeps_host_events_out)
{
	struct perf_event_attr attr = {.config = 0x3c, .pinned = true, .exclude_guest = true};
	struct bench *b = host_new();
	struct perf_event *e, *late;
	int error;

	e = perf_event_create_kernel_counter(&perf, &attr, NULL, NULL, NULL, &error);
	bench_cycles(b, 5);
	b->pcpu.idle_tsc += 100;
	perf_load_guest_context(&perf);
	EXPECT_TRUE(!active(e));
	bench_cycles(b, 1000);
	b->pcpu.idle_tsc += 1000;
	late = perf_event_create_kernel_counter(&perf, &attr, NULL, NULL, NULL, &error);
	EXPECT_EQ(PERF_EVENT_STATE_INACTIVE, late->state); /* out, and no error */
	perf_put_guest_context(&perf);
	EXPECT_TRUE(active(e) && active(late));
	bench_cycles(b, 2);
	b->pcpu.idle_tsc += 10;
	EXPECT_EQ(7, perf_event_read_value(&perf, e));
	EXPECT_EQ(2, perf_event_read_value(&perf, late));
	/* Guest time is not in the times either. */
	EXPECT_EQ(110, e->time_enabled);
	EXPECT_EQ(110, e->time_running);
	bench_free(b);
}

/* ---- periods ---- */

TEST(a_period_of_one_becomes_two)
{
	struct bench *b = host_new();
	struct perf_event *e = open_period(0xc0, 1);

	EXPECT_EQ((1ull << 48) - 2, hwpmu_counter(&b->pcpu.pmu, (unsigned int)e->hw.idx));
	bench_count(b, EVENT_INSTRUCTIONS, 1);
	EXPECT_TRUE(!hwpmu_land(&b->pcpu.pmu));
	bench_count(b, EVENT_INSTRUCTIONS, 1);
	EXPECT_TRUE(hwpmu_land(&b->pcpu.pmu));
	perf_event_nmi_handler(&perf);
	EXPECT_EQ(1, nr_overflows);
	EXPECT_EQ(2, perf_event_read_value(&perf, e));
	bench_free(b);
}

TEST(skid_shortens_the_next_period)
{
	struct bench *b = host_new();
	struct perf_event *e = open_period(0xc0, 100);

	bench_count(b, EVENT_INSTRUCTIONS, 130); /* 30 beyond the overflow */
	hwpmu_land(&b->pcpu.pmu);
	perf_event_nmi_handler(&perf);
	EXPECT_EQ(1, nr_overflows);
	/* left = 100 - 130 + 100. */
	EXPECT_EQ((1ull << 48) - 70, hwpmu_counter(&b->pcpu.pmu, (unsigned int)e->hw.idx));
	EXPECT_EQ(0, b->pcpu.pmu.global_status);
	bench_free(b);
}

/* What does not fit a counter is taken in pieces of 2^47 - 1; only the end of the period is an
 * overflow of the event. */
TEST(a_period_beyond_the_counter_is_split_unseen)
{
	const u64 piece = (1ull << 47) - 1;
	struct bench *b = host_new();
	struct perf_event *e = open_period(0xc0, 1ull << 48);

	EXPECT_EQ(piece, perf.driver->max_period(&perf));
	for (unsigned int i = 0; i < 2; i++) {
		bench_count(b, EVENT_INSTRUCTIONS, piece);
		EXPECT_TRUE(hwpmu_land(&b->pcpu.pmu));
		perf_event_nmi_handler(&perf);
		EXPECT_EQ(0, nr_overflows);
	}
	bench_count(b, EVENT_INSTRUCTIONS, 2); /* 2 * (2^47 - 1) + 2 = 2^48 */
	EXPECT_TRUE(hwpmu_land(&b->pcpu.pmu));
	perf_event_nmi_handler(&perf);
	EXPECT_EQ(1, nr_overflows);
	EXPECT_EQ(1ull << 48, perf_event_read_value(&perf, e));
	bench_free(b);
}

TEST(a_new_period_begins_at_once)
{
	struct bench *b = host_new();
	struct perf_event *e = open_period(0xc0, 1000);

	bench_count(b, EVENT_INSTRUCTIONS, 300);
	EXPECT_EQ(0, perf_event_period(&perf, e, 50));
	EXPECT_EQ((1ull << 48) - 50, hwpmu_counter(&b->pcpu.pmu, (unsigned int)e->hw.idx));
	EXPECT_EQ(300, perf_event_read_value(&perf, e));
	EXPECT_EQ(-EINVAL, perf_event_period(&perf, e, 0));
	EXPECT_EQ(-EINVAL, perf_event_period(&perf, e, 1ull << 63));
	bench_free(b);
}

TEST(pause_takes_the_count_and_a_stopped_event_counts_nothing)
{
	struct bench *b = host_new();
	struct perf_event *e = open_period(0xc0, 1000);

	bench_count(b, EVENT_INSTRUCTIONS, 30);
	EXPECT_EQ(30, perf_event_pause(&perf, e, true));
	bench_count(b, EVENT_INSTRUCTIONS, 500);
	EXPECT_EQ(0, perf_event_pause(&perf, e, true));
	perf_event_enable(&perf, e);
	bench_count(b, EVENT_INSTRUCTIONS, 4);
	EXPECT_EQ(4, perf_event_read_value(&perf, e));
	bench_free(b);
}

TEST(the_handler_unmasks_the_lvtpc)
{
	struct bench *b = host_new();

	open_period(0xc0, 10);
	bench_count(b, EVENT_INSTRUCTIONS, 10);
	hwpmu_land(&b->pcpu.pmu);
	EXPECT_EQ(LAPIC_NMI, lapic_deliver_lvtpc(&b->pcpu.lapic));
	EXPECT_TRUE(lapic_reg(&b->pcpu.lapic, APIC_LVTPC) & APIC_LVT_MASKED);
	perf_event_nmi_handler(&perf);
	EXPECT_EQ(APIC_DM_NMI, lapic_reg(&b->pcpu.lapic, APIC_LVTPC));
	bench_free(b);
}

static void pass(struct bench *b, u64 tsc)
{
	b->pcpu.idle_tsc += tsc;
}

TEST(events_of_a_thread_are_there_while_it_runs)
{
	struct bench *b = host_new();
	const struct perf_event_attr attr = {.config = 0x00c4, .pinned = true};
	struct perf_event *e;
	int error;

	e = perf_event_create_kernel_counter(&perf, &attr, &thread, NULL, NULL, &error);
	bench_count(b, EVENT_BRANCHES, 5);
	pass(b, 100);
	perf_event_task_sched_out(&perf);
	EXPECT_EQ(PERF_EVENT_STATE_INACTIVE, e->state);
	/* Another thread's time and branches are none of its own. */
	perf_event_task_sched_in(&perf, &other_thread);
	bench_count(b, EVENT_BRANCHES, 70);
	pass(b, 1000);
	perf_event_task_sched_out(&perf);
	perf_event_task_sched_in(&perf, &thread);
	EXPECT_TRUE(active(e));
	bench_count(b, EVENT_BRANCHES, 3);
	pass(b, 40);
	EXPECT_EQ(8, perf_event_read_value(&perf, e));
	EXPECT_EQ(140, e->time_enabled);
	EXPECT_EQ(140, e->time_running);
	bench_free(b);
}

TEST(an_event_of_a_thread_that_sleeps_comes_in_with_it)
{
	struct bench *b = host_new();
	struct perf_event *e;

	perf_event_task_sched_out(&perf);
	e = open_event(0x00c4, true, true);
	EXPECT_EQ(PERF_EVENT_STATE_INACTIVE, e->state);
	perf_event_task_sched_in(&perf, &thread);
	EXPECT_TRUE(active(e));
	bench_free(b);
}

TEST(a_threads_pinned_event_takes_a_counter_from_a_flexible_one_of_the_cpu)
{
	struct bench *b = host_new();
	struct perf_event *mine = open_event(0x04d1, true, true); /* GP 0 alone */
	struct perf_event *cpu;

	perf_event_task_sched_out(&perf);
	cpu = open_event(0x04d1, false, false);
	EXPECT_TRUE(active(cpu));
	perf_event_task_sched_in(&perf, &thread);
	EXPECT_TRUE(active(mine));
	EXPECT_EQ(PERF_EVENT_STATE_INACTIVE, cpu->state);
	/* It needs a turn, which it does not get while the thread is here. */
	EXPECT_TRUE(perf.mux_at != NO_DEADLINE);
	perf_event_task_sched_out(&perf);
	perf_mux_hrtimer_handler(&perf);
	EXPECT_TRUE(active(cpu));
	bench_free(b);
}

TEST(flexible_events_take_turns)
{
	struct bench *b = host_new();
	struct perf_event *e[3];
	u64 running[3] = {0};

	/* Three for the two counters that can: GP 0 and 1 (0x02d1). */
	for (unsigned int i = 0; i < 3; i++)
		e[i] = open_event(0x02d1, false, false);
	EXPECT_TRUE(active(e[0]) && active(e[1]) && !active(e[2]));
	EXPECT_EQ(MUX, perf.mux_at);
	/* Six intervals: each is off in two of them, in the order of their opening from the last. */
	for (unsigned int turn = 0; turn < 6; turn++) {
		unsigned int off = (turn + 2) % 3;

		for (unsigned int i = 0; i < 3; i++) {
			EXPECT_EQ(i != off, active(e[i]));
			running[i] += i == off ? 0 : MUX;
		}
		pass(b, MUX);
		EXPECT_EQ(pcpu_tsc(&b->pcpu), perf.mux_at);
		perf_mux_hrtimer_handler(&perf);
	}
	for (unsigned int i = 0; i < 3; i++) {
		perf_update_times(&perf, e[i]);
		EXPECT_EQ(6 * MUX, e[i]->time_enabled);
		EXPECT_EQ(running[i], e[i]->time_running);
	}
	/* With one less there is nothing to rotate: the timer stops at its next turn. */
	perf_event_release_kernel(&perf, e[0]);
	pass(b, MUX);
	perf_mux_hrtimer_handler(&perf);
	EXPECT_TRUE(active(e[1]) && active(e[2]));
	pass(b, MUX);
	perf_mux_hrtimer_handler(&perf);
	EXPECT_EQ(NO_DEADLINE, perf.mux_at);
	bench_free(b);
}

TEST_MAIN()
