/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stack32.h - the stack in both kinds of code: RSP in 64-bit code; SS:ESP, wrapping at 4 GB, in
 * 32-bit code. For handlers that serve both.
 */
#ifndef CPU_STACK32_H_
#define CPU_STACK32_H_

#include "cpu/operand.h"

static inline u64 stack_address(const struct cpu *c, u64 rsp)
{
	return c->code32 ? (u32)(c->seg[SEG_SS].base + (u32)rsp) : rsp;
}

static inline void set_rsp(struct cpu *c, u64 rsp)
{
	c->regs[CPU_RSP] = c->code32 ? (u32)rsp : rsp;
}

static inline u64 stack_load(struct cpu *c, const struct insn *i, unsigned int n)
{
	return load_sized(c, i, stack_address(c, c->regs[CPU_RSP] + ((u64)n << i->size)), i->size);
}

#endif /* CPU_STACK32_H_ */
