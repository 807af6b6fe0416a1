/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmu.c - address translation: none while CR0.PG is clear, else four-level page tables; and the
 * TLBs in front of them.
 *
 * Interface
 *  - translate() and translate_fetch() give a physical address or raise #PF, #GP or #SS. Accessed
 *    and dirty bits are set when, and only when, the access is allowed.
 *  - tlb_flush() forgets all translations; it costs what was used since the last one.
 *
 * Pages of 4 KB, 2 MB and 1 GB; NX, WP, U/S, SMEP, reserved bits that do not depend on the
 * CPU's physical address width. Walks charge nothing.
 *
 * Not modelled
 *  - global pages survive nothing: every flush forgets them too. PCID, SMAP, PKU, 5 levels are
 *    refused when CR4 is written.
 *  - page tables outside RAM: their entries read as not present.
 *  - the physical address width as a reserved-bit check; MTRRs, PAT and other memory types.
 */
#include <string.h>

#include "cpu/memory.h"

#define PTE_PRESENT BIT_ULL(0)
#define PTE_WRITE BIT_ULL(1)
#define PTE_USER BIT_ULL(2)
#define PTE_ACCESSED BIT_ULL(5)
#define PTE_DIRTY BIT_ULL(6)
#define PTE_LARGE BIT_ULL(7)
#define PTE_NX BIT_ULL(63)
#define PTE_ADDRESS GENMASK_ULL(51, 12)

#define PF_PRESENT 1u
#define PF_WRITE 2u
#define PF_USER 4u
#define PF_RESERVED 8u
#define PF_FETCH 16u

#define LEVELS 4

struct walk {
	u64 entry_pa[LEVELS]; /* of the entries used, top level first */
	u64 entry[LEVELS];
	unsigned int used;
	u64 pa;
	u64 allowed; /* PTE_WRITE and PTE_USER where all levels agree; PTE_NX where any says so */
	bool present, reserved;
};

static bool reserved_bits_set(const struct cpu *c, u64 entry, unsigned int level)
{
	if ((entry & PTE_NX) && !(c->efer & EFER_NXE))
		return true;
	if (!(entry & PTE_LARGE) || level == 0)
		return false;
	if (level == 3)
		return true;
	return entry & GENMASK_ULL(11 + 9 * level, 13);
}

static void walk_tables(const struct cpu *c, u64 va, struct walk *w)
{
	u64 table = c->cr3 & PTE_ADDRESS;

	w->used = 0;
	w->allowed = PTE_WRITE | PTE_USER;
	w->present = false;
	w->reserved = false;
	for (unsigned int level = LEVELS; level-- > 0;) {
		u64 pa = table + (va >> (12 + 9 * level) & 511) * 8;
		u64 entry;

		if (pa >= c->ram.size)
			return;
		memcpy(&entry, c->ram.base + pa, sizeof(entry));
		if (!(entry & PTE_PRESENT))
			return;
		if (reserved_bits_set(c, entry, level)) {
			w->reserved = true;
			return;
		}
		w->entry_pa[w->used] = pa;
		w->entry[w->used++] = entry;
		w->allowed = (w->allowed & entry & (PTE_WRITE | PTE_USER)) |
			     ((w->allowed | entry) & PTE_NX);
		if (level == 0 || (entry & PTE_LARGE)) {
			u64 offset = (1ull << (12 + 9 * level)) - 1;

			w->pa = (entry & PTE_ADDRESS & ~offset) | (va & offset);
			w->present = true;
			return;
		}
		table = entry & PTE_ADDRESS;
	}
}

static bool access_allowed(const struct cpu *c, const struct walk *w, enum access access, bool user)
{
	if (user && !(w->allowed & PTE_USER))
		return false;
	if (access == ACCESS_WRITE && !(w->allowed & PTE_WRITE))
		return !user && !(c->cr0 & CR0_WP);
	if (access == ACCESS_FETCH && (w->allowed & PTE_NX))
		return false;
	if (access == ACCESS_FETCH && !user && (w->allowed & PTE_USER) && (c->cr4 & CR4_SMEP))
		return false;
	return true;
}

static void set_accessed_dirty(struct cpu *c, const struct walk *w, bool write)
{
	for (unsigned int k = 0; k < w->used; k++) {
		u64 set = PTE_ACCESSED;

		if (write && k == w->used - 1)
			set |= PTE_DIRTY;
		if ((w->entry[k] & set) != set) {
			u64 entry = w->entry[k] | set;

			memcpy(c->ram.base + w->entry_pa[k], &entry, sizeof(entry));
		}
	}
}

static u32 page_fault_error(const struct cpu *c, const struct walk *w, enum access access,
			    bool user)
{
	u32 error = user ? PF_USER : 0;

	if (w->present || w->reserved)
		error |= PF_PRESENT;
	if (w->reserved)
		error |= PF_RESERVED;
	if (access == ACCESS_WRITE)
		error |= PF_WRITE;
	if (access == ACCESS_FETCH && ((c->efer & EFER_NXE) || (c->cr4 & CR4_SMEP)))
		error |= PF_FETCH;
	return error;
}

