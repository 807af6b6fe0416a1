/* SPDX-License-Identifier: Apache-2.0 */
/* test_truth.c - intervals, causes, silent errors, PMIs due (truth/truth.h). */
#include "truth/truth.h"

#include <stdlib.h>

#include "test.h"

#define EN ARCH_PERFMON_EVENTSEL_ENABLE
#define OS ARCH_PERFMON_EVENTSEL_OS
#define INT ARCH_PERFMON_EVENTSEL_INT
#define MASK48 ((1ull << 48) - 1)
#define SEL0 0x186
#define GLOBAL 0x38f
#define FIXED_CTRL 0x38d

/* One guest: totals that a test moves, and what the arrangement shows in @seen. */
struct world {
	struct truth t;
	struct event_map events;
	struct event_totals retired;
	struct thresholds thresholds;
	u64 skipped[NR_PRIV], branches[NR_PRIV];
	u64 tsc;
	u32 lvtpc;
	u64 seen[NR_PMC_IDX];
};

static const struct core_clock clk = {.ref_num = 1, .ref_den = 1, .issue_width = 4};

static u64 tsc_of(const void *ctx)
{
	return ((const struct world *)ctx)->tsc;
}

static u64 seen_by_guest(void *ctx, unsigned int idx)
{
	return ((struct world *)ctx)->seen[idx];
}

static struct world *world_new(void)
{
	static const struct event_map_entry entries[] = {
		{0x00c0, 0xff, EVENT_INSTRUCTIONS},
		{0x003c, 0xff, EVENT_CYCLES},
		{0x00c4, 0xff, EVENT_BRANCHES},
		{0x00d0, 0xff, EVENT_LOADS},
	};
	static const struct pp_pmu caps = {
		.version = 2, .nr_gp = 8, .nr_fixed = 3, .gp_width = 48, .fixed_width = 48};
	struct world *w = calloc(1, sizeof(*w));

	if (event_map_init(&w->events, entries, ARRAY_SIZE(entries)) ||
	    truth_init(&w->t, &caps, &w->events, &clk))
		abort();
	w->t.totals = (struct truth_totals){&w->retired, w->skipped, w->branches, &w->thresholds};
	w->thresholds.clk = &clk;
	w->thresholds.side[THRESHOLD_GUEST] = w->thresholds.side[THRESHOLD_HOST] = &w->retired;
	w->t.tsc = tsc_of;
	w->t.tsc_ctx = w;
	w->t.lvtpc = &w->lvtpc;
	return w;
}

static void world_free(struct world *w)
{
	truth_free(&w->t);
	event_map_free(&w->events);
	free(w);
}

static void go(struct world *w, u64 instructions)
{
	w->retired.count[PRIV_OS][EVENT_INSTRUCTIONS] += instructions;
	w->tsc += instructions;
	truth_land(&w->t);
}

static struct pp_counter_result *finish(struct world *w, u64 config)
{
	truth_finish(&w->t, seen_by_guest, w);
	for (u32 i = 0; i < w->t.nr_results; i++) {
		struct pp_counter_result *r = &w->t.results[i];
		s64 sum = 0;

		for (unsigned int c = 0; c < NR_CAUSES; c++)
			sum += r->causes[c];
		EXPECT_EQ(r->true_count - r->counted, sum);
	}
	for (u32 i = 0; i < w->t.nr_results; i++) {
		if (w->t.results[i].config == config)
			return &w->t.results[i];
	}
	printf("# no result 0x%" PRIx64 "\n", config);
	test_failed = true;
	return w->t.results;
}

static void start(struct world *w, u64 eventsel)
{
	truth_control_written(&w->t, SEL0, eventsel);
	truth_control_written(&w->t, GLOBAL, 1);
}

TEST(what_was_counted_and_read_is_not_lost)
{
	struct world *w = world_new();
	struct pp_counter_result *r;

	start(w, 0xc0 | OS | EN);
	go(w, 100);
	truth_counter_read(&w->t, 0, 100);
	go(w, 20);
	truth_counter_read(&w->t, 0, 120);
	go(w, 7); /* after the last read: in no interval */
	w->seen[0] = 127;
	r = finish(w, 0xc0 | OS);
	EXPECT_EQ(120, r->true_count);
	EXPECT_EQ(120, r->counted);
	EXPECT_EQ(2, r->reads);
	EXPECT_EQ(0, r->wrong_reads);
	EXPECT_EQ(0, r->unread);
	EXPECT_EQ(127, r->enabled_cycles);
	EXPECT_EQ(127, r->true_running_cycles);
	world_free(w);
}

