/* SPDX-License-Identifier: Apache-2.0 */
/*
 * real.c - real mode: segments without descriptors, delivery through the vector table, IRET.
 *
 * Real mode is 16-bit code (legacy.c) with CR0.PE clear. What PE changes is here and in those who ask
 * real_mode(): segment loads, far transfers, deliveries, and what is #UD for want of descriptors.
 *
 *  - A selector that is loaded is the base's upper bits; limit and attributes stay what protected mode
 *    or the reset made of them, so that a segment register keeps its descriptor until it is loaded.
 *  - The vector table has 4-byte entries, offset and selector, at IDTR's base within its limit. The
 *    frame is FLAGS, CS and IP in 2 bytes each; there are no error codes.
 *
 * Not modelled
 *  - segment limits (legacy.c), so offsets above ffff work as with limits of 4 GB.
 *  - the A20 line: addresses do not wrap at 1 MB.
 */
#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/stack.h"

#define VECTOR_BYTES 4u
#define REAL_LIMIT 0xffffu
#define FRAME_WORDS 3u
#define FRAME_BYTES 2u
#define ATTR_REAL_DATA (ATTR_ACCESSED | ATTR_WRITABLE | ATTR_NOT_SYSTEM | ATTR_PRESENT)

struct cpu_segment real_segment(const struct cpu *c, unsigned int s, u16 selector)
{
	struct cpu_segment seg = c->seg[s];

	if (!(seg.attr & ATTR_PRESENT)) { /* it was null */
		seg.limit = REAL_LIMIT;
		seg.attr = ATTR_REAL_DATA;
	}
	seg.selector = selector;
	seg.base = (u32)selector << 4;
	return seg;
}

void enter_vector_real(struct cpu *c, const struct insn *i, const struct event *event,
		       u64 return_rip)
{
	u64 mask = segment_stack_mask(&c->seg[SEG_SS]);
	const u64 frame[FRAME_WORDS] = {get_rflags(c), c->seg[SEG_CS].selector, return_rip};
	const struct pushed to = {
		.base = c->seg[SEG_SS].base, .top = c->regs[CPU_RSP], .mask = mask};
	u32 at = event->vector * VECTOR_BYTES;
	struct cpu_segment cs;
	u32 vector;

	if (at + VECTOR_BYTES - 1 > c->idt.limit)
		raise_fault(c, i, VECTOR_GP, 0);
	vector = (u32)system_read(c, i, (u32)(c->idt.base + at), VECTOR_BYTES);
	cs = real_segment(c, SEG_CS, (u16)(vector >> 16));
	check_code_offset(c, i, &cs, (u16)vector, 0);
	system_push(c, i, &to, frame, FRAME_WORDS, FRAME_BYTES, false);

	c->flags &= ~(FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF);
	set_rsp(c, c->regs[CPU_RSP] - FRAME_WORDS * FRAME_BYTES);
	c->resume_block = NULL;
	load_code_segment(c, &cs, (u16)vector);
	c->between_iterations = false;
	charge_delivery(c);
}

void iret_real(struct cpu *c, const struct insn *i)
{
	u64 mask = writable_flags(c);
	struct cpu_segment cs;
	u64 rip, flags;

	rip = stack_load(c, i, 0);
	cs = real_segment(c, SEG_CS, (u16)stack_load(c, i, 1));
	flags = stack_load(c, i, 2);
	mask = i->size == 1 ? mask & 0xffff : mask | FLAG_RF;
	check_code_offset(c, i, &cs, rip, 0);

	set_rflags(c, (get_rflags(c) & ~mask) | (flags & mask));
	set_rsp(c, c->regs[CPU_RSP] + ((u64)FRAME_WORDS << i->size));
	load_code_segment(c, &cs, rip);
}
