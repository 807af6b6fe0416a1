/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move.c - moving data: LEA, MOVZX.., the stack, exchanges, conditional moves, flags as data.
 */
#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/operand.h"

void op_nop(struct cpu *c, const struct insn *i)
{
	NEXT_INSN(c, i);
}

/*
 * In front of an instruction whose address has an FS or GS base or is computed in 32 bits: leaves the
 * address in a pseudo register. Counts as nothing.
 */
void op_address(struct cpu *c, const struct insn *i)
{
	u64 va = effective_address(c, i);

	if (i->flags & INSN_ADDR32)
		va = (u32)va;
	if (i->op != SEG_NONE)
		va += c->seg[i->op].base;
	c->regs[REG_ADDRESS] = va;
	NEXT_INSN(c, i);
}

void op_mov_imm64(struct cpu *c, const struct insn *i)
{
	REG(c, u64, i->rm) = i->imm;
	NEXT_INSN(c, i);
}

void op_lea16(struct cpu *c, const struct insn *i)
{
	set_reg_u16(c, i->reg, (u16)effective_address(c, i));
	NEXT_INSN(c, i);
}

void op_lea32(struct cpu *c, const struct insn *i)
{
	set_reg_u32(c, i->reg, (u32)effective_address(c, i));
	NEXT_INSN(c, i);
}

void op_lea64(struct cpu *c, const struct insn *i)
{
	set_reg_u64(c, i->reg, effective_address(c, i));
	NEXT_INSN(c, i);
}

/* ---- extension ---- */

#define DEFINE_EXTEND(from, signed_from, to)                                                       \
	static void zero_##from##_##to(struct cpu *c, const struct insn *i)                        \
	{                                                                                          \
		set_reg_##to(c, i->reg, REG(c, from, i->rm));                                      \
		NEXT_INSN(c, i);                                                                   \
	}                                                                                          \
	static void zero_mem_##from##_##to(struct cpu *c, const struct insn *i)                    \
	{                                                                                          \
		set_reg_##to(c, i->reg, load_##from(c, i, effective_address(c, i)));               \
		NEXT_INSN(c, i);                                                                   \
	}                                                                                          \
	static void sign_##from##_##to(struct cpu *c, const struct insn *i)                        \
	{                                                                                          \
		set_reg_##to(c, i->reg, (to)(signed_from)REG(c, from, i->rm));                     \
		NEXT_INSN(c, i);                                                                   \
	}                                                                                          \
	static void sign_mem_##from##_##to(struct cpu *c, const struct insn *i)                    \
	{                                                                                          \
		signed_from v = (signed_from)load_##from(c, i, effective_address(c, i));           \
                                                                                                   \
		set_reg_##to(c, i->reg, (to)v);                                                    \
		NEXT_INSN(c, i);                                                                   \
	}

DEFINE_EXTEND(u8, s8, u16)
DEFINE_EXTEND(u8, s8, u32)
DEFINE_EXTEND(u8, s8, u64)
DEFINE_EXTEND(u16, s16, u16)
DEFINE_EXTEND(u16, s16, u32)
DEFINE_EXTEND(u16, s16, u64)
DEFINE_EXTEND(u32, s32, u16)
DEFINE_EXTEND(u32, s32, u32)
DEFINE_EXTEND(u32, s32, u64)

#define TO_SIZES(prefix) {prefix##_u16, prefix##_u32, prefix##_u64}
#define FROM_SIZES(prefix) {TO_SIZES(prefix##_u8), TO_SIZES(prefix##_u16), TO_SIZES(prefix##_u32)}

insn_fn *extend_handler(bool sign, bool memory, unsigned int from, unsigned int to)
{
	static insn_fn *const handlers[2][2][3][3] = {
		{FROM_SIZES(zero), FROM_SIZES(zero_mem)},
		{FROM_SIZES(sign), FROM_SIZES(sign_mem)},
	};

	return handlers[sign][memory][from][to - 1];
}

