/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.c - finding, building and dropping decoded blocks.
 *
 * Memory is allocated once; when a pool is full, all blocks go at once. Each physical page has the
 * list of its blocks, and a bitmap of 64-byte lines that hold code, so that data beside code costs
 * the slow path of a store but drops nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "cpu/block.h"
#include "cpu/decode.h"
#include "cpu/handlers.h"
#include "cpu/idle.h"
#include "cpu/memory.h"
#include "cpu/pages.h"

#define INSN_MAX_BYTES 15u
/* Keeps 16-bit packed counts of a stretch from overflowing, see run.c. */
#define BLOCK_MAX_ACCESSES 64u

u64 *code_lines_new(struct cpu *c, u64 pages)
{
	return c->next_peer == c ? pages_new(pages, sizeof(*c->code_lines))
				 : c->next_peer->code_lines;
}

int blocks_new(struct cpu *c)
{
	u64 pages = c->ram.size / PAGE_BYTES;

	/* blocks[BLOCK_POOL] is no_block. */
	c->blocks = pages_new(BLOCK_POOL + 1, sizeof(*c->blocks));
	c->insns = pages_new(INSN_POOL, sizeof(*c->insns));
	c->page_blocks = pages_new(pages, sizeof(*c->page_blocks));
	c->code_lines = code_lines_new(c, pages);
	if (!c->blocks || !c->insns || !c->page_blocks || !c->code_lines)
		return -1;
	c->no_block = &c->blocks[BLOCK_POOL];
	c->no_block->va = ~0ull;
	blocks_flush(c);
	return 0;
}

void blocks_free(struct cpu *c)
{
	u64 pages = c->ram.size / PAGE_BYTES;

	pages_free(c->blocks, BLOCK_POOL + 1, sizeof(*c->blocks));
	pages_free(c->insns, INSN_POOL, sizeof(*c->insns));
	pages_free(c->page_blocks, pages, sizeof(*c->page_blocks));
	if (c->next_peer == c)
		pages_free(c->code_lines, pages, sizeof(*c->code_lines));
}

/* No block of mine is in this page any more. */
static void forget_code_lines(struct cpu *c, u64 page)
{
	for (struct cpu *peer = c->next_peer; peer != c; peer = peer->next_peer) {
		if (peer->page_blocks[page])
			return;
	}
	c->code_lines[page] = 0;
}

void blocks_flush(struct cpu *c)
{
	for (u32 n = 0; n < c->nr_blocks; n++) {
		struct block *b = &c->blocks[n];

		c->page_blocks[b->pa / PAGE_BYTES] = NULL;
		forget_code_lines(c, b->pa / PAGE_BYTES);
		if (b->pa2 != NO_PAGE) {
			c->page_blocks[b->pa2 / PAGE_BYTES] = NULL;
			forget_code_lines(c, b->pa2 / PAGE_BYTES);
		}
		b->map = 0;
	}
	for (unsigned int p = 0; p < NR_PRIV; p++) {
		for (unsigned int k = 0; k < JUMP_CACHE; k++)
			c->jump_cache[p][k] = c->no_block;
	}
	memset(c->hash, 0, sizeof(c->hash));
	c->nr_blocks = 0;
	c->nr_insns = 0;
	c->resume_block = NULL;
	c->map++;
}

u64 block_counts_before(const struct block *b, const struct insn *i, u64 *sub)
{
	u64 counts = 0;

	*sub = 0;
	for (const struct insn *k = b->insns; k < i; k++) {
		counts += insn_counts(k);
		*sub += k->sub;
	}
	return counts;
}

/* ---- self-modifying code ---- */

/* Takes the place of the handlers of a dropped block: the one that is running ends here. */
static void op_stale(struct cpu *c, const struct insn *i)
{
	u64 sub;

	c->pending_counts += block_counts_before(c->block, i, &sub) - c->block->counts;
	c->pending_sub += sub - c->block->sub;
	c->rip = c->block->va + i->offset;
	end_stretch(c);
}

static u32 block_hash(u64 pa)
{
	return (u32)((pa ^ pa >> 14) & (BLOCK_HASH - 1));
}

static unsigned int page_index(const struct block *b, u64 page)
{
	return (b->pa & PAGE_MASK) == page ? 0 : 1;
}

static void unlink_from_page(struct cpu *c, struct block *b, u64 page)
{
	struct block **at = &c->page_blocks[page / PAGE_BYTES];

	while (*at != b)
		at = &(*at)->page_next[page_index(*at, page)];
	*at = b->page_next[page_index(b, page)];
	if (!c->page_blocks[page / PAGE_BYTES])
		forget_code_lines(c, page / PAGE_BYTES);
}

