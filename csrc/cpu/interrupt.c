/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interrupt.c - into the kernel and back: delivery through the IDT of long mode (that of protected mode
 * is interrupt32.c, that of real mode real.c), INT n, IRET, SYSCALL, SYSRET.
 *
 * Interface
 *  - enter_gate() changes nothing unless all of it succeeds.
 *  - deliver_event() turns faults during delivery into #DF, and those of #DF into a shutdown.
 *  - A delivery is no instruction; it costs timing.interrupt at the new privilege. When that
 *    is not the privilege the limits are for, land() is called at the next boundary.
 *
 * Not modelled
 *  - gates to CPL 1 or 2: they stop as unimplemented.
 *  - the null selectors that IRET leaves in data segments of a higher privilege keep their bases.
 */
#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/operand.h"
#include "cpu/stack.h"

#define GATE_INTERRUPT 14u
#define GATE_TRAP 15u
#define ERROR_EXT 1u
#define ERROR_IDT 2u
#define TSS_RSP0 4u
#define TSS_IST1 36u

#define ATTR_FLAT_CODE64                                                                           \
	(ATTR_ACCESSED | ATTR_READABLE | ATTR_CODE | ATTR_NOT_SYSTEM | ATTR_PRESENT | ATTR_LONG |  \
	 ATTR_GRANULAR)
#define ATTR_FLAT_DATA                                                                             \
	(ATTR_ACCESSED | ATTR_WRITABLE | ATTR_NOT_SYSTEM | ATTR_PRESENT | ATTR_DEFAULT32 |         \
	 ATTR_GRANULAR)
#define ATTR_USER (3u << 5)

struct gate {
	u64 offset;
	u16 selector;
	u8 ist, type;
};

static struct gate read_gate(struct cpu *c, const struct insn *i, const struct event *event)
{
	u32 error = event->vector * 8u + ERROR_IDT + (event->software ? 0 : ERROR_EXT);
	u64 low, high;
	struct gate gate;

	if (event->vector * 16u + 15 > c->idt.limit)
		raise_fault(c, i, VECTOR_GP, (s32)error);
	low = system_read(c, i, c->idt.base + event->vector * 16u, 8);
	high = system_read(c, i, c->idt.base + event->vector * 16u + 8, 8);
	gate.offset = (low & 0xffff) | low >> 48 << 16 | high << 32;
	gate.selector = (u16)(low >> 16);
	gate.ist = low >> 32 & 7;
	gate.type = low >> 40 & 31;
	if (gate.type != GATE_INTERRUPT && gate.type != GATE_TRAP)
		raise_fault(c, i, VECTOR_GP, (s32)error);
	if (event->software && ATTR_DPL(low >> 40) < c->cpl)
		raise_fault(c, i, VECTOR_GP, (s32)error);
	if (!(low >> 40 & ATTR_PRESENT))
		raise_fault(c, i, VECTOR_NP, (s32)error);
	return gate;
}

unsigned int gate_cpl(struct cpu *c, const struct insn *i, u16 selector, u32 ext)
{
	u64 descriptor;
	u64 attr;

	if (!(selector & ~3u))
		raise_fault(c, i, VECTOR_GP, (s32)ext);
	descriptor = read_descriptor(c, i, selector, VECTOR_GP, (selector & ~3u) | ext, NULL);
	attr = descriptor >> 40;
	if ((attr & ATTR_CODE) && (attr & ATTR_CONFORMING))
		return c->cpl;
	if (ATTR_DPL(attr) > c->cpl)
		raise_fault(c, i, VECTOR_GP, (s32)((selector & ~3u) | ext));
	return ATTR_DPL(attr);
}

static u64 gate_stack(struct cpu *c, const struct insn *i, const struct gate *gate,
		      unsigned int cpl, u32 ext)
{
	u64 offset;

	if (gate->ist)
		offset = TSS_IST1 + 8u * (gate->ist - 1u);
	else if (cpl != c->cpl)
		offset = TSS_RSP0 + 8u * cpl;
	else
		return c->regs[CPU_RSP] & ~15ull;
	if (offset + 7 > c->tr.limit)
		raise_fault(c, i, VECTOR_TS, (s32)((c->tr.selector & ~3u) | ext));
	return system_read(c, i, c->tr.base + offset, 8) & ~15ull;
}

void charge_delivery(struct cpu *c)
{
	c->totals.sub[c->priv] += c->timing.interrupt;
	if (!c->limits_valid || c->limit_priv != c->priv)
		c->must_land = true;
}

