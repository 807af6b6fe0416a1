// SPDX-License-Identifier: Apache-2.0
/* pages.c - large tables, straight from the host. Interface: pages.h. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "cpu/pages.h"

#include <sys/mman.h>

void *pages_new(u64 nr, size_t size)
{
	void *table = mmap(NULL, nr * size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return table == MAP_FAILED ? NULL : table;
}

void pages_free(void *table, u64 nr, size_t size)
{
	if (table)
		munmap(table, nr * size);
}
