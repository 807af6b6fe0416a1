/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockstep.h - one guest in the interpreter and in Unicorn, instruction by instruction.
 *
 * Unicorn runs on, and the interpreter follows: what Unicorn has begun is done by the interpreter when
 * Unicorn comes to the next instruction, and then both must be in the same state. A step is an
 * instruction, or one that faults with the delivery of the fault. With a stride, the interpreter
 * follows by so many retired instructions at a time, in whole blocks, and must land on Unicorn.
 *
 * Flags that the manual leaves undefined may differ until something defines them.
 */
#ifndef TESTS_JUDGES_LOCKSTEP_H_
#define TESTS_JUDGES_LOCKSTEP_H_

#include "unicorn.h"

struct lockstep;

struct lockstep_result {
	const char *what;     /* NULL: no difference */
	u64 steps;	      /* of Unicorn's: instructions begun, REP strings once */
	u64 retired;	      /* of Unicorn's, by its steps less faults */
	u64 compared;	      /* states */
	u64 exceptions[32];   /* by vector, INT n apart */
	u64 software;	      /* INT n, INT3 */
	u64 user, compatible; /* instructions at CPL 3, in 32-bit code */
	u64 left_memory;      /* programs that came to an address without memory */
	u64 loose;	      /* arithmetic flags differed where the manual defines them */
	u64 forms;	      /* forms.h: how many different ones so far, over all runs */
};

/* A guest: where it starts, and its memory. */
struct image {
	struct cpu_start start;
	struct cpu_segment tr;
	const u8 *ram;		/* lockstep_ram_size() bytes */
	u64 tables, tables_end; /* where page tables are, and perhaps others */
	u64 max_steps;
	u32 max_stride; /* 1: compare after each instruction */
	u64 seed;	/* of the strides */
	bool memory;	/* compare all of memory after each step, too */
};

u64 lockstep_ram_size(void);
const char *lockstep_new(struct lockstep **out, const char *library);
void lockstep_free(struct lockstep *l);
const struct unicorn *lockstep_unicorn(const struct lockstep *l);
/* Prints what differs, if something does. */
void lockstep_run(struct lockstep *l, const struct image *image, struct lockstep_result *result);

#endif /* TESTS_JUDGES_LOCKSTEP_H_ */
