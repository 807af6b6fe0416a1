/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bits.c - shifts and rotates, double shifts, bit tests, bit scans.
 *
 * Flags that the architecture leaves undefined come out as zero or unchanged, always the same way.
 */
#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/operand.h"

/* ---- shifts ---- */

static unsigned int shift_count(const struct cpu *c, const struct insn *i)
{
	unsigned int n = i->flags & INSN_IMM ? (unsigned int)i->imm
					     : (unsigned int)c->regs[CPU_RCX];

	return n & (i->size == 3 ? 63 : 31);
}

/* Rotates set CF and OF, no others. */
static u64 rotate(struct cpu *c, enum shift_op op, u64 v, unsigned int n, unsigned int bits,
		  u64 mask)
{
	unsigned int k = n % bits;
	bool top, below;
	u64 r = v;

	if (k && op == SHIFT_ROL)
		r = (v << k | v >> (bits - k)) & mask;
	if (k && op == SHIFT_ROR)
		r = (v >> k | v << (bits - k)) & mask;
	top = r >> (bits - 1) & 1;
	below = r >> (bits - 2) & 1;
	if (op == SHIFT_ROL)
		set_cf_of(c, r & 1, (r & 1) ^ top);
	else
		set_cf_of(c, top, top ^ below);
	return r;
}

static u64 rotate_carry(struct cpu *c, enum shift_op op, u64 v, unsigned int n, unsigned int bits,
			u64 mask)
{
	bool cf = flag_cf(c), top, below;

	for (unsigned int k = n % (bits + 1); k; k--) {
		bool out;

		if (op == SHIFT_RCL) {
			out = v >> (bits - 1) & 1;
			v = (v << 1 | cf) & mask;
		} else {
			out = v & 1;
			v = v >> 1 | (u64)cf << (bits - 1);
		}
		cf = out;
	}
	top = v >> (bits - 1) & 1;
	below = v >> (bits - 2) & 1;
	set_cf_of(c, cf, op == SHIFT_RCL ? cf ^ top : top ^ below);
	return v;
}

/* @n is at least 1; 8- and 16-bit operands can be shifted by more than they have. */
static u64 shift(struct cpu *c, enum shift_op op, u64 v, unsigned int n, unsigned int size)
{
	unsigned int bits = 8u << size;
	u64 mask = size_mask(size);
	bool cf, of;
	s64 wide;
	u64 r;

	switch (op) {
	case SHIFT_ROL:
	case SHIFT_ROR: return rotate(c, op, v, n, bits, mask);
	case SHIFT_RCL:
	case SHIFT_RCR: return rotate_carry(c, op, v, n, bits, mask);
	case SHIFT_SHR:
		r = n < bits ? v >> n : 0;
		cf = n <= bits ? v >> (n - 1) & 1 : 0;
		of = v >> (bits - 1) & 1;
		break;
	case SHIFT_SAR:
		wide = sign_extend(v, size);
		r = (u64)(wide >> n) & mask;
		cf = wide >> (n - 1) & 1;
		of = false;
		break;
	default:
		r = n < bits ? v << n & mask : 0;
		cf = n <= bits ? v >> (bits - n) & 1 : 0;
		of = cf ^ (r >> (bits - 1) & 1);
		break;
	}
	set_flags(c, sign_extend(r, size), carries_cf_of(cf, of));
	return r;
}

void op_shift(struct cpu *c, const struct insn *i)
{
	unsigned int n = shift_count(c, i);
	u64 v = load_rm_for_update(c, i);

	if (n)
		store_rm(c, i, shift(c, i->op, v, n, i->size));
	else
		store_rm(c, i, v);
	NEXT_INSN(c, i);
}

/* The common ones: a register of 4 or 8 bytes by a constant from 1 on. */
#define DEFINE_SHIFT_IMM(type, stype, bits)                                                        \
	static void shl_imm_##type(struct cpu *c, const struct insn *i)                            \
	{                                                                                          \
		type v = REG(c, type, i->rm), r = (type)(v << i->imm);                             \
		bool cf = v >> (bits - i->imm) & 1;                                                \
                                                                                                   \
		set_flags(c, (stype)r, carries_cf_of(cf, cf ^ (r >> (bits - 1))));                 \
		set_reg_##type(c, i->rm, r);                                                       \
		NEXT_INSN(c, i);                                                                   \
	}                                                                                          \
	static void shr_imm_##type(struct cpu *c, const struct insn *i)                            \
	{                                                                                          \
		type v = REG(c, type, i->rm), r = v >> i->imm;                                     \
                                                                                                   \
		set_flags(c, (stype)r, carries_cf_of(v >> (i->imm - 1) & 1, v >> (bits - 1)));     \
		set_reg_##type(c, i->rm, r);                                                       \
		NEXT_INSN(c, i);                                                                   \
	}                                                                                          \
	static void sar_imm_##type(struct cpu *c, const struct insn *i)                            \
	{                                                                                          \
		stype v = (stype)REG(c, type, i->rm), r = v >> i->imm;                             \
                                                                                                   \
		set_flags(c, r, carries_cf_of(v >> (i->imm - 1) & 1, false));                      \
		set_reg_##type(c, i->rm, (type)r);                                                 \
		NEXT_INSN(c, i);                                                                   \
	}

DEFINE_SHIFT_IMM(u32, s32, 32)
DEFINE_SHIFT_IMM(u64, s64, 64)

