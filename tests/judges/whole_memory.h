/* SPDX-License-Identifier: Apache-2.0 */
/*
 * whole_memory.h - the memory of a machine and of Unicorn, compared.
 *
 * Accessed and dirty bits of page tables may differ as far as the manual leaves them open: Unicorn sets
 * accessed bits of a page into which a translation runs, executed or not; the interpreter sets the dirty
 * bit of the first page of an operand whose second page faults. Such bits are then made those of the
 * machine, before the guest can read them. What a table is, is found by walking from CR3.
 */
#ifndef TESTS_JUDGES_WHOLE_MEMORY_H_
#define TESTS_JUDGES_WHOLE_MEMORY_H_

#include "cpu_state.h"

#define WHOLE_MAX_TABLES 256u

struct whole_memory {
	const u8 *ours;
	u8 *theirs;
	u64 size;
	u8 *is_table; /* by page */
	u64 tables[WHOLE_MAX_TABLES], cr3;
	u32 nr_tables;
	u32 calls; /* of whole_memory_settle() since they were found */
};

void whole_memory_init(struct whole_memory *m, const u8 *ours, u8 *theirs, u64 size);
void whole_memory_free(struct whole_memory *m);
/* Theirs becomes ours. */
void whole_memory_copy(struct whole_memory *m);
/* Behind an instruction: the open bits alone. */
void whole_memory_settle(struct whole_memory *m, const struct cpu_state *theirs, u64 *settled);
/* Prints where; NULL: none. @settled: bits of tables that were made the machine's. */
const char *whole_memory_difference(struct whole_memory *m, const struct cpu_state *theirs,
				    u64 *settled);

#endif /* TESTS_JUDGES_WHOLE_MEMORY_H_ */