/* CBW, CWDE, CDQE and CWD, CDQ, CQO. */
void op_sign_extend_rax(struct cpu *c, const struct insn *i)
{
	s64 v = sign_extend(c->regs[CPU_RAX], i->size - 1u);

	set_reg_sized(c, RAX_OFFSET, i->size, (u64)v);
	NEXT_INSN(c, i);
}

void op_sign_into_rdx(struct cpu *c, const struct insn *i)
{
	s64 v = sign_extend(c->regs[CPU_RAX], i->size);

	set_reg_sized(c, RDX_OFFSET, i->size, (u64)(v >> 63));
	NEXT_INSN(c, i);
}

/* ---- stack ---- */

static __always_inline void push(struct cpu *c, const struct insn *i, u64 v)
{
	u64 rsp = c->regs[CPU_RSP] - 8;

	store_u64(c, i, rsp, v);
	c->regs[CPU_RSP] = rsp;
}

void op_push(struct cpu *c, const struct insn *i)
{
	push(c, i, REG(c, u64, i->rm));
	NEXT_INSN(c, i);
}

void op_push_imm(struct cpu *c, const struct insn *i)
{
	push(c, i, i->imm);
	NEXT_INSN(c, i);
}

void op_push_mem(struct cpu *c, const struct insn *i)
{
	push(c, i, load_u64(c, i, effective_address(c, i)));
	NEXT_INSN(c, i);
}

void op_pushf(struct cpu *c, const struct insn *i)
{
	u64 rsp = c->regs[CPU_RSP] - (1u << i->size);

	store_sized(c, i, rsp, i->size, get_rflags(c));
	c->regs[CPU_RSP] = rsp;
	NEXT_INSN(c, i);
}

/* 16-bit pushes and pops of all kinds: register, memory, immediate. */
void op_push16(struct cpu *c, const struct insn *i)
{
	u16 v = i->flags & INSN_IMM ? (u16)i->imm : (u16)load_rm(c, i);
	u64 rsp = c->regs[CPU_RSP] - 2;

	store_u16(c, i, rsp, v);
	c->regs[CPU_RSP] = rsp;
	NEXT_INSN(c, i);
}

void op_pop(struct cpu *c, const struct insn *i)
{
	u64 v = load_u64(c, i, c->regs[CPU_RSP]);

	c->regs[CPU_RSP] += 8;
	REG(c, u64, i->rm) = v;
	NEXT_INSN(c, i);
}

/* The decoder has made up for the address being computed before RSP moves. */
static void pop_to_memory(struct cpu *c, const struct insn *i)
{
	u64 rsp = c->regs[CPU_RSP];
	u64 v = load_sized(c, i, rsp, i->size);

	store_sized(c, i, effective_address(c, i), i->size, v);
	c->regs[CPU_RSP] = rsp + (1u << i->size);
}

void op_pop_mem(struct cpu *c, const struct insn *i)
{
	pop_to_memory(c, i);
	NEXT_INSN(c, i);
}

void op_pop16(struct cpu *c, const struct insn *i)
{
	if (i->flags & INSN_MEM) {
		pop_to_memory(c, i);
	} else {
		u16 v = load_u16(c, i, c->regs[CPU_RSP]);

		c->regs[CPU_RSP] += 2;
		set_reg_u16(c, i->rm, v);
	}
	NEXT_INSN(c, i);
}

void op_leave(struct cpu *c, const struct insn *i)
{
	u64 v = load_u64(c, i, c->regs[CPU_RBP]);

	c->regs[CPU_RSP] = c->regs[CPU_RBP] + 8;
	c->regs[CPU_RBP] = v;
	NEXT_INSN(c, i);
}

/* Nesting level 0 only; the decoder sees to it. The new stack must be writable at its end, too. */
void op_enter(struct cpu *c, const struct insn *i)
{
	u64 frame = c->regs[CPU_RSP] - 8;

	probe_write(c, i, frame, 8);
	probe_write(c, i, frame - i->imm, 8);
	push(c, i, c->regs[CPU_RBP]);
	c->regs[CPU_RBP] = c->regs[CPU_RSP];
	c->regs[CPU_RSP] -= i->imm;
	NEXT_INSN(c, i);
}

