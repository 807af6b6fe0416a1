// SPDX-License-Identifier: Apache-2.0
/*
 * account.c - the books of one pCPU.
 *
 * Interface
 *  - account_enter()/account_leave() frame a function that charges; account_charge() is a leaf.
 *  - account_trace_record() keeps the newest records.
 *
 * Not modelled: the host's events other than cycles, reference cycles, slots and instructions (the
 * latter at one rate for all host code, host_ipc_q20).
 */
#include "account/account.h"

#include <stdlib.h>
#include <string.h>

static const char *const cost_functions[NR_COSTS] = {
#define COST(id, function, unit) function,
#include "base/costs.def"
#undef COST
};

const char *cost_function(enum cost cost)
{
	return cost_functions[cost];
}

int account_init(struct account *a, struct pp_check *check, const u32 *cycles, u32 host_ipc_q20,
		 u32 trace_records)
{
	memset(a, 0, sizeof(*a));
	a->check = check;
	memcpy(a->cycles_of, cycles, sizeof(a->cycles_of));
	a->host_ipc_q20 = host_ipc_q20;
	a->nr_nodes = 1;
	if (!trace_records)
		return 0;
	a->trace = calloc(trace_records, sizeof(*a->trace));
	if (!a->trace)
		return -1;
	a->trace_size = trace_records;
	return 0;
}

int account_clone(struct account *to, const struct account *from)
{
	*to = *from;
	to->trace = NULL;
	if (!from->trace)
		return 0;
	to->trace = malloc(from->trace_size * sizeof(*to->trace));
	if (!to->trace)
		return -1;
	memcpy(to->trace, from->trace, from->trace_size * sizeof(*to->trace));
	return 0;
}

void account_free(struct account *a)
{
	free(a->trace);
	a->trace = NULL;
}

/* The child of the current node for @cost, made on first use. */
static u16 child_node(struct account *a, enum cost cost)
{
	u16 n = a->nodes[a->top].child[cost];

	if (likely(n))
		return n;
	if (!PP_CHECK(a->check, a->nr_nodes < MAX_COST_NODES))
		return 0;
	n = a->nr_nodes++;
	a->nodes[n].parent = a->top;
	a->nodes[n].cost = (u16)cost;
	a->nodes[a->top].child[cost] = n;
	return n;
}

static void add_host_cycles(struct account *a, enum privilege priv, u64 cycles)
{
	a->host_cycles += cycles;
	a->host.sub[priv] += cycles << SUB_SHIFT;
	a->host.count[priv][EVENT_INSTRUCTIONS] =
		(u64)((u128)(a->host.sub[priv] >> SUB_SHIFT) * a->host_ipc_q20 >> 20);
}

static void charge_node_at(struct account *a, u16 node, enum cost cost, u64 n, enum privilege priv)
{
	u64 cycles = n * a->cycles_of[cost];

	a->nodes[node].count += n;
	a->nodes[node].cycles += cycles;
	add_host_cycles(a, priv, cycles);
}

static void charge_node(struct account *a, u16 node, enum cost cost, u64 n)
{
	charge_node_at(a, node, cost, n, PRIV_OS);
}

void account_enter(struct account *a, enum cost cost)
{
	u16 node = child_node(a, cost);

	if (!PP_CHECK(a->check, a->depth < MAX_COST_DEPTH))
		return;
	charge_node(a, node, cost, 1);
	a->top = node;
	a->depth++;
}

void account_leave(struct account *a)
{
	if (!PP_CHECK(a->check, a->depth > 0))
		return;
	a->top = a->nodes[a->top].parent;
	a->depth--;
}

void account_charge_n(struct account *a, enum cost cost, u64 n)
{
	if (n)
		charge_node(a, child_node(a, cost), cost, n);
}

void account_charge_user(struct account *a, enum cost cost, u64 n)
{
	if (n)
		charge_node_at(a, child_node(a, cost), cost, n, PRIV_USR);
}

void account_trace_record(struct account *a, const struct trace_record *record)
{
	if (!a->trace_size)
		return;
	a->trace[a->trace_count++ % a->trace_size] = *record;
}

void account_stack_name(const struct account *a, u16 node, char *out, size_t size)
{
	u16 path[MAX_COST_DEPTH + 1];
	size_t used = 0, len;
	unsigned int n = 0;

	for (; node && n < ARRAY_SIZE(path); node = a->nodes[node].parent)
		path[n++] = a->nodes[node].cost;
	while (n--) {
		len = strlen(cost_functions[path[n]]);
		if (used + len + 2 > size)
			break;
		memcpy(out + used, cost_functions[path[n]], len);
		used += len;
		if (n)
			out[used++] = ';';
	}
	out[used] = '\0';
}
