/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_landing.c - land() comes at the first boundary where a total reaches its limit, however
 * the run is cut into budgets.
 */
#include "test_cpu_guest.h"

/* ALU, loads, stores, calls, cold lines, branch misses, a string. User mode comes further below. */
CODE(mixed, "mov $60, %r12d\n"
	    "mov $0x400000, %rbx\n"
	    "1: mov %r12, (%rbx)\n"
	    "add $72, %rbx\n"
	    "call 2f\n"
	    "mov %r12d, %eax\n"
	    "imul $0x9e3779b1, %eax, %eax\n"
	    "test $0x10000, %eax\n"
	    "jz 3f\n"
	    "addq $1, 0x100000\n"
	    "xor %edx, %edx\n"
	    "mov $7, %ecx\n"
	    "div %ecx\n"
	    "3: lea 0x100040, %rsi\n"
	    "mov $0x100800, %edi\n"
	    "mov $5, %ecx\n"
	    "rep movsq\n"
	    "mov 62(%rbx), %rdx\n" /* unaligned, sometimes over two lines */
	    "dec %r12d\n"
	    "jnz 1b\n"
	    "hlt\n"
	    "2: push %rax\n"
	    "pop %rcx\n"
	    "mov %fs:0x100100, %r8d\n"
	    "ret\n");

static struct guest *run_mixed(u64 slice, int event, u64 step)
{
	struct guest *g = guest_new();

	guest_code(g, CODE_AT, mixed);
	g->budget_slice = slice;
	if (event < 0) {
		g->goal_sub[PRIV_OS] = step;
		g->step_sub = step;
	} else {
		g->goal[PRIV_OS][event] = step;
		g->step[event] = step;
	}
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	return g;
}

/* Every boundary of the run, from landing on each instruction (each iteration comes with it). */
static struct guest *all_boundaries(void)
{
	struct guest *g = guest_new();

	guest_code(g, CODE_AT, mixed);
	g->goal[PRIV_OS][EVENT_INSTRUCTIONS] = 1;
	g->step[EVENT_INSTRUCTIONS] = 1;
	g->goal[PRIV_OS][EVENT_LOADS] = 1;
	g->step[EVENT_LOADS] = 1;
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	return g;
}

static u64 value(const struct landing *l, int event)
{
	return event < 0 ? l->totals.sub[PRIV_OS] : l->totals.count[PRIV_OS][event];
}

static void expect_same_landing(const struct landing *want, const struct landing *got)
{
	EXPECT_EQ(want->rip, got->rip);
	EXPECT_TRUE(!memcmp(&want->totals, &got->totals, sizeof(want->totals)));
}

/* The landings are exactly the first boundaries at or behind each multiple of the step. */
static void check_landings(const struct guest *all, const struct guest *g, int event, u64 step)
{
	u64 goal = step;
	u32 n = 0;

	for (u32 k = 0; k < all->nr_landings && !test_failed; k++) {
		u64 v = value(&all->landings[k], event);

		if (v < goal)
			continue;
		if (n == g->nr_landings) {
			printf("# event %d step %" PRIu64 ": landing %u is missing\n", event, step,
			       n);
			test_failed = true;
			return;
		}
		expect_same_landing(&all->landings[k], &g->landings[n++]);
		while (goal <= v)
			goal += step;
	}
	EXPECT_EQ(n, g->nr_landings);
}

TEST(each_instruction_is_landed_on)
{
	struct guest *all = all_boundaries();
	u64 last = 0;

	for (u32 k = 0; k < all->nr_landings; k++) {
		u64 n = value(&all->landings[k], EVENT_INSTRUCTIONS);

		EXPECT_TRUE(n == last || n == last + 1);
		last = n;
	}
	EXPECT_EQ(guest_total(all, PRIV_OS, EVENT_INSTRUCTIONS), last);
	EXPECT_TRUE(guest_total(all, PRIV_OS, EVENT_BRANCH_MISSES) > 10);
	EXPECT_TRUE(guest_total(all, PRIV_OS, EVENT_LLC_MISSES) > 50);
	guest_free(all);
}

