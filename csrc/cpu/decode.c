/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode.c - prefixes, ModRM and immediates; decode_one_byte.c and decode_two_byte.c have the
 * opcodes. See decode.h.
 */
#include <string.h>

#include "cpu/decode.h"
#include "cpu/handlers.h"

#define MAX_BYTES 15u
#define REX_W 8u
#define REX_R 4u
#define REX_X 2u
#define REX_B 1u

u64 decode_bytes(struct decoder *d, unsigned int n)
{
	u64 v = 0;

	if (n > d->available - d->at) {
		d->truncated = true;
		return 0;
	}
	for (unsigned int k = 0; k < n; k++)
		v |= (u64)d->bytes[d->at++] << (8 * k);
	return v;
}

s64 decode_immediate(struct decoder *d, unsigned int size)
{
	switch (size) {
	case 0: return (s8)decode_bytes(d, 1);
	case 1: return (s16)decode_bytes(d, 2);
	default: return (s32)decode_bytes(d, 4);
	}
}

/* AH..BH are the second bytes of the first four registers, unless there is a REX prefix. */
u8 decode_register(const struct decoder *d, unsigned int number, unsigned int size)
{
	if (size == 0 && !d->rex && number >= 4 && number < 8)
		return (u8)((number - 4) * 8 + 1);
	return (u8)(number * 8);
}

void decode_operands(struct decoder *d, unsigned int size)
{
	d->out->size = (u8)size;
	d->out->reg = decode_register(d, d->reg, size);
	if (!d->memory)
		d->out->rm = decode_register(d, d->rm, size);
}

static void decode_sib(struct decoder *d, unsigned int mod)
{
	u8 sib = (u8)decode_bytes(d, 1);
	unsigned int index = (sib >> 3 & 7) | (d->rex & REX_X ? 8 : 0);
	unsigned int base = sib & 7;

	if (index != CPU_RSP) {
		d->out->index = (u8)index;
		d->out->scale = sib >> 6;
	}
	if (base == 5 && mod == 0)
		d->out->disp = (s32)decode_bytes(d, 4);
	else
		d->out->base = (u8)(base | (d->rex & REX_B ? 8 : 0));
}

void decode_modrm(struct decoder *d)
{
	unsigned int mod, rm;

	d->modrm = (u8)decode_bytes(d, 1);
	mod = d->modrm >> 6;
	rm = d->modrm & 7;
	d->reg = (u8)((d->modrm >> 3 & 7) | (d->rex & REX_R ? 8 : 0));
	if (mod == 3) {
		d->rm = (u8)(rm | (d->rex & REX_B ? 8 : 0));
		return;
	}
	d->memory = true;
	d->out->flags |= INSN_MEM;
	if (d->address16) {
		decode_address16(d, mod, rm);
		return;
	}
	if (rm == 4) {
		decode_sib(d, mod);
	} else if (rm == 5 && mod == 0) {
		d->out->disp = (s32)decode_bytes(d, 4);
		d->rip_relative = !d->legacy;
	} else {
		d->out->base = (u8)(rm | (d->rex & REX_B ? 8 : 0));
	}
	if (mod == 1)
		d->out->disp = (s8)decode_bytes(d, 1);
	else if (mod == 2)
		d->out->disp = (s32)decode_bytes(d, 4);
	if (d->segment == SEG_NONE && (d->out->base == CPU_RSP || d->out->base == CPU_RBP))
		d->out->flags |= INSN_STACK;
}

void decode_alone(struct decoder *d, insn_fn *fn, u32 cost)
{
	d->out->fn = fn;
	d->cost = cost;
	d->end = DECODE_ALONE;
}

void decode_invalid(struct decoder *d)
{
	decode_alone(d, op_invalid, 0);
}

void decode_unimplemented(struct decoder *d)
{
	decode_alone(d, op_unimplemented, 0);
}

void decode_relative(struct decoder *d, insn_fn *fn, unsigned int size)
{
	bool short16 = d->legacy && d->operand_size == 1;
	s64 distance = decode_immediate(d, size && short16 ? 1 : size);
	u64 next = d->va + d->at;

	d->out->fn = fn;
	d->out->imm = next + (u64)distance;
	d->out->disp = (s64)next;
	if (d->legacy) {
		d->out->imm &= short16 ? 0xffffull : 0xffffffffull;
		d->out->disp = (u32)next;
	}
	d->out->branches = 1;
	d->end = DECODE_BRANCH;
	if (!is_canonical(d->out->imm)) {
		d->out->fn = op_branch_out;
		d->out->op = d->opcode;
	}
}

