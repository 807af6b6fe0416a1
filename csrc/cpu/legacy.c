/* SPDX-License-Identifier: Apache-2.0 */
/*
 * legacy.c - 16- and 32-bit code: handlers that 64-bit code has no use for, and the switch between
 * the kinds of code.
 *
 * In legacy code every memory operand comes with an op_address32() or op_address16() in front,
 * which wraps the offset, adds the segment's base and wraps at 4 GB; the handler behind it is that of
 * 64-bit code.
 * Only what touches the stack or EIP has handlers of its own. Blocks hold EIP; cpu->code_base is
 * what makes a linear address of it.
 *
 * Not modelled
 *  - segment limits, and the access rights of a segment at an access (they are checked when it is
 *    loaded or a far transfer goes there); null segments can be used. So an operand may reach over
 *    offset ffff, and code that runs on there goes to 10000.
 *  - virtual-8086 mode.
 */
#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/predict.h"
#include "cpu/stack.h"

void update_code_mode(struct cpu *c)
{
	const struct cpu_segment *cs = &c->seg[SEG_CS];
	bool legacy = !(c->efer & EFER_LMA) || !(cs->attr & ATTR_LONG);
	u64 base = legacy ? (u32)cs->base : 0;
	u8 size = 3;

	if (legacy)
		size = cs->attr & ATTR_DEFAULT32 ? 2 : 1;
	if (size == c->code_size && base == c->code_base)
		return;
	c->code_size = size;
	c->legacy = legacy;
	c->code_base = base;
	c->resume_block = NULL;
	c->map++;
}

void load_code_segment(struct cpu *c, const struct cpu_segment *cs, u64 rip)
{
	c->seg[SEG_CS] = *cs;
	update_code_mode(c);
	c->rip = c->legacy ? (u32)rip : rip;
}

/* ---- addresses ---- */

static void set_address(struct cpu *c, const struct insn *i, u32 va)
{
	if (i->op != SEG_NONE)
		va += (u32)c->seg[i->op].base;
	c->regs[REG_ADDRESS] = va;
	NEXT_INSN(c, i);
}

void op_address32(struct cpu *c, const struct insn *i)
{
	set_address(c, i, (u32)effective_address(c, i));
}

void op_address16(struct cpu *c, const struct insn *i)
{
	set_address(c, i, (u16)effective_address(c, i));
}

void op_xlat32(struct cpu *c, const struct insn *i)
{
	u32 offset = (u32)(c->regs[CPU_RBX] + (u8)c->regs[CPU_RAX]) & (u32)i->imm;

	set_reg_u8(c, RAX_OFFSET, load_u8(c, i, offset + (u32)c->seg[i->op].base));
	NEXT_INSN(c, i);
}

/* ---- stack ---- */

static void push_word(struct cpu *c, const struct insn *i, u64 v)
{
	u64 rsp = c->regs[CPU_RSP] - (1u << i->size);

	store_sized(c, i, stack_address(c, rsp), i->size, v);
	set_rsp(c, rsp);
}

static void drop_words(struct cpu *c, const struct insn *i, unsigned int n)
{
	set_rsp(c, c->regs[CPU_RSP] + ((u64)n << i->size));
}

void op_push32(struct cpu *c, const struct insn *i)
{
	push_word(c, i, i->flags & INSN_IMM ? i->imm : load_rm(c, i));
	NEXT_INSN(c, i);
}

/* The decoder has added the operand's size to an address that is relative to ESP. */
void op_pop32(struct cpu *c, const struct insn *i)
{
	u64 v = stack_load(c, i, 0);

	if (i->flags & INSN_MEM) {
		store_rm(c, i, v);
		drop_words(c, i, 1);
	} else {
		drop_words(c, i, 1);
		set_reg_sized(c, i->rm, i->size, v);
	}
	NEXT_INSN(c, i);
}

void op_pushf32(struct cpu *c, const struct insn *i)
{
	push_word(c, i, get_rflags(c) & ~(FLAG_RF | FLAG_VM));
	NEXT_INSN(c, i);
}

void op_pusha(struct cpu *c, const struct insn *i)
{
	u64 rsp = c->regs[CPU_RSP];

	for (u64 n = 0; n < 8; n++)
		store_sized(c, i, stack_address(c, rsp - ((n + 1) << i->size)), i->size,
			    c->regs[n]);
	set_rsp(c, rsp - (8ull << i->size));
	NEXT_INSN(c, i);
}

