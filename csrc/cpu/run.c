/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - the run loop: stretches of blocks, and landing on the exact instruction.
 *
 * Interface
 *  - cpu_run() alternates between the boundary, where everything that is not an instruction happens
 *    (totals, limits, land(), stops), and a stretch of blocks or a single instruction.
 *
 * Landing. ops->horizon() gives distances; here they become limits of the totals. A stretch gets as
 * much fuel (blocks) as the static worst case of any block allows without reaching a limit inside;
 * when that is none, the very next block is looked at; when that is too much as well, one instruction
 * is executed alone. What is not static (branch misses, cold lines) has a slack of subcycles set aside:
 * a cold line that does not fit abandons its block and its instruction is executed alone, a branch
 * miss is at the end of its block anyway.
 *
 * The one non-local exit: an instruction that faults, must be executed alone, or is not implemented
 * leaves its handler by cpu_escape(), a longjmp() to the frame in cpu_run() or deliver_event() that
 * cpu->escape points to. It never crosses a callback or a caller: callbacks do not escape, and
 * handlers call them only while the instruction can no longer fault or before it changed anything.
 */
#include <string.h>

#include "cpu/block.h"
#include "cpu/handlers.h"
#include "cpu/idle.h"
#include "cpu/memory.h"
#include "cpu/x87.h"

/* 16-bit packed counts: no block has more than 64 of anything. */
#define STRETCH_MAX_BLOCKS 1023u

/* ---- leaving an instruction ---- */

_Noreturn void cpu_escape(struct cpu *c, const struct insn *i, enum escape why)
{
	c->escape_insn = i;
	longjmp(*c->escape, why);
}

_Noreturn void raise_fault(struct cpu *c, const struct insn *i, enum vector vector, s32 error)
{
	c->fault = (struct fault){.vector = (u8)vector, .error = error};
	cpu_escape(c, i, ESCAPE_FAULT);
}

_Noreturn void raise_page_fault(struct cpu *c, const struct insn *i, u64 va, u32 error)
{
	c->cr2 = va;
	raise_fault(c, i, VECTOR_PF, (s32)error);
}

_Noreturn void stop_unimplemented(struct cpu *c, const struct insn *i)
{
	cpu_escape(c, i, ESCAPE_STOP);
}

void end_stretch(struct cpu *c)
{
	c->budget += c->fuel - 1;
	c->fuel = 1;
}

/* Account for what the abandoned block did before the instruction that escaped. */
static void leave_block(struct cpu *c)
{
	const struct insn *i = c->escape_insn;

	if (c->fuel)
		end_stretch(c);
	else if (c->budget)
		c->budget--;
	c->fuel = 0;
	if (i) {
		u64 sub;

		if (!c->alone) {
			c->pending_counts += block_counts_before(c->block, i, &sub);
			c->pending_sub += sub;
		}
		c->rip = c->block->va + i->offset;
	}
	c->alone = false;
}

static void resume_alone(struct cpu *c)
{
	const struct insn *first = c->block->insns;
	const struct insn *i = c->escape_insn;

	if (i > first && !i[-1].instructions)
		i--;
	c->resume_block = c->block;
	c->resume_index = (u32)(i - first);
	c->force_alone = true;
}

static void describe_unimplemented(struct cpu *c)
{
	struct cpu_exit *e = &c->exit;

	*e = (struct cpu_exit){.rip = c->rip};
	while (e->nr_bytes < sizeof(e->bytes) &&
	       cpu_read_virtual(c, linear_address(c, c->rip + e->nr_bytes), &e->bytes[e->nr_bytes],
				1) == 0)
		e->nr_bytes++;
	e->len = e->nr_bytes;
}

/* ---- limits ---- */

static u64 limit_from(u64 total, u64 room)
{
	return room > ~0ull - total ? ~0ull : total + max_u64(room, 1);
}