TEST(an_interval_nobody_reads_ends_with_the_run)
{
	struct world *w = world_new();
	struct pp_counter_result *r;

	start(w, 0xc0 | OS | EN);
	go(w, 100);
	w->seen[0] = 90;
	r = finish(w, 0xc0 | OS);
	EXPECT_EQ(100, r->true_count);
	EXPECT_EQ(90, r->counted);
	EXPECT_EQ(10, r->causes[CAUSE_UNEXPLAINED]); /* nobody said why */
	EXPECT_EQ(1, r->unread);
	world_free(w);
}

/* Somebody owns up to a rest: until the counter is written again, and from then on in the errors. */
TEST(a_rest_goes_to_who_owns_up_to_it)
{
	struct world *w = world_new();
	struct pp_counter_result *r;
	u64 tsc;

	start(w, 0xc0 | OS | EN);
	go(w, 100);
	tsc = w->t.tsc(w->t.tsc_ctx);
	truth_blame(&w->t, 0, CAUSE_COUNTER_WRITE);
	go(w, 100);
	truth_counter_written(&w->t, 0, 180, 0);
	go(w, 50);
	w->seen[0] = 43;
	r = finish(w, 0xc0 | OS);
	EXPECT_EQ(250, r->true_count);
	EXPECT_EQ(223, r->counted);
	EXPECT_EQ(20, r->causes[CAUSE_COUNTER_WRITE]);
	EXPECT_EQ(7, r->causes[CAUSE_UNEXPLAINED]);
	EXPECT_EQ(2, w->t.nr_errors);
	EXPECT_EQ(CAUSE_COUNTER_WRITE, w->t.errors[0].cause);
	EXPECT_EQ(20, w->t.errors[0].lost);
	EXPECT_EQ(tsc, w->t.errors[0].tsc);
	EXPECT_TRUE(w->t.errors[0].until > tsc);
	EXPECT_EQ(CAUSE_UNEXPLAINED, w->t.errors[1].cause);
	world_free(w);
}

TEST(a_rewrite_closes_an_interval)
{
	struct world *w = world_new();
	struct pp_counter_result *r;

	truth_counter_written(&w->t, 0, 0, 500); /* before it is enabled: no interval yet */
	start(w, 0xc0 | OS | EN);
	go(w, 100);
	truth_counter_written(&w->t, 0, 600, 0);
	go(w, 30);
	truth_counter_read(&w->t, 0, 30);
	r = finish(w, 0xc0 | OS);
	EXPECT_EQ(130, r->true_count);
	EXPECT_EQ(130, r->counted);
	EXPECT_EQ(1, r->unread); /* the first */
	world_free(w);
}

TEST(wrap_around_is_no_loss)
{
	struct world *w = world_new();
	struct pp_counter_result *r;

	truth_counter_written(&w->t, 0, 0, MASK48 - 4);
	start(w, 0xc0 | OS | EN);
	go(w, 5);
	go(w, 7);
	EXPECT_EQ(7, truth_counter(&w->t, 0));
	truth_counter_read(&w->t, 0, 7);
	r = finish(w, 0xc0 | OS);
	EXPECT_EQ(12, r->true_count);
	EXPECT_EQ(12, r->counted);
	EXPECT_EQ(1, r->overflows);
	world_free(w);
}

