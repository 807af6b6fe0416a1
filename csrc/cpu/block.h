/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.h - the cache of decoded basic blocks.
 *
 * A block is keyed by physical address, virtual address and mode, so that it survives CR3 writes.
 * block->map says in which generation of mappings (cpu->map) virtual and physical address were last
 * seen to belong together; links between blocks and the jump cache hold plain pointers and are
 * checked against address and generation, so that nothing ever has to be unlinked.
 *
 * Interface
 *  - block_find() gives the block at RIP, decoding it if need be; it may fault (fetch).
 *  - block_written() tells the cache that guest memory changed; blocks there are dropped, the
 *    running one is left before its next instruction.
 *
 * Not modelled
 *  - code changed by another CPU or by the host while this one has it decoded.
 *  - fetching instructions from outside RAM (stops as unimplemented).
 */
#ifndef CPU_BLOCK_H_
#define CPU_BLOCK_H_

#include "cpu/state.h"

#define NO_PAGE (~0ull)

struct block {
	u64 va;		    /* of the first instruction */
	u64 map;	    /* valid while it equals cpu->map; 0: dropped */
	struct insn *insns; /* nr_insns of them, the sentinel included */
	u64 counts;	    /* static totals, packed as insn_counts() */
	u64 sub;
	u64 end;	       /* address behind the last instruction */
	struct block *link[2]; /* what came next: [0] at end, [1] elsewhere */
	u64 pa;
	u64 pa2; /* page of the part behind a page boundary, or NO_PAGE */
	struct block *hash_next;
	struct block *page_next[2]; /* in the lists of both pages; [0] alone if they are one */
	u16 nr_insns;
	u16 bytes;
	u8 loads, stores;
	u8 mode;
	u8 idle;    /* enum idle_kind */
	bool alone; /* one sensitive instruction: totals must be exact before it */
};

static __always_inline bool block_is(const struct block *b, const struct cpu *c, u64 rip)
{
	return b->va == rip && b->map == c->map;
}

static __always_inline u32 jump_hash(u64 rip)
{
	return (u32)((rip ^ rip >> 12) & (JUMP_CACHE - 1));
}

int blocks_new(struct cpu *c);
void blocks_free(struct cpu *c);
void blocks_flush(struct cpu *c);
struct block *block_find(struct cpu *c);
/* The table of them, or that of the peers. NULL when memory is short. */
u64 *code_lines_new(struct cpu *c, u64 pages);
/* @n bytes at @pa, inside one page, were written. */
void block_written(struct cpu *c, u64 pa, unsigned int n);
/* Static counts and cost of the instructions of @b before @i. */
u64 block_counts_before(const struct block *b, const struct insn *i, u64 *sub);

/* Of an instruction; code_base is 0 in 64-bit code. */
static __always_inline u64 linear_address(const struct cpu *c, u64 rip)
{
	return c->legacy ? (u32)(rip + c->code_base) : rip;
}

static __always_inline u64 next_rip(const struct cpu *c, const struct insn *i)
{
	return c->block->va + i->offset + i->len;
}

#endif /* CPU_BLOCK_H_ */
