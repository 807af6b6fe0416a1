/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interrupt32.c - delivery through the IDT of protected mode, and IRET in legacy code.
 *
 * Interface
 *  - enter_gate32() is enter_gate() outside long mode: 8-byte gates, a frame of 4-byte words (of
 *    2-byte words for a 16-bit gate), the stack of a more privileged level from the 32-bit TSS. It
 *    changes nothing unless all of it succeeds.
 *
 * Not modelled
 *  - 16-bit TSSs (LTR stops at them), task gates, nested tasks (NT), CPL 1 and 2, returns to
 *    virtual-8086 mode: they stop as unimplemented.
 */
#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/stack.h"

#define GATE_TASK 5u
#define GATE_INTERRUPT16 6u
#define GATE_TRAP16 7u
#define GATE_INTERRUPT 14u
#define GATE_TRAP 15u
#define ERROR_EXT 1u
#define ERROR_IDT 2u
#define TSS_ESP0 4u
#define TSS_STEP 8u /* from one level's stack to the next */
#define FRAME_WORDS 6u

struct gate32 {
	u32 offset;
	u16 selector;
	u8 bytes; /* of a word of the frame */
	bool interrupt;
};

struct stack32 {
	struct cpu_segment ss;
	u32 esp;
};

static struct gate32 read_gate(struct cpu *c, const struct insn *i, const struct event *event)
{
	s32 error = (s32)(event->vector * 8u + ERROR_IDT + (event->software ? 0 : ERROR_EXT));
	u64 descriptor;
	unsigned int type;

	if (event->vector * 8u + 7 > c->idt.limit)
		raise_fault(c, i, VECTOR_GP, error);
	descriptor = system_read(c, i, (u32)(c->idt.base + event->vector * 8u), 8);
	type = descriptor >> 40 & 31;
	if (type != GATE_INTERRUPT && type != GATE_TRAP && type != GATE_TASK &&
	    type != GATE_INTERRUPT16 && type != GATE_TRAP16)
		raise_fault(c, i, VECTOR_GP, error);
	if (event->software && ATTR_DPL(descriptor >> 40) < c->cpl)
		raise_fault(c, i, VECTOR_GP, error);
	if (!(descriptor >> 40 & ATTR_PRESENT))
		raise_fault(c, i, VECTOR_NP, error);
	if (type == GATE_TASK)
		stop_unimplemented(c, i);
	return (struct gate32){
		.offset = (u32)((descriptor & 0xffff) | (type & 8 ? descriptor >> 48 << 16 : 0)),
		.selector = (u16)(descriptor >> 16),
		.bytes = type & 8 ? 4 : 2,
		.interrupt = type == GATE_INTERRUPT || type == GATE_INTERRUPT16};
}

/* The stack of the more privileged level @cpl. */
static struct stack32 inner_stack(struct cpu *c, const struct insn *i, unsigned int cpl, u32 ext)
{
	u32 offset = TSS_ESP0 + TSS_STEP * cpl;
	struct stack32 stack;
	u16 selector;
	s32 error;

	if (offset + 5 > c->tr.limit)
		raise_fault(c, i, VECTOR_TS, (s32)((c->tr.selector & ~3u) | ext));
	stack.esp = (u32)system_read(c, i, (u32)(c->tr.base + offset), 4);
	selector = (u16)system_read(c, i, (u32)(c->tr.base + offset + 4), 2);
	error = (s32)((selector & ~3u) | ext);
	if (!(selector & ~3u) || (selector & 3u) != cpl)
		raise_fault(c, i, VECTOR_TS, error);
	stack.ss = segment_from_descriptor(
		selector, read_descriptor(c, i, selector, VECTOR_TS, (u32)error, NULL));
	if (!(stack.ss.attr & ATTR_NOT_SYSTEM) || (stack.ss.attr & ATTR_CODE) ||
	    !(stack.ss.attr & ATTR_WRITABLE) || ATTR_DPL(stack.ss.attr) != cpl)
		raise_fault(c, i, VECTOR_TS, error);
	if (!(stack.ss.attr & ATTR_PRESENT))
		raise_fault(c, i, VECTOR_SS, error);
	return stack;
}