TEST(a_dead_counter_loses_to_its_cause_in_one_episode)
{
	struct world *w = world_new();
	struct pp_counter_result *r;

	start(w, 0xc0 | OS | EN);
	truth_set_cause(&w->t, 0, CAUSE_NONE); /* told before the guest runs: it counts */
	go(w, 10);
	truth_set_cause(&w->t, 0, CAUSE_CONTENTION);
	go(w, 40);
	truth_counter_read(&w->t, 0, 10);
	truth_set_cause(&w->t, 0, CAUSE_CONTENTION);
	go(w, 60);
	truth_set_cause(&w->t, 0, CAUSE_NONE);
	go(w, 5);
	truth_counter_read(&w->t, 0, 15);
	r = finish(w, 0xc0 | OS);
	EXPECT_EQ(115, r->true_count);
	EXPECT_EQ(15, r->counted);
	EXPECT_EQ(100, r->causes[CAUSE_CONTENTION]);
	EXPECT_EQ(0, r->causes[CAUSE_UNEXPLAINED]);
	EXPECT_EQ(115, r->enabled_cycles);
	EXPECT_EQ(15, r->true_running_cycles);
	EXPECT_EQ(2, r->wrong_reads);
	EXPECT_EQ(1, w->t.nr_errors);
	EXPECT_EQ(100, w->t.errors[0].lost);
	EXPECT_EQ(10, w->t.errors[0].tsc);
	EXPECT_EQ(110, w->t.errors[0].until);
	EXPECT_EQ(CAUSE_CONTENTION, w->t.errors[0].cause);
	world_free(w);
}

TEST(what_the_filter_denies_is_no_silent_error)
{
	struct world *w = world_new();
	struct pp_counter_result *r;

	truth_set_cause(&w->t, 0, CAUSE_FILTERED);
	start(w, 0xc0 | OS | EN);
	go(w, 50);
	truth_counter_read(&w->t, 0, 0);
	r = finish(w, 0xc0 | OS);
	EXPECT_EQ(50, r->causes[CAUSE_FILTERED]);
	EXPECT_EQ(1, r->filtered);
	EXPECT_EQ(0, w->t.nr_errors);
	world_free(w);
}

/* Changing the selector alone ends the old event's interval with what the guest saw, not with what
 * the ideal counter held: the loss stays with the event that suffered it. */
TEST(a_change_of_event_keeps_the_loss_with_the_old_event)
{
	struct world *w = world_new();
	struct pp_counter_result *r;

	start(w, 0xc0 | OS | EN);
	truth_set_cause(&w->t, 0, CAUSE_CONTENTION);
	go(w, 100); /* the guest's counter stays at 0 */
	truth_set_cause(&w->t, 0, CAUSE_NONE);
	truth_counter_read(&w->t, 0, 0);
	truth_control_written(&w->t, SEL0, 0xd0 | OS | EN);
	w->retired.count[PRIV_OS][EVENT_LOADS] += 30;
	truth_counter_read(&w->t, 0, 30);
	w->seen[0] = 30;
	r = finish(w, 0xc0 | OS);
	EXPECT_EQ(100, r->true_count);
	EXPECT_EQ(0, r->counted);
	EXPECT_EQ(100, r->causes[CAUSE_CONTENTION]);
	EXPECT_EQ(0, r->causes[CAUSE_UNEXPLAINED]);
	r = finish(w, 0xd0 | OS);
	EXPECT_EQ(30, r->true_count);
	EXPECT_EQ(30, r->counted);
	EXPECT_EQ(0, r->causes[CAUSE_UNEXPLAINED]);
	world_free(w);
}

TEST(emulated_instructions_count_once)
{
	struct world *w = world_new();
	struct pp_counter_result *r;

	start(w, 0xc0 | OS | EN);
	go(w, 10);
	w->skipped[PRIV_OS]++;
	truth_insn_skipped(&w->t, 1, PRIV_OS, false); /* credited */
	w->skipped[PRIV_OS]++;
	truth_insn_skipped(&w->t, 0, PRIV_OS, false); /* forgotten */
	w->skipped[PRIV_USR]++;
	truth_insn_skipped(&w->t, 1, PRIV_USR, false); /* credited by mistake */
	truth_counter_read(&w->t, 0, 12);
	r = finish(w, 0xc0 | OS);
	EXPECT_EQ(12, r->true_count);
	EXPECT_EQ(12, r->counted);
	EXPECT_EQ(0, r->causes[CAUSE_UNCREDITED]); /* +1 - 1 */
	EXPECT_EQ(0, r->causes[CAUSE_UNEXPLAINED]);
	world_free(w);
}

