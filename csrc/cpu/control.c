/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - near branches. Each ends its block: it sets RIP and returns to the run loop.
 *
 * A direct branch has its target in .imm and the next instruction's address in .disp; an indirect
 * CALL has the next address in .imm; RET has the bytes to drop in .imm.
 * A non-canonical target faults at the branch; the decoder gives direct ones op_branch_out().
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
	if (unlikely(!is_canonical(target)))
		probe_write(c, i, c->regs[CPU_RSP] - 8, 8); /* a fault of the push comes first */
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

static __always_inline u64 count_register(const struct insn *i, u64 count)
{
	return i->flags & INSN_ADDR32 ? (u32)count : count;
}

static __always_inline bool loop_taken(const struct cpu *c, unsigned int op, u64 count)
{
	bool taken = count != 0;

	if (op == 0)
		taken &= !flag_zf(c);
	if (op == 1)
		taken &= flag_zf(c);
	return taken;
}

void op_loop(struct cpu *c, const struct insn *i)
{
	u64 count = count_register(i, c->regs[CPU_RCX] - 1);
	bool taken = loop_taken(c, i->op, count);

	c->regs[CPU_RCX] = count;
	c->rip = taken ? i->imm : (u64)i->disp;
	predict_conditional(c, (u64)i->disp, taken);
}

void op_jrcxz(struct cpu *c, const struct insn *i)
{
	bool taken = count_register(i, c->regs[CPU_RCX]) == 0;

	c->rip = taken ? i->imm : (u64)i->disp;
	predict_conditional(c, (u64)i->disp, taken);
}

/* With 16-bit addresses CX counts, and the rest of RCX stays. */
void op_loop16(struct cpu *c, const struct insn *i)
{
	u16 count = (u16)(c->regs[CPU_RCX] - 1);
	bool taken = loop_taken(c, i->op, count);

	set_reg_u16(c, CPU_RCX * 8, count);
	c->rip = taken ? i->imm : (u64)i->disp;
	predict_conditional(c, (u64)i->disp, taken);
}

void op_jcxz16(struct cpu *c, const struct insn *i)
{
	bool taken = (u16)c->regs[CPU_RCX] == 0;

	c->rip = taken ? i->imm : (u64)i->disp;
	predict_conditional(c, (u64)i->disp, taken);
}

/* ---- out of the canonical addresses ---- */

static bool branch_out_taken(struct cpu *c, const struct insn *i)
{
	switch (i->op) {
	case 0xe0:
	case 0xe1:
	case 0xe2: return loop_taken(c, i->op & 3, count_register(i, c->regs[CPU_RCX] - 1));
	case 0xe3: return count_register(i, c->regs[CPU_RCX]) == 0;
	case 0xe8: probe_write(c, i, c->regs[CPU_RSP] - 8, 8); return true;
	case 0xe9:
	case 0xeb: return true;
	default: return condition(c, i->op & 15); /* 70..7f, 0f 80..8f */
	}
}

/* So rare that all share one handler, and the others need not look at where they go. */
void op_branch_out(struct cpu *c, const struct insn *i)
{
	if (branch_out_taken(c, i))
		raise_fault(c, i, VECTOR_GP, 0);
	if (i->op >= 0xe0 && i->op <= 0xe2)
		c->regs[CPU_RCX] = count_register(i, c->regs[CPU_RCX] - 1);
	c->rip = (u64)i->disp;
	predict_conditional(c, (u64)i->disp, false);
}
