/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu_state.c - the interpreter's registers for a comparison. Interface: cpu_state.h.
 */
#include "cpu_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cpu/state.h"

void cpu_state_of(const struct cpu *c, struct cpu_state *s)
{
	memcpy(s->regs, c->regs, sizeof(s->regs));
	s->rip = c->rip;
	s->rflags = cpu_rflags(c);
	s->cr0 = c->cr0;
	s->cr2 = c->cr2;
	s->cr3 = c->cr3;
	s->cr4 = c->cr4;
	s->efer = c->efer;
	s->star = c->star;
	s->lstar = c->lstar;
	s->cstar = c->cstar;
	s->sfmask = c->sfmask;
	s->kernel_gs_base = c->kernel_gs_base;
	memcpy(s->seg, c->seg, sizeof(s->seg));
	s->ldt = (struct cpu_segment){c->ldt.base, c->ldt.limit, c->ldt.selector, 0};
	s->tr = (struct cpu_segment){c->tr.base, c->tr.limit, c->tr.selector, 0};
	s->gdt_base = c->gdt.base;
	s->gdt_limit = c->gdt.limit;
	s->idt_base = c->idt.base;
	s->idt_limit = c->idt.limit;
	s->cpl = c->cpl;
}

static const char *const register_names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
					     "rsi", "rdi", "r8",  "r9",	 "r10", "r11",
					     "r12", "r13", "r14", "r15"};
static const char *const segment_names[] = {"es", "cs", "ss", "ds", "fs", "gs"};

void cpu_state_print(const char *who, const struct cpu_state *s)
{
	printf("# %s\n", who);
	for (int r = 0; r < 16; r++)
		printf("%s%3s %016" PRIx64 "%s", r % 4 ? " " : "#   ", register_names[r],
		       s->regs[r], r % 4 == 3 ? "\n" : "");
	printf("#   rip %016" PRIx64 " flags %08" PRIx64 " cpl %u cr0 %" PRIx64 " cr2 %" PRIx64
	       " cr3 %" PRIx64 " cr4 %" PRIx64 " efer %" PRIx64 "\n#  ",
	       s->rip, s->rflags, s->cpl, s->cr0, s->cr2, s->cr3, s->cr4, s->efer);
	for (int n = 0; n < 6; n++)
		printf(" %s %04x/%" PRIx64, segment_names[n], s->seg[n].selector, s->seg[n].base);
	printf(" ldt %04x/%" PRIx64 " tr %04x/%" PRIx64 " kgs %" PRIx64 "\n", s->ldt.selector,
	       s->ldt.base, s->tr.selector, s->tr.base, s->kernel_gs_base);
}

static const char *segment_difference(const struct cpu_state *a, const struct cpu_state *b)
{
	bool wide = (a->seg[SEG_CS].attr & ATTR_LONG) != 0;

	for (int n = 0; n < 6; n++) {
		bool based = n == SEG_FS || n == SEG_GS || !wide;

		if (a->seg[n].selector != b->seg[n].selector)
			return "a selector";
		/* A null segment has no base that anybody could see. */
		if (based && a->seg[n].base != b->seg[n].base)
			return "a segment base";
	}
	if (a->ldt.selector != b->ldt.selector || a->tr.selector != b->tr.selector)
		return "LDTR or TR";
	if (a->tr.base != b->tr.base || a->tr.limit != b->tr.limit)
		return "the TSS";
	if ((a->ldt.selector & 0xfffc) &&
	    (a->ldt.base != b->ldt.base || a->ldt.limit != b->ldt.limit))
		return "the LDT";
	if (a->gdt_base != b->gdt_base || a->gdt_limit != b->gdt_limit ||
	    a->idt_base != b->idt_base || a->idt_limit != b->idt_limit)
		return "GDTR or IDTR";
	return NULL;
}

const char *cpu_state_difference(const struct cpu_state *a, const struct cpu_state *b,
				 u64 flags_left_out, bool cr2)
{
	if (a->rip != b->rip)
		return "RIP";
	if (a->cpl != b->cpl)
		return "CPL";
	if (memcmp(a->regs, b->regs, sizeof(a->regs)))
		return "registers";
	if ((a->rflags ^ b->rflags) & ~(flags_left_out | FLAG_RF))
		return "flags of the system";
	if (a->cr0 != b->cr0 || (cr2 && a->cr2 != b->cr2) || a->cr3 != b->cr3 || a->cr4 != b->cr4)
		return "control registers";
	if (a->efer != b->efer || a->star != b->star || a->lstar != b->lstar ||
	    a->cstar != b->cstar || a->sfmask != b->sfmask ||
	    a->kernel_gs_base != b->kernel_gs_base)
		return "MSRs";
	return segment_difference(a, b);
}
