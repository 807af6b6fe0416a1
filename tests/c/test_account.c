/* SPDX-License-Identifier: Apache-2.0 */
/* test_account.c - charges, call stacks and the trace ring (account/account.h). */
#include "account/account.h"

#include <stdlib.h>

#include "test.h"

static struct pp_check check;

static struct account *books_new(u32 ipc, u32 records)
{
	struct account *a = calloc(1, sizeof(*a));
	u32 cycles[NR_COSTS];

	for (u32 i = 0; i < NR_COSTS; i++)
		cycles[i] = i + 1;
	memset(&check, 0, sizeof(check));
	EXPECT_EQ(0, account_init(a, &check, cycles, ipc, records));
	return a;
}

static void books_free(struct account *a)
{
	account_free(a);
	free(a);
}

static u64 cycles_of(const struct account *a, const char *stack, u64 *count)
{
	char name[256];

	for (u16 n = 1; n < a->nr_nodes; n++) {
		account_stack_name(a, n, name, sizeof(name));
		if (strcmp(name, stack))
			continue;
		*count = a->nodes[n].count;
		return a->nodes[n].cycles;
	}
	*count = 0;
	return 0;
}

TEST(charges_advance_the_host_and_land_on_their_stack)
{
	struct account *a = books_new(1u << 20, 0);
	u64 wrmsr = COST_WRMSR + 1, create = COST_PERF_CREATE + 1, count;
	char stack[256];

	account_charge(a, COST_WRMSR);
	account_enter(a, COST_PERF_CREATE);
	account_charge_n(a, COST_WRMSR, 3);
	account_leave(a);
	account_charge(a, COST_WRMSR);
	EXPECT_EQ(2 * wrmsr, cycles_of(a, cost_function(COST_WRMSR), &count));
	EXPECT_EQ(2, count);
	snprintf(stack, sizeof(stack), "%s;%s", cost_function(COST_PERF_CREATE),
		 cost_function(COST_WRMSR));
	EXPECT_EQ(3 * wrmsr, cycles_of(a, stack, &count));
	EXPECT_EQ(3, count);
	EXPECT_EQ(create, cycles_of(a, cost_function(COST_PERF_CREATE), &count));
	/* Everything that is on a stack went through the clock, and nothing else. */
	EXPECT_EQ(5 * wrmsr + create, a->host_cycles);
	EXPECT_EQ(a->host_cycles * SUB_PER_CYCLE, a->host.sub[PRIV_OS]);
	EXPECT_EQ(0, a->host.sub[PRIV_USR]);
	EXPECT_EQ(a->host_cycles, a->host.count[PRIV_OS][EVENT_INSTRUCTIONS]);
	books_free(a);
}

TEST(host_instructions_do_not_depend_on_how_work_is_cut)
{
	/* 0.3 instructions a cycle: floor over the sum, not over the pieces. */
	struct account *one = books_new((3u << 20) / 10, 0), *many = books_new((3u << 20) / 10, 0);

	account_charge_n(one, COST_VMEXIT, 1000);
	for (int i = 0; i < 1000; i++)
		account_charge(many, COST_VMEXIT);
	EXPECT_EQ(one->host_cycles, many->host_cycles);
	EXPECT_EQ(one->host.count[PRIV_OS][EVENT_INSTRUCTIONS],
		  many->host.count[PRIV_OS][EVENT_INSTRUCTIONS]);
	EXPECT_EQ((one->host_cycles * ((3u << 20) / 10)) >> 20,
		  one->host.count[PRIV_OS][EVENT_INSTRUCTIONS]);
	books_free(one);
	books_free(many);
}

TEST(charging_nothing_leaves_no_trace)
{
	struct account *a = books_new(1u << 20, 0);

	account_charge_n(a, COST_WRMSR, 0);
	EXPECT_EQ(1, a->nr_nodes);
	EXPECT_EQ(0, a->host_cycles);
	books_free(a);
}

TEST(leaving_more_than_was_entered_breaks_an_invariant)
{
	struct account *a = books_new(1u << 20, 0);

	account_enter(a, COST_NMI);
	account_leave(a);
	EXPECT_TRUE(!check.broken);
	account_leave(a);
	EXPECT_TRUE(check.broken);
	books_free(a);
}

TEST(the_ring_keeps_the_newest)
{
	struct account *a = books_new(0, 4);

	for (u32 i = 0; i < 6; i++)
		account_trace_record(a, &(struct trace_record){.x = i});
	EXPECT_EQ(6, a->trace_count);
	/* 0..5 into four slots: 4 and 5 have taken the places of 0 and 1. */
	EXPECT_EQ(4, a->trace[0].x);
	EXPECT_EQ(5, a->trace[1].x);
	EXPECT_EQ(2, a->trace[2].x);
	EXPECT_EQ(3, a->trace[3].x);
	books_free(a);
}

TEST(stack_names_are_cut_and_ended)
{
	struct account *a = books_new(0, 0);
	char name[8];

	account_enter(a, COST_VCPU_ENTER_GUEST);
	account_charge(a, COST_VMEXIT);
	account_leave(a);
	memset(name, 'x', sizeof(name));
	account_stack_name(a, 2, name, sizeof(name));
	EXPECT_TRUE(memchr(name, '\0', sizeof(name)) != NULL);
	books_free(a);
}

TEST_MAIN()
