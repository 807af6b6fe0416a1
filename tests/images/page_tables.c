// SPDX-License-Identifier: Apache-2.0
/*
 * page_tables.c - pages and page tables. Interface: page_tables.h.
 */
#include "page_tables.h"

#include "runtime.h"

#define PTE_TABLE (PTE_PRESENT | PTE_WRITE | PTE_USER)

extern u64 boot_pml4[512];

static u64 next_page, next_large;

/* Small pages grow from 4 MB behind the image, large ones from 16 MB behind it. */
static void begin(void)
{
	next_page = (uintptr_t)image_end + (4u << 20);
	next_large = (uintptr_t)image_end + (16u << 20);
}

void *new_page(void)
{
	u64 page;

	if (!next_page)
		begin();
	page = next_page;
	next_page += 4096;
	if (next_page > (uintptr_t)image_end + (16u << 20))
		give_up("out of pages");
	return (void *)(uintptr_t)page;
}

void *new_large_page(void)
{
	u64 page;

	if (!next_large)
		begin();
	page = next_large;
	next_large += 2u << 20;
	return (void *)(uintptr_t)page;
}

u64 *new_address_space(void)
{
	u64 *pml4 = new_page(), *pdpt = new_page();
	const u64 *boot_pdpt = (const u64 *)(uintptr_t)(boot_pml4[0] & PTE_ADDRESS);

	pml4[0] = (uintptr_t)pdpt | PTE_TABLE;
	for (u32 i = 0; i < 4; i++)
		pdpt[i] = boot_pdpt[i];
	return pml4;
}

static u32 index_of(u64 virtual, u32 level)
{
	return virtual >> (12 + 9 * (level - 1)) & 511;
}

void map(u64 *pml4, u64 virtual, u64 physical, enum page_level level, u64 flags)
{
	u64 *table = pml4;

	for (u32 at = 4; at > level; at--) {
		u64 *entry = &table[index_of(virtual, at)];

		if (!(*entry & PTE_PRESENT))
			*entry = (uintptr_t)new_page() | PTE_TABLE;
		table = (u64 *)(uintptr_t)(*entry & PTE_ADDRESS);
	}
	table[index_of(virtual, level)] = physical | flags | (level > PAGE_4K ? PTE_LARGE : 0);
}

u64 *entry_of(u64 *pml4, u64 virtual, enum page_level at)
{
	u64 *table = pml4;

	for (u32 level = 4; level > at; level--)
		table = (u64 *)(uintptr_t)(table[index_of(virtual, level)] & PTE_ADDRESS);
	return &table[index_of(virtual, at)];
}