TEST(a_credit_counts_though_the_counter_is_dead)
{
	struct world *w = world_new();
	struct pp_counter_result *r;

	start(w, 0xc0 | OS | EN);
	truth_set_cause(&w->t, 0, CAUSE_CONTENTION);
	go(w, 10);
	w->skipped[PRIV_OS]++;
	truth_insn_skipped(&w->t, 1, PRIV_OS, false);
	truth_counter_read(&w->t, 0, 1);
	r = finish(w, 0xc0 | OS);
	EXPECT_EQ(11, r->true_count);
	EXPECT_EQ(1, r->counted);
	EXPECT_EQ(10, r->causes[CAUSE_CONTENTION]);
	EXPECT_EQ(0, r->causes[CAUSE_UNEXPLAINED]);
	world_free(w);
}

static struct world *one_to_go(void)
{
	struct world *w = world_new();

	truth_counter_written(&w->t, 0, 0, MASK48);
	start(w, 0xc0 | OS | EN | INT);
	return w;
}

/* Silicon adds 3 at 100 and 4 at 200: lost, negative, in one episode that begins at the first. */
TEST(what_an_erratum_adds_is_lost_to_it)
{
	struct world *w = world_new();
	struct pp_counter_result *r;

	start(w, 0xc0 | OS | EN);
	go(w, 100);
	truth_overcounted(&w->t, 0, 3);
	truth_counter_read(&w->t, 0, 103);
	go(w, 100);
	truth_overcounted(&w->t, 0, 4);
	truth_counter_read(&w->t, 0, 207);
	r = finish(w, 0xc0 | OS);
	EXPECT_EQ(200, r->true_count);
	EXPECT_EQ(207, r->counted);
	EXPECT_EQ((u64)-7, (u64)r->causes[CAUSE_ERRATUM]);
	EXPECT_EQ(2, r->wrong_reads);
	EXPECT_EQ(1, w->t.nr_errors);
	EXPECT_EQ((u64)-7, (u64)w->t.errors[0].lost);
	EXPECT_EQ(100, w->t.errors[0].tsc);
	EXPECT_EQ(CAUSE_ERRATUM, w->t.errors[0].cause);
	world_free(w);
}

/* A counter that shows what nothing explains: no erratum, for the CPU has none. */
TEST(what_nothing_explains_is_unexplained)
{
	struct world *w = world_new();
	struct pp_counter_result *r;

	start(w, 0xc0 | OS | EN);
	go(w, 100);
	truth_counter_read(&w->t, 0, 97);
	w->seen[0] = 97;
	r = finish(w, 0xc0 | OS);
	EXPECT_EQ(100, r->true_count);
	EXPECT_EQ(97, r->counted);
	EXPECT_EQ(0, r->causes[CAUSE_ERRATUM]);
	EXPECT_EQ(3, r->causes[CAUSE_UNEXPLAINED]);
	EXPECT_EQ(CAUSE_UNEXPLAINED, w->t.errors[0].cause);
	world_free(w);
}

/* What it added stays with the event that was counted, though nobody read in between. */
TEST(an_erratum_stays_with_its_event)
{
	struct world *w = world_new();
	struct pp_counter_result *r;

	start(w, 0xc0 | OS | EN);
	go(w, 10);
	truth_overcounted(&w->t, 0, 5);
	truth_control_written(&w->t, SEL0, 0xc4 | OS | EN);
	truth_overcounted(&w->t, 0, 2);
	w->seen[0] = 17;
	r = finish(w, 0xc0 | OS);
	EXPECT_EQ(10, r->true_count);
	EXPECT_EQ(15, r->counted);
	EXPECT_EQ((u64)-5, (u64)r->causes[CAUSE_ERRATUM]);
	r = finish(w, 0xc4 | OS);
	EXPECT_EQ(0, r->true_count);
	EXPECT_EQ((u64)-2, (u64)r->causes[CAUSE_ERRATUM]);
	EXPECT_EQ(2, w->t.nr_errors);
	EXPECT_EQ(0xc0 | OS, w->t.errors[0].config);
	EXPECT_EQ((u64)-5, (u64)w->t.errors[0].lost);
	EXPECT_EQ(0xc4 | OS, w->t.errors[1].config);
	EXPECT_EQ((u64)-2, (u64)w->t.errors[1].lost);
	world_free(w);
}

