/* SPDX-License-Identifier: Apache-2.0 */
/*
 * multiply.c - IMUL, MUL, DIV, IDIV.
 *
 * SF, ZF and PF behind a multiplication are undefined by the architecture; here they follow the low
 * half of the product. Divisions leave the flags alone.
 */
#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/operand.h"

#define AH_OFFSET 1

static void set_product_flags(struct cpu *c, s64 low, bool overflow)
{
	set_flags(c, low, carries_cf_of(overflow, overflow));
}

/* reg = r/m * (reg or immediate) */
void op_imul(struct cpu *c, const struct insn *i)
{
	s64 a = sign_extend(load_rm(c, i), i->size);
	s64 b = i->flags & INSN_IMM ? (s64)i->imm
				    : sign_extend(get_reg_sized(c, i->reg, i->size), i->size);
	s128 product = (s128)a * b;
	s64 low = sign_extend((u64)product & size_mask(i->size), i->size);

	set_reg_sized(c, i->reg, i->size, (u64)low);
	set_product_flags(c, low, low != product);
	NEXT_INSN(c, i);
}

/* Registers only, the common sizes. */
void op_imul32(struct cpu *c, const struct insn *i)
{
	s32 a = REG(c, s32, i->rm);
	s32 b = i->flags & INSN_IMM ? (s32)i->imm : REG(c, s32, i->reg);
	s64 product = (s64)a * b;

	set_reg_u32(c, i->reg, (u32)product);
	set_product_flags(c, (s32)product, (s32)product != product);
	NEXT_INSN(c, i);
}

void op_imul64(struct cpu *c, const struct insn *i)
{
	s64 a = REG(c, s64, i->rm);
	s64 b = i->flags & INSN_IMM ? (s64)i->imm : REG(c, s64, i->reg);
	bool overflow;
	s64 product;

	overflow = __builtin_mul_overflow(a, b, &product);
	set_reg_u64(c, i->reg, (u64)product);
	set_product_flags(c, product, overflow);
	NEXT_INSN(c, i);
}

/* The double-width accumulator is AX for bytes and rDX:rAX otherwise. */
static void set_accumulator(struct cpu *c, unsigned int size, u64 low, u64 high)
{
	if (size == 0) {
		set_reg_u8(c, RAX_OFFSET, (u8)low);
		set_reg_u8(c, AH_OFFSET, (u8)high);
		return;
	}
	set_reg_sized(c, RAX_OFFSET, size, low);
	set_reg_sized(c, RDX_OFFSET, size, high);
}

static u128 get_accumulator(const struct cpu *c, unsigned int size)
{
	if (size == 0)
		return REG(c, const u16, RAX_OFFSET);
	return (u128)get_reg_sized(c, RDX_OFFSET, size) << (8u << size) |
	       get_reg_sized(c, RAX_OFFSET, size);
}

void op_multiply(struct cpu *c, const struct insn *i)
{
	unsigned int bits = 8u << i->size;
	u64 mask = size_mask(i->size);
	u64 a = get_reg_sized(c, RAX_OFFSET, i->size);
	u64 b = load_rm(c, i);
	bool overflow;
	u128 product;
	u64 low;

	if (i->op)
		product = (u128)((s128)sign_extend(a, i->size) * sign_extend(b, i->size));
	else
		product = (u128)a * b;
	low = (u64)product & mask;
	if (i->op)
		overflow = (s128)product != sign_extend(low, i->size);
	else
		overflow = (product >> bits) != 0;
	set_accumulator(c, i->size, low, (u64)(product >> bits) & mask);
	set_product_flags(c, sign_extend(low, i->size), overflow);
	NEXT_INSN(c, i);
}

static s128 sign_extend_accumulator(u128 v, unsigned int size)
{
	unsigned int unused = 128 - (16u << size);

	return (s128)(v << unused) >> unused;
}

static void divide_unsigned(struct cpu *c, const struct insn *i, u64 divisor)
{
	u128 dividend = get_accumulator(c, i->size);
	u128 quotient;

	if (!divisor)
		raise_fault(c, i, VECTOR_DE, NO_ERROR_CODE);
	/* Most dividends are narrow, and wide division is slow. */
	if (!(dividend >> 64))
		quotient = (u64)dividend / divisor;
	else
		quotient = dividend / divisor;
	if (quotient > size_mask(i->size))
		raise_fault(c, i, VECTOR_DE, NO_ERROR_CODE);
	set_accumulator(c, i->size, (u64)quotient, (u64)(dividend - quotient * divisor));
}

static void divide_signed(struct cpu *c, const struct insn *i, s64 divisor)
{
	s128 dividend = sign_extend_accumulator(get_accumulator(c, i->size), i->size);
	u64 mask = size_mask(i->size);
	s128 quotient;

	if (!divisor)
		raise_fault(c, i, VECTOR_DE, NO_ERROR_CODE);
	/* The most negative dividend by -1 does not fit in any size but could trap the host. */
	if (divisor == -1)
		quotient = (s128)(0 - (u128)dividend);
	else
		quotient = dividend / divisor;
	if (quotient != sign_extend((u64)quotient & mask, i->size) ||
	    (divisor == -1 && dividend < 0 && quotient < 0))
		raise_fault(c, i, VECTOR_DE, NO_ERROR_CODE);
	set_accumulator(c, i->size, (u64)quotient & mask,
			(u64)(dividend - quotient * divisor) & mask);
}

void op_divide(struct cpu *c, const struct insn *i)
{
	u64 divisor = load_rm(c, i);

	if (i->op)
		divide_signed(c, i, sign_extend(divisor, i->size));
	else
		divide_unsigned(c, i, divisor);
	NEXT_INSN(c, i);
}
