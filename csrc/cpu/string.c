/* SPDX-License-Identifier: Apache-2.0 */
/*
 * string.c - MOVS CMPS STOS LODS SCAS INS OUTS, with and without REP.
 *
 * With a REP prefix the instruction stands alone in its block: iterations add their loads, stores
 * and subcycles as they run, and when they reach a limit the instruction is left with RCX, RSI and
 * RDI updated, RIP still on it and nothing retired. It retires once, with its last iteration.
 * Registers are updated after each iteration, so a fault leaves it restartable.
 *
 * Each iteration costs timing.string_iteration besides its loads and stores.
 *
 * Not modelled
 *  - fast strings: every element is an iteration of its own.
 *  - intercepted INS and OUTS stop as unimplemented.
 */
#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/operand.h"
#include "cpu/string.h"

static struct string_run string_run(const struct cpu *c, const struct insn *i)
{
	static const u8 loads[] = {1, 2, 0, 1, 1, 0, 1};
	static const u8 stores[] = {1, 0, 1, 0, 0, 1, 0};
	s64 bytes = 1 << i->size;

	return (struct string_run){
		.mask = i->imm,
		.keep = i->imm == 0xffff ? ~0xffffull : 0,
		.destination_base = c->legacy ? c->seg[SEG_ES].base : 0,
		.linear_mask = c->legacy ? 0xffffffffull : ~0ull,
		.source_base = i->scale != SEG_NONE ? c->seg[i->scale].base : 0,
		.step = c->flags & FLAG_DF ? -bytes : bytes,
		.size = i->size,
		.loads = loads[i->op],
		.stores = stores[i->op],
		.iteration_cost = c->timing.string_iteration + loads[i->op] * c->timing.load +
				  stores[i->op] * c->timing.store,
	};
}

static void compare(struct cpu *c, u64 a, u64 b, unsigned int size)
{
	u64 r = (a - b) & size_mask(size);
	u64 borrows = ((~a & b) | (~(a ^ b) & r)) & size_mask(size);

	set_flags(c, sign_extend(r, size), widen_carries(borrows, 8u << size));
}

static void iterate(struct cpu *c, const struct insn *i, const struct string_run *run)
{
	unsigned int size = run->size;
	u64 a, b;

	switch (i->op) {
	case STRING_MOVS:
		a = load_sized(c, i, string_source(c, run), size);
		store_sized(c, i, string_destination(c, run), size, a);
		string_advance(c, run, CPU_RSI, 1);
		string_advance(c, run, CPU_RDI, 1);
		break;
	case STRING_CMPS:
		a = load_sized(c, i, string_source(c, run), size);
		b = load_sized(c, i, string_destination(c, run), size);
		compare(c, a, b, size);
		string_advance(c, run, CPU_RSI, 1);
		string_advance(c, run, CPU_RDI, 1);
		break;
	case STRING_STOS:
		store_sized(c, i, string_destination(c, run), size, c->regs[CPU_RAX]);
		string_advance(c, run, CPU_RDI, 1);
		break;
	case STRING_LODS:
		a = load_sized(c, i, string_source(c, run), size);
		set_reg_sized(c, RAX_OFFSET, size, a);
		string_advance(c, run, CPU_RSI, 1);
		break;
	case STRING_SCAS:
		b = load_sized(c, i, string_destination(c, run), size);
		compare(c, get_reg_sized(c, RAX_OFFSET, size), b, size);
		string_advance(c, run, CPU_RDI, 1);
		break;
	case STRING_INS:
		/* Find faults before the port is read. */
		load_for_update(c, i, string_destination(c, run), 1u << size);
		a = c->ops->in(c->ctx, (u16)c->regs[CPU_RDX], 1u << size);
		watch_port(c, (u16)c->regs[CPU_RDX], 1u << size);
		store_sized(c, i, string_destination(c, run), size, a);
		string_advance(c, run, CPU_RDI, 1);
		break;
	default:
		a = load_sized(c, i, string_source(c, run), size);
		c->ops->out(c->ctx, (u16)c->regs[CPU_RDX], 1u << size, (u32)a);
		watch_port(c, (u16)c->regs[CPU_RDX], 1u << size);
		string_advance(c, run, CPU_RSI, 1);
		break;
	}
}

/* CMPS and SCAS also end when the flags say so. */
static bool condition_ends(const struct cpu *c, const struct insn *i)
{
	if (i->op != STRING_CMPS && i->op != STRING_SCAS)
		return false;
	return i->flags & INSN_REP ? !flag_zf(c) : flag_zf(c);
}

static void repeat(struct cpu *c, const struct insn *i, const struct string_run *run)
{
	u32 chunk = c->shadow || c->stepping ? 1 : REP_CHUNK;

	while (c->regs[CPU_RCX] & run->mask) {
		chunk -= (u32)string_bulk(c, i, run, chunk - 1);
		iterate(c, i, run);
		string_count(c, run, 1);
		string_count_down(c, run, 1);
		if (condition_ends(c, i))
			return;
		if (!(c->regs[CPU_RCX] & run->mask))
			return;
		/* A device has changed the limits: this iteration may have reached the new ones. */
		if (!c->limits_valid)
			c->must_land = true;
		if (--chunk == 0 || c->hits || c->must_land || c->stop_requested ||
		    cpu_limit_reached(c)) {
			c->outcome = OUTCOME_PROGRESS;
			return;
		}
	}
}

static void check_ports(struct cpu *c, const struct insn *i)
{
	if (i->op < STRING_INS)
		return;
	require_port(c, i, (u16)c->regs[CPU_RDX], 1u << i->size);
	if (c->intercept && c->intercept->io)
		stop_unimplemented(c, i);
}

void op_string(struct cpu *c, const struct insn *i)
{
	struct string_run run = string_run(c, i);

	check_ports(c, i);
	if (i->flags & (INSN_REP | INSN_REPNE)) {
		repeat(c, i, &run);
		if (c->outcome == OUTCOME_PROGRESS) {
			c->between_iterations = true;
			return;
		}
	} else {
		iterate(c, i, &run);
	}
	NEXT_INSN(c, i);
}