static void drop_block(struct cpu *c, struct block *b)
{
	struct block **at = &c->hash[block_hash(b->pa)];

	while (*at != b)
		at = &(*at)->hash_next;
	*at = b->hash_next;
	unlink_from_page(c, b, b->pa & PAGE_MASK);
	if (b->pa2 != NO_PAGE && b->pa2 != (b->pa & PAGE_MASK))
		unlink_from_page(c, b, b->pa2);
	b->map = 0;
	for (unsigned int k = 0; k < b->nr_insns; k++)
		b->insns[k].fn = op_stale;
	if (c->resume_block == b)
		c->resume_block = NULL;
}

static bool block_covers(const struct block *b, u64 pa, unsigned int n)
{
	u64 first = b->bytes;

	if (b->pa2 != NO_PAGE) {
		first = PAGE_BYTES - (b->pa & ~PAGE_MASK);
		if (pa < b->pa2 + (b->bytes - first) && pa + n > b->pa2)
			return true;
	}
	return pa < b->pa + first && pa + n > b->pa;
}

static void drop_written(struct cpu *c, u64 pa, unsigned int n)
{
	u64 page = pa & PAGE_MASK;
	struct block *next;

	for (struct block *b = c->page_blocks[page / PAGE_BYTES]; b; b = next) {
		next = b->page_next[page_index(b, page)];
		if (block_covers(b, pa, n))
			drop_block(c, b);
	}
}

void block_written(struct cpu *c, u64 pa, unsigned int n)
{
	drop_written(c, pa, n);
	for (struct cpu *peer = c->next_peer; peer != c; peer = peer->next_peer)
		drop_written(peer, pa, n);
}

/* ---- building ---- */

static void note_code_lines(struct cpu *c, u64 from, u64 bytes)
{
	u64 first = (from & ~PAGE_MASK) >> LINE_SHIFT;
	u64 last = ((from & ~PAGE_MASK) + bytes - 1) >> LINE_SHIFT;

	c->code_lines[from / PAGE_BYTES] |= GENMASK_ULL(last, first);
}

static void link_to_page(struct cpu *c, struct block *b, u64 from, u64 bytes)
{
	u64 page = from & PAGE_MASK;
	struct block **head = &c->page_blocks[page / PAGE_BYTES];

	if (!c->code_lines[page / PAGE_BYTES]) {
		tlb_forbid_writes(c, page);
		for (struct cpu *peer = c->next_peer; peer != c; peer = peer->next_peer)
			tlb_forbid_writes(peer, page);
	}
	b->page_next[page_index(b, page)] = *head;
	*head = b;
	note_code_lines(c, from, bytes);
}

static void link_to_pages(struct cpu *c, struct block *b)
{
	u64 first = PAGE_BYTES - (b->pa & ~PAGE_MASK);

	if (b->pa2 == NO_PAGE) {
		link_to_page(c, b, b->pa, b->bytes);
		return;
	}
	link_to_page(c, b, b->pa, first);
	/* Two virtual pages may be one physical page, whose list can hold the block only once. */
	if (b->pa2 == (b->pa & PAGE_MASK))
		note_code_lines(c, b->pa2, b->bytes - first);
	else
		link_to_page(c, b, b->pa2, b->bytes - first);
}

static u8 block_mode(const struct cpu *c)
{
	return (u8)(c->cpl | c->code_size << 2);
}

struct build {
	struct insn insn[2 * BLOCK_MAX_INSNS + 4];
	u32 n;	/* of insn[] used */
	u32 nr; /* instructions */
	u32 bytes, loads, stores;
	enum decode_end end;
	u64 pa2;
};

/* The first instruction reaches over the end of its page: fetch the rest from the next one. */
static void build_crossing(struct cpu *c, struct build *build, u64 va, u64 pa)
{
	u32 here = (u32)(PAGE_BYTES - (pa & ~PAGE_MASK));
	u8 bytes[2 * INSN_MAX_BYTES];
	u32 n;

	build->pa2 = translate_fetch(c, linear_address(c, va + here));
	if (build->pa2 >= c->ram.size)
		stop_unimplemented(c, NULL);
	memcpy(bytes, c->ram.base + pa, here);
	memcpy(bytes + here, c->ram.base + build->pa2, INSN_MAX_BYTES);
	build->end = decode_insn(c, va, bytes, here + INSN_MAX_BYTES, build->insn, &n);
	build->n = n;
	build->nr = 1;
	build->bytes = build->insn[n - 1].len;
	build->loads = build->insn[n - 1].loads;
	build->stores = build->insn[n - 1].stores;
}

