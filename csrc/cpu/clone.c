// SPDX-License-Identifier: Apache-2.0
/*
 * clone.c - a copy of a guest CPU, caches and all.
 *
 * Interface: cpu_clone(). What a cache holds can show (a translation outlives its page table entry until
 * INVLPG, a walk sets the accessed bit), so translations, decoded blocks and their links go into the
 * copy as they are, and both CPUs go on alike.
 */
#include <stdlib.h>
#include <string.h>

#include "base/move.h"
#include "cpu/block.h"
#include "cpu/pages.h"

#define CHUNK 4096u

/* Tables by page are large and mostly zero: leave the host's memory of these parts alone. */
static void *copy_sparse(const void *from, u64 nr, size_t size)
{
	static const u8 zeros[CHUNK];
	u64 bytes = nr * size;
	u8 *to = pages_new(nr, size);

	for (u64 at = 0; to && at < bytes; at += CHUNK) {
		size_t n = min_u64(CHUNK, bytes - at);

		if (memcmp((const u8 *)from + at, zeros, n))
			memcpy(to + at, (const u8 *)from + at, n);
	}
	return to;
}

static void *copy_part(const void *from, u64 used, u64 nr, size_t size)
{
	void *to = pages_new(nr, size);

	if (to)
		memcpy(to, from, used * size);
	return to;
}

static void move_block(struct block *b, const struct move *blocks, const struct move *insns)
{
	b->insns = moved(insns, b->insns);
	b->hash_next = moved(blocks, b->hash_next);
	for (unsigned int k = 0; k < 2; k++) {
		b->link[k] = moved(blocks, b->link[k]);
		b->page_next[k] = moved(blocks, b->page_next[k]);
	}
}

/* Pages without blocks have no list. */
static void copy_page_list(struct cpu *c, const struct cpu *from, u64 page,
			   const struct move *blocks)
{
	c->page_blocks[page / PAGE_BYTES] = moved(blocks, from->page_blocks[page / PAGE_BYTES]);
	c->code_lines[page / PAGE_BYTES] = from->code_lines[page / PAGE_BYTES];
}

static int clone_blocks(struct cpu *c, const struct cpu *from)
{
	u64 pages = c->ram.size / PAGE_BYTES;
	struct move blocks, insns;

	c->blocks = copy_part(from->blocks, from->nr_blocks, BLOCK_POOL + 1, sizeof(*c->blocks));
	c->insns = copy_part(from->insns, from->nr_insns, INSN_POOL, sizeof(*c->insns));
	c->page_blocks = pages_new(pages, sizeof(*c->page_blocks));
	c->code_lines = code_lines_new(c, pages);
	if (!c->blocks || !c->insns || !c->page_blocks || !c->code_lines)
		return -1;
	blocks = (struct move){from->blocks, c->blocks, (BLOCK_POOL + 1) * sizeof(*c->blocks)};
	insns = (struct move){from->insns, c->insns, INSN_POOL * sizeof(*c->insns)};
	c->blocks[BLOCK_POOL] = from->blocks[BLOCK_POOL];
	move_block(&c->blocks[BLOCK_POOL], &blocks, &insns);
	for (u32 n = 0; n < c->nr_blocks; n++) {
		struct block *b = &c->blocks[n];

		move_block(b, &blocks, &insns);
		copy_page_list(c, from, b->pa, &blocks);
		if (b->pa2 != NO_PAGE)
			copy_page_list(c, from, b->pa2, &blocks);
	}
	for (unsigned int p = 0; p < NR_PRIV; p++) {
		for (unsigned int k = 0; k < JUMP_CACHE; k++)
			c->jump_cache[p][k] = moved(&blocks, from->jump_cache[p][k]);
	}
	for (unsigned int k = 0; k < BLOCK_HASH; k++)
		c->hash[k] = moved(&blocks, from->hash[k]);
	c->no_block = moved(&blocks, from->no_block);
	c->block = moved(&blocks, from->block);
	c->resume_block = moved(&blocks, from->resume_block);
	return 0;
}

static void move_translations(struct cpu *c, const struct cpu *from)
{
	const struct move warm = {from->warm_lines, c->warm_lines,
				  c->ram.size / PAGE_BYTES * sizeof(*c->warm_lines)};
	u64 by = (u64)(uintptr_t)c->ram.base - (u64)(uintptr_t)from->ram.base;

	for (unsigned int p = 0; p < NR_PRIV; p++) {
		for (unsigned int k = 0; k < TLB_ENTRIES; k++) {
			struct tlb_entry *e = &c->tlbs[p].entry[k];

			e->addend += by;
			e->warm = moved(&warm, e->warm);
		}
	}
	c->tlb = c->tlbs[c->priv].entry;
}

int cpu_clone(struct cpu **out, const struct cpu *from, const struct cpu_place *place)
{
	u64 pages = from->ram.size / PAGE_BYTES;
	struct cpu *c = malloc(sizeof(*c));

	*out = NULL;
	if (!c)
		return -1;
	memcpy(c, from, sizeof(*c));
	c->ram = place->ram;
	c->ops = place->ops;
	c->ctx = place->ops_ctx;
	c->check = place->check;
	c->profiles = place->profiles;
	c->intercept = place->intercept;
	join_peers(c, place->peer);
	/* Of the run that is over. */
	c->escape = NULL;
	c->escape_insn = NULL;
	cpu_forget_pause(c);
	c->blocks = NULL;
	c->insns = NULL;
	c->page_blocks = NULL;
	c->code_lines = NULL;
	c->warm_lines = copy_sparse(from->warm_lines, pages, sizeof(*c->warm_lines));
	c->write_tags = copy_sparse(from->write_tags, pages, sizeof(*c->write_tags));
	if (!c->warm_lines || !c->write_tags || clone_blocks(c, from)) {
		cpu_free(c);
		return -1;
	}
	move_translations(c, from);
	*out = c;
	return 0;
}

static void note_writable_pages(const struct cpu *c)
{
	for (unsigned int k = 0; k < NR_PRIV * TLB_ENTRIES; k++) {
		const struct tlb_entry *e = &c->tlbs[k / TLB_ENTRIES].entry[k % TLB_ENTRIES];

		if (e->write_tag != TLB_EMPTY)
			guest_ram_written(&c->ram,
					  e->write_tag + e->addend - (u64)(uintptr_t)c->ram.base);
	}
}

void cpu_note_writable_pages(const struct cpu *c)
{
	const struct cpu *peer = c;

	do {
		note_writable_pages(peer);
		peer = peer->next_peer;
	} while (peer != c);
}
