/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_one_byte.c - opcodes without the 0f escape, in 64-bit mode; where legacy code
 * differs, decode_legacy.c comes first.
 */
#include "cpu/decode.h"
#include "cpu/handlers.h"

#define REX_B 1u

static bool has_modrm(u8 op)
{
	if (op < 0x40)
		return (op & 7) < 4;
	if (decode_one_of(op, 0x80, 0x8f) || decode_one_of(op, 0xd0, 0xd3) ||
	    decode_one_of(op, 0xd8, 0xdf))
		return true;
	switch (op) {
	case 0x63:
	case 0x69:
	case 0x6b:
	case 0xc0:
	case 0xc1:
	case 0xc6:
	case 0xc7:
	case 0xf6:
	case 0xf7:
	case 0xfe:
	case 0xff: return true;
	default: return false;
	}
}

/* The register in the low bits of the opcode. */
static unsigned int opcode_register(const struct decoder *d)
{
	return (d->opcode & 7u) | (d->rex & REX_B ? 8u : 0);
}

static void count_memory(struct decoder *d, unsigned int loads, unsigned int stores)
{
	if (!d->memory)
		return;
	d->out->loads = (u8)loads;
	d->out->stores = (u8)stores;
}

static void swap_operands(struct insn *i)
{
	u8 reg = i->reg;

	i->reg = i->rm;
	i->rm = reg;
}

/* r/m and register operands in either direction; @writes: the result goes to the destination. */
static void decode_alu_pair(struct decoder *d, enum alu_op op, bool to_reg, bool reads, bool writes)
{
	decode_operands(d, d->size);
	if (!d->memory) {
		if (to_reg)
			swap_operands(d->out);
		d->out->fn = alu_handler(op, ALU_RM_REG, d->size);
		return;
	}
	d->out->fn = alu_handler(op, to_reg ? ALU_REG_MEM : ALU_MEM_REG, d->size);
	d->out->loads = to_reg || reads;
	d->out->stores = !to_reg && writes;
	d->lockable = !to_reg && reads && writes;
}

static void decode_alu(struct decoder *d)
{
	enum alu_op op = (enum alu_op)(d->opcode >> 3);

	switch (d->opcode & 7) {
	case 0:
	case 1: decode_alu_pair(d, op, false, true, op != ALU_CMP); break;
	case 2:
	case 3: decode_alu_pair(d, op, true, true, op != ALU_CMP); break;
	case 4:
	case 5:
		d->out->rm = 0;
		d->out->imm = (u64)decode_immediate(d, d->size);
		d->out->fn = alu_handler(op, ALU_RM_IMM, d->size);
		break;
	default: decode_invalid(d); break;
	}
}

static void decode_alu_immediate(struct decoder *d, enum alu_op op, unsigned int immediate_size)
{
	bool writes = op != ALU_CMP && op != ALU_TEST;
	bool reads = op != ALU_MOV;

	decode_operands(d, d->size);
	d->out->imm = (u64)decode_immediate(d, immediate_size);
	d->out->fn = alu_handler(op, d->memory ? ALU_MEM_IMM : ALU_RM_IMM, d->size);
	count_memory(d, reads, writes);
	d->lockable = reads && writes;
}

static void decode_unary(struct decoder *d, enum unary_op op)
{
	decode_operands(d, d->size);
	d->out->fn = unary_handler(op, d->memory, d->size);
	count_memory(d, 1, 1);
	d->lockable = true;
}

/* ---- stack ---- */

static void decode_push(struct decoder *d, insn_fn *fn)
{
	d->out->size = (u8)decode_stack_size(d);
	d->out->fn = d->out->size == 1 ? op_push16 : fn;
	d->out->flags |= INSN_STACK_WRITE;
	d->out->stores = 1;
	if (d->memory)
		d->out->loads = 1;
}

static void decode_pop(struct decoder *d, insn_fn *fn)
{
	d->out->size = (u8)decode_stack_size(d);
	d->out->fn = d->out->size == 1 ? op_pop16 : fn;
	d->out->flags |= INSN_STACK_READ;
	d->out->loads = 1;
	if (!d->memory)
		return;
	d->out->stores = 1;
	/* The destination's address is computed with RSP already moved. */
	if (d->out->base == CPU_RSP)
		d->out->disp += 1 << d->out->size;
}