static void enter_gate64(struct cpu *c, const struct insn *i, const struct event *event,
			 u64 return_rip)
{
	u32 ext = event->software ? 0 : ERROR_EXT;
	struct gate gate = read_gate(c, i, event);
	unsigned int cpl = gate_cpl(c, i, gate.selector, ext);
	struct cpu_segment cs = check_code_segment(c, i, gate.selector, cpl, ext);
	u64 stack = gate_stack(c, i, &gate, cpl, ext);
	u64 clear = FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM;
	bool has_error = event->error != NO_ERROR_CODE;
	u64 frame[6] = {
		c->seg[SEG_SS].selector,
		c->regs[CPU_RSP],
		get_rflags(c) | (event->fault || c->between_iterations ? FLAG_RF : 0),
		c->seg[SEG_CS].selector,
		return_rip,
		(u32)event->error,
	};
	unsigned int words = has_error ? 6 : 5;

	if (cpl == 1 || cpl == 2)
		stop_unimplemented(c, i);
	if (!(cs.attr & ATTR_LONG))
		raise_fault(c, i, VECTOR_GP, (s32)((gate.selector & ~3u) | ext));
	if (!is_canonical(stack) || !is_canonical(stack - 8 * words))
		raise_fault(c, i, VECTOR_SS, (s32)ext);
	check_code_offset(c, i, &cs, gate.offset, ext);
	system_push(c, i, &(struct pushed){.top = stack, .mask = ~0ull}, frame, words, 8, cpl == 3);

	if (gate.type == GATE_INTERRUPT)
		clear |= FLAG_IF;
	c->flags &= ~clear;
	c->regs[CPU_RSP] = stack - 8 * words;
	if (cpl != c->cpl)
		c->seg[SEG_SS] = (struct cpu_segment){.selector = (u16)cpl};
	set_cpl(c, cpl);
	load_code_segment(c, &cs, gate.offset);
	c->between_iterations = false;
	charge_delivery(c);
}

void enter_gate(struct cpu *c, const struct insn *i, const struct event *event, u64 return_rip)
{
	if (c->efer & EFER_LMA)
		enter_gate64(c, i, event, return_rip);
	else if (real_mode(c))
		enter_vector_real(c, i, event, return_rip);
	else
		enter_gate32(c, i, event, return_rip);
}

/* ---- double faults ---- */

static bool is_contributory(unsigned int vector)
{
	return vector == VECTOR_DE || (vector >= VECTOR_TS && vector <= VECTOR_GP);
}

/* A fault occurred while c->delivery was being delivered: what to deliver now. False: shutdown. */
static bool escalate(struct cpu *c)
{
	const struct event *first = &c->delivery;
	unsigned int second = c->fault.vector;
	bool twice = false;

	if (first->fault && first->vector == VECTOR_DF)
		return false;
	if (first->fault && is_contributory(first->vector))
		twice = is_contributory(second);
	if (first->fault && first->vector == VECTOR_PF)
		twice = is_contributory(second) || second == VECTOR_PF;
	c->delivery = (struct event){.vector = twice ? VECTOR_DF : (u8)second,
				     .error = twice ? 0 : c->fault.error,
				     .fault = true};
	return true;
}

void deliver_event(struct cpu *c, const struct event *event)
{
	jmp_buf *const outer = c->escape;
	jmp_buf frame;

	c->delivery = *event;
	c->resume_block = NULL;
	c->force_alone = false;
	c->shadow = 0;
	c->escape = &frame;
	switch (setjmp(frame)) {
	case 0: break;
	case ESCAPE_FAULT:
		if (escalate(c))
			break;
		c->shutdown = true;
		c->escape = outer;
		return;
	default:
		c->unimplemented = true;
		c->escape = outer;
		return;
	}
	enter_gate(c, NULL, &c->delivery, c->rip);
	c->escape = outer;
}

bool exception_intercepted(const struct cpu *c, unsigned int vector)
{
	return c->intercept && c->intercept->exceptions & BIT_ULL(vector);
}

bool raise_exception(struct cpu *c, const struct event *event)
{
	if (!exception_intercepted(c, event->vector)) {
		if (event->vector == VECTOR_DB)
			cpu_debug_exception(c, event->dr6);
		deliver_event(c, event);
		return true;
	}
	c->exit = (struct cpu_exit){.insn = CPU_INSN_EXCEPTION,
				    .vector = event->vector,
				    .error = event->error,
				    .dr6 = event->dr6,
				    .rip = c->rip};
	/* The flags are those that would have been pushed. */
	if (event->fault || c->between_iterations)
		c->flags |= FLAG_RF;
	c->stop = CPU_STOP_INTERCEPT;
	return false;
}

void stop_for_software_exception(struct cpu *c, const struct insn *i, enum vector vector)
{
	c->exit = (struct cpu_exit){.insn = CPU_INSN_EXCEPTION,
				    .len = i->len,
				    .branches = i->branches,
				    .vector = (u8)vector,
				    .error = NO_ERROR_CODE,
				    .software = true,
				    .rip = c->rip};
	c->stop = CPU_STOP_INTERCEPT;
	c->outcome = OUTCOME_STOPPED;
}

/* ---- instructions ---- */

/* INT n, INT3 and INTO: the vector is the immediate. */
void op_int(struct cpu *c, const struct insn *i)
{
	struct event event = {.vector = (u8)i->imm, .error = NO_ERROR_CODE, .software = true};

	if (i->op && exception_intercepted(c, event.vector)) {
		stop_for_software_exception(c, i, (enum vector)event.vector);
		return;
	}
	enter_gate(c, i, &event, next_rip(c, i));
	c->stepping = false;
}

/* A branch to the vector of OF, or none. */
void op_into(struct cpu *c, const struct insn *i)
{
	if (flag_of(c))
		op_int(c, i);
	else
		NEXT_INSN(c, i);
}

