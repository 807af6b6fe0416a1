/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_legacy.c - 16- and 32-bit code: 16-bit addresses, and the one-byte opcodes that mean
 * something else than in 64-bit code or do it to the stack of legacy code.
 */
#include "cpu/decode.h"
#include "cpu/handlers.h"

void decode_address16(struct decoder *d, unsigned int mod, unsigned int rm)
{
	static const u8 base[8] = {CPU_RBX, CPU_RBX, CPU_RBP, CPU_RBP,
				   CPU_RSI, CPU_RDI, CPU_RBP, CPU_RBX};
	static const u8 index[8] = {CPU_RSI,  CPU_RDI,	CPU_RSI,  CPU_RDI,
				    REG_ZERO, REG_ZERO, REG_ZERO, REG_ZERO};

	if (rm == 6 && mod == 0) {
		d->out->disp = (s16)decode_bytes(d, 2);
		return;
	}
	d->out->base = base[rm];
	d->out->index = index[rm];
	if (mod == 1)
		d->out->disp = (s8)decode_bytes(d, 1);
	else if (mod == 2)
		d->out->disp = (s16)decode_bytes(d, 2);
	if (d->out->base == CPU_RBP)
		d->out->flags |= INSN_STACK;
}

static void decode_push32(struct decoder *d, insn_fn *fn, unsigned int words)
{
	d->out->size = d->operand_size;
	d->out->fn = fn;
	d->out->flags |= INSN_STACK;
	d->out->stores = (u8)words;
	if (d->memory)
		d->out->loads = 1;
}

static void decode_pop32(struct decoder *d, insn_fn *fn, unsigned int words)
{
	d->out->size = d->operand_size;
	d->out->fn = fn;
	d->out->flags |= INSN_STACK;
	d->out->loads = (u8)words;
	if (d->memory) {
		d->out->stores = 1;
		if (d->out->base == CPU_RSP)
			d->out->disp += 1 << d->operand_size;
	}
}

static void decode_segment32(struct decoder *d, unsigned int segment, bool pop)
{
	d->out->op = (u8)segment;
	if (!pop) {
		decode_push32(d, op_push_segment, 1);
		return;
	}
	decode_pop32(d, op_pop_segment, 1);
	if (segment == SEG_SS)
		decode_alone(d, op_pop_segment, d->c->timing.simple);
}

/* Behind it: an offset of the operand's size and a selector. */
static void decode_far_direct(struct decoder *d, bool call)
{
	d->out->imm = decode_bytes(d, 1u << d->operand_size);
	d->out->disp = (s64)decode_bytes(d, 2);
	decode_far_branch(d, call ? op_far_call : op_far_jmp);
	d->out->flags |= INSN_IMM;
	d->out->stores = call ? 2 : 0;
}

static void decode_near_branch(struct decoder *d, insn_fn *fn, unsigned int size)
{
	decode_relative(d, fn, size);
	d->out->size = d->operand_size;
	if (fn == op_call32) {
		d->out->flags |= INSN_STACK;
		d->out->stores = 1;
	}
}

static void decode_return32(struct decoder *d)
{
	decode_return(d);
	d->out->size = d->operand_size;
	d->out->fn = op_ret32;
}

static void decode_push_immediate(struct decoder *d)
{
	d->out->imm = (u64)decode_immediate(d, d->opcode == 0x6a ? 0 : d->operand_size);
	d->out->flags |= INSN_IMM;
	decode_push32(d, op_push32, 1);
}

static void decode_group_8f(struct decoder *d)
{
	decode_modrm(d);
	if (d->reg) {
		decode_invalid(d);
		return;
	}
	decode_operands(d, d->operand_size);
	decode_pop32(d, op_pop32, 1);
}

static void decode_group_ff(struct decoder *d)
{
	decode_modrm(d);
	if (d->reg == 6) {
		decode_operands(d, d->operand_size);
		decode_push32(d, op_push32, 1);
		return;
	}
	decode_indirect(d, d->reg == 2);
	d->out->size = d->operand_size;
	d->out->fn = d->reg == 2 ? op_call_indirect32 : op_jmp_indirect32;
}

static void decode_xlat32(struct decoder *d)
{
	d->out->fn = op_xlat32;
	d->out->op = d->segment == SEG_NONE ? SEG_DS : d->segment;
	d->out->imm = decode_address_mask(d);
	d->out->loads = 1;
}