void enter_gate32(struct cpu *c, const struct insn *i, const struct event *event, u64 return_rip)
{
	u32 ext = event->software ? 0 : ERROR_EXT;
	struct gate32 gate = read_gate(c, i, event);
	unsigned int cpl = gate_cpl(c, i, gate.selector, ext);
	struct cpu_segment cs = check_code_segment(c, i, gate.selector, cpl, ext);
	struct stack32 stack = {c->seg[SEG_SS], (u32)c->regs[CPU_RSP]};
	u64 clear = FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM;
	u64 frame[FRAME_WORDS];
	unsigned int words = 0;
	u64 mask;

	if (cpl == 1 || cpl == 2)
		stop_unimplemented(c, i);
	if (cpl != c->cpl) {
		stack = inner_stack(c, i, cpl, ext);
		frame[words++] = c->seg[SEG_SS].selector;
		frame[words++] = (u32)c->regs[CPU_RSP];
	}
	frame[words++] = get_rflags(c) | (event->fault || c->between_iterations ? FLAG_RF : 0);
	frame[words++] = c->seg[SEG_CS].selector;
	frame[words++] = (u32)return_rip;
	if (event->error != NO_ERROR_CODE)
		frame[words++] = (u32)event->error;
	check_code_offset(c, i, &cs, gate.offset, ext);
	mask = segment_stack_mask(&stack.ss);
	system_push(c, i, &(struct pushed){.base = stack.ss.base, .top = stack.esp, .mask = mask},
		    frame, words, gate.bytes, cpl == 3);

	if (gate.interrupt)
		clear |= FLAG_IF;
	c->flags &= ~clear;
	c->regs[CPU_RSP] = merge_stack_pointer(stack.esp, stack.esp - gate.bytes * words, mask);
	c->seg[SEG_SS] = stack.ss;
	set_cpl(c, cpl);
	load_code_segment(c, &cs, gate.offset);
	c->between_iterations = false;
	charge_delivery(c);
}

/* To the same or a less privileged level, to 32-bit code or out of compatibility mode. */
void op_iret32(struct cpu *c, const struct insn *i)
{
	u64 mask = writable_flags(c);
	u64 rip, flags, rsp = 0;
	struct cpu_segment cs, ss;
	unsigned int cpl;
	u16 selector;

	c->nmi_blocked = false; /* even if it faults */
	if (real_mode(c)) {
		iret_real(c, i);
		return;
	}
	if (c->flags & FLAG_NT)
		stop_unimplemented(c, i);
	rip = stack_load(c, i, 0);
	selector = (u16)stack_load(c, i, 1);
	flags = stack_load(c, i, 2);
	mask = i->size == 1 ? mask & 0xffff : mask | FLAG_RF;
	cpl = selector & 3u;
	if (!(selector & ~3u))
		raise_fault(c, i, VECTOR_GP, 0);
	if (cpl < c->cpl)
		raise_fault(c, i, VECTOR_GP, (s32)(selector & ~3u));
	if (cpl == 1 || cpl == 2 || (i->size == 2 && (flags & FLAG_VM)))
		stop_unimplemented(c, i);
	cs = check_code_segment(c, i, selector, cpl, 0);
	if (cpl != c->cpl) {
		rsp = stack_load(c, i, 3);
		ss = check_stack_segment(c, i, (u16)stack_load(c, i, 4), cpl);
	}
	check_code_offset(c, i, &cs, rip, 0);

	set_rflags(c, (get_rflags(c) & ~mask) | (flags & mask));
	if (cpl != c->cpl) {
		c->seg[SEG_SS] = ss;
		set_rsp(c, rsp);
		drop_privileged_segments(c, cpl);
	} else {
		set_rsp(c, c->regs[CPU_RSP] + (3ull << i->size));
	}
	set_cpl(c, cpl);
	load_code_segment(c, &cs, rip);
}