static void ask_horizon(struct cpu *c)
{
	struct cpu_room room;
	unsigned int e;

	cpu_room_unlimited(&room);
	c->ops->horizon(c->ctx, c->priv, &room);
	for_each_set_bit(e, c->watched)
		c->limit[e] = ~0ull;
	c->watched = room.watched;
	for_each_set_bit(e, c->watched)
		c->limit[e] = limit_from(c->totals.count[c->priv][e], room.events[e]);
	c->limit_sub = limit_from(c->totals.sub[c->priv], room.sub);
	c->limit_priv = c->priv;
	c->limits_valid = true;
}

static __always_inline bool limit_reached(const struct cpu *c)
{
	const u64 *count = c->totals.count[c->limit_priv];
	unsigned int e;

	if (c->totals.sub[c->limit_priv] >= c->limit_sub)
		return true;
	for_each_set_bit(e, c->watched) {
		if (count[e] >= c->limit[e])
			return true;
	}
	return false;
}

bool cpu_limit_reached(const struct cpu *c)
{
	return limit_reached(c);
}

static void set_slack(struct cpu *c, u64 slack)
{
	c->slack_sub = (s64)min_u64(slack, INT64_MAX);
}

/* How often @worst fits before the limit is reached. */
static u64 fits(const struct cpu *c, enum base_event e, u64 worst)
{
	u64 room = c->limit[e] - c->totals.count[c->priv][e] - 1;

	return worst && room < STRETCH_MAX_BLOCKS * worst ? room / worst : STRETCH_MAX_BLOCKS;
}

static bool block_fits(const struct cpu *c, const struct block *b)
{
	for (unsigned int e = 0; e < PACKED_EVENTS; e++) {
		if (packed_count(b->counts, e) >= c->limit[e] - c->totals.count[c->priv][e])
			return false;
	}
	return b->sub < c->limit_sub - c->totals.sub[c->priv];
}

/* Blocks that can run, @b first, without reaching a limit before the last one's end. */
static u64 stretch_fuel(struct cpu *c, const struct block *b)
{
	u64 room = c->limit_sub - c->totals.sub[c->priv] - 1;
	u64 fuel = min_u64(STRETCH_MAX_BLOCKS, c->budget);

	c->worst_grew = false;
	fuel = min_u64(fuel, fits(c, EVENT_INSTRUCTIONS, BLOCK_MAX_INSNS));
	fuel = min_u64(fuel, fits(c, EVENT_BRANCHES, 1));
	fuel = min_u64(fuel, fits(c, EVENT_LOADS, c->worst_loads));
	fuel = min_u64(fuel, fits(c, EVENT_STORES, c->worst_stores));
	if (c->worst_sub && room / 2 < fuel * c->worst_sub)
		fuel = room / 2 / c->worst_sub;
	if (likely(fuel)) {
		set_slack(c, room - fuel * c->worst_sub);
		return fuel;
	}
	if (!block_fits(c, b))
		return 0;
	set_slack(c, room - b->sub);
	return 1;
}

/* ---- execution ---- */

static void commit(struct cpu *c)
{
	u64 *count = c->totals.count[c->pending_priv];

	for (unsigned int e = 0; e < PACKED_EVENTS; e++)
		count[e] += packed_count(c->pending_counts, e);
	c->totals.sub[c->pending_priv] += c->pending_sub;
	c->pending_counts = 0;
	c->pending_sub = 0;
	c->pending_priv = c->priv;
}

void op_end_of_block(struct cpu *c, const struct insn *i)
{
	c->rip = i->imm;
}

/*
 * Which link fits is found by branches that the host predicts, not by an index computed from RIP:
 * the next block's address must not wait for this block's last instruction.
 */
static __always_inline struct block *follow_link(const struct cpu *c, const struct block *b)
{
	u64 rip = c->rip;

	if (block_is(b->link[1], c, rip))
		return b->link[1];
	if (block_is(b->link[0], c, rip))
		return b->link[0];
	return NULL;
}