static void decode_push_immediate(struct decoder *d)
{
	unsigned int size = d->operand_size == 1 ? 1 : 2;

	d->out->imm = (u64)decode_immediate(d, d->opcode == 0x6a ? 0 : size);
	d->out->flags |= INSN_IMM;
	decode_push(d, op_push_imm);
}

void decode_enter(struct decoder *d)
{
	u64 bytes = decode_bytes(d, 2), level = decode_bytes(d, 1) & 31;

	d->out->imm = bytes;
	d->out->op = (u8)level;
	d->out->size = (u8)decode_stack_size(d);
	d->out->flags |= INSN_STACK;
	d->out->fn = d->out->size == 3 && !level ? op_enter : op_enter_nested;
	d->out->stores = (u8)(1 + level);
	if (level > 1)
		d->out->loads = (u8)(level - 1);
	if (level) /* no half of it happens twice */
		decode_alone(d, op_enter_nested, d->c->timing.simple);
}

static void decode_leave(struct decoder *d)
{
	d->out->size = (u8)decode_stack_size(d);
	d->out->fn = d->out->size == 3 ? op_leave : op_leave_sized;
	d->out->flags |= INSN_STACK_READ;
	d->out->loads = 1;
}

/* ---- moves ---- */

static void decode_move_segment(struct decoder *d, bool to_segment)
{
	u8 segment = d->reg & 7; /* REX.R names none */

	if (segment > SEG_GS || (to_segment && segment == SEG_CS)) {
		decode_invalid(d);
		return;
	}
	d->out->op = segment;
	d->out->size = (u8)(to_segment ? 1 : d->operand_size);
	d->out->rm = decode_register(d, d->rm, 3);
	d->out->fn = to_segment ? op_mov_to_segment : op_mov_from_segment;
	count_memory(d, to_segment, !to_segment);
	if (to_segment && segment == SEG_SS)
		decode_alone(d, op_mov_to_segment, d->c->timing.simple);
}

static void decode_lea(struct decoder *d)
{
	static insn_fn *const lea[] = {NULL, op_lea16, op_lea32, op_lea64};

	if (!d->memory) {
		decode_invalid(d);
		return;
	}
	decode_operands(d, d->operand_size);
	d->out->fn = lea[d->operand_size];
	d->no_access = true;
}

static void decode_move_offset(struct decoder *d)
{
	bool load = d->opcode < 0xa2;

	d->memory = true;
	d->out->flags |= INSN_MEM;
	d->out->disp = (s64)decode_bytes(d, d->address16 ? 2 : d->address32 ? 4 : 8);
	d->out->reg = 0;
	d->out->size = d->size;
	d->out->fn = alu_handler(ALU_MOV, load ? ALU_REG_MEM : ALU_MEM_REG, d->size);
	count_memory(d, load, !load);
}

static void decode_move_immediate(struct decoder *d)
{
	if (d->opcode < 0xb8) {
		d->out->rm = decode_register(d, opcode_register(d), 0);
		d->out->imm = decode_bytes(d, 1);
		d->out->fn = alu_handler(ALU_MOV, ALU_RM_IMM, 0);
		return;
	}
	d->out->rm = decode_register(d, opcode_register(d), 3);
	d->out->imm = decode_bytes(d, 1u << d->operand_size);
	if (d->operand_size == 3)
		d->out->fn = op_mov_imm64;
	else
		d->out->fn = alu_handler(ALU_MOV, ALU_RM_IMM, d->operand_size);
}

static void decode_exchange(struct decoder *d)
{
	decode_operands(d, d->size);
	d->out->fn = op_xchg;
	count_memory(d, 1, 1);
	d->lockable = true;
	d->locked = d->memory && !d->lock;
}