TEST(landings_are_exact_for_every_event_step_and_budget)
{
	static const int events[] = {
		EVENT_INSTRUCTIONS,  EVENT_BRANCHES,	   EVENT_LOADS,	     EVENT_STORES,
		EVENT_BRANCH_MISSES, EVENT_LLC_REFERENCES, EVENT_LLC_MISSES, -1};
	static const u64 steps[] = {1, 2, 3, 5, 7, 11, 16, 31, 64, 100, 333, 1000, 5000};
	static const u64 slices[] = {0, 1, 7};
	struct guest *all = all_boundaries();

	for (unsigned int e = 0; e < ARRAY_SIZE(events); e++) {
		for (unsigned int n = 0; n < ARRAY_SIZE(steps); n++) {
			for (unsigned int s = 0; s < ARRAY_SIZE(slices) && !test_failed; s++) {
				u64 step = steps[n] * (events[e] < 0 ? 97 : 1);
				struct guest *g = run_mixed(slices[s], events[e], step);

				check_landings(all, g, events[e], step);
				EXPECT_TRUE(!memcmp(cpu_totals(all->cpu), cpu_totals(g->cpu),
						    sizeof(struct event_totals)));
				if (test_failed)
					printf("# event %d step %" PRIu64 " slice %" PRIu64 "\n",
					       events[e], step, slices[s]);
				guest_free(g);
			}
		}
	}
	guest_free(all);
}

TEST(several_limits_at_once)
{
	struct landing *first = NULL;
	u32 nr_first = 0;

	for (u64 slice = 0; slice < 12; slice++) {
		struct guest *g = guest_new();

		guest_code(g, CODE_AT, mixed);
		g->budget_slice = slice;
		for (int e = 0; e < NR_COUNTED_EVENTS; e++) {
			g->step[e] = 13 + 7 * (u64)e;
			g->goal[PRIV_OS][e] = g->step[e];
		}
		g->step_sub = 4321;
		g->goal_sub[PRIV_OS] = 4321;
		EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
		if (!first) {
			first = malloc(g->nr_landings * sizeof(*first));
			memcpy(first, g->landings, g->nr_landings * sizeof(*first));
			nr_first = g->nr_landings;
		}
		EXPECT_EQ(nr_first, g->nr_landings);
		EXPECT_TRUE(!memcmp(first, g->landings, nr_first * sizeof(*first)));
		guest_free(g);
	}
	free(first);
}

