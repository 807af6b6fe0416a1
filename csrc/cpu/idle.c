/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idle.c - loops that wait, in one step. See idle.h.
 *
 * Rules
 *  - An iteration that is skipped costs the block's static counts and subcycles: every line it loads
 *    from is warm, because an iteration has just been executed, and its branch is predicted,
 *    because the counter that predicts it is looked at and saturated.
 *  - No limit may be reached inside or at the end of what is skipped: landing is run.c's business.
 *
 * Not modelled
 *  - loops of more than one block, and LOOP with a 16-bit count: they are executed.
 */
#include <string.h>

#include "cpu/handlers.h"
#include "cpu/idle.h"
#include "cpu/operand.h"
#include "cpu/predict.h"

/* The register that a counted loop moves by @step until it is @target. */
struct counter {
	u64 mask; /* of its size */
	u64 target;
	u64 step; /* 1 or -1 */
	u8 reg;	  /* byte offset into regs[] */
};

/* ---- at decoding ---- */

static bool is_alu(const struct insn *i)
{
	for (unsigned int op = 0; op < NR_ALU_OPS; op++) {
		for (unsigned int form = 0; form < NR_ALU_FORMS; form++) {
			if (i->fn == alu_handler(op, form, i->size))
				return true;
		}
	}
	return false;
}

static bool is_extension(const struct insn *i)
{
	for (unsigned int from = 0; from < 3; from++) {
		for (unsigned int to = from + 1; to < 4; to++) {
			for (unsigned int kind = 0; kind < 4; kind++) {
				if (i->fn == extend_handler(kind & 1, kind >> 1, from, to))
					return true;
			}
		}
	}
	return false;
}

/* Nothing but registers, flags and loads. */
static bool is_plain(const struct insn *i)
{
	if (i->stores)
		return false;
	return i->fn == op_nop || i->fn == op_address || (i->fn == op_bit && i->op == BIT_TEST) ||
	       is_alu(i) || is_extension(i);
}

static bool is_counter_step(const struct insn *i)
{
	bool by_one = (s64)i->imm == 1 || (s64)i->imm == -1;

	if (i->size < 2)
		return false;
	return i->fn == unary_handler(UNARY_INC, false, i->size) ||
	       i->fn == unary_handler(UNARY_DEC, false, i->size) ||
	       (by_one && (i->fn == alu_handler(ALU_ADD, ALU_RM_IMM, i->size) ||
			   i->fn == alu_handler(ALU_SUB, ALU_RM_IMM, i->size)));
}

/* A comparison of the counter with what it runs to. */
static bool is_counter_test(const struct insn *i, const struct insn *step)
{
	if (i->rm != step->rm || i->size != step->size)
		return false;
	return i->fn == alu_handler(ALU_CMP, ALU_RM_IMM, i->size) ||
	       (i->fn == alu_handler(ALU_TEST, ALU_RM_REG, i->size) && i->reg == i->rm);
}

static const struct insn *skip_nops(const struct insn *i, const struct insn *end)
{
	while (i < end && i->fn == op_nop)
		i++;
	return i;
}

static bool is_counted(const struct insn *i, const struct insn *branch)
{
	const struct insn *step = skip_nops(i, branch);

	if (step == branch)
		return branch->fn == op_loop && branch->op == 2;
	if (branch->fn != jcc_handler(5) || !is_counter_step(step))
		return false;
	i = skip_nops(step + 1, branch);
	if (i < branch && is_counter_test(i, step))
		i = skip_nops(i + 1, branch);
	return i == branch;
}

static bool is_direct_jump(const struct insn *i)
{
	for (unsigned int code = 0; code < 16; code++) {
		if (i->fn == jcc_handler(code))
			return true;
	}
	return i->fn == op_jmp;
}

enum idle_kind idle_kind(const struct insn *insns, u32 nr, u64 va)
{
	const struct insn *branch = &insns[nr - 1];