/* ---- exchanges ---- */

void op_xchg(struct cpu *c, const struct insn *i)
{
	u64 old = load_rm_for_update(c, i);

	store_rm(c, i, get_reg_sized(c, i->reg, i->size));
	set_reg_sized(c, i->reg, i->size, old);
	NEXT_INSN(c, i);
}

static void set_add_flags(struct cpu *c, u64 a, u64 b, u64 r, unsigned int size)
{
	u64 carries = ((a & b) | ((a | b) & ~r)) & size_mask(size);

	set_flags(c, sign_extend(r, size), widen_carries(carries, 8u << size));
}

static void set_compare_flags(struct cpu *c, u64 a, u64 b, unsigned int size)
{
	u64 r = (a - b) & size_mask(size);
	u64 borrows = ((~a & b) | (~(a ^ b) & r)) & size_mask(size);

	set_flags(c, sign_extend(r, size), widen_carries(borrows, 8u << size));
}

void op_xadd(struct cpu *c, const struct insn *i)
{
	u64 old = load_rm_for_update(c, i);
	u64 add = get_reg_sized(c, i->reg, i->size);
	u64 sum = (old + add) & size_mask(i->size);

	if (i->flags & INSN_MEM)
		store_rm(c, i, sum);
	set_reg_sized(c, i->reg, i->size, old);
	if (!(i->flags & INSN_MEM))
		store_rm(c, i, sum);
	set_add_flags(c, old, add, sum, i->size);
	NEXT_INSN(c, i);
}

/* The destination is written either way. */
void op_cmpxchg(struct cpu *c, const struct insn *i)
{
	u64 old = load_rm_for_update(c, i);
	u64 expected = get_reg_sized(c, RAX_OFFSET, i->size);
	bool equal = old == expected;

	if (equal)
		store_rm(c, i, get_reg_sized(c, i->reg, i->size));
	else if (i->flags & INSN_MEM)
		store_rm(c, i, old);
	if (!equal)
		set_reg_sized(c, RAX_OFFSET, i->size, old);
	set_compare_flags(c, expected, old, i->size);
	NEXT_INSN(c, i);
}

static void set_zf(struct cpu *c, bool zf)
{
	set_arithmetic_flags(c, (arithmetic_flags(c) & ~FLAG_ZF) | (zf ? FLAG_ZF : 0));
}

void op_cmpxchg8b(struct cpu *c, const struct insn *i)
{
	u64 va = effective_address(c, i);
	u64 old = load_for_update(c, i, va, 8);
	u64 expected = (u32)c->regs[CPU_RAX] | c->regs[CPU_RDX] << 32;
	bool equal = old == expected;

	store_u64(c, i, va, equal ? (u32)c->regs[CPU_RBX] | c->regs[CPU_RCX] << 32 : old);
	if (!equal) {
		c->regs[CPU_RAX] = (u32)old;
		c->regs[CPU_RDX] = old >> 32;
	}
	set_zf(c, equal);
	NEXT_INSN(c, i);
}

void op_cmpxchg16b(struct cpu *c, const struct insn *i)
{
	u64 va = effective_address(c, i);
	u64 low, high;
	bool equal;

	if (va & 15)
		raise_fault(c, i, VECTOR_GP, 0);
	low = load_for_update(c, i, va, 8);
	high = load_for_update(c, i, va + 8, 8);
	equal = low == c->regs[CPU_RAX] && high == c->regs[CPU_RDX];
	store_u64(c, i, va, equal ? c->regs[CPU_RBX] : low);
	store_u64(c, i, va + 8, equal ? c->regs[CPU_RCX] : high);
	c->regs[CPU_RAX] = low;
	c->regs[CPU_RDX] = high;
	set_zf(c, equal);
	NEXT_INSN(c, i);
}

