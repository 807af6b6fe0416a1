/* SPDX-License-Identifier: Apache-2.0 */
/*
 * account.h - the books: what host work cost and in which function, statistics, the trace ring.
 *
 * Every piece of host work charges a named cost (base/costs.def) on a call stack of named functions.
 * A charge advances the host's event totals, and with them the TSC; the guest's own totals stand
 * still meanwhile.
 *
 *	account_enter(a, COST_PMU_HANDLE_EVENT);	one call: its own cost, and a frame
 *	account_charge(a, COST_PERF_PAUSE);		a leaf below it
 *	account_leave(a);
 *
 * Cycles are core clock cycles. Nothing is allocated after account_init().
 */
#ifndef ACCOUNT_ACCOUNT_H_
#define ACCOUNT_ACCOUNT_H_

#include "base/check.h"
#include "base/events.h"
#include "base/types.h"

enum cost {
#define COST(id, function, unit) COST_##id,
#include "base/costs.def"
#undef COST
	NR_COSTS,
};

enum stat {
#define STAT(id, name, text) STAT_##id,
#include "base/stats.def"
#undef STAT
	NR_STATS,
};

enum trace_type {
#define TRACE(id, name, text) TRACE_##id,
#include "base/trace.def"
#undef TRACE
	NR_TRACE_TYPES,
};

#define MAX_COST_NODES 1024
#define MAX_COST_DEPTH 16

/* One function in one calling context. Node 0 is the root, above every function. */
struct cost_node {
	u16 parent;
	u16 cost;
	u16 child[NR_COSTS]; /* 0: none */
	u64 count;	     /* units charged */
	u64 cycles;	     /* of the function itself */
};

struct trace_record {
	u64 tsc;
	u32 type, x;
	u64 a, b, c;
};

struct account {
	struct pp_check *check;
	u32 cycles_of[NR_COSTS];
	u32 host_ipc_q20; /* host instructions per cycle, times 2^20 */

	/* What the host has done so far; the physical PMU and the TSC read it */
	u64 host_cycles;
	struct event_totals host;

	/* The cost tree and the current stack */
	struct cost_node nodes[MAX_COST_NODES];
	u16 nr_nodes, top, depth;

	u64 stats[NR_STATS];

	/* The newest trace_size records */
	struct trace_record *trace;
	u32 trace_size;
	u64 trace_count;
};

int account_init(struct account *a, struct pp_check *check, const u32 *cycles, u32 host_ipc_q20,
		 u32 trace_records);
void account_free(struct account *a);
/* A copy; its check is still the original's. -1 when memory is short. */
int account_clone(struct account *to, const struct account *from);

void account_enter(struct account *a, enum cost cost);
void account_leave(struct account *a);
void account_charge_n(struct account *a, enum cost cost, u64 n);

/* Work of the host in user mode; the others are the kernel's. */
void account_charge_user(struct account *a, enum cost cost, u64 n);

static inline void account_charge(struct account *a, enum cost cost)
{
	account_charge_n(a, cost, 1);
}

static inline void account_stat(struct account *a, enum stat stat)
{
	a->stats[stat]++;
}

static inline void account_stat_n(struct account *a, enum stat stat, u64 n)
{
	a->stats[stat] += n;
}

void account_trace_record(struct account *a, const struct trace_record *record);

/* Functions from the outermost to the node's own, joined by ';'. Cut at @size. */
void account_stack_name(const struct account *a, u16 node, char *out, size_t size);
const char *cost_function(enum cost cost);

#endif /* ACCOUNT_ACCOUNT_H_ */
