/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idle.h - loops that wait: a block that branches to itself, again and again, until something from
 * outside happens or a register has come to its end. They advance to the next event in one step.
 *
 * Interface
 *  - idle_kind() says at decoding what kind of loop a block is, if any.
 *  - idle_skip_counted() and idle_skip_spin() let as many iterations pass as change nothing but what
 *    is known beforehand. Call them at the boundary before the block's first instruction, with
 *    limits that hold. Totals, registers, predictor and budget become what executing these
 *    iterations would have made of them; one more iteration fits into limits and budget and is left
 *    to be executed, which makes flags what they should be.
 *
 * Counted loops, with no other instructions than NOP and PAUSE among them:
 *
 *	1:	loop	1b
 *	1:	dec	reg		or inc, add $1, add $-1, sub $1, sub $-1, of 32 or 64 bits
 *		cmp	$imm, reg	or test reg, reg, or neither of them
 *		jne	1b
 *
 * A spin is any block that ends in a direct jump to itself, stores nothing, consists of moves,
 * comparisons, logic and NOPs, and has just come out of an iteration as it went in: then it does so
 * until memory changes, and nothing but an event can do that.
 */
#ifndef CPU_IDLE_H_
#define CPU_IDLE_H_

#include "cpu/block.h"

enum idle_kind { IDLE_NONE, IDLE_COUNTED, IDLE_SPIN };

struct idle_state {
	u64 regs[NR_REGS];
	u64 result, carries, delta;
};

/* @nr instructions of a block at @va, the sentinel left out. */
enum idle_kind idle_kind(const struct insn *insns, u32 nr, u64 va);

void idle_skip_counted(struct cpu *c, const struct block *b);

struct idle_state idle_state(const struct cpu *c);
/* Nothing is skipped unless the iteration that began in state @before left it so. */
void idle_skip_spin(struct cpu *c, const struct block *b, const struct idle_state *before);

#endif /* CPU_IDLE_H_ */