/* XCHG with RAX; 90 is NOP, PAUSE with f3, but XCHG with R8. */
static void decode_exchange_rax(struct decoder *d)
{
	if (d->opcode == 0x90 && !(d->rex & REX_B)) {
		d->out->fn = op_nop;
		if (d->rep)
			d->cost = d->c->timing.pause;
		return;
	}
	d->out->size = d->operand_size;
	d->out->reg = 0;
	d->out->rm = decode_register(d, opcode_register(d), d->operand_size);
	d->out->fn = op_xchg;
}

static void decode_imul(struct decoder *d)
{
	unsigned int size = d->operand_size;

	decode_operands(d, size);
	d->out->imm = (u64)decode_immediate(d, d->opcode == 0x6b ? 0 : size);
	d->out->flags |= INSN_IMM;
	d->out->fn = op_imul;
	if (!d->memory && size == 2)
		d->out->fn = op_imul32;
	if (!d->memory && size == 3)
		d->out->fn = op_imul64;
	count_memory(d, 1, 0);
	d->cost = d->c->timing.multiply;
}

/* @count: 0 immediate, 1 one, 2 CL */
static void decode_shift(struct decoder *d, unsigned int count)
{
	unsigned int op = d->reg & 7;
	insn_fn *fast;

	decode_operands(d, d->size);
	d->out->op = (u8)op;
	d->out->fn = op_shift;
	count_memory(d, 1, 1);
	if (count == 2)
		return;
	d->out->imm = count ? 1 : decode_bytes(d, 1) & (d->size == 3 ? 63 : 31);
	d->out->flags |= INSN_IMM;
	fast = shift_imm_handler((enum shift_op)op, d->size);
	if (fast && !d->memory && d->out->imm)
		d->out->fn = fast;
}

/* ---- strings and ports ---- */

static void decode_string(struct decoder *d, enum string_op op)
{
	static const u8 loads[] = {1, 2, 0, 1, 1, 0, 1};
	static const u8 stores[] = {1, 0, 1, 0, 0, 1, 0};
	bool ports = op == STRING_INS || op == STRING_OUTS;

	d->out->op = (u8)op;
	d->out->size = ports && d->size == 3 ? 2 : d->size;
	d->out->scale = d->segment;
	d->out->fn = op_string;
	d->out->imm = decode_address_mask(d);
	if (d->rep)
		d->out->flags |= INSN_REP;
	if (d->repne)
		d->out->flags |= INSN_REPNE;
	if (d->rep || d->repne) {
		decode_alone(d, op_string, d->c->timing.simple);
		return;
	}
	d->out->loads = loads[op];
	d->out->stores = stores[op];
	d->cost = d->c->timing.simple + d->c->timing.string_iteration;
	if (ports)
		decode_alone(d, op_string, d->cost);
}

static void decode_port(struct decoder *d)
{
	bool out = d->opcode & 2;

	if (d->opcode < 0xe8) {
		d->out->imm = decode_bytes(d, 1);
		d->out->flags |= INSN_IMM;
	}
	d->out->size = d->size == 3 ? 2 : d->size;
	decode_alone(d, out ? op_out : op_in, d->c->timing.serialize);
}

/* ---- groups ---- */

static void decode_group_f6(struct decoder *d)
{
	unsigned int op = d->reg & 7;

	switch (op) {
	case 0:
	case 1: decode_alu_immediate(d, ALU_TEST, d->size); return;
	case 2: decode_unary(d, UNARY_NOT); return;
	case 3: decode_unary(d, UNARY_NEG); return;
	default: break;
	}
	decode_operands(d, d->size);
	d->out->op = op & 1;
	d->out->fn = op < 6 ? op_multiply : op_divide;
	d->cost = op < 6 ? d->c->timing.multiply : d->c->timing.divide;
	count_memory(d, 1, 0);
}

static void decode_group_ff(struct decoder *d)
{
	unsigned int op = d->reg & 7;

	if (op > 1 && d->opcode == 0xfe) {
		decode_invalid(d);
		return;
	}
	switch (op) {
	case 0: decode_unary(d, UNARY_INC); break;
	case 1: decode_unary(d, UNARY_DEC); break;
	case 2: decode_indirect(d, true); break;
	case 4: decode_indirect(d, false); break;
	case 3:
	case 5:
		if (!d->memory) {
			decode_invalid(d);
			break;
		}
		decode_far_branch(d, op == 3 ? op_far_call : op_far_jmp);
		d->out->loads = 1;
		if (op == 3) {
			d->out->stores = 2;
			d->out->flags |= INSN_STACK_WRITE;
		}
		break;
	case 6:
		decode_operands(d, 3);
		decode_push(d, d->memory ? op_push_mem : op_push);
		break;
	default: decode_invalid(d); break;
	}
}