void op_bswap(struct cpu *c, const struct insn *i)
{
	if (i->size == 3)
		REG(c, u64, i->rm) = __builtin_bswap64(REG(c, u64, i->rm));
	else
		set_reg_u32(c, i->rm, __builtin_bswap32(REG(c, u32, i->rm)));
	NEXT_INSN(c, i);
}

static u64 swap_bytes(u64 v, unsigned int size)
{
	return __builtin_bswap64(v) >> (64 - (8u << size));
}

void op_movbe(struct cpu *c, const struct insn *i)
{
	u64 va = effective_address(c, i);

	if (i->flags & INSN_STORE)
		store_sized(c, i, va, i->size,
			    swap_bytes(get_reg_sized(c, i->reg, i->size), i->size));
	else
		set_reg_sized(c, i->reg, i->size,
			      swap_bytes(load_sized(c, i, va, i->size), i->size));
	NEXT_INSN(c, i);
}

/* At RBX + AL; the decoder refuses a segment base or a 32-bit address. */
void op_xlat(struct cpu *c, const struct insn *i)
{
	u64 va = c->regs[CPU_RBX] + (u8)c->regs[CPU_RAX];

	set_reg_u8(c, RAX_OFFSET, load_u8(c, i, va));
	NEXT_INSN(c, i);
}

/* ---- conditions as data ---- */

#define DEFINE_CONDITION(code)                                                                     \
	static void setcc_##code(struct cpu *c, const struct insn *i)                              \
	{                                                                                          \
		u8 v = condition(c, code);                                                         \
                                                                                                   \
		if (i->flags & INSN_MEM)                                                           \
			store_u8(c, i, effective_address(c, i), v);                                \
		else                                                                               \
			set_reg_u8(c, i->rm, v);                                                   \
		NEXT_INSN(c, i);                                                                   \
	}                                                                                          \
	static void cmov_##code(struct cpu *c, const struct insn *i)                               \
	{                                                                                          \
		u64 v = load_rm(c, i);                                                             \
                                                                                                   \
		if (!condition(c, code))                                                           \
			v = get_reg_sized(c, i->reg, i->size);                                     \
		set_reg_sized(c, i->reg, i->size, v);                                              \
		NEXT_INSN(c, i);                                                                   \
	}

#define FOR_EACH_CONDITION(m)                                                                      \
	m(0) m(1) m(2) m(3) m(4) m(5) m(6) m(7) m(8) m(9) m(10) m(11) m(12) m(13) m(14) m(15)

FOR_EACH_CONDITION(DEFINE_CONDITION)

#define SETCC_ENTRY(code) setcc_##code,
#define CMOV_ENTRY(code) cmov_##code,

insn_fn *setcc_handler(unsigned int code)
{
	static insn_fn *const handlers[16] = {FOR_EACH_CONDITION(SETCC_ENTRY)};

	return handlers[code];
}

insn_fn *cmov_handler(unsigned int code)
{
	static insn_fn *const handlers[16] = {FOR_EACH_CONDITION(CMOV_ENTRY)};

	return handlers[code];
}

/* ---- single flags ---- */

void op_flag(struct cpu *c, const struct insn *i)
{
	const u64 ah_flags = FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF | FLAG_CF;

	switch (i->op) {
	case FLAG_OP_CMC: set_cf_of(c, !flag_cf(c), flag_of(c)); break;
	case FLAG_OP_CLC: set_cf_of(c, false, flag_of(c)); break;
	case FLAG_OP_STC: set_cf_of(c, true, flag_of(c)); break;
	case FLAG_OP_CLD: c->flags &= ~FLAG_DF; break;
	case FLAG_OP_STD: c->flags |= FLAG_DF; break;
	case FLAG_OP_SAHF:
		set_arithmetic_flags(c, (arithmetic_flags(c) & FLAG_OF) |
						(REG(c, u8, RAX_OFFSET + 1) & ah_flags));
		break;
	default:
		set_reg_u8(c, RAX_OFFSET + 1, (u8)((arithmetic_flags(c) & ah_flags) | FLAG_FIXED));
		break;
	}
	NEXT_INSN(c, i);
}
