/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_simd.c - SSE and SSE2 behind 0f: the table of simd.def.
 *
 * The last of F2 and F3 selects, then 66; the other prefixes mean what they mean elsewhere. What the
 * table does not have is MMX, or newer, or an approximation: it stops as unimplemented.
 */
#include "cpu/decode.h"
#include "cpu/handlers.h"

/* Operands: register and XMM register or memory that is loaded, but for these. */
#define SIMD_STORE 1u	 /* into the r/m operand */
#define SIMD_MEMORY 2u	 /* memory only */
#define SIMD_REGISTER 4u /* registers only */
#define SIMD_GPR_REG 8u	 /* ModRM.reg is a general register */
#define SIMD_GPR_RM 16u	 /* the r/m operand is a general register or memory of its size */
#define SIMD_IMMEDIATE 32u
#define SIMD_GROUP 64u /* ModRM.reg selects */

enum simd_prefix { PREFIX_NP, PREFIX_66, PREFIX_F3, PREFIX_F2, NR_SIMD_PREFIXES };

struct simd_opcode {
	insn_fn *fn;
	u8 operands;
	u16 cost; /* offset in struct cpu_timing */
};

#define ENTRY(prefix, opcode, handler, flags, price)                                               \
	[PREFIX_##prefix][opcode] = {                                                              \
		.fn = handler, .operands = (flags), .cost = offsetof(struct cpu_timing, price)},
#define SIMD_PLAIN(prefix, opcode, name, cost) ENTRY(prefix, opcode, simd_##name, 0, cost)
#define SIMD_FLOAT(prefix, opcode, name, bytes, cost) ENTRY(prefix, opcode, simd_##name, 0, cost)
#define SIMD_COMPARE(prefix, opcode, name, bytes)                                                  \
	ENTRY(prefix, opcode, simd_##name, SIMD_IMMEDIATE, multiply)
#define SIMD_OTHER(prefix, opcode, handler, operands, cost)                                        \
	ENTRY(prefix, opcode, handler, operands, cost)

static const struct simd_opcode opcodes[NR_SIMD_PREFIXES][256] = {
#include "cpu/simd.def"
};

bool decode_is_simd(u8 op)
{
	return decode_one_of(op, 0x10, 0x17) || decode_one_of(op, 0x28, 0x2f) ||
	       decode_one_of(op, 0x50, 0x77) || decode_one_of(op, 0x7c, 0x7f) || op == 0xc2 ||
	       decode_one_of(op, 0xc4, 0xc6) || decode_one_of(op, 0xd0, 0xfe);
}

static enum simd_prefix mandatory_prefix(const struct decoder *d)
{
	if (d->rep)
		return PREFIX_F3;
	if (d->repne)
		return PREFIX_F2;
	return d->operand16 ? PREFIX_66 : PREFIX_NP;
}

/* 0f 71..73 with 66: false if there is no such shift. */
static bool decode_shift_group(struct decoder *d)
{
	static const u8 shift[3][8] = {
		{[2] = SIMD_PSRLW, [4] = SIMD_PSRAW, [6] = SIMD_PSLLW},
		{[2] = SIMD_PSRLD, [4] = SIMD_PSRAD, [6] = SIMD_PSLLD},
		{[2] = SIMD_PSRLQ, [3] = SIMD_PSRLDQ, [6] = SIMD_PSLLQ, [7] = SIMD_PSLLDQ},
	};

	d->out->op = shift[d->opcode - 0x71][d->reg & 7];
	return d->out->op != SIMD_NO_SHIFT;
}

/* The operand is where RDI points. */
static void decode_masked_move(struct decoder *d)
{
	d->memory = true;
	d->out->flags |= INSN_MEM;
	d->out->base = CPU_RDI;
	d->out->stores = 1;
	decode_alone(d, d->out->fn, d->cost); /* its bytes are stored one by one, and once */
}

static bool operands_exist(struct decoder *d, unsigned int operands)
{
	if (d->memory)
		return !(operands & (SIMD_REGISTER | SIMD_GROUP));
	if (operands & SIMD_GROUP)
		return decode_shift_group(d);
	return !(operands & SIMD_MEMORY);
}

void decode_simd(struct decoder *d)
{
	const struct simd_opcode *o = &opcodes[mandatory_prefix(d)][d->opcode];

	if (!o->fn) {
		decode_unimplemented(d);
		return;
	}
	decode_modrm(d);
	if (!operands_exist(d, o->operands)) {
		decode_invalid(d);
		return;
	}
	d->out->size = d->operand_size == 3 ? 3 : 2;
	d->out->reg = d->reg;
	if (o->operands & SIMD_GPR_REG)
		d->out->reg = decode_register(d, d->reg, 3);
	if (!d->memory)
		d->out->rm = o->operands & SIMD_GPR_RM ? decode_register(d, d->rm, 3) : d->rm;
	if (o->operands & SIMD_IMMEDIATE)
		d->out->imm = decode_bytes(d, 1);
	d->out->fn = o->fn;
	d->cost = *(const u32 *)((const u8 *)&d->c->timing + o->cost);
	if (d->memory) {
		d->out->loads = !(o->operands & SIMD_STORE);
		d->out->stores = !d->out->loads;
	}
	if (o->fn == simd_maskmovdqu)
		decode_masked_move(d);
}

/* FXSAVE, FXRSTOR, LDMXCSR, STMXCSR: 0f ae with memory and without prefix. */
void decode_fpu_state(struct decoder *d)
{
	static insn_fn *const handlers[] = {op_fxsave, op_fxrstor, op_ldmxcsr, op_stmxcsr};
	unsigned int op = d->reg & 3;

	d->out->size = d->operand_size;
	d->out->fn = handlers[op];
	d->out->loads = op == 1 || op == 2;
	d->out->stores = !d->out->loads;
	if (op < 2)
		decode_alone(d, handlers[op], d->c->timing.serialize);
}
