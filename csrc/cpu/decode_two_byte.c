/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_two_byte.c - opcodes behind 0f, in 64-bit mode.
 */
#include "cpu/decode.h"
#include "cpu/handlers.h"

#define REX_B 1u
#define WORK_DISPLACEMENT 0x504d5501
#define WORK_BYTES 7u

static bool has_modrm(u8 op)
{
	if (decode_one_of(op, 0x00, 0x03) || decode_one_of(op, 0x10, 0x23) ||
	    decode_one_of(op, 0x40, 0x4f) || decode_one_of(op, 0x90, 0x9f))
		return true;
	switch (op) {
	case 0x0d:
	case 0xa3:
	case 0xa4:
	case 0xa5: return true;
	default: return decode_one_of(op, 0xab, 0xc3) || op == 0xc7;
	}
}

static void count_memory(struct decoder *d, unsigned int loads, unsigned int stores)
{
	if (!d->memory)
		return;
	d->out->loads = (u8)loads;
	d->out->stores = (u8)stores;
}

static void decode_serializing(struct decoder *d, insn_fn *fn)
{
	decode_alone(d, fn, d->c->timing.serialize);
}

static void decode_nop(struct decoder *d)
{
	d->out->fn = op_nop;
	d->memory = false; /* no address is computed */
}

/* nopl 0x504d5501(%rax), in exactly these seven bytes. */
static void decode_hinted_nop(struct decoder *d)
{
	if (d->opcode == 0x1f && d->at == WORK_BYTES && d->modrm == 0x80 &&
	    d->out->disp == WORK_DISPLACEMENT && !d->rex && !d->operand16 && !d->legacy) {
		decode_nop(d);
		decode_alone(d, op_work, d->c->timing.simple);
		return;
	}
	decode_nop(d);
}

/* ---- system groups ---- */

static void decode_group_00(struct decoder *d)
{
	unsigned int op = d->reg & 7;

	d->out->rm = decode_register(d, d->rm, 3);
	switch (op) {
	case 0:
	case 1:
		d->out->op = (u8)op;
		d->out->size = d->operand_size;
		d->out->fn = op_sldt_str;
		count_memory(d, 0, 1);
		break;
	case 2:
	case 3:
		d->out->size = 1;
		decode_serializing(d, op == 2 ? op_lldt : op_ltr);
		count_memory(d, 1, 0);
		break;
	case 4:
	case 5:
		d->out->op = (u8)(op - 2); /* VERR, VERW */
		d->out->fn = op_verify;
		count_memory(d, 1, 0);
		break;
	default: decode_invalid(d); break;
	}
}

static void decode_group_01_register(struct decoder *d)
{
	switch (d->modrm) {
	case 0xc1:					     /* VMCALL */
	case 0xd9: decode_serializing(d, op_vmcall); return; /* VMMCALL */
	case 0xc8:					     /* MONITOR, MWAIT */
	case 0xc9:
	case 0xfa: /* MONITORX, MWAITX */
	case 0xfb: decode_unimplemented(d); return;
	case 0xf8:
		if (d->legacy)
			decode_invalid(d);
		else
			decode_alone(d, op_swapgs, d->c->timing.simple);
		return;
	case 0xd5:
	case 0xd6:
		if (!d->c->rtm || d->operand16 || d->rep || d->repne)
			decode_invalid(d);
		else if (d->modrm == 0xd5)
			decode_alone(d, op_xend, d->c->timing.simple);
		else
			d->out->fn = op_xtest;
		return;
	case 0xf9:
		d->out->op = 1;
		decode_alone(d, op_rdtsc, d->c->timing.rdtsc);
		return;
	default: break;
	}
	d->out->rm = decode_register(d, d->rm, 3);
	switch (d->reg & 7) {
	case 4:
		d->out->size = d->operand_size;
		d->out->fn = op_smsw;
		break;
	case 6:
		d->out->size = 1;
		decode_serializing(d, op_lmsw);
		break;
	default: decode_invalid(d); break;
	}
}

