/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transaction.c - RTM, where the CPU is configured with it: every transaction aborts at its start.
 *
 * The architecture promises no transaction success. XBEGIN goes to its fallback address at once, with
 * EAX = 0: none of the causes that the status can name, and no hint to try again. Registers and memory
 * are as before it otherwise. It retires, as one instruction and no branch; its own cycles are those of
 * the region, and are counted as spent in a transaction that aborted.
 *
 * So nothing ever runs inside a transaction: XTEST says so, XEND is #GP, XABORT does nothing. Without
 * RTM all four are #UD. HLE is hints on other instructions, which are ignored.
 */
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/operand.h"

#define STATUS_NO_CAUSE 0

void op_xbegin(struct cpu *c, const struct insn *i)
{
	if (!is_canonical(i->imm))
		raise_fault(c, i, VECTOR_GP, 0);
	set_reg_u32(c, RAX_OFFSET, STATUS_NO_CAUSE);
	c->totals.count[c->priv][EVENT_TX_CYCLES] += i->sub >> SUB_SHIFT;
	c->rip = i->imm;
}

void op_xend(struct cpu *c, const struct insn *i)
{
	raise_fault(c, i, VECTOR_GP, 0);
}

void op_xtest(struct cpu *c, const struct insn *i)
{
	set_arithmetic_flags(c, FLAG_ZF);
	NEXT_INSN(c, i);
}
