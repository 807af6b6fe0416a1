/* SPDX-License-Identifier: Apache-2.0 */
/*
 * whole_memory.c - the memory of both sides. Interface: whole_memory.h.
 */
#include "whole_memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/state.h"

#define TABLE_MASK 0x000ffffffffff000ull
#define ENTRY_PRESENT BIT_ULL(0)
#define ENTRY_LARGE BIT_ULL(7)
#define ENTRY_ACCESSED 0x0000002000000020ull /* of one entry of 8 bytes, or of two of 4 */
#define SETTLES 32u			     /* new tables are looked for that often */
#define ENTRY_DIRTY 0x0000004000000040ull

void whole_memory_init(struct whole_memory *m, const u8 *ours, u8 *theirs, u64 size)
{
	*m = (struct whole_memory){.ours = ours,
				   .theirs = theirs,
				   .size = size,
				   .is_table = calloc(1, size / PAGE_BYTES)};
}

void whole_memory_free(struct whole_memory *m)
{
	free(m->is_table);
}

static bool same_page(const struct whole_memory *m, u64 at)
{
	return !memcmp(m->ours + at, m->theirs + at, PAGE_BYTES);
}

void whole_memory_copy(struct whole_memory *m)
{
	for (u64 at = 0; at < m->size; at += PAGE_BYTES)
		if (!same_page(m, at))
			memcpy(m->theirs + at, m->ours + at, PAGE_BYTES);
}

static void mark_tables(struct whole_memory *m, u64 table, unsigned int level, u64 bytes)
{
	table &= TABLE_MASK;
	if (table + PAGE_BYTES > m->size)
		return;
	if (!m->is_table[table / PAGE_BYTES] && m->nr_tables < WHOLE_MAX_TABLES)
		m->tables[m->nr_tables++] = table;
	m->is_table[table / PAGE_BYTES] = 1;
	for (u64 at = table; level > 1 && at < table + PAGE_BYTES; at += bytes) {
		u64 entry = 0;

		memcpy(&entry, m->theirs + at, bytes);
		if ((entry & ENTRY_PRESENT) && (level == 4 || !(entry & ENTRY_LARGE)))
			mark_tables(m, entry, level - 1, bytes);
	}
}

static void find_tables(struct whole_memory *m, const struct cpu_state *s)
{
	m->cr3 = s->cr3;
	m->calls = 0;
	if (!(s->cr0 & CR0_PG))
		return;
	if (s->efer & EFER_LMA)
		mark_tables(m, s->cr3, 4, 8);
	else
		mark_tables(m, s->cr3, s->cr4 & CR4_PAE ? 3 : 2, s->cr4 & CR4_PAE ? 8 : 4);
}

static bool is_left_open(const struct whole_memory *m, u64 at, u64 ours, u64 theirs)
{
	return m->is_table[at / PAGE_BYTES] &&
	       !((ours ^ theirs) & ~(ENTRY_ACCESSED | ENTRY_DIRTY)) &&
	       !(theirs & ~ours & ENTRY_DIRTY);
}

static bool settle(struct whole_memory *m, u64 at, u64 *settled)
{
	u64 ours, theirs;

	memcpy(&ours, m->ours + at, 8);
	memcpy(&theirs, m->theirs + at, 8);
	if (ours == theirs)
		return true;
	if (!is_left_open(m, at, ours, theirs))
		return false;
	memcpy(m->theirs + at, m->ours + at, 8);
	++*settled;
	return true;
}

void whole_memory_settle(struct whole_memory *m, const struct cpu_state *theirs, u64 *settled)
{
	if (!(theirs->cr0 & CR0_PG))
		return;
	if (m->cr3 != theirs->cr3 || m->calls++ == SETTLES)
		find_tables(m, theirs);
	for (u32 n = 0; n < m->nr_tables; n++) {
		u64 page = m->tables[n];

		for (u64 at = page; !same_page(m, page) && at < page + PAGE_BYTES; at += 8)
			settle(m, at, settled);
	}
}

static const char *page_difference(struct whole_memory *m, u64 page, u64 *settled)
{
	for (u64 at = page; at < page + PAGE_BYTES; at += 8) {
		if (settle(m, at, settled))
			continue;
		printf("# memory at %#" PRIx64 ": %016" PRIx64 ", Unicorn %016" PRIx64 "\n", at,
		       *(const u64 *)(const void *)(m->ours + at),
		       *(const u64 *)(const void *)(m->theirs + at));
		return "memory";
	}
	return NULL;
}

const char *whole_memory_difference(struct whole_memory *m, const struct cpu_state *theirs,
				    u64 *settled)
{
	const char *what = NULL;

	find_tables(m, theirs);
	for (u64 at = 0; at < m->size && !what; at += PAGE_BYTES)
		if (!same_page(m, at))
			what = page_difference(m, at, settled);
	return what;
}