static u64 walk_or_fault(struct cpu *c, const struct insn *i, u64 va, enum access access, bool user)
{
	struct walk w;

	if (!is_canonical(va)) {
		u8 stack = access == ACCESS_WRITE ? INSN_STACK_WRITE : INSN_STACK_READ;

		raise_fault(c, i, i && (i->flags & stack) ? VECTOR_SS : VECTOR_GP, 0);
	}
	if (!(c->cr0 & CR0_PG))
		return va;
	walk_tables(c, va, &w);
	if (!w.present || !access_allowed(c, &w, access, user))
		raise_page_fault(c, i, va, page_fault_error(c, &w, access, user));
	set_accessed_dirty(c, &w, access == ACCESS_WRITE);
	return w.pa;
}

static void tlb_fill(struct cpu *c, struct tlb *tlb, struct tlb_entry *e, u64 va, u64 pa,
		     bool write)
{
	u64 addend = (u64)(uintptr_t)(c->ram.base + (pa & PAGE_MASK)) - (va & PAGE_MASK);

	if (e->read_tag != (va & PAGE_MASK) || e->addend != addend)
		e->write_tag = TLB_EMPTY;
	if (tlb->nr_filled < TLB_FILLED_MAX)
		tlb->filled[tlb->nr_filled] = (u16)(e - tlb->entry);
	tlb->nr_filled++;
	e->read_tag = va & PAGE_MASK;
	e->addend = addend;
	e->warm = &c->warm_lines[pa / PAGE_BYTES];
	if (write && !c->page_blocks[pa / PAGE_BYTES])
		e->write_tag = va & PAGE_MASK;
}

u64 translate(struct cpu *c, const struct insn *i, u64 va, enum access access, bool user)
{
	struct tlb *tlb = &c->tlbs[user ? PRIV_USR : PRIV_OS];
	struct tlb_entry *e = &tlb->entry[va >> 12 & (TLB_ENTRIES - 1)];
	u64 tag = access == ACCESS_WRITE ? e->write_tag : e->read_tag;
	u64 pa;

	if (tag == (va & PAGE_MASK))
		return va + e->addend - (u64)(uintptr_t)c->ram.base;
	pa = walk_or_fault(c, i, va, access, user);
	if (pa < c->ram.size)
		tlb_fill(c, tlb, e, va, pa, access == ACCESS_WRITE);
	return pa;
}

u64 translate_fetch(struct cpu *c, u64 va)
{
	struct fetch_tlb_entry *e = &c->fetch_tlb[c->priv][va >> 12 & (FETCH_TLB_ENTRIES - 1)];

	if (e->page != (va & PAGE_MASK) || e->map != c->map) {
		e->pa = walk_or_fault(c, NULL, va, ACCESS_FETCH, c->priv == PRIV_USR) & PAGE_MASK;
		e->page = va & PAGE_MASK;
		e->map = c->map;
	}
	return e->pa | (va & ~PAGE_MASK);
}

int translate_probe(const struct cpu *c, u64 va, u64 *pa)
{
	struct walk w;

	if (!is_canonical(va))
		return -1;
	if (!(c->cr0 & CR0_PG)) {
		*pa = va;
		return 0;
	}
	walk_tables(c, va, &w);
	if (!w.present)
		return -1;
	*pa = w.pa;
	return 0;
}

static void clear_entry(struct tlb_entry *e)
{
	e->read_tag = TLB_EMPTY;
	e->write_tag = TLB_EMPTY;
}

void tlb_flush(struct cpu *c)
{
	for (unsigned int p = 0; p < NR_PRIV; p++) {
		struct tlb *tlb = &c->tlbs[p];

		if (tlb->nr_filled > TLB_FILLED_MAX) {
			for (unsigned int k = 0; k < TLB_ENTRIES; k++)
				clear_entry(&tlb->entry[k]);
		} else {
			for (unsigned int k = 0; k < tlb->nr_filled; k++)
				clear_entry(&tlb->entry[tlb->filled[k]]);
		}
		tlb->nr_filled = 0;
	}
	c->map++;
}

void tlb_forbid_writes(struct cpu *c, u64 pa)
{
	u64 host = (u64)(uintptr_t)(c->ram.base + (pa & PAGE_MASK));

	for (unsigned int p = 0; p < NR_PRIV; p++) {
		for (unsigned int k = 0; k < TLB_ENTRIES; k++) {
			struct tlb_entry *e = &c->tlbs[p].entry[k];

			if (e->write_tag != TLB_EMPTY && e->write_tag + e->addend == host)
				e->write_tag = TLB_EMPTY;
		}
	}
}