TEST(a_pmi_is_due_once_and_timed)
{
	struct world *w = one_to_go();

	go(w, 1);
	EXPECT_EQ(1, w->t.pmi.due);
	go(w, 3);
	w->tsc += 100;
	truth_pmi_delivered(&w->t);
	finish(w, 0xc0 | OS);
	EXPECT_EQ(1, w->t.pmi.due);
	EXPECT_EQ(1, w->t.pmi.delivered);
	EXPECT_EQ(103, w->t.latency_cycles.max);
	EXPECT_EQ(3, w->t.latency_instructions.max);
	world_free(w);
}

TEST(one_while_another_is_outstanding_is_coalesced)
{
	struct world *w = one_to_go();

	go(w, 1);
	truth_counter_written(&w->t, 0, 0, MASK48);
	go(w, 1);
	EXPECT_EQ(1, w->t.pmi.due);
	EXPECT_EQ(1, w->t.pmi.coalesced);
	world_free(w);
}

TEST(two_counters_in_one_instruction_are_one_pmi)
{
	struct world *w = world_new();

	truth_counter_written(&w->t, 0, 0, MASK48);
	truth_counter_written(&w->t, 1, 0, MASK48);
	truth_control_written(&w->t, SEL0 + 1, 0xc0 | OS | EN | INT);
	truth_control_written(&w->t, SEL0, 0xc0 | OS | EN | INT);
	go(w, 1);
	EXPECT_EQ(1, w->t.pmi.due);
	EXPECT_EQ(0, w->t.pmi.coalesced);
	world_free(w);
}

TEST(a_masked_lvtpc_makes_it_masked_unless_lifted_in_time)
{
	struct world *w = one_to_go();

	w->lvtpc = 0x10000;
	go(w, 1);
	EXPECT_EQ(0, w->t.pmi.due);
	EXPECT_EQ(1, w->t.pmi.masked);
	truth_pmi_delivered(&w->t);
	EXPECT_EQ(1, w->t.pmi.due);
	EXPECT_EQ(0, w->t.pmi.masked);
	world_free(w);
}

TEST(without_int_there_is_an_overflow_and_no_pmi)
{
	struct world *w = one_to_go();

	truth_control_written(&w->t, SEL0, 0xc0 | OS | EN);
	go(w, 1);
	EXPECT_EQ(0, w->t.pmi.due);
	EXPECT_EQ(1, finish(w, 0xc0 | OS)->overflows);
	world_free(w);
}

TEST(overflows_are_counted_though_the_counter_is_rewritten_at_once)
{
	struct world *w = one_to_go();

	truth_control_written(&w->t, SEL0, 0xc0 | OS | EN);
	w->retired.count[PRIV_OS][EVENT_INSTRUCTIONS] += 5; /* nobody lands: no PMI, no hurry */
	truth_counter_written(&w->t, 0, 4, 0);
	EXPECT_EQ(1, finish(w, 0xc0 | OS)->overflows);
	world_free(w);
}

TEST(registers_of_counters_the_guest_lacks_change_nothing)
{
	struct world *w = world_new();

	truth_control_written(&w->t, SEL0 + 8, 0xc0 | OS | EN);
	truth_control_written(&w->t, FIXED_CTRL, 0x1000);
	truth_control_written(&w->t, GLOBAL, ~0ull);
	go(w, 10);
	for (unsigned int idx = 0; idx < NR_PMC_IDX; idx++)
		EXPECT_TRUE(!w->t.pmc[idx].enabled);
	world_free(w);
}

TEST(more_events_than_records_share_the_last)
{
	struct world *w = world_new();
	u64 sum = 0;

	truth_control_written(&w->t, GLOBAL, 1);
	for (u32 i = 0; i < 3000; i++) {
		truth_control_written(&w->t, SEL0,
				      (0xc0 + (i & 0xff) * 0x100) | OS | EN | i >> 8 << 24);
		go(w, 1);
	}
	truth_finish(&w->t, seen_by_guest, w);
	EXPECT_EQ(TRUTH_MAX_EVENTS, w->t.nr_results);
	for (u32 i = 0; i < w->t.nr_results; i++)
		sum += w->t.results[i].enabled_cycles;
	EXPECT_EQ(3000, sum);
	EXPECT_EQ(~0ull, w->t.results[TRUTH_MAX_EVENTS - 1].config);
	world_free(w);
}

TEST_MAIN()