insn_fn *shift_imm_handler(enum shift_op op, unsigned int size)
{
	if (size < 2)
		return NULL;
	switch (op) {
	case SHIFT_SHL:
	case SHIFT_SAL: return size == 3 ? shl_imm_u64 : shl_imm_u32;
	case SHIFT_SHR: return size == 3 ? shr_imm_u64 : shr_imm_u32;
	case SHIFT_SAR: return size == 3 ? sar_imm_u64 : sar_imm_u32;
	default: return NULL;
	}
}

/* Of 16-bit operands by more than 16 the result is undefined: the destination stays. */
void op_double_shift(struct cpu *c, const struct insn *i)
{
	unsigned int bits = 8u << i->size, n = shift_count(c, i);
	u64 v = load_rm_for_update(c, i);
	u64 fill = get_reg_sized(c, i->reg, i->size);
	bool cf;
	u64 r;

	if (!n || n > bits) {
		store_rm(c, i, v);
		NEXT_INSN(c, i);
		return;
	}
	if (i->op == 0) {
		r = n == bits ? fill : (v << n | fill >> (bits - n)) & size_mask(i->size);
		cf = v >> (bits - n) & 1;
	} else {
		r = n == bits ? fill : (v >> n | fill << (bits - n)) & size_mask(i->size);
		cf = v >> (n - 1) & 1;
	}
	store_rm(c, i, r);
	set_flags(c, sign_extend(r, i->size), carries_cf_of(cf, (v ^ r) >> (bits - 1) & 1));
	NEXT_INSN(c, i);
}

/* ---- bit tests ---- */

static u64 change_bit(u64 v, u64 bit, enum bit_op op)
{
	switch (op) {
	case BIT_SET: return v | 1ull << bit;
	case BIT_RESET: return v & ~(1ull << bit);
	case BIT_COMPLEMENT: return v ^ 1ull << bit;
	default: return v;
	}
}

/* A bit number in a register reaches any operand-sized word from the address on. */
static s64 bit_number(const struct cpu *c, const struct insn *i)
{
	return sign_extend(get_reg_sized(c, i->reg, i->size), i->size);
}

static u64 bit_offset(s64 number, unsigned int size)
{
	return (u64)((number >> (3 + size)) * (1 << size));
}

/* In place of op_address() where that offset is a part of a 32- or 16-bit address. */
static u64 bit_address(const struct cpu *c, const struct insn *i)
{
	return effective_address(c, i) + bit_offset(bit_number(c, i), i->size);
}

static void set_bit_address(struct cpu *c, const struct insn *i, u32 offset)
{
	u64 va = offset;

	if (i->op != SEG_NONE)
		va += c->seg[i->op].base;
	c->regs[REG_ADDRESS] = c->legacy ? (u32)va : va;
	NEXT_INSN(c, i);
}

void op_address_bit(struct cpu *c, const struct insn *i)
{
	set_bit_address(c, i, (u32)bit_address(c, i));
}

void op_address_bit16(struct cpu *c, const struct insn *i)
{
	set_bit_address(c, i, (u16)bit_address(c, i));
}

void op_bit(struct cpu *c, const struct insn *i)
{
	unsigned int bits = 8u << i->size, bytes = 1u << i->size;
	s64 number = i->flags & INSN_IMM ? (s64)i->imm : bit_number(c, i);
	u64 bit = (u64)number & (bits - 1);
	u64 v, va = 0;

	if (i->flags & INSN_MEM) {
		va = effective_address(c, i);
		if (!(i->flags & (INSN_IMM | INSN_ADDR32)))
			va += bit_offset(number, i->size);
		v = i->op == BIT_TEST ? load_sized(c, i, va, i->size)
				      : load_for_update(c, i, va, bytes);
	} else {
		v = get_reg_sized(c, i->rm, i->size);
	}
	if (i->op != BIT_TEST) {
		u64 changed = change_bit(v, bit, i->op);

		if (i->flags & INSN_MEM)
			store_sized(c, i, va, i->size, changed);
		else
			set_reg_sized(c, i->rm, i->size, changed);
	}
	set_cf_of(c, v >> bit & 1, flag_of(c));
	NEXT_INSN(c, i);
}

/* ---- bit scans ---- */

/* BSF and BSR of 0 leave the destination, as processors do. */
void op_scan(struct cpu *c, const struct insn *i)
{
	unsigned int bits = 8u << i->size;
	u64 v = load_rm(c, i), r;

	switch (i->op) {
	case SCAN_BSF:
	case SCAN_BSR:
		if (v) {
			r = i->op == SCAN_BSF ? (u64)__builtin_ctzll(v)
					      : 63 - (u64)__builtin_clzll(v);
			set_reg_sized(c, i->reg, i->size, r);
		}
		set_arithmetic_flags(c, (arithmetic_flags(c) & ~FLAG_ZF) | (v ? 0 : FLAG_ZF));
		break;
	case SCAN_POPCNT:
		set_reg_sized(c, i->reg, i->size, (u64)__builtin_popcountll(v));
		set_arithmetic_flags(c, v ? 0 : FLAG_ZF);
		break;
	default:
		r = bits;
		if (v)
			r = i->op == SCAN_TZCNT ? (u64)__builtin_ctzll(v)
						: (u64)__builtin_clzll(v) - (64 - bits);
		set_reg_sized(c, i->reg, i->size, r);
		set_arithmetic_flags(c, (arithmetic_flags(c) & ~(FLAG_ZF | FLAG_CF)) |
						(r ? 0 : FLAG_ZF) | (v ? 0 : FLAG_CF));
		break;
	}
	NEXT_INSN(c, i);
}
