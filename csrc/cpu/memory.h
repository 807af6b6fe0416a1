/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - guest memory as instructions see it.
 *
 * Interface
 *  - load_*() and store_*() access guest-virtual memory at the current privilege for instruction i;
 *    they do not return if the access faults.
 *  - update_*() gives the host address for a read-modify-write whose page is known to be writable,
 *    or NULL: then load_for_update() and store_slow() do it, and the second cannot fault any more.
 *  - system_*() read and write as the processor itself does for descriptors, gates and stacks of
 *    deliveries: at supervisor privilege, without cold lines.
 *  - Which page is where is mmu.c's business.
 *
 * A data access to a cold line is one LLC reference and one LLC miss and costs timing.llc_miss;
 * then the line is warm until CLFLUSH. That is the whole cache model: no capacity, no associativity,
 * no other caches, and no traffic of instruction fetches and page walks.
 */
#ifndef CPU_MEMORY_H_
#define CPU_MEMORY_H_

#include "cpu/state.h"

enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH };

/* ---- mmu.c ---- */
/* Physical address of @va, or a page fault. Fills the TLB. @user: privilege of the access. */
u64 translate(struct cpu *c, const struct insn *i, u64 va, enum access access, bool user);
u64 translate_fetch(struct cpu *c, u64 va);
/* -1 when not mapped. No accessed bits are set. */
int translate_probe(const struct cpu *c, u64 va, u64 *pa);
/* An address that is not canonical: #GP, or #SS in the stack. */
_Noreturn void raise_noncanonical(struct cpu *c, const struct insn *i, enum access access);
/* PAE paging's registers as @cr3 would load them; false: a reserved bit is set. */
bool read_pdptes(const struct cpu *c, u64 cr3, u64 pdpte[4]);
void tlb_flush(struct cpu *c);
/* Writes to the physical page go the slow path from now on. */
void tlb_forbid_writes(struct cpu *c, u64 pa);

/* ---- memory.c ---- */
u64 load_slow(struct cpu *c, const struct insn *i, u64 va, unsigned int bytes);
u64 load_for_update(struct cpu *c, const struct insn *i, u64 va, unsigned int bytes);
void store_slow(struct cpu *c, const struct insn *i, u64 va, unsigned int bytes, u64 value);
/* Of at most a line's length, as bytes: 80-bit and 128-bit operands. */
void load_bytes(struct cpu *c, const struct insn *i, u64 va, void *to, unsigned int bytes);
void store_bytes(struct cpu *c, const struct insn *i, u64 va, const void *from, unsigned int bytes);
/* Fault now if a store would; otherwise nothing is touched and nothing counted. */
void probe_write(struct cpu *c, const struct insn *i, u64 va, unsigned int bytes);
/* The same for an area of less than a page that is stored in pieces of @unit. */
void probe_area(struct cpu *c, const struct insn *i, u64 va, unsigned int bytes, unsigned int unit);
u64 system_read(struct cpu *c, const struct insn *i, u64 va, unsigned int bytes);
/* Write @n words of @bytes downwards from the top of a stack at the privilege @user; all or none. */
struct pushed {
	u64 base, top; /* of the segment; the stack pointer */
	u64 mask;      /* of the stack pointer: 64, 32 or 16 bits */
};
void system_push(struct cpu *c, const struct insn *i, const struct pushed *to, const u64 *words,
		 unsigned int n, unsigned int bytes, bool user);
void system_write_byte(struct cpu *c, const struct insn *i, u64 va, u8 value);
void flush_line(struct cpu *c, const struct insn *i, u64 va);

static __always_inline struct tlb_entry *tlb_entry(struct cpu *c, u64 va)
{
	return &c->tlb[va >> 12 & (TLB_ENTRIES - 1)];
}

static __always_inline bool line_is_warm(const struct tlb_entry *e, u64 va)
{
	return *e->warm >> (va >> LINE_SHIFT & 63) & 1;
}