static __always_inline void run_stretch(struct cpu *c, struct block *b, u32 index, u64 fuel)
{
	const struct insn *entry = b->insns + index;

	if (index) {
		u64 sub;

		c->pending_counts -= block_counts_before(b, entry, &sub);
		c->pending_sub -= sub;
	}
	c->budget -= fuel;
	c->fuel = fuel;
	for (;;) {
		struct block *next;

		c->block = b;
		entry->fn(c, entry);
		c->pending_counts += b->counts;
		c->pending_sub += b->sub;
		if (unlikely(--c->fuel == 0))
			return;
		next = follow_link(c, b);
		if (unlikely(!next)) {
			next = block_find(c);
			if (next->alone || c->worst_grew)
				break;
			b->link[c->rip != b->end] = next;
		}
		b = next;
		entry = b->insns;
	}
	c->budget += c->fuel;
	c->fuel = 0;
}

/* A loop that waits, at its start: skip what can be skipped. False: nothing was executed. */
static __attribute__((noinline)) bool run_idle(struct cpu *c, struct block *b)
{
	struct idle_state before;

	if (b->idle == IDLE_COUNTED) {
		idle_skip_counted(c, b);
		return false;
	}
	if (!block_fits(c, b))
		return false;
	before = idle_state(c);
	set_slack(c, c->limit_sub - c->totals.sub[c->priv] - 1 - b->sub);
	run_stretch(c, b, 0, 1);
	commit(c);
	idle_skip_spin(c, b, &before);
	return true;
}

static const struct insn *copy_to_scratch(struct cpu *c, const struct insn *i,
					  const struct insn *main)
{
	struct insn *to = c->scratch;

	if (i != main)
		*to++ = *i;
	*to++ = *main;
	*to = (struct insn){.fn = op_end_of_block, .imm = c->block->va + main->offset + main->len};
	return c->scratch;
}

static __always_inline const struct insn *begin_alone(struct cpu *c, struct block *b, u32 index)
{
	const struct insn *i = b->insns + index;
	const struct insn *main = i->instructions ? i : i + 1;

	c->fuel = 1;
	c->block = b;
	c->alone = true;
	c->outcome = OUTCOME_RETIRED;
	c->next_shadow = 0;
	c->hits = 0;
	c->stepping = c->flags & FLAG_TF;
	c->flags &= ~FLAG_RF;
	if (!b->alone)
		i = copy_to_scratch(c, i, main);
	i->fn(c, i);
	c->alone = false;
	c->fuel = 0;
	return main;
}

const struct insn *execute_alone(struct cpu *c, struct block *b, u32 index)
{
	return begin_alone(c, b, index);
}

/* One instruction by itself: a sensitive one, or any other close to a limit or to a device. */
static void run_alone(struct cpu *c, struct block *b, u32 index)
{
	const struct insn *main;

	c->budget--;
	main = begin_alone(c, b, index);
	if (c->outcome == OUTCOME_STOPPED)
		return;
	c->shadow = c->next_shadow;
	if (unlikely(c->stepping || c->hits))
		collect_debug_traps(c);
	if (c->outcome == OUTCOME_PROGRESS)
		return;
	/* The new distances are from before this instruction's retirement. */
	if (!c->limits_valid && c->limit_priv == c->priv)
		ask_horizon(c);
	c->pending_counts += insn_counts(main);
	c->pending_sub += main->sub;
	if (main + 2 <= b->insns + b->nr_insns - 1 && b->map == c->map) {
		c->resume_block = b;
		c->resume_index = (u32)(main + 1 - b->insns);
	}
}

static struct block *find_position(struct cpu *c, u32 *index)
{
	struct block *b = c->resume_block;

	c->resume_block = NULL;
	if (b && b->map == c->map && c->rip == b->va + b->insns[c->resume_index].offset) {
		*index = c->resume_index;
		return b;
	}
	*index = 0;
	return block_find(c);
}

static bool window_open(const struct cpu *c)
{
	return (c->want_irq && cpu_can_take_irq(c)) || (c->want_nmi && cpu_can_take_nmi(c));
}

static __always_inline void land_if_due(struct cpu *c)
{
	if (likely(!c->must_land && !(c->limits_valid && limit_reached(c))))
		return;
	c->must_land = false;
	c->limits_valid = false;
	if (c->ops->land(c->ctx))
		c->stop_requested = true;
}

