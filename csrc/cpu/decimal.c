/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decimal.c - decimal adjustment, which 64-bit code does not have: DAA, DAS, AAA, AAS, AAM, AAD.
 *
 * Of the undefined flags, OF is cleared by DAA and DAS; AAM and AAD clear OF, AF and CF; AAA and AAS
 * leave OF, SF, ZF and PF.
 */
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/operand.h"

#define AH_OFFSET (RAX_OFFSET + 1)

static u64 flags_of_byte(u8 v)
{
	return (v ? 0 : FLAG_ZF) | (v & 0x80 ? FLAG_SF : 0) | (__builtin_parity(v) ? 0 : FLAG_PF);
}

static void adjust_packed(struct cpu *c, bool subtract)
{
	u64 flags = arithmetic_flags(c);
	u8 old = REG(c, u8, RAX_OFFSET), al = old;
	bool low = (old & 15) > 9 || (flags & FLAG_AF);
	bool high = old > 0x99 || (flags & FLAG_CF);
	bool carry = high;

	if (low) {
		/* A borrow of the low digit alone is a carry as well: DAS of 00..05 with AF set. */
		carry |= subtract && old < 6;
		al = (u8)(subtract ? al - 6 : al + 6);
	}
	if (high)
		al = (u8)(subtract ? al - 0x60 : al + 0x60);
	set_reg_u8(c, RAX_OFFSET, al);
	set_arithmetic_flags(c, flags_of_byte(al) | (low ? FLAG_AF : 0) | (carry ? FLAG_CF : 0));
}

static void adjust_unpacked(struct cpu *c, bool subtract)
{
	u64 flags = arithmetic_flags(c) & ~(FLAG_AF | FLAG_CF);
	u16 ax = REG(c, u16, RAX_OFFSET);

	if ((ax & 15) > 9 || flag_af(c)) {
		ax = (u16)(subtract ? ax - 0x106 : ax + 0x106);
		flags |= FLAG_AF | FLAG_CF;
	}
	set_reg_u16(c, RAX_OFFSET, ax & 0xff0f);
	set_arithmetic_flags(c, flags);
}

void op_decimal(struct cpu *c, const struct insn *i)
{
	u8 al = REG(c, u8, RAX_OFFSET), ah = REG(c, u8, AH_OFFSET);

	switch (i->op) {
	case DECIMAL_DAA: adjust_packed(c, false); break;
	case DECIMAL_DAS: adjust_packed(c, true); break;
	case DECIMAL_AAA: adjust_unpacked(c, false); break;
	case DECIMAL_AAS: adjust_unpacked(c, true); break;
	case DECIMAL_AAM:
		if (!i->imm)
			raise_fault(c, i, VECTOR_DE, NO_ERROR_CODE);
		set_reg_u8(c, AH_OFFSET, (u8)(al / i->imm));
		set_reg_u8(c, RAX_OFFSET, (u8)(al % i->imm));
		set_arithmetic_flags(c, flags_of_byte(REG(c, u8, RAX_OFFSET)));
		break;
	default:
		al = (u8)(al + ah * i->imm);
		set_reg_u16(c, RAX_OFFSET, al);
		set_arithmetic_flags(c, flags_of_byte(al));
		break;
	}
	NEXT_INSN(c, i);
}
