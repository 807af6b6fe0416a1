/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page_tables.h - pages and page tables of a test image, beside the identity map that it starts with.
 */
#ifndef IMAGES_PAGE_TABLES_H_
#define IMAGES_PAGE_TABLES_H_

#include "base/types.h"

#define PTE_PRESENT BIT_ULL(0)
#define PTE_WRITE BIT_ULL(1)
#define PTE_USER BIT_ULL(2)
#define PTE_ACCESSED BIT_ULL(5)
#define PTE_DIRTY BIT_ULL(6)
#define PTE_LARGE BIT_ULL(7)
#define PTE_NX BIT_ULL(63)
#define PTE_ADDRESS GENMASK_ULL(51, 12)

/* Sizes of a page, by the level of its entry. */
enum page_level { PAGE_4K = 1, PAGE_2M = 2, PAGE_1G = 3 };

/* RAM behind the image, zeroed, each on a boundary of its size; never given back. */
void *new_page(void);
void *new_large_page(void);

/* An address space with the identity map of the first 4 GB and nothing else. */
u64 *new_address_space(void);
/*
 * Let @virtual, above the first 4 GB, be @physical. @flags go into the last entry; the ones above
 * allow everything. No translation is flushed.
 */
void map(u64 *pml4, u64 virtual, u64 physical, enum page_level level, u64 flags);
/* The entry that maps @virtual, of whatever level, or of level @at. */
u64 *entry_of(u64 *pml4, u64 virtual, enum page_level at);

static inline void write_cr0(u64 value)
{
	__asm__ volatile("movq %0, %%cr0" : : "r"(value) : "memory");
}

static inline void invlpg(u64 virtual)
{
	__asm__ volatile("invlpg (%0)" : : "r"(virtual) : "memory");
}

#endif /* IMAGES_PAGE_TABLES_H_ */
