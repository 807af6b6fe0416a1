/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmu.c - address translation: none while CR0.PG is clear, else the page tables of the mode; and the
 * TLBs in front of them.
 *
 * Interface
 *  - translate() and translate_fetch() give a physical address or raise #PF, #GP or #SS. Accessed
 *    and dirty bits are set when, and only when, the access is allowed.
 *  - tlb_flush() forgets all translations; it costs what was used since the last one.
 *
 * Long mode has four levels, PAE paging the lower two of these behind the four PDPTEs, which are
 * registers, loaded when CR3 and bits of CR0 and CR4 are written; 32-bit paging has two levels of
 * 4-byte entries. Pages of 4 KB, 2 MB and 1 GB, of 4 KB and 4 MB (CR4.PSE) in 32-bit paging; NX, WP,
 * U/S, SMEP, reserved bits that do not depend on the CPU's physical address width. Walks charge
 * nothing.
 *
 * Not modelled
 *  - global pages survive nothing: every flush forgets them too. PCID, SMAP, PKU, 5 levels are
 *    refused when CR4 is written.
 *  - page tables outside RAM: their entries read as not present, PDPTEs too.
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
#define PTE_PAE_RESERVED GENMASK_ULL(62, 52)
#define PDPTE_RESERVED (GENMASK_ULL(63, 52) | GENMASK_ULL(8, 5) | GENMASK_ULL(2, 1))
/* A page of 4 MB has its address' bits 39..32 in 20..13. */
#define PDE32_RESERVED BIT_ULL(21)
#define PTE32_ADDRESS GENMASK_ULL(31, 12)
#define CR3_PDPT GENMASK_ULL(31, 5)

#define PF_PRESENT 1u
#define PF_WRITE 2u
#define PF_USER 4u
#define PF_RESERVED 8u
#define PF_FETCH 16u

#define LEVELS 4

struct walk {
	u64 entry_pa[LEVELS]; /* of the entries used, top level first */
	u64 entry[LEVELS];
	unsigned int used, entry_bytes;
	u64 pa;
	u64 allowed; /* PTE_WRITE and PTE_USER where all levels agree; PTE_NX where any says so */
	bool present, reserved;
};

static bool reserved_bits_set(const struct cpu *c, u64 entry, unsigned int level)
{
	if ((entry & PTE_NX) && !(c->efer & EFER_NXE))
		return true;
	if ((entry & PTE_PAE_RESERVED) && !(c->efer & EFER_LMA))
		return true;
	if (!(entry & PTE_LARGE) || level == 0)
		return false;
	if (level == 3)
		return true;
	return entry & GENMASK_ULL(11 + 9 * level, 13);
}

/* False where there is no present entry; else the walk knows it. */
static bool walk_entry(const struct cpu *c, u64 pa, struct walk *w, u64 *entry)
{
	*entry = 0;
	if (pa >= c->ram.size)
		return false;
	memcpy(entry, c->ram.base + pa, w->entry_bytes);
	if (!(*entry & PTE_PRESENT))
		return false;
	w->entry_pa[w->used] = pa;
	w->entry[w->used++] = *entry;
	w->allowed = (w->allowed & *entry & (PTE_WRITE | PTE_USER)) |
		     ((w->allowed | *entry) & PTE_NX);
	return true;
}

static void walk_levels(const struct cpu *c, u64 va, u64 table, unsigned int levels, struct walk *w)
{
	for (unsigned int level = levels; level-- > 0;) {
		u64 entry;

		if (!walk_entry(c, table + (va >> (12 + 9 * level) & 511) * 8, w, &entry))
			return;
		if (reserved_bits_set(c, entry, level)) {
			w->reserved = true;
			return;
		}
		if (level == 0 || (entry & PTE_LARGE)) {
			u64 offset = (1ull << (12 + 9 * level)) - 1;

			w->pa = (entry & PTE_ADDRESS & ~offset) | (va & offset);
			w->present = true;
			return;
		}
		table = entry & PTE_ADDRESS;
	}
}

static void walk_tables32(const struct cpu *c, u64 va, struct walk *w)
{
	u64 entry;

	w->entry_bytes = 4;
	if (!walk_entry(c, (c->cr3 & PTE32_ADDRESS) + (va >> 22) * 4, w, &entry))
		return;
	if ((entry & PTE_LARGE) && (c->cr4 & CR4_PSE)) {
		w->reserved = entry & PDE32_RESERVED;
		w->present = !w->reserved;
		w->pa = (entry & GENMASK_ULL(31, 22)) | (entry >> 13 & 0xff) << 32 |
			(va & GENMASK_ULL(21, 0));
		return;
	}
	if (!walk_entry(c, (entry & PTE32_ADDRESS) + (va >> 12 & 1023) * 4, w, &entry))
		return;
	w->present = true;
	w->pa = (entry & PTE32_ADDRESS) | (va & ~PAGE_MASK);
}

static void walk_tables(const struct cpu *c, u64 va, struct walk *w)
{
	w->used = 0;
	w->entry_bytes = 8;
	w->allowed = PTE_WRITE | PTE_USER;
	w->present = false;
	w->reserved = false;
	if (c->efer & EFER_LMA) {
		walk_levels(c, va, c->cr3 & PTE_ADDRESS, LEVELS, w);
	} else if (c->cr4 & CR4_PAE) {
		u64 pdpte = c->pdpte[va >> 30 & 3];

		if (pdpte & PTE_PRESENT)
			walk_levels(c, va, pdpte & PTE_ADDRESS, 2, w);
	} else {
		walk_tables32(c, va, w);
	}
}