static void decode_group_01(struct decoder *d)
{
	unsigned int op = d->reg & 7;

	if (!d->memory) {
		decode_group_01_register(d);
		return;
	}
	d->out->op = op & 1;
	d->out->size = d->legacy ? d->operand_size : 3;
	switch (op) {
	case 0:
	case 1:
		d->out->stores = 1;
		decode_alone(d, op_store_table, d->cost); /* two stores, and neither twice */
		break;
	case 2:
	case 3:
		decode_serializing(d, op_load_table);
		d->out->loads = 1;
		break;
	case 4:
		d->out->fn = op_smsw;
		d->out->stores = 1;
		break;
	case 6:
		d->out->size = 1;
		decode_serializing(d, op_lmsw);
		d->out->loads = 1;
		break;
	case 7:
		decode_serializing(d, op_invlpg);
		d->memory = false;
		break;
	default: decode_unimplemented(d); break;
	}
}

/* The r/m field is a register whatever mod says. */
static void decode_control_register(struct decoder *d)
{
	bool to_cr = d->opcode == 0x22;

	d->out->rm = (u8)(((d->modrm & 7u) | (d->rex & REX_B ? 8u : 0)) * 8);
	d->out->op = d->reg;
	d->memory = false;
	d->rip_relative = false;
	if (d->reg != 0 && d->reg != 2 && d->reg != 3 && d->reg != 4 && d->reg != 8)
		decode_invalid(d);
	else if (to_cr)
		decode_serializing(d, op_mov_to_cr);
	else
		decode_alone(d, op_mov_from_cr, d->c->timing.simple);
}

static void decode_debug_register(struct decoder *d)
{
	d->out->rm = (u8)(((d->modrm & 7u) | (d->rex & REX_B ? 8u : 0)) * 8);
	d->out->op = d->reg;
	d->memory = false;
	d->rip_relative = false;
	if (d->reg > 7)
		decode_invalid(d);
	else
		decode_serializing(d, d->opcode == 0x23 ? op_mov_to_dr : op_mov_from_dr);
}

/* MOV CR and DR have no SIB and no displacement, so decode_modrm() must not look for them. */
static void decode_special_register(struct decoder *d)
{
	d->modrm = (u8)decode_bytes(d, 1);
	d->reg = (u8)((d->modrm >> 3 & 7) | (d->rex & 4 ? 8 : 0));
	if (d->opcode & 1)
		decode_debug_register(d);
	else
		decode_control_register(d);
}

static void decode_fence(struct decoder *d)
{
	decode_nop(d);
	if ((d->reg & 7) != 7) /* SFENCE drains nothing that is modelled */
		d->cost = d->c->timing.serialize;
}

static void decode_group_ae(struct decoder *d)
{
	unsigned int op = d->reg & 7;

	if (!d->memory && d->rep && op < 4 && d->legacy) {
		decode_invalid(d);
	} else if (!d->memory && d->rep && op < 4) {
		d->out->op = (u8)op;
		d->out->size = d->operand_size;
		d->out->rm = decode_register(d, d->rm, 3);
		decode_alone(d, op_fsgsbase, d->c->timing.simple);
	} else if (!d->memory && op >= 5 && !d->rep && !d->repne && !d->operand16) {
		decode_fence(d);
	} else if (d->memory && op < 4 && !d->rep && !d->repne && !d->operand16) {
		decode_fpu_state(d);
	} else if (d->memory && op == 7 && !d->rep && !d->repne) {
		d->out->fn = op_clflush;
	} else if (d->memory && op == 6 && d->operand16) {
		decode_nop(d); /* CLWB */
	} else {
		decode_unimplemented(d);
	}
}

static void decode_group_c7(struct decoder *d)
{
	bool wide = d->operand_size == 3;

	if (!d->memory) {
		/* RDRAND, RDSEED, RDPID */
		if ((d->reg & 7) >= 6)
			decode_unimplemented(d);
		else
			decode_invalid(d);
		return;
	}
	if ((d->reg & 7) != 1) {
		decode_unimplemented(d);
		return;
	}
	d->out->fn = wide ? op_cmpxchg16b : op_cmpxchg8b;
	d->out->loads = 1;
	d->out->stores = 1;
	d->lockable = true;
}

/* ---- data ---- */

static void decode_extend(struct decoder *d)
{
	bool sign = d->opcode >= 0xbe;
	unsigned int from = d->opcode & 1;

	decode_operands(d, d->operand_size);
	d->out->rm = decode_register(d, d->rm, from);
	d->out->fn = extend_handler(sign, d->memory, from, d->operand_size);
	count_memory(d, 1, 0);
}