static void build_page(struct cpu *c, struct build *build, u64 va, u64 pa)
{
	u32 left = (u32)(PAGE_BYTES - (pa & ~PAGE_MASK));

	while (build->nr < BLOCK_MAX_INSNS && build->bytes < left) {
		struct insn *i = &build->insn[build->n];
		enum decode_end end;
		u32 n;

		end = decode_insn(c, va + build->bytes, c->ram.base + pa + build->bytes,
				  left - build->bytes, i, &n);
		if (end == DECODE_TRUNCATED) {
			if (!build->nr)
				build_crossing(c, build, va, pa);
			return;
		}
		if (end == DECODE_ALONE && build->nr)
			return;
		if (build->loads + i[n - 1].loads > BLOCK_MAX_ACCESSES ||
		    build->stores + i[n - 1].stores > BLOCK_MAX_ACCESSES)
			return;
		for (u32 k = 0; k < n; k++)
			i[k].offset = (u16)build->bytes;
		build->end = end;
		build->n += n;
		build->nr++;
		build->bytes += i[n - 1].len;
		build->loads += i[n - 1].loads;
		build->stores += i[n - 1].stores;
		if (end != DECODE_PLAIN)
			return;
	}
}

static struct block *block_build(struct cpu *c, u64 va, u64 pa)
{
	struct build build = {.end = DECODE_PLAIN, .pa2 = NO_PAGE};
	struct insn *sentinel;
	struct block *b;

	build_page(c, &build, va, pa);
	sentinel = &build.insn[build.n++];
	*sentinel = (struct insn){
		.fn = op_end_of_block, .imm = va + build.bytes, .offset = (u16)build.bytes};

	if (c->nr_blocks == BLOCK_POOL || c->nr_insns + build.n > INSN_POOL)
		blocks_flush(c);
	b = &c->blocks[c->nr_blocks++];
	*b = (struct block){.va = va,
			    .map = c->map,
			    .insns = &c->insns[c->nr_insns],
			    .end = va + build.bytes,
			    .link = {c->no_block, c->no_block},
			    .pa = pa,
			    .pa2 = build.pa2,
			    .nr_insns = (u16)build.n,
			    .bytes = (u16)build.bytes,
			    .loads = (u8)build.loads,
			    .stores = (u8)build.stores,
			    .mode = block_mode(c),
			    .alone = build.end == DECODE_ALONE};
	memcpy(b->insns, build.insn, build.n * sizeof(*b->insns));
	if (build.end == DECODE_BRANCH && !c->one_by_one)
		b->idle = idle_kind(b->insns, build.n - 1, va);
	c->nr_insns += build.n;
	b->counts = block_counts_before(b, b->insns + build.n, &b->sub);

	b->hash_next = c->hash[block_hash(pa)];
	c->hash[block_hash(pa)] = b;
	link_to_pages(c, b);
	return b;
}

/* A block that may run in a stretch grows what the stretch must allow for. */
static void note_worst(struct cpu *c, const struct block *b)
{
	if (b->alone)
		return;
	if (b->loads <= c->worst_loads && b->stores <= c->worst_stores && b->sub <= c->worst_sub)
		return;
	c->worst_loads = b->loads > c->worst_loads ? b->loads : c->worst_loads;
	c->worst_stores = b->stores > c->worst_stores ? b->stores : c->worst_stores;
	c->worst_sub = max_u64(b->sub, c->worst_sub);
	c->worst_grew = true;
}

static struct block *find_by_pa(struct cpu *c, u64 va, u64 pa)
{
	u8 mode = block_mode(c);

	for (struct block *b = c->hash[block_hash(pa)]; b; b = b->hash_next) {
		if (b->pa != pa || b->va != va || b->mode != mode)
			continue;
		if (b->pa2 != NO_PAGE &&
		    translate_fetch(c, linear_address(c, va + PAGE_BYTES - (pa & ~PAGE_MASK))) !=
			    b->pa2)
			continue;
		return b;
	}
	return NULL;
}

struct block *block_find(struct cpu *c)
{
	struct block **cached = &c->jump_cache[c->priv][jump_hash(c->rip)];
	struct block *b = *cached;
	u64 pa;

	if (likely(block_is(b, c, c->rip)))
		return b;
	pa = translate_fetch(c, linear_address(c, c->rip));
	if (pa >= c->ram.size)
		stop_unimplemented(c, NULL);
	b = find_by_pa(c, c->rip, pa);
	if (!b) {
		b = block_build(c, c->rip, pa);
		note_worst(c, b);
	}
	b->map = c->map;
	*cached = b;
	return b;
}
