/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_control.c - branches: near ones end their block, far ones and INT n stand alone. And the far
 * pointers that are loaded only.
 */
#include "cpu/decode.h"
#include "cpu/handlers.h"

static void decode_branch(struct decoder *d, insn_fn *fn, u32 cost)
{
	d->out->fn = fn;
	d->out->branches = 1;
	d->cost = cost;
	d->end = DECODE_BRANCH;
}

/* Those that may change privilege or segments stand alone. */
void decode_far_branch(struct decoder *d, insn_fn *fn)
{
	decode_alone(d, fn, d->c->timing.serialize);
	d->out->branches = 1;
	d->out->size = d->operand_size;
}

void decode_indirect(struct decoder *d, bool call)
{
	insn_fn *to_mem = call ? op_call_mem : op_jmp_mem;
	insn_fn *to_reg = call ? op_call_reg : op_jmp_reg;

	decode_operands(d, 3);
	decode_branch(d, d->memory ? to_mem : to_reg, d->cost);
	d->out->imm = d->va + d->at;
	if (call) {
		d->out->stores = 1;
		d->out->flags |= INSN_STACK_WRITE;
	}
	if (d->memory)
		d->out->loads = 1;
}

void decode_loop(struct decoder *d)
{
	bool loop = d->opcode != 0xe3;

	d->out->op = d->opcode & 3;
	if (d->address16) {
		decode_relative(d, loop ? op_loop16 : op_jcxz16, 0);
		return;
	}
	if (d->address32)
		d->out->flags |= INSN_ADDR32;
	decode_relative(d, loop ? op_loop : op_jrcxz, 0);
}

void decode_return(struct decoder *d)
{
	d->out->imm = d->opcode == 0xc2 ? decode_bytes(d, 2) : 0;
	d->out->loads = 1;
	d->out->flags |= INSN_STACK_READ;
	decode_branch(d, op_ret, d->cost);
}

void decode_far_return(struct decoder *d)
{
	d->out->imm = d->opcode == 0xca ? decode_bytes(d, 2) : 0;
	d->out->loads = 2;
	d->out->flags |= INSN_STACK_READ;
	decode_far_branch(d, op_far_ret);
}

void decode_load_far(struct decoder *d, unsigned int segment)
{
	if (!d->memory) {
		decode_invalid(d);
		return;
	}
	decode_operands(d, d->operand_size);
	d->out->op = (u8)segment;
	d->out->fn = op_load_far;
	d->out->loads = 1;
}

void decode_interrupt(struct decoder *d)
{
	d->out->op = d->opcode != 0xcd;
	switch (d->opcode) {
	case 0xcc: d->out->imm = VECTOR_BP; break;
	case 0xce: d->out->imm = VECTOR_OF; break;
	case 0xcd: d->out->imm = decode_bytes(d, 1); break;
	default: d->out->imm = VECTOR_DB; break; /* INT1 */
	}
	decode_alone(d, op_int, d->c->timing.simple);
	if (d->opcode == 0xce)
		d->out->fn = op_into;
	if (d->opcode == 0xf1)
		d->out->fn = op_int1;
	d->out->branches = 1;
}

/* To the fallback address, always; it stands alone for the sake of what it counts. */
void decode_xbegin(struct decoder *d)
{
	s64 distance = decode_immediate(d, d->operand_size == 1 ? 1 : 2);

	d->out->imm = d->va + d->at + (u64)distance;
	if (d->legacy)
		d->out->imm = d->operand_size == 1 ? (u16)d->out->imm : (u32)d->out->imm;
	decode_alone(d, op_xbegin, d->c->timing.serialize);
}
