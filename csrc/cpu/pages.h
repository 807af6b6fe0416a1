/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages.h - large tables of which a guest uses little: zeroed, and the host gives what is touched.
 *
 * calloc() does the same until its memory has been used before; then it clears all of it, and a table of
 * megabytes costs milliseconds.
 */
#ifndef CPU_PAGES_H_
#define CPU_PAGES_H_

#include "base/types.h"

void *pages_new(u64 nr, size_t size); /* NULL when memory is short */
void pages_free(void *table, u64 nr, size_t size);

#endif /* CPU_PAGES_H_ */