void drop_privileged_segments(struct cpu *c, unsigned int cpl)
{
	static const u8 data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

	for (unsigned int k = 0; k < ARRAY_SIZE(data); k++) {
		struct cpu_segment *seg = &c->seg[data[k]];
		bool conforming = (seg->attr & ATTR_CODE) && (seg->attr & ATTR_CONFORMING);

		if (!(seg->selector & ~3) || conforming || ATTR_DPL(seg->attr) >= cpl)
			continue;
		seg->selector = 0;
		seg->attr = 0;
	}
}

u64 writable_flags(const struct cpu *c)
{
	u64 mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID;

	if (c->cpl == 0)
		mask |= FLAG_IOPL;
	if (c->cpl <= (c->flags & FLAG_IOPL) >> 12)
		mask |= FLAG_IF;
	return mask;
}

void op_iret(struct cpu *c, const struct insn *i)
{
	u64 width = 1u << i->size;
	u64 mask = writable_flags(c);
	struct cpu_segment cs, ss;
	unsigned int cpl;
	u64 frame[5];

	c->nmi_blocked = false; /* even if it faults */
	if (c->flags & FLAG_NT)
		raise_fault(c, i, VECTOR_GP, 0);
	for (unsigned int k = 0; k < ARRAY_SIZE(frame); k++)
		frame[k] = load_sized(c, i, c->regs[CPU_RSP] + k * width, i->size);
	cpl = frame[1] & 3;
	if (!(frame[1] & 0xfffc))
		raise_fault(c, i, VECTOR_GP, 0);
	if (cpl < c->cpl)
		raise_fault(c, i, VECTOR_GP, (s32)(frame[1] & 0xfffc));
	mask = i->size == 1 ? mask & 0xffff : mask | FLAG_RF;
	if (cpl == 1 || cpl == 2)
		stop_unimplemented(c, i);
	cs = check_code_segment(c, i, (u16)frame[1], cpl, 0);
	ss = check_stack_segment(c, i, (u16)frame[4], cpl);
	check_code_offset(c, i, &cs, frame[0], 0);

	set_rflags(c, (get_rflags(c) & ~mask) | (frame[2] & mask));
	c->seg[SEG_SS] = ss;
	c->regs[CPU_RSP] = frame[3];
	if (cpl != c->cpl)
		drop_privileged_segments(c, cpl);
	set_cpl(c, cpl);
	load_code_segment(c, &cs, frame[0]);
}

void op_syscall(struct cpu *c, const struct insn *i)
{
	u16 selector = (u16)(c->star >> 32);

	if (!(c->efer & EFER_SCE))
		raise_fault(c, i, VECTOR_UD, NO_ERROR_CODE);
	c->regs[CPU_RCX] = next_rip(c, i);
	c->regs[CPU_R11] = get_rflags(c);
	set_rflags(c, c->regs[CPU_R11] & ~c->sfmask);
	c->seg[SEG_CS] = (struct cpu_segment){
		.limit = ~0u, .selector = selector & 0xfffc, .attr = ATTR_FLAT_CODE64};
	/* Only CS loses the RPL that STAR has. */
	c->seg[SEG_SS] = (struct cpu_segment){
		.limit = ~0u, .selector = (u16)(selector + 8), .attr = ATTR_FLAT_DATA};
	set_cpl(c, 0);
	c->rip = c->lstar;
	c->stepping = c->flags & FLAG_TF;
}

void op_sysret(struct cpu *c, const struct insn *i)
{
	u16 selector = (u16)(c->star >> 48);
	u64 rip = c->regs[CPU_RCX];

	if (!(c->efer & EFER_SCE))
		raise_fault(c, i, VECTOR_UD, NO_ERROR_CODE);
	if (c->cpl)
		raise_fault(c, i, VECTOR_GP, 0);
	if (i->size != 3)
		stop_unimplemented(c, i);
	if (!is_canonical(rip))
		raise_fault(c, i, VECTOR_GP, 0);
	set_rflags(c, c->regs[CPU_R11] & ~FLAG_RF);
	c->seg[SEG_CS] = (struct cpu_segment){.limit = ~0u,
					      .selector = (u16)((selector + 16) | 3),
					      .attr = ATTR_FLAT_CODE64 | ATTR_USER};
	c->seg[SEG_SS] = (struct cpu_segment){.limit = ~0u,
					      .selector = (u16)((selector + 8) | 3),
					      .attr = ATTR_FLAT_DATA | ATTR_USER};
	set_cpl(c, 3);
	c->rip = rip;
	c->stepping = c->flags & FLAG_TF;
}

/* POPF is here for what it shares with IRET. */
void op_popf(struct cpu *c, const struct insn *i)
{
	u64 flags = stack_load(c, i, 0);
	u64 mask = writable_flags(c);

	if (i->size == 1)
		mask &= 0xffff;
	set_rflags(c, (get_rflags(c) & ~mask) | (flags & mask));
	set_rsp(c, c->regs[CPU_RSP] + (1u << i->size));
	NEXT_INSN(c, i);
}