/* False when the byte is not a prefix. */
static bool decode_prefix(struct decoder *d, u8 byte)
{
	switch (byte) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e: /* ES, CS, SS, DS bases are 0 in 64-bit mode */
		if (d->legacy)
			d->segment = byte >> 3 & 3;
		break;
	case 0x64: d->segment = SEG_FS; break;
	case 0x65: d->segment = SEG_GS; break;
	case 0x66: d->operand16 = true; break;
	case 0x67: d->address32 = true; break;
	case 0xf0: d->lock = true; break;
	case 0xf2:
		d->repne = true;
		d->rep = false;
		break;
	case 0xf3:
		d->rep = true;
		d->repne = false;
		break;
	default: return false;
	}
	return true;
}

/* The last REX prefix counts, and only right in front of the opcode. */
static u8 decode_prefixes(struct decoder *d)
{
	u8 byte;

	for (;;) {
		byte = (u8)decode_bytes(d, 1);
		if (d->truncated)
			return byte;
		if ((byte & 0xf0) == 0x40 && !d->legacy)
			d->rex = byte;
		else if (decode_prefix(d, byte))
			d->rex = 0;
		else
			return byte;
	}
}

/* The bit number in a register belongs to the address that is cut to 32 or 16 bits. */
static void split_bit_offset(const struct decoder *d, struct insn *address, struct insn *i)
{
	if (!d->address32 || i->fn != op_bit || (i->flags & INSN_IMM))
		return;
	address->fn = d->address16 ? op_address_bit16 : op_address_bit;
	address->reg = i->reg;
	address->size = i->size;
	i->flags |= INSN_ADDR32;
}

static insn_fn *address_handler(const struct decoder *d)
{
	if (d->address16)
		return op_address16;
	return d->legacy ? op_address32 : op_address;
}

/* Put what needs a segment base or 32-bit arithmetic into an op_address() in front. */
static u32 split_address(struct decoder *d, struct insn *out)
{
	struct insn *i = d->out;

	if (!d->memory || (!d->address32 && (d->segment == SEG_NONE || i->fn == op_lea64 ||
					     i->fn == op_lea32 || i->fn == op_lea16))) {
		out[0] = *i;
		return 1;
	}
	if (d->legacy && d->segment == SEG_NONE)
		d->segment = i->base == CPU_RSP || i->base == CPU_RBP ? SEG_SS : SEG_DS;
	out[0] = (struct insn){.fn = address_handler(d),
			       .disp = i->disp,
			       .flags = d->address32 ? INSN_ADDR32 : 0,
			       .base = i->base,
			       .index = i->index,
			       .scale = i->scale,
			       .op = d->no_access ? SEG_NONE : d->segment};
	out[1] = *i;
	out[1].base = REG_ADDRESS;
	out[1].index = REG_ZERO;
	out[1].scale = 0;
	out[1].disp = 0;
	split_bit_offset(d, &out[0], &out[1]);
	return 2;
}

enum decode_end decode_insn(const struct cpu *c, u64 va, const u8 *bytes, u32 available,
			    struct insn *out, u32 *n)
{
	struct insn insn = {.base = REG_ZERO, .index = REG_ZERO, .instructions = 1};
	struct decoder d = {
		.c = c,
		.bytes = bytes,
		.available = available < MAX_BYTES ? available : MAX_BYTES,
		.va = va,
		.out = &insn,
		.segment = SEG_NONE,
		.code16 = c->code_size == 1,
		.legacy = c->legacy,
		.cost = c->timing.simple,
	};

	d.opcode = decode_prefixes(&d);
	if (d.legacy) {
		d.address16 = d.address32 != d.code16;
		d.address32 = true;
	}
	if (d.rex & REX_W)
		d.operand_size = 3;
	else
		d.operand_size = d.operand16 != d.code16 ? 1 : 2;
	if (d.opcode == 0x0f) {
		d.opcode = (u8)decode_bytes(&d, 1);
		d.size = d.opcode & 1 ? d.operand_size : 0;
		decode_two_byte(&d);
	} else {
		d.size = d.opcode & 1 ? d.operand_size : 0;
		decode_one_byte(&d);
	}
	if (d.truncated) {
		if (available < MAX_BYTES)
			return DECODE_TRUNCATED;
		d.memory = false;
		d.at = MAX_BYTES;
		decode_alone(&d, op_too_long, 0);
	} else if (d.lock && !(d.lockable && d.memory) && insn.fn != op_unimplemented) {
		decode_invalid(&d);
	}
	insn.len = (u8)d.at;
	if (d.memory && d.rip_relative)
		insn.disp += (s64)(va + d.at);
	insn.sub = d.cost + insn.loads * c->timing.load + insn.stores * c->timing.store;
	if (d.lock || d.locked)
		insn.sub += c->timing.locked;
	*n = split_address(&d, out);
	return d.end;
}