static void decode_flag(struct decoder *d, enum flag_op op)
{
	d->out->op = (u8)op;
	d->out->fn = op_flag;
}

static void decode_sign(struct decoder *d, insn_fn *fn)
{
	d->out->size = d->operand_size;
	d->out->fn = fn;
}

static void decode_pop_group(struct decoder *d)
{
	if (d->reg & 7) {
		decode_invalid(d);
		return;
	}
	decode_operands(d, 3);
	decode_pop(d, d->memory ? op_pop_mem : op_pop);
}

/* Outside of transactions, that is everywhere, it does nothing. */
static void decode_xabort(struct decoder *d)
{
	decode_bytes(d, 1);
	d->out->fn = op_nop;
}

static void decode_move_group(struct decoder *d)
{
	if (d->reg & 7) {
		if (d->modrm != 0xf8 || !d->c->rtm)
			decode_invalid(d);
		else if (d->opcode == 0xc7)
			decode_xbegin(d);
		else
			decode_xabort(d);
		return;
	}
	decode_alu_immediate(d, ALU_MOV, d->size);
}

/* The high five bits of the opcode select, the low three are a register or a condition. */
static bool decode_row(struct decoder *d)
{
	switch (d->opcode & 0xf8) {
	case 0x50:
		d->out->rm = decode_register(d, opcode_register(d), 3);
		decode_push(d, op_push);
		return true;
	case 0x58:
		d->out->rm = decode_register(d, opcode_register(d), 3);
		decode_pop(d, op_pop);
		return true;
	case 0x70:
	case 0x78: decode_relative(d, jcc_handler(d->opcode & 15), 0); return true;
	case 0x90: decode_exchange_rax(d); return true;
	case 0xb0:
	case 0xb8: decode_move_immediate(d); return true;
	case 0xd8: decode_x87(d); return true;
	default: return false;
	}
}

