/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stack.h - the stack in all kinds of code: RSP in 64-bit code; in legacy code SS:ESP or SS:SP as the
 * stack segment says, wrapping at 4 GB or 64 KB. For handlers that serve all of them.
 */
#ifndef CPU_STACK_H_
#define CPU_STACK_H_

#include "cpu/operand.h"

/* SS.B tells; a null segment, which legacy code can use here, counts as 32 bits wide. */
static inline u64 segment_stack_mask(const struct cpu_segment *ss)
{
	return (ss->attr & ATTR_DEFAULT32) || !(ss->attr & ATTR_PRESENT) ? 0xffffffffull
									 : 0xffffull;
}

/* @value in the part of @old that the stack pointer is. */
static inline u64 merge_stack_pointer(u64 old, u64 value, u64 mask)
{
	return (u32)((old & ~mask) | (value & mask));
}

static inline u64 stack_address(const struct cpu *c, u64 rsp)
{
	if (!c->legacy)
		return rsp;
	return (u32)(c->seg[SEG_SS].base + (rsp & segment_stack_mask(&c->seg[SEG_SS])));
}

/* What RSP is when its stack pointer becomes @rsp. */
static inline u64 moved_rsp(const struct cpu *c, u64 rsp)
{
	if (!c->legacy)
		return rsp;
	return merge_stack_pointer(c->regs[CPU_RSP], rsp, segment_stack_mask(&c->seg[SEG_SS]));
}

static inline void set_rsp(struct cpu *c, u64 rsp)
{
	c->regs[CPU_RSP] = moved_rsp(c, rsp);
}

static inline u64 stack_load(struct cpu *c, const struct insn *i, unsigned int n)
{
	return load_sized(c, i, stack_address(c, c->regs[CPU_RSP] + ((u64)n << i->size)), i->size);
}

#endif /* CPU_STACK_H_ */