/* The high five bits of the opcode select, the low three are a register. */
static bool decode_row(struct decoder *d)
{
	unsigned int reg = d->opcode & 7u;

	switch (d->opcode & 0xf8) {
	case 0x40:
	case 0x48:
		d->out->size = d->operand_size;
		d->out->rm = decode_register(d, reg, d->operand_size);
		d->out->fn = unary_handler(d->opcode < 0x48 ? UNARY_INC : UNARY_DEC, false,
					   d->operand_size);
		return true;
	case 0x50:
		d->out->rm = decode_register(d, reg, d->operand_size);
		decode_push32(d, op_push32, 1);
		return true;
	case 0x58:
		d->out->rm = decode_register(d, reg, d->operand_size);
		decode_pop32(d, op_pop32, 1);
		return true;
	default: return false;
	}
}

static void decode_decimal(struct decoder *d, enum decimal_op op)
{
	d->out->op = (u8)op;
	d->out->fn = op_decimal;
	if (op == DECIMAL_AAM)
		d->cost = d->c->timing.divide;
	if (op == DECIMAL_AAD)
		d->cost = d->c->timing.multiply;
}

static void decode_arpl(struct decoder *d)
{
	decode_modrm(d);
	decode_operands(d, 1);
	d->out->fn = op_arpl;
	if (d->memory) {
		d->out->loads = 1;
		d->out->stores = 1;
	}
}

/* BOUND, LES, LDS. */
static void decode_memory_only(struct decoder *d)
{
	decode_modrm(d);
	if (!d->memory) {
		decode_unimplemented(d);
		return;
	}
	if (d->opcode != 0x62) {
		decode_load_far(d, d->opcode == 0xc4 ? SEG_ES : SEG_DS);
		return;
	}
	decode_operands(d, d->operand_size);
	d->out->fn = op_bound;
	d->out->loads = 1;
}

static bool is_string(u8 op)
{
	return decode_one_of(op, 0x6c, 0x6f) || decode_one_of(op, 0xa4, 0xa7) ||
	       decode_one_of(op, 0xaa, 0xaf);
}

bool decode_legacy(struct decoder *d)
{
	if (decode_row(d))
		return true;
	if (is_string(d->opcode) && d->segment == SEG_NONE)
		d->segment = SEG_DS;
	switch (d->opcode) {
	case 0x06:
	case 0x0e:
	case 0x16:
	case 0x1e: decode_segment32(d, d->opcode >> 3, false); break;
	case 0x07:
	case 0x17:
	case 0x1f: decode_segment32(d, d->opcode >> 3, true); break;
	case 0x60:
		decode_push32(d, op_pusha, 8);
		decode_alone(d, op_pusha, d->cost); /* no half of it happens twice */
		break;
	case 0x61: decode_pop32(d, op_popa, 7); break;
	case 0x68:
	case 0x6a: decode_push_immediate(d); break;
	case 0x8f: decode_group_8f(d); break;
	case 0x9a:
	case 0xea: decode_far_direct(d, d->opcode == 0x9a); break;
	case 0x9c: decode_push32(d, op_pushf32, 1); break;
	case 0x9d:
		decode_pop32(d, op_popf, 1);
		decode_alone(d, op_popf, d->c->timing.simple);
		break;
	case 0xc2:
	case 0xc3: decode_return32(d); break;
	case 0xc8: decode_enter(d); break;
	case 0xc9: decode_pop32(d, op_leave_sized, 1); break;
	case 0xcf:
		decode_far_branch(d, op_iret32);
		d->out->loads = 3;
		d->out->flags |= INSN_STACK;
		break;
	case 0xd7: decode_xlat32(d); break;
	case 0xe8: decode_near_branch(d, op_call32, 2); break;
	case 0xe9: decode_near_branch(d, op_jmp, 2); break;
	case 0xff: {
		unsigned int op = d->at < d->available ? d->bytes[d->at] >> 3 & 7 : 0;

		if (op != 2 && op != 4 && op != 6)
			return false;
		decode_group_ff(d);
		break;
	}
	case 0x27: decode_decimal(d, DECIMAL_DAA); break;
	case 0x2f: decode_decimal(d, DECIMAL_DAS); break;
	case 0x37: decode_decimal(d, DECIMAL_AAA); break;
	case 0x3f: decode_decimal(d, DECIMAL_AAS); break;
	case 0x63: decode_arpl(d); break;
	case 0x62: /* EVEX and VEX, where the operand would be a register */
	case 0xc4:
	case 0xc5: decode_memory_only(d); break;
	case 0xce: decode_interrupt(d); break;
	case 0xd4:
	case 0xd5:
		d->out->imm = decode_bytes(d, 1);
		decode_decimal(d, d->opcode == 0xd4 ? DECIMAL_AAM : DECIMAL_AAD);
		break;
	case 0xd6: d->out->fn = op_salc; break;
	default: return false;
	}
	return true;
}