void decode_one_byte(struct decoder *d)
{
	const struct cpu_timing *t = &d->c->timing;

	if (d->legacy && decode_legacy(d))
		return;
	if (has_modrm(d->opcode))
		decode_modrm(d);
	if (d->opcode < 0x40) {
		decode_alu(d);
		return;
	}
	if (decode_row(d))
		return;
	switch (d->opcode) {
	case 0x63:
		decode_operands(d, d->operand_size);
		d->out->rm = decode_register(d, d->rm, 2);
		d->out->fn = extend_handler(true, d->memory, 2, d->operand_size);
		count_memory(d, 1, 0);
		break;
	case 0x68:
	case 0x6a: decode_push_immediate(d); break;
	case 0x69:
	case 0x6b: decode_imul(d); break;
	case 0x6c:
	case 0x6d: decode_string(d, STRING_INS); break;
	case 0x6e:
	case 0x6f: decode_string(d, STRING_OUTS); break;
	case 0x82:
		if (d->legacy)
			decode_alu_immediate(d, (enum alu_op)(d->reg & 7), 0);
		else
			decode_invalid(d);
		break;
	case 0x80:
	case 0x81: decode_alu_immediate(d, (enum alu_op)(d->reg & 7), d->size); break;
	case 0x83: decode_alu_immediate(d, (enum alu_op)(d->reg & 7), 0); break;
	case 0x84:
	case 0x85: decode_alu_pair(d, ALU_TEST, false, true, false); break;
	case 0x86:
	case 0x87: decode_exchange(d); break;
	case 0x88:
	case 0x89: decode_alu_pair(d, ALU_MOV, false, false, true); break;
	case 0x8a:
	case 0x8b: decode_alu_pair(d, ALU_MOV, true, false, true); break;
	case 0x8c: decode_move_segment(d, false); break;
	case 0x8d: decode_lea(d); break;
	case 0x8e: decode_move_segment(d, true); break;
	case 0x8f: decode_pop_group(d); break;
	case 0x98: decode_sign(d, op_sign_extend_rax); break;
	case 0x99: decode_sign(d, op_sign_into_rdx); break;
	case 0x9b: d->out->fn = op_fwait; break;
	case 0x9c:
		decode_push(d, op_pushf);
		d->out->fn = op_pushf;
		break;
	case 0x9d:
		decode_pop(d, op_popf);
		decode_alone(d, op_popf, t->simple);
		break;
	case 0x9e: decode_flag(d, FLAG_OP_SAHF); break;
	case 0x9f: decode_flag(d, FLAG_OP_LAHF); break;
	case 0xa0:
	case 0xa1:
	case 0xa2:
	case 0xa3: decode_move_offset(d); break;
	case 0xa4:
	case 0xa5: decode_string(d, STRING_MOVS); break;
	case 0xa6:
	case 0xa7: decode_string(d, STRING_CMPS); break;
	case 0xa8:
	case 0xa9:
		d->out->imm = (u64)decode_immediate(d, d->size);
		d->out->fn = alu_handler(ALU_TEST, ALU_RM_IMM, d->size);
		break;
	case 0xaa:
	case 0xab: decode_string(d, STRING_STOS); break;
	case 0xac:
	case 0xad: decode_string(d, STRING_LODS); break;
	case 0xae:
	case 0xaf: decode_string(d, STRING_SCAS); break;
	case 0xc0:
	case 0xc1: decode_shift(d, 0); break;
	case 0xc2:
	case 0xc3: decode_return(d); break;
	case 0xc6:
	case 0xc7: decode_move_group(d); break;
	case 0xc8: decode_enter(d); break;
	case 0xc9: decode_leave(d); break;
	case 0xca:
	case 0xcb: decode_far_return(d); break;
	case 0xcc:
	case 0xcd:
	case 0xf1: decode_interrupt(d); break;
	case 0xcf:
		decode_far_branch(d, op_iret);
		d->out->loads = 5;
		d->out->flags |= INSN_STACK_READ;
		break;
	case 0xd0:
	case 0xd1: decode_shift(d, 1); break;
	case 0xd2:
	case 0xd3: decode_shift(d, 2); break;
	case 0xd7:
		if (d->segment != SEG_NONE || d->address32) {
			decode_unimplemented(d);
			break;
		}
		d->out->fn = op_xlat;
		d->out->loads = 1;
		break;
	case 0xe0:
	case 0xe1:
	case 0xe2:
	case 0xe3: decode_loop(d); break;
	case 0xe4:
	case 0xe5:
	case 0xe6:
	case 0xe7:
	case 0xec:
	case 0xed:
	case 0xee:
	case 0xef: decode_port(d); break;
	case 0xe8:
		decode_relative(d, op_call, 2);
		d->out->flags |= INSN_STACK_WRITE;
		d->out->stores = 1;
		break;
	case 0xe9: decode_relative(d, op_jmp, 2); break;
	case 0xeb: decode_relative(d, op_jmp, 0); break;
	case 0xf4: decode_alone(d, op_hlt, t->simple); break;
	case 0xf5: decode_flag(d, FLAG_OP_CMC); break;
	case 0xf6:
	case 0xf7: decode_group_f6(d); break;
	case 0xf8: decode_flag(d, FLAG_OP_CLC); break;
	case 0xf9: decode_flag(d, FLAG_OP_STC); break;
	case 0xfa: decode_alone(d, op_cli, t->simple); break;
	case 0xfb: decode_alone(d, op_sti, t->simple); break;
	case 0xfc: decode_flag(d, FLAG_OP_CLD); break;
	case 0xfd: decode_flag(d, FLAG_OP_STD); break;
	case 0xfe:
	case 0xff: decode_group_ff(d); break;
	case 0x62: /* EVEX */
	case 0xc4: /* VEX */
	case 0xc5: decode_unimplemented(d); break;
	default: decode_invalid(d); break;
	}
}
