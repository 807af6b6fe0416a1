/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sysenter.c - SYSENTER and SYSEXIT, in all kinds of code of protected and long mode, as Intel's CPUs
 * have them (AMD's refuse them in long mode).
 *
 * CS and SS become flat segments whose selectors count from IA32_SYSENTER_CS; no descriptor is read.
 */
#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/handlers.h"

#define ATTR_FLAT_CODE                                                                             \
	(ATTR_ACCESSED | ATTR_READABLE | ATTR_CODE | ATTR_NOT_SYSTEM | ATTR_PRESENT | ATTR_GRANULAR)
#define ATTR_FLAT_DATA                                                                             \
	(ATTR_ACCESSED | ATTR_WRITABLE | ATTR_NOT_SYSTEM | ATTR_PRESENT | ATTR_DEFAULT32 |         \
	 ATTR_GRANULAR)
#define ATTR_USER (3u << 5)

/* @selector: of CS, SS is the next one. */
static void enter_flat_segments(struct cpu *c, unsigned int selector, unsigned int cpl, bool wide,
				u64 rip)
{
	const u16 dpl = cpl ? ATTR_USER : 0;
	const struct cpu_segment cs = {
		.limit = ~0u,
		.selector = (u16)(selector | cpl),
		.attr = (u16)(ATTR_FLAT_CODE | dpl | (wide ? ATTR_LONG : ATTR_DEFAULT32))};

	c->seg[SEG_SS] = (struct cpu_segment){.limit = ~0u,
					      .selector = (u16)((selector + 8) | cpl),
					      .attr = (u16)(ATTR_FLAT_DATA | dpl)};
	set_cpl(c, cpl);
	load_code_segment(c, &cs, rip);
}

static void require_sysenter(struct cpu *c, const struct insn *i)
{
	if (real_mode(c) || !(c->sysenter_cs & 0xfffc))
		raise_fault(c, i, VECTOR_GP, 0);
}

void op_sysenter(struct cpu *c, const struct insn *i)
{
	bool wide = c->efer & EFER_LMA;

	require_sysenter(c, i);
	c->flags &= ~(FLAG_IF | FLAG_VM | FLAG_RF);
	c->regs[CPU_RSP] = wide ? c->sysenter_esp : (u32)c->sysenter_esp;
	enter_flat_segments(c, c->sysenter_cs & 0xfffc, 0, wide, c->sysenter_eip);
}

void op_sysexit(struct cpu *c, const struct insn *i)
{
	bool wide = i->size == 3;
	u64 rip = c->regs[CPU_RDX], rsp = c->regs[CPU_RCX];

	require_sysenter(c, i);
	if (c->cpl)
		raise_fault(c, i, VECTOR_GP, 0);
	if (wide && (!is_canonical(rip) || !is_canonical(rsp)))
		raise_fault(c, i, VECTOR_GP, 0);
	c->regs[CPU_RSP] = wide ? rsp : (u32)rsp;
	enter_flat_segments(c, (c->sysenter_cs & 0xfffc) + (wide ? 32 : 16), 3, wide, rip);
}