void op_popa(struct cpu *c, const struct insn *i)
{
	u64 v[8];

	for (unsigned int n = 0; n < 8; n++)
		v[n] = n == 7 - CPU_RSP ? 0 : stack_load(c, i, n);
	for (unsigned int n = 0; n < 8; n++) {
		if (n != 7 - CPU_RSP)
			set_reg_sized(c, (7 - n) * 8, i->size, v[n]);
	}
	drop_words(c, i, 8);
	NEXT_INSN(c, i);
}

void op_leave_sized(struct cpu *c, const struct insn *i)
{
	u64 v = load_sized(c, i, stack_address(c, c->regs[CPU_RBP]), i->size);

	set_rsp(c, c->regs[CPU_RBP] + (1u << i->size));
	set_reg_sized(c, CPU_RBP * 8, i->size, v);
	NEXT_INSN(c, i);
}

/*
 * ENTER of any size and nesting level (op), but for the plain one of 64-bit code (op_enter()): the
 * words of the outer frames are copied under the saved (R)BP, and the new one behind them. The new
 * stack must be writable at its end, too. A fault leaves what has been stored, and all registers.
 */
void op_enter_nested(struct cpu *c, const struct insn *i)
{
	unsigned int bytes = 1u << i->size, level = i->op;
	u64 frame = moved_rsp(c, c->regs[CPU_RSP] - bytes);
	u64 rsp = frame, rbp = c->regs[CPU_RBP];

	store_sized(c, i, stack_address(c, frame), i->size, rbp);
	for (unsigned int k = 1; k < level; k++) {
		rbp -= bytes;
		rsp -= bytes;
		store_sized(c, i, stack_address(c, rsp), i->size,
			    load_sized(c, i, stack_address(c, rbp), i->size));
	}
	if (level) {
		rsp -= bytes;
		store_sized(c, i, stack_address(c, rsp), i->size, frame);
	}
	probe_write(c, i, stack_address(c, rsp - i->imm), bytes);
	set_reg_sized(c, CPU_RBP * 8, i->size, frame);
	set_rsp(c, rsp - i->imm);
	NEXT_INSN(c, i);
}

/* ---- what 64-bit code does not have ---- */

/* The bounds are two signed numbers in memory. */
void op_bound(struct cpu *c, const struct insn *i)
{
	u64 va = effective_address(c, i);
	s64 lower = sign_extend(load_sized(c, i, va, i->size), i->size);
	s64 upper = sign_extend(load_sized(c, i, va + (1u << i->size), i->size), i->size);
	s64 index = sign_extend(get_reg_sized(c, i->reg, i->size), i->size);

	if (index < lower || index > upper)
		raise_fault(c, i, VECTOR_BR, NO_ERROR_CODE);
	NEXT_INSN(c, i);
}

/* Undocumented, and in every processor: AL is as many ones as CF. */
void op_salc(struct cpu *c, const struct insn *i)
{
	set_reg_u8(c, RAX_OFFSET, flag_cf(c) ? 0xff : 0);
	NEXT_INSN(c, i);
}

/* ---- near branches ---- */

static void push_return_address(struct cpu *c, const struct insn *i, u64 next)
{
	push_word(c, i, next);
	predict_push(c, next);
}

void op_call32(struct cpu *c, const struct insn *i)
{
	push_return_address(c, i, (u64)i->disp);
	c->rip = i->imm;
}

void op_ret32(struct cpu *c, const struct insn *i)
{
	u64 target = stack_load(c, i, 0);

	set_rsp(c, c->regs[CPU_RSP] + (1u << i->size) + i->imm);
	c->rip = target;
	predict_return(c, target);
}

void op_jmp_indirect32(struct cpu *c, const struct insn *i)
{
	u64 target = load_rm(c, i);

	c->rip = target;
	predict_indirect(c, i->imm, target);
}

void op_call_indirect32(struct cpu *c, const struct insn *i)
{
	u64 target = load_rm(c, i);

	push_return_address(c, i, i->imm);
	c->rip = target;
	predict_indirect(c, i->imm, target);
}
