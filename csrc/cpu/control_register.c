/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control_register.c - CR0..CR8, the machine status word, GDTR and IDTR.
 *
 * Not modelled
 *  - CR4 features that are absent (#GP on setting them): PCID, SMAP, PKE, LA57, UMIP, VMXE, OSXSAVE, CET.
 *  - CR0.CD and NW are kept and have no effect.
 */
#include <string.h>

#include "cpu/block.h"
#include "cpu/flags.h"
#include "cpu/handlers.h"
#include "cpu/operand.h"

#define CR0_WRITABLE                                                                               \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
/* VME PVI TSD DE PSE PAE MCE PGE PCE OSFXSR OSXMMEXCPT, FSGSBASE, SMEP */
#define CR4_WRITABLE (GENMASK_ULL(10, 0) | CR4_FSGSBASE | CR4_SMEP)
#define CR4_FLUSHES (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP)
/* In PAE paging a change of them loads the PDPTEs, as MOV to CR3 does. */
#define CR0_LOADS_PDPTES (CR0_PG | CR0_CD | CR0_NW)
#define CR4_LOADS_PDPTES CR4_FLUSHES
#define CR3_RESERVED GENMASK_ULL(63, 52)

static void require_cpl0(struct cpu *c, const struct insn *i)
{
	if (c->cpl)
		raise_fault(c, i, VECTOR_GP, 0);
}

static void check_paging_switch(struct cpu *c, const struct insn *i, bool on)
{
	if (on && (c->efer & EFER_LME) &&
	    (!(c->cr4 & CR4_PAE) || (c->seg[SEG_CS].attr & ATTR_LONG)))
		raise_fault(c, i, VECTOR_GP, 0);
	if (!on && !c->legacy)
		raise_fault(c, i, VECTOR_GP, 0);
}

/* CR0.PG decides with EFER.LME whether long mode is active. */
static void switch_paging(struct cpu *c, bool on)
{
	if (on && (c->efer & EFER_LME))
		c->efer |= EFER_LMA;
	else
		c->efer &= ~EFER_LMA;
	update_code_mode(c);
}

static bool pae_paging(const struct cpu *c, u64 cr0, u64 cr4)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(c->efer & EFER_LME);
}

static void load_pdptes(struct cpu *c, const struct insn *i, u64 cr3)
{
	u64 pdpte[4];

	if (!read_pdptes(c, cr3, pdpte))
		raise_fault(c, i, VECTOR_GP, 0);
	memcpy(c->pdpte, pdpte, sizeof(pdpte));
}

static u64 operand_value(const struct cpu *c, const struct insn *i)
{
	return c->legacy ? REG(c, const u32, i->rm) : REG(c, const u64, i->rm);
}

static void write_cr0(struct cpu *c, const struct insn *i, u64 v)
{
	u64 changed;

	if (v >> 32 || ((v & CR0_PG) && !(v & CR0_PE)) || ((v & CR0_NW) && !(v & CR0_CD)))
		raise_fault(c, i, VECTOR_GP, 0);
	if ((v ^ c->cr0) & CR0_PG)
		check_paging_switch(c, i, v & CR0_PG);
	v = (v & CR0_WRITABLE) | CR0_ET;
	changed = v ^ c->cr0;
	if ((changed & CR0_LOADS_PDPTES) && pae_paging(c, v, c->cr4))
		load_pdptes(c, i, c->cr3);
	c->cr0 = v;
	if (changed & CR0_PG)
		switch_paging(c, v & CR0_PG);
	if (changed & (CR0_WP | CR0_PG))
		tlb_flush(c);
}

static void write_cr4(struct cpu *c, const struct insn *i, u64 v)
{
	u64 changed = v ^ c->cr4;

	if ((v & ~CR4_WRITABLE) || (!(v & CR4_PAE) && (c->efer & EFER_LMA)))
		raise_fault(c, i, VECTOR_GP, 0);
	if ((changed & CR4_LOADS_PDPTES) && pae_paging(c, c->cr0, v))
		load_pdptes(c, i, c->cr3);
	c->cr4 = v;
	if (changed & CR4_FLUSHES)
		tlb_flush(c);
	if (changed & CR4_DE)
		update_breakpoints(c);
}

void op_mov_to_cr(struct cpu *c, const struct insn *i)
{
	u64 v = operand_value(c, i);

	require_cpl0(c, i);
	switch (i->op) {
	case 0: write_cr0(c, i, v); break;
	case 2: c->cr2 = v; break;
	case 3:
		if (v & CR3_RESERVED)
			raise_fault(c, i, VECTOR_GP, 0);
		if (pae_paging(c, c->cr0, c->cr4))
			load_pdptes(c, i, v);
		c->cr3 = v;
		tlb_flush(c);
		break;
	case 4: write_cr4(c, i, v); break;
	default:
		if (v > 15)
			raise_fault(c, i, VECTOR_GP, 0);
		c->cr8 = v;
		break;
	}
	NEXT_INSN(c, i);
}

void op_mov_from_cr(struct cpu *c, const struct insn *i)
{
	u64 v;

	require_cpl0(c, i);
	switch (i->op) {
	case 0: v = c->cr0; break;
	case 2: v = c->cr2; break;
	case 3: v = c->cr3; break;
	case 4: v = c->cr4; break;
	default: v = c->cr8; break;
	}
	REG(c, u64, i->rm) = c->legacy ? (u32)v : v;
	NEXT_INSN(c, i);
}

void op_clts(struct cpu *c, const struct insn *i)
{
	require_cpl0(c, i);
	c->cr0 &= ~CR0_TS;
	NEXT_INSN(c, i);
}

void op_smsw(struct cpu *c, const struct insn *i)
{
	if (i->flags & INSN_MEM)
		store_u16(c, i, effective_address(c, i), (u16)c->cr0);
	else
		set_reg_sized(c, i->rm, i->size, c->cr0);
	NEXT_INSN(c, i);
}

void op_lmsw(struct cpu *c, const struct insn *i)
{
	u64 writable = CR0_MP | CR0_EM | CR0_TS;
	u64 v;

	require_cpl0(c, i);
	v = load_rm(c, i);
	writable |= v & CR0_PE; /* it is set here, but never cleared */
	c->cr0 = (c->cr0 & ~writable) | (v & writable);
	NEXT_INSN(c, i);
}

/*
 * SGDT, SIDT; LGDT, LIDT: op says which table. With 16-bit operands the base that is loaded has 24
 * bits; the one that is stored has 32, as processors store it.
 */
void op_store_table(struct cpu *c, const struct insn *i)
{
	const struct descriptor_table *table = i->op ? &c->idt : &c->gdt;
	u64 va = effective_address(c, i);

	probe_write(c, i, va, c->legacy ? 6 : 10);
	store_u16(c, i, va, (u16)table->limit);
	store_sized(c, i, va + 2, c->legacy ? 2 : 3, table->base);
	NEXT_INSN(c, i);
}

void op_load_table(struct cpu *c, const struct insn *i)
{
	struct descriptor_table *table = i->op ? &c->idt : &c->gdt;
	u64 va = effective_address(c, i);
	u16 limit;
	u64 base;

	require_cpl0(c, i);
	limit = load_u16(c, i, va);
	base = load_sized(c, i, va + 2, c->legacy ? 2 : 3);
	if (i->size == 1)
		base &= 0xffffff;
	if (!is_canonical(base))
		raise_fault(c, i, VECTOR_GP, 0);
	table->limit = limit;
	table->base = base;
	NEXT_INSN(c, i);
}