TEST(land_can_stop_the_run)
{
	struct guest *g = guest_new();

	guest_code(g, CODE_AT, mixed);
	g->goal[PRIV_OS][EVENT_INSTRUCTIONS] = 100;
	g->stop_on_land = true;
	EXPECT_EQ(CPU_STOP_EVENT, guest_run(g));
	EXPECT_EQ(100, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	guest_free(g);
}

CODE(copy, "mov $0x400000, %esi\nmov $0x420000, %edi\nmov $1000, %ecx\nrep movsb\nnop\nhlt");

TEST(rep_movs_lands_between_iterations)
{
	struct guest *g = guest_new();

	guest_code(g, CODE_AT, copy);
	for (u64 k = 0; k < 1000; k++)
		g->ram[BIG_DATA_AT + k] = (u8)(k * 3);
	g->goal[PRIV_OS][EVENT_LOADS] = 1;
	g->step[EVENT_LOADS] = 1;
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(1000, g->nr_landings);
	for (u32 k = 0; k < 1000; k++) {
		const struct event_totals *t = &g->landings[k].totals;

		EXPECT_EQ(k + 1, t->count[PRIV_OS][EVENT_LOADS]);
		EXPECT_EQ(k + 1, t->count[PRIV_OS][EVENT_STORES]);
		/* Three MOVs; the last iteration retires the instruction. */
		EXPECT_EQ(k == 999 ? 4 : 3, t->count[PRIV_OS][EVENT_INSTRUCTIONS]);
		EXPECT_EQ(CODE_AT + (k == 999 ? 17 : 15), g->landings[k].rip);
	}
	EXPECT_EQ(0, memcmp(g->ram + BIG_DATA_AT, g->ram + BIG_DATA_AT + 0x20000, 1000));
	EXPECT_EQ(6, guest_total(g, PRIV_OS, EVENT_INSTRUCTIONS));
	/* 1000 bytes are 16 lines, twice. */
	EXPECT_EQ(32, guest_total(g, PRIV_OS, EVENT_LLC_MISSES));
	guest_free(g);
}

/* The write that arms the counter is counted by it: distances are from before its retirement. */
CODE(arm, "mov $0x4002, %ecx\nxor %edx, %edx\nmov $1, %eax\nwrmsr\nnop\nnop\nhlt");

TEST(a_limit_set_by_an_instruction_counts_it)
{
	struct guest *g = guest_new();

	guest_code(g, CODE_AT, arm);
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	EXPECT_EQ(1, g->nr_landings);
	EXPECT_EQ(4, value(&g->landings[0], EVENT_INSTRUCTIONS));
	guest_free(g);
}

/* Into user mode and back by SYSCALL, several times, with limits on both sides. */
CODE(kernel, "mov $0xc0000081, %ecx\nxor %eax, %eax\nmov $0x00130008, %edx\nwrmsr\n"
	     "mov $0xc0000082, %ecx\nmov $0x20000, %eax\nxor %edx, %edx\nwrmsr\n"
	     "mov $0xc0000080, %ecx\nrdmsr\nor $1, %eax\nwrmsr\n"
	     "mov $0x30000, %ecx\nmov $0x202, %r11d\nmov $0xb0000, %esp\nsysretq");
CODE(user,
     "mov $50, %ebx\n1: push %rbx\npop %rax\nsyscall\ndec %ebx\njnz 1b\nmov $1, %r15d\nsyscall");
CODE(service,
     "test %r15d, %r15d\njnz 1f\nmov 0x100000, %rdx\ninc %rdx\nmov %rdx, 0x100000\nsysretq\n"
     "1: hlt");

static struct guest *run_syscalls(u64 slice, u64 step)
{
	struct guest *g = guest_new();

	guest_code(g, CODE_AT, kernel);
	guest_code(g, HANDLER_AT, service);
	guest_code(g, USER_AT, user);
	g->budget_slice = slice;
	for (int e = 0; e < 4 && step; e++) {
		g->step[e] = step + (u64)e;
		g->goal[PRIV_OS][e] = g->step[e];
		g->goal[PRIV_USR][e] = g->step[e];
	}
	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	return g;
}

TEST(limits_of_both_privileges)
{
	for (u64 step = 1; step < 40 && !test_failed; step += 3) {
		struct guest *first = run_syscalls(0, step);

		EXPECT_EQ(50, guest_get(first, DATA_AT));
		/* mov, 50 * (push pop syscall dec jnz), mov, syscall */
		EXPECT_EQ(1 + 250 + 2, guest_total(first, PRIV_USR, EVENT_INSTRUCTIONS));
		EXPECT_EQ(101, guest_total(first, PRIV_USR, EVENT_BRANCHES));
		EXPECT_EQ(16 + 50 * 6 + 3, guest_total(first, PRIV_OS, EVENT_INSTRUCTIONS));
		EXPECT_EQ(1 + 50 * 2 + 1, guest_total(first, PRIV_OS, EVENT_BRANCHES));
		for (u64 slice = 1; slice < 9; slice += 3) {
			struct guest *g = run_syscalls(slice, step);

			EXPECT_EQ(first->nr_landings, g->nr_landings);
			EXPECT_TRUE(!memcmp(first->landings, g->landings,
					    first->nr_landings * sizeof(*g->landings)));
			guest_free(g);
		}
		guest_free(first);
	}
}

TEST_MAIN()