#define DEFINE_ACCESS(type)                                                                        \
	static __always_inline type load_##type(struct cpu *c, const struct insn *i, u64 va)       \
	{                                                                                          \
		const struct tlb_entry *e = tlb_entry(c, va);                                      \
                                                                                                   \
		if (likely(e->read_tag == (va & (PAGE_MASK | (sizeof(type) - 1))) &&               \
			   line_is_warm(e, va)))                                                   \
			return *(const type *)(uintptr_t)(va + e->addend);                         \
		return (type)load_slow(c, i, va, sizeof(type));                                    \
	}                                                                                          \
	static __always_inline type *update_##type(struct cpu *c, u64 va)                          \
	{                                                                                          \
		const struct tlb_entry *e = tlb_entry(c, va);                                      \
                                                                                                   \
		if (likely(e->write_tag == (va & (PAGE_MASK | (sizeof(type) - 1))) &&              \
			   line_is_warm(e, va)))                                                   \
			return (type *)(uintptr_t)(va + e->addend);                                \
		return NULL;                                                                       \
	}                                                                                          \
	static __always_inline void store_##type(struct cpu *c, const struct insn *i, u64 va,      \
						 type value)                                       \
	{                                                                                          \
		type *host = update_##type(c, va);                                                 \
                                                                                                   \
		if (likely(host))                                                                  \
			*host = value;                                                             \
		else                                                                               \
			store_slow(c, i, va, sizeof(type), value);                                 \
	}

DEFINE_ACCESS(u8)
DEFINE_ACCESS(u16)
DEFINE_ACCESS(u32)
DEFINE_ACCESS(u64)

/* At any address within a line the tag needs no alignment bits, but for alignment checks. */
static __always_inline bool is_plain_u128(const struct cpu *c, u64 va)
{
	return (va & (LINE_BYTES - 1)) <= LINE_BYTES - sizeof(xmm_t) &&
	       (!(va & (sizeof(xmm_t) - 1)) || !(c->flags & FLAG_AC));
}

static __always_inline xmm_t load_u128(struct cpu *c, const struct insn *i, u64 va)
{
	const struct tlb_entry *e = tlb_entry(c, va);
	xmm_t value;

	if (likely(is_plain_u128(c, va) && e->read_tag == (va & PAGE_MASK) && line_is_warm(e, va)))
		__builtin_memcpy(&value, (const void *)(uintptr_t)(va + e->addend), sizeof(value));
	else
		load_bytes(c, i, va, &value, sizeof(value));
	return value;
}

static __always_inline void store_u128(struct cpu *c, const struct insn *i, u64 va, xmm_t value)
{
	const struct tlb_entry *e = tlb_entry(c, va);

	if (likely(is_plain_u128(c, va) && e->write_tag == (va & PAGE_MASK) && line_is_warm(e, va)))
		__builtin_memcpy((void *)(uintptr_t)(va + e->addend), &value, sizeof(value));
	else
		store_bytes(c, i, va, &value, sizeof(value));
}

/* By log2 of the size, for handlers that are not worth one copy per size. */
static inline u64 load_sized(struct cpu *c, const struct insn *i, u64 va, unsigned int size)
{
	switch (size) {
	case 0: return load_u8(c, i, va);
	case 1: return load_u16(c, i, va);
	case 2: return load_u32(c, i, va);
	default: return load_u64(c, i, va);
	}
}

static inline void store_sized(struct cpu *c, const struct insn *i, u64 va, unsigned int size,
			       u64 value)
{
	switch (size) {
	case 0: store_u8(c, i, va, (u8)value); break;
	case 1: store_u16(c, i, va, (u16)value); break;
	case 2: store_u32(c, i, va, (u32)value); break;
	default: store_u64(c, i, va, value); break;
	}
}

#endif /* CPU_MEMORY_H_ */
