/* SPDX-License-Identifier: Apache-2.0 */
/*
 * string.h - what string.c and string_bulk.c share: one string instruction that is being executed.
 */
#ifndef CPU_STRING_H_
#define CPU_STRING_H_

#include "cpu/state.h"

struct string_run {
	u64 mask; /* of RCX, RSI, RDI */
	u64 keep; /* their bits that 16-bit addresses leave alone */
	u64 source_base, destination_base;
	u64 linear_mask;
	s64 step;	    /* bytes */
	unsigned int size;  /* of an element, log2 of bytes */
	u8 loads, stores;   /* of an iteration */
	u32 iteration_cost; /* subcycles */
};

static inline u64 string_source(const struct cpu *c, const struct string_run *run)
{
	return ((c->regs[CPU_RSI] & run->mask) + run->source_base) & run->linear_mask;
}

static inline u64 string_destination(const struct cpu *c, const struct string_run *run)
{
	return ((c->regs[CPU_RDI] & run->mask) + run->destination_base) & run->linear_mask;
}

/* @n elements on. */
static inline void string_advance(struct cpu *c, const struct string_run *run, enum cpu_reg reg,
				  u64 n)
{
	c->regs[reg] = (c->regs[reg] & run->keep) |
		       ((c->regs[reg] + (u64)run->step * n) & run->mask);
}

/* @n iterations less to go. */
static inline void string_count_down(struct cpu *c, const struct string_run *run, u64 n)
{
	c->regs[CPU_RCX] = (c->regs[CPU_RCX] & run->keep) | ((c->regs[CPU_RCX] - n) & run->mask);
}

static inline void string_count(struct cpu *c, const struct string_run *run, u64 n)
{
	u64 *count = c->totals.count[c->priv];

	count[EVENT_LOADS] += n * run->loads;
	count[EVENT_STORES] += n * run->stores;
	c->totals.sub[c->priv] += n * run->iteration_cost;
}

/*
 * At the boundary before an iteration: execute as many iterations as can be done at once, at most
 * @most, and return how many. At least one is left to be executed by itself, which leaves the flags.
 */
u64 string_bulk(struct cpu *c, const struct insn *i, const struct string_run *run, u64 most);

#endif /* CPU_STRING_H_ */
