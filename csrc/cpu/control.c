/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - near branches. Each ends its block: it sets RIP and returns to the run loop.
 *
 * A direct branch has its target in .imm and the next instruction's address in .disp; an indirect
 * CALL has the next address in .imm; RET has the bytes to drop in .imm.
 * A non-canonical target of an indirect branch faults at the branch.
 */
#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/operand.h"
#include "cpu/predict.h"

#define DEFINE_JCC(code)                                                                           \
	static void jcc_##code(struct cpu *c, const struct insn *i)                                \
	{                                                                                          \
		bool taken = condition(c, code);                                                   \
                                                                                                   \
		c->rip = taken ? i->imm : (u64)i->disp;                                            \
		predict_conditional(c, (u64)i->disp, taken);                                       \
	}

DEFINE_JCC(0)
DEFINE_JCC(1)
DEFINE_JCC(2)
DEFINE_JCC(3)
DEFINE_JCC(4)
DEFINE_JCC(5)
DEFINE_JCC(6)
DEFINE_JCC(7)
DEFINE_JCC(8)
DEFINE_JCC(9)
DEFINE_JCC(10)
DEFINE_JCC(11)
DEFINE_JCC(12)
DEFINE_JCC(13)
DEFINE_JCC(14)
DEFINE_JCC(15)

insn_fn *jcc_handler(unsigned int code)
{
	static insn_fn *const handlers[16] = {
		jcc_0, jcc_1, jcc_2,  jcc_3,  jcc_4,  jcc_5,  jcc_6,  jcc_7,
		jcc_8, jcc_9, jcc_10, jcc_11, jcc_12, jcc_13, jcc_14, jcc_15,
	};

	return handlers[code];
}

void op_jmp(struct cpu *c, const struct insn *i)
{
	c->rip = i->imm;
}

static __always_inline void push_return_address(struct cpu *c, const struct insn *i, u64 next)
{
	u64 rsp = c->regs[CPU_RSP] - 8;

	store_u64(c, i, rsp, next);
	c->regs[CPU_RSP] = rsp;
	predict_push(c, next);
}

void op_call(struct cpu *c, const struct insn *i)
{
	push_return_address(c, i, (u64)i->disp);
	c->rip = i->imm;
}

static __always_inline void check_target(struct cpu *c, const struct insn *i, u64 target)
{
	if (unlikely(!is_canonical(target)))
		raise_fault(c, i, VECTOR_GP, 0);
}

void op_ret(struct cpu *c, const struct insn *i)
{
	u64 target = load_u64(c, i, c->regs[CPU_RSP]);

	check_target(c, i, target);
	c->regs[CPU_RSP] += 8 + i->imm;
	c->rip = target;
	predict_return(c, target);
}

static __always_inline void jump_indirect(struct cpu *c, const struct insn *i, u64 target)
{
	check_target(c, i, target);
	c->rip = target;
	predict_indirect(c, i->imm, target);
}

static __always_inline void call_indirect(struct cpu *c, const struct insn *i, u64 target)
{
	check_target(c, i, target);
	push_return_address(c, i, i->imm);
	c->rip = target;
	predict_indirect(c, i->imm, target);
}

void op_jmp_reg(struct cpu *c, const struct insn *i)
{
	jump_indirect(c, i, REG(c, u64, i->rm));
}

void op_jmp_mem(struct cpu *c, const struct insn *i)
{
	jump_indirect(c, i, load_u64(c, i, effective_address(c, i)));
}

void op_call_reg(struct cpu *c, const struct insn *i)
{
	call_indirect(c, i, REG(c, u64, i->rm));
}

void op_call_mem(struct cpu *c, const struct insn *i)
{
	call_indirect(c, i, load_u64(c, i, effective_address(c, i)));
}

/* ---- RCX ---- */

void op_loop(struct cpu *c, const struct insn *i)
{
	u64 count = c->regs[CPU_RCX] - 1;
	bool taken;

	if (i->flags & INSN_ADDR32)
		count = (u32)count;
	taken = count != 0;
	if (i->op == 0)
		taken &= !flag_zf(c);
	if (i->op == 1)
		taken &= flag_zf(c);
	c->regs[CPU_RCX] = count;
	c->rip = taken ? i->imm : (u64)i->disp;
	predict_conditional(c, (u64)i->disp, taken);
}

void op_jrcxz(struct cpu *c, const struct insn *i)
{
	u64 count = c->regs[CPU_RCX];
	bool taken;

	if (i->flags & INSN_ADDR32)
		count = (u32)count;
	taken = count == 0;
	c->rip = taken ? i->imm : (u64)i->disp;
	predict_conditional(c, (u64)i->disp, taken);
}
