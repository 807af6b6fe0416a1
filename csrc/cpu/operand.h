/* SPDX-License-Identifier: Apache-2.0 */
/*
 * operand.h - how handlers reach their operands.
 *
 * Registers are named by byte offset into cpu->regs, so that AH..BH (offsets 1, 9, 17, 25) need no
 * case of their own. A 32-bit write clears the upper half; narrower writes leave it.
 */
#ifndef CPU_OPERAND_H_
#define CPU_OPERAND_H_

#include "cpu/memory.h"

#define REG(c, type, offset) (*(type *)((u8 *)(c)->regs + (offset)))
#define RAX_OFFSET 0
#define RDX_OFFSET 16

static __always_inline void set_reg_u8(struct cpu *c, unsigned int offset, u8 v)
{
	REG(c, u8, offset) = v;
}

static __always_inline void set_reg_u16(struct cpu *c, unsigned int offset, u16 v)
{
	REG(c, u16, offset) = v;
}

static __always_inline void set_reg_u32(struct cpu *c, unsigned int offset, u32 v)
{
	REG(c, u64, offset) = v;
}

static __always_inline void set_reg_u64(struct cpu *c, unsigned int offset, u64 v)
{
	REG(c, u64, offset) = v;
}

static inline u64 get_reg_sized(const struct cpu *c, unsigned int offset, unsigned int size)
{
	switch (size) {
	case 0: return REG(c, const u8, offset);
	case 1: return REG(c, const u16, offset);
	case 2: return REG(c, const u32, offset);
	default: return REG(c, const u64, offset);
	}
}

static inline void set_reg_sized(struct cpu *c, unsigned int offset, unsigned int size, u64 v)
{
	switch (size) {
	case 0: set_reg_u8(c, offset, (u8)v); break;
	case 1: set_reg_u16(c, offset, (u16)v); break;
	case 2: set_reg_u32(c, offset, (u32)v); break;
	default: set_reg_u64(c, offset, v); break;
	}
}

/* 32-bit addresses and segment bases are dealt with by op_address() before. */
static __always_inline u64 effective_address(const struct cpu *c, const struct insn *i)
{
	return c->regs[i->base] + (c->regs[i->index] << i->scale) + (u64)i->disp;
}

static inline u64 load_rm(struct cpu *c, const struct insn *i)
{
	if (i->flags & INSN_MEM)
		return load_sized(c, i, effective_address(c, i), i->size);
	return get_reg_sized(c, i->rm, i->size);
}

static inline void store_rm(struct cpu *c, const struct insn *i, u64 v)
{
	if (i->flags & INSN_MEM)
		store_sized(c, i, effective_address(c, i), i->size, v);
	else
		set_reg_sized(c, i->rm, i->size, v);
}

/* The r/m operand of a read-modify-write: a page that cannot be written faults here. */
static inline u64 load_rm_for_update(struct cpu *c, const struct insn *i)
{
	if (i->flags & INSN_MEM)
		return load_for_update(c, i, effective_address(c, i), 1u << i->size);
	return get_reg_sized(c, i->rm, i->size);
}

static __always_inline u64 size_mask(unsigned int size)
{
	return ~0ull >> (64 - (8u << size));
}

static __always_inline s64 sign_extend(u64 v, unsigned int size)
{
	unsigned int unused = 64 - (8u << size);

	return (s64)(v << unused) >> unused;
}

#endif /* CPU_OPERAND_H_ */