bool read_pdptes(const struct cpu *c, u64 cr3, u64 pdpte[4])
{
	u64 pa = cr3 & CR3_PDPT;

	memset(pdpte, 0, 4 * sizeof(*pdpte));
	if (pa < c->ram.size)
		memcpy(pdpte, c->ram.base + pa, 4 * sizeof(*pdpte));
	for (unsigned int k = 0; k < 4; k++) {
		if ((pdpte[k] & PTE_PRESENT) && (pdpte[k] & PDPTE_RESERVED))
			return false;
	}
	return true;
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

/*
 * An instruction that is abandoned behind this, to be executed alone, would find the bits set when it
 * reads its operands anew, and they may be the entries: abandon it before.
 */
static void set_accessed_dirty(struct cpu *c, const struct insn *i, const struct walk *w,
			       bool write)
{
	for (unsigned int k = 0; k < w->used; k++) {
		u64 set = PTE_ACCESSED;
		u64 entry;

		if (write && k == w->used - 1)
			set |= PTE_DIRTY;
		entry = w->entry[k] | set;
		if (likely(entry == w->entry[k]))
			continue;
		if (i && !c->alone)
			cpu_escape(c, i, ESCAPE_ALONE);
		memcpy(c->ram.base + w->entry_pa[k], &entry, w->entry_bytes);
		guest_ram_written(&c->ram, w->entry_pa[k]);
	}
}

static u32 page_fault_error(const struct cpu *c, const struct walk *w, enum access access,
			    bool user)
{
	bool nx = (c->efer & EFER_NXE) && (c->cr4 & CR4_PAE);
	u32 error = user ? PF_USER : 0;

	if (w->present || w->reserved)
		error |= PF_PRESENT;
	if (w->reserved)
		error |= PF_RESERVED;
	if (access == ACCESS_WRITE)
		error |= PF_WRITE;
	if (access == ACCESS_FETCH && (nx || (c->cr4 & CR4_SMEP)))
		error |= PF_FETCH;
	return error;
}

_Noreturn void raise_noncanonical(struct cpu *c, const struct insn *i, enum access access)
{
	u8 stack = access == ACCESS_WRITE ? INSN_STACK_WRITE : INSN_STACK_READ;

	raise_fault(c, i, i && (i->flags & stack) ? VECTOR_SS : VECTOR_GP, 0);
}

static u64 walk_or_fault(struct cpu *c, const struct insn *i, u64 va, enum access access, bool user)
{
	struct walk w;

	if (!is_canonical(va))
		raise_noncanonical(c, i, access);
	if (!(c->cr0 & CR0_PG))
		return va;
	walk_tables(c, va, &w);
	if (!w.present || !access_allowed(c, &w, access, user))
		raise_page_fault(c, i, va, page_fault_error(c, &w, access, user));
	set_accessed_dirty(c, i, &w, access == ACCESS_WRITE);
	return w.pa;
}

#define MANY_WRITE_TAGS 0xffff

/* So that a page that gets code need not look for its write tags in all of the TLBs. */
static void note_write_tag(struct cpu *c, const struct tlb *tlb, const struct tlb_entry *e, u64 pa)
{
	u16 *at = &c->write_tags[pa / PAGE_BYTES];
	u16 here = (u16)(1 + (tlb - c->tlbs) * TLB_ENTRIES + (e - tlb->entry));

	*at = *at && *at != here ? MANY_WRITE_TAGS : here;
}

static void tlb_fill(struct cpu *c, struct tlb *tlb, struct tlb_entry *e, u64 va, u64 pa,
		     bool write)
{
	u64 addend = (u64)(uintptr_t)(c->ram.base + (pa & PAGE_MASK)) - (va & PAGE_MASK);

	if (unlikely(c->data_breakpoints && page_is_watched(c, va)))
		return;
	if (e->read_tag != (va & PAGE_MASK) || e->addend != addend)
		e->write_tag = TLB_EMPTY;
	if (tlb->nr_filled < TLB_FILLED_MAX)
		tlb->filled[tlb->nr_filled] = (u16)(e - tlb->entry);
	tlb->nr_filled++;
	e->read_tag = va & PAGE_MASK;
	e->addend = addend;
	e->warm = &c->warm_lines[pa / PAGE_BYTES];
	if (write && !c->code_lines[pa / PAGE_BYTES]) {
		e->write_tag = va & PAGE_MASK;
		note_write_tag(c, tlb, e, pa);
	}
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
	if (pa >= c->ram.size)
		return pa;
	if (access == ACCESS_WRITE)
		guest_ram_written(&c->ram, pa);
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

static void forbid_writes(struct tlb_entry *e, u64 host)
{
	if (e->write_tag != TLB_EMPTY && e->write_tag + e->addend == host)
		e->write_tag = TLB_EMPTY;
}

void tlb_forbid_writes(struct cpu *c, u64 pa)
{
	u64 host = (u64)(uintptr_t)(c->ram.base + (pa & PAGE_MASK));
	u16 *at = &c->write_tags[pa / PAGE_BYTES];
	unsigned int only = *at - 1u;

	if (*at && *at != MANY_WRITE_TAGS) {
		forbid_writes(&c->tlbs[only / TLB_ENTRIES].entry[only % TLB_ENTRIES], host);
	} else if (*at) {
		for (unsigned int k = 0; k < NR_PRIV * TLB_ENTRIES; k++)
			forbid_writes(&c->tlbs[k / TLB_ENTRIES].entry[k % TLB_ENTRIES], host);
	}
	*at = 0;
}