/* Traps of the last instruction. False: c->stop says that they are intercepted. */
static __attribute__((noinline)) bool take_debug_traps(struct cpu *c)
{
	if (!raise_debug_traps(c))
		return false;
	commit(c); /* what follows belongs to the new privilege */
	land_if_due(c);
	return true;
}

/* The boundary between two instructions. False: c->stop says why the run ends. */
static bool pass_boundary(struct cpu *c)
{
	commit(c);
	land_if_due(c);
	/* Traps come before whatever asks for a stop could inject. */
	if (unlikely(c->debug_traps && c->shadow != SHADOW_MOV_SS) && !take_debug_traps(c))
		return false;
	if (c->stop_requested) {
		c->stop_requested = false;
		c->stop = CPU_STOP_EVENT;
		return false;
	}
	if (unlikely(c->unimplemented || c->wrong_mode || c->shutdown)) {
		c->stop = c->shutdown ? CPU_STOP_SHUTDOWN : CPU_STOP_UNIMPLEMENTED;
		if (!c->shutdown)
			describe_unimplemented(c);
		c->unimplemented = false;
		return false;
	}
	if (unlikely(window_open(c))) {
		c->want_irq = false;
		c->want_nmi = false;
		c->stop = CPU_STOP_WINDOW;
		return false;
	}
	if (unlikely(c->waits_for_sipi)) {
		c->stop = CPU_STOP_SIPI;
		return false;
	}
	if (c->halted || !c->budget ||
	    atomic_load_explicit(&c->pause_asked, memory_order_relaxed)) {
		c->stop = c->halted ? CPU_STOP_HALT : CPU_STOP_BUDGET;
		return false;
	}
	if (!c->limits_valid || c->limit_priv != c->priv)
		ask_horizon(c);
	return true;
}

/* True if a code breakpoint is hit; c->stop says so if it is intercepted. */
static bool stopped_by_breakpoint(struct cpu *c, bool *intercepted)
{
	u64 hits = code_breakpoints_hit(c);

	if (!hits)
		return false;
	c->budget--;
	*intercepted = !raise_exception(
		c, &(struct event){.vector = VECTOR_DB, .error = NO_ERROR_CODE, .dr6 = hits});
	return true;
}

static enum cpu_stop run_until_stop(struct cpu *c)
{
	while (pass_boundary(c)) {
		struct block *b;
		u64 fuel = 0;
		u32 index;
		bool alone, intercepted;

		if (unlikely(c->code_breakpoints) && stopped_by_breakpoint(c, &intercepted)) {
			if (intercepted)
				return c->stop;
			continue;
		}
		b = find_position(c, &index);
		alone = b->alone || c->force_alone || c->shadow || c->code_breakpoints ||
			(c->flags & (FLAG_TF | FLAG_RF));
		c->force_alone = false;
		c->between_iterations = false;
		if (!alone && unlikely(b->idle) && !index && run_idle(c, b))
			continue;
		if (!alone)
			fuel = stretch_fuel(c, b);
		if (fuel) {
			run_stretch(c, b, index, fuel);
			continue;
		}
		run_alone(c, b, index);
		if (c->outcome == OUTCOME_STOPPED)
			return c->stop;
	}
	return c->stop;
}

enum cpu_stop cpu_run(struct cpu *c, u64 *budget)
{
	jmp_buf frame;

	c->budget = *budget;
	c->fuel = 0;
	c->escape = &frame;
	switch (setjmp(frame)) {
	case 0: break;
	case ESCAPE_FAULT:
		leave_block(c);
		commit(c);
		if (raise_exception(c, &(struct event){.vector = c->fault.vector,
						       .error = c->fault.error,
						       .dr6 = c->fault.dr6,
						       .fault = true}))
			break;
		goto out;
	case ESCAPE_ALONE:
		leave_block(c);
		resume_alone(c);
		break;
	default:
		leave_block(c);
		c->unimplemented = true;
		break;
	}
	c->stop = run_until_stop(c);
out:
	fpu_release(c);
	*budget = c->budget;
	c->escape = NULL;
	return c->stop;
}