	if (!branch->branches || branch->imm != va)
		return IDLE_NONE;
	if (is_counted(insns, branch))
		return IDLE_COUNTED;
	if (!is_direct_jump(branch))
		return IDLE_NONE;
	for (const struct insn *i = insns; i < branch; i++) {
		if (!is_plain(i))
			return IDLE_NONE;
	}
	return IDLE_SPIN;
}

/* ---- at the boundary ---- */

static const struct insn *branch_of(const struct block *b)
{
	return &b->insns[b->nr_insns - 2];
}

/* Until it is mispredicted, the branch leaves the predictor as it is. */
static bool is_predicted_taken(const struct cpu *c, const struct insn *branch)
{
	return branch->fn == op_jmp || predicts_taken_always(c, (u64)branch->disp);
}

/* Iterations that reach no limit and fit into the budget. */
static u64 iterations_that_fit(const struct cpu *c, const struct block *b)
{
	const u64 *count = c->totals.count[c->priv];
	u64 n = min_u64(c->budget, times_that_fit(c->limit_sub, c->totals.sub[c->priv], b->sub));

	if (cpu_limit_reached(c))
		return 0;
	for (unsigned int e = 0; e < PACKED_EVENTS; e++)
		n = min_u64(n, times_that_fit(c->limit[e], count[e], packed_count(b->counts, e)));
	return n;
}

static void count_iterations(struct cpu *c, const struct block *b, u64 n)
{
	u64 *count = c->totals.count[c->priv];

	for (unsigned int e = 0; e < PACKED_EVENTS; e++)
		count[e] += n * packed_count(b->counts, e);
	c->totals.sub[c->priv] += n * b->sub;
	c->budget -= n;
	c->idle_skipped += n;
}

static struct counter loop_counter(const struct insn *branch)
{
	return (struct counter){
		.mask = branch->flags & INSN_ADDR32 ? size_mask(2) : size_mask(3),
		.target = 0,
		.step = ~0ull,
		.reg = CPU_RCX * 8,
	};
}

static struct counter counter_of(const struct block *b)
{
	const struct insn *branch = branch_of(b), *step = skip_nops(b->insns, branch), *test;
	bool down;

	if (step == branch)
		return loop_counter(branch);
	test = skip_nops(step + 1, branch);
	if (step->fn == unary_handler(UNARY_INC, false, step->size))
		down = false;
	else if (step->fn == unary_handler(UNARY_DEC, false, step->size))
		down = true;
	else
		down = (step->fn == alu_handler(ALU_SUB, ALU_RM_IMM, step->size)) ==
		       ((s64)step->imm == 1);
	return (struct counter){
		.mask = size_mask(step->size),
		.target = test < branch && test->fn == alu_handler(ALU_CMP, ALU_RM_IMM, test->size)
				  ? test->imm & size_mask(step->size)
				  : 0,
		.step = down ? ~0ull : 1,
		.reg = step->rm,
	};
}

void idle_skip_counted(struct cpu *c, const struct block *b)
{
	struct counter counter;
	u64 distance, n, *reg;

	if (!is_predicted_taken(c, branch_of(b)))
		return;
	counter = counter_of(b);
	reg = &REG(c, u64, counter.reg);
	/* The iteration that comes to the target does not branch back; from there it is a full turn. */
	distance = (counter.target - *reg) * counter.step & counter.mask;
	n = min_u64((distance - 1) & counter.mask, iterations_that_fit(c, b));
	if (n < 2)
		return;
	*reg = (*reg + counter.step * (n - 1)) & counter.mask;
	count_iterations(c, b, n - 1);
}

struct idle_state idle_state(const struct cpu *c)
{
	struct idle_state state = {.result = c->result, .carries = c->carries, .delta = c->delta};

	memcpy(state.regs, c->regs, sizeof(state.regs));
	return state;
}

void idle_skip_spin(struct cpu *c, const struct block *b, const struct idle_state *before)
{
	struct idle_state now = idle_state(c);
	u64 n;

	if (c->rip != b->va || memcmp(&now, before, sizeof(now)) ||
	    !is_predicted_taken(c, branch_of(b)))
		return;
	n = iterations_that_fit(c, b);
	if (n > 1)
		count_iterations(c, b, n - 1);
}