static void decode_bit(struct decoder *d, enum bit_op op)
{
	decode_operands(d, d->operand_size);
	d->out->op = (u8)op;
	d->out->fn = op_bit;
	count_memory(d, 1, op != BIT_TEST);
	d->lockable = op != BIT_TEST;
}

static void decode_bit_group(struct decoder *d)
{
	if ((d->reg & 7) < 4) {
		decode_invalid(d);
		return;
	}
	decode_bit(d, (enum bit_op)(d->reg & 3));
	d->out->imm = decode_bytes(d, 1);
	d->out->flags |= INSN_IMM;
}

static void decode_double_shift(struct decoder *d)
{
	decode_operands(d, d->operand_size);
	d->out->op = d->opcode >= 0xac;
	d->out->fn = op_double_shift;
	count_memory(d, 1, 1);
	if (d->opcode & 1)
		return;
	d->out->imm = decode_bytes(d, 1);
	d->out->flags |= INSN_IMM;
}

static void decode_scan(struct decoder *d)
{
	enum scan_op op;

	if (d->opcode == 0xb8) {
		if (!d->rep) {
			decode_invalid(d);
			return;
		}
		op = SCAN_POPCNT;
	} else if (d->opcode == 0xbc) {
		op = d->rep ? SCAN_TZCNT : SCAN_BSF;
	} else {
		op = d->rep ? SCAN_LZCNT : SCAN_BSR;
	}
	decode_operands(d, d->operand_size);
	d->out->op = (u8)op;
	d->out->fn = op_scan;
	count_memory(d, 1, 0);
}

static void decode_imul(struct decoder *d)
{
	decode_operands(d, d->operand_size);
	d->out->fn = op_imul;
	if (!d->memory && d->operand_size == 2)
		d->out->fn = op_imul32;
	if (!d->memory && d->operand_size == 3)
		d->out->fn = op_imul64;
	count_memory(d, 1, 0);
	d->cost = d->c->timing.multiply;
}

static void decode_exchange(struct decoder *d, insn_fn *fn)
{
	decode_operands(d, d->size);
	d->out->fn = fn;
	count_memory(d, 1, 1);
	d->lockable = true;
}

static void decode_byte_swap(struct decoder *d)
{
	d->out->size = d->operand_size;
	d->out->rm = (u8)(((d->opcode & 7u) | (d->rex & REX_B ? 8u : 0)) * 8);
	d->out->fn = op_bswap;
}

static void decode_segment_stack(struct decoder *d)
{
	bool pop = d->opcode & 1;

	d->out->op = d->opcode < 0xa8 ? SEG_FS : SEG_GS;
	d->out->size = (u8)decode_stack_size(d);
	d->out->flags |= pop ? INSN_STACK_READ : INSN_STACK_WRITE;
	d->out->fn = pop ? op_pop_segment : op_push_segment;
	d->out->loads = pop;
	d->out->stores = !pop;
}

/* 0f 38 f0 and f1 without prefix are MOVBE; everything else there is SSE or newer. */
static void decode_three_byte(struct decoder *d)
{
	bool map38 = d->opcode == 0x38;
	u8 op = (u8)decode_bytes(d, 1);

	if (!map38 || (op != 0xf0 && op != 0xf1) || d->rep || d->repne) {
		decode_unimplemented(d);
		return;
	}
	decode_modrm(d);
	if (!d->memory) {
		decode_invalid(d);
		return;
	}
	decode_operands(d, d->operand_size);
	d->out->fn = op_movbe;
	if (op == 0xf1)
		d->out->flags |= INSN_STORE;
	count_memory(d, op == 0xf0, op == 0xf1);
}

static void decode_move_nontemporal(struct decoder *d)
{
	if (!d->memory || d->operand16 || d->rep || d->repne) {
		decode_invalid(d);
		return;
	}
	decode_operands(d, d->operand_size);
	d->out->fn = alu_handler(ALU_MOV, ALU_MEM_REG, d->operand_size);
	d->out->stores = 1;
}

static bool decode_row(struct decoder *d)
{
	switch (d->opcode & 0xf0) {
	case 0x40:
		decode_operands(d, d->operand_size);
		d->out->fn = cmov_handler(d->opcode & 15);
		count_memory(d, 1, 0);
		return true;
	case 0x80: decode_relative(d, jcc_handler(d->opcode & 15), 2); return true;
	case 0x90:
		decode_operands(d, 0);
		d->out->fn = setcc_handler(d->opcode & 15);
		count_memory(d, 0, 1);
		return true;
	default: return false;
	}
}

static void decode_system(struct decoder *d)
{
	const struct cpu_timing *t = &d->c->timing;

	switch (d->opcode) {
	case 0x00: decode_group_00(d); break;
	case 0x01: decode_group_01(d); break;
	case 0x02:
	case 0x03:
		decode_operands(d, d->operand_size);
		d->out->op = d->opcode & 1; /* LAR, LSL */
		d->out->fn = op_verify;
		d->out->rm = decode_register(d, d->rm, 3);
		count_memory(d, 1, 0);
		break;
	case 0x05:
	case 0x07:
		if (d->legacy) {
			decode_invalid(d);
			break;
		}
		decode_serializing(d, d->opcode == 0x05 ? op_syscall : op_sysret);
		d->out->size = d->operand_size;
		d->out->branches = 1;
		break;
	case 0x06: decode_serializing(d, op_clts); break;
	case 0x08:
	case 0x09: decode_serializing(d, op_wbinvd); break;
	case 0x0d: decode_nop(d); break;
	case 0x30: decode_alone(d, op_wrmsr, t->msr); break;
	case 0x31: decode_alone(d, op_rdtsc, t->rdtsc); break;
	case 0x32: decode_alone(d, op_rdmsr, t->msr); break;
	case 0x33: decode_alone(d, op_rdpmc, t->rdpmc); break;
	case 0x34:
	case 0x35:
		decode_serializing(d, d->opcode == 0x34 ? op_sysenter : op_sysexit);
		d->out->size = d->operand_size;
		d->out->branches = 1;
		break;
	case 0x38:
	case 0x3a: decode_three_byte(d); break;
	default: decode_invalid(d); break;
	}
}

void decode_two_byte(struct decoder *d)
{
	if (decode_one_of(d->opcode, 0x20, 0x23)) {
		decode_special_register(d);
		return;
	}
	if (decode_is_simd(d->opcode)) {
		decode_simd(d);
		return;
	}
	if (has_modrm(d->opcode))
		decode_modrm(d);
	if (decode_one_of(d->opcode, 0x18, 0x1f)) {
		decode_hinted_nop(d);
		return;
	}
	if (d->opcode < 0x40) {
		decode_system(d);
		return;
	}
	if (decode_row(d))
		return;
	switch (d->opcode) {
	case 0xa0:
	case 0xa1:
	case 0xa8:
	case 0xa9: decode_segment_stack(d); break;
	case 0xa2: decode_serializing(d, op_cpuid); break;
	case 0xa3: decode_bit(d, BIT_TEST); break;
	case 0xab: decode_bit(d, BIT_SET); break;
	case 0xb3: decode_bit(d, BIT_RESET); break;
	case 0xbb: decode_bit(d, BIT_COMPLEMENT); break;
	case 0xba: decode_bit_group(d); break;
	case 0xa4:
	case 0xa5:
	case 0xac:
	case 0xad: decode_double_shift(d); break;
	case 0xae: decode_group_ae(d); break;
	case 0xaf: decode_imul(d); break;
	case 0xb0:
	case 0xb1: decode_exchange(d, op_cmpxchg); break;
	case 0xb2: decode_load_far(d, SEG_SS); break;
	case 0xb4:
	case 0xb5: decode_load_far(d, d->opcode & 1 ? SEG_GS : SEG_FS); break;
	case 0xb6:
	case 0xb7:
	case 0xbe:
	case 0xbf: decode_extend(d); break;
	case 0xb8:
	case 0xbc:
	case 0xbd: decode_scan(d); break;
	case 0xc0:
	case 0xc1: decode_exchange(d, op_xadd); break;
	case 0xc3: decode_move_nontemporal(d); break;
	case 0xc7: decode_group_c7(d); break;
	default:
		if (decode_one_of(d->opcode, 0xc8, 0xcf))
			decode_byte_swap(d);
		else
			decode_invalid(d);
		break;
	}
}
