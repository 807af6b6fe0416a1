/* SPDX-License-Identifier: Apache-2.0 */
/*
 * whole_guest.h - Unicorn follows a whole machine of pmupass through its guest.
 *
 * Both have the same memory and start in the same state. The machine goes first, by one instruction or a
 * few; Unicorn executes the same ones, and then both must be in the same state. What lies outside of a CPU
 * is the machine's: Unicorn gets what IN and CPUID returned; of MSRs, counters, the TSC, the APIC page,
 * HLT and `work` it gets the registers behind the instruction, or the fault; interrupts are delivered by
 * QEMU's code at the instruction at which the machine delivered them.
 *
 * Compared are registers, RIP, RFLAGS but for the arithmetic flags, segments, tables, control registers,
 * MSRs of the CPU, XMM registers and MXCSR's controls each time; x87 behind its instructions; all of
 * memory now and then and at the end. Arithmetic flags are judged by what becomes of them.
 */
#ifndef TESTS_JUDGES_WHOLE_GUEST_H_
#define TESTS_JUDGES_WHOLE_GUEST_H_

#include "machine_steps.h"
#include "unicorn.h"
#include "whole_review.h"

struct whole_result {
	const char *what; /* NULL: no difference */
	int stop;	  /* enum pp_stop of the machine */
	u64 executed;	  /* instructions that Unicorn executed itself */
	u64 compared;	  /* states */
	u64 memory;	  /* times that all of memory was compared */
	u64 given[NR_STEP_KINDS];
	u64 interrupts, traps;
	u64 exceptions[32]; /* by vector; faults of both, INT n apart */
	u64 raised;	    /* of these, raised because the machine did */
	u64 software;
	u64 user, legacy, simd, x87; /* instructions at CPL 3, not of 64-bit code, and so on */
	u64 modes; /* changes between 64-bit, compatibility, protected, real mode */
	u64 reviewed[NR_REVIEWED];
};

struct whole_options {
	u64 stride;	  /* instructions between two comparisons, at most */
	u64 seed;	  /* of the strides */
	u64 memory_every; /* comparisons between two of memory */
	u64 memory_from;  /* the first of them */
	u64 spoil_at;	  /* behind so many comparisons Unicorn gets something wrong; 0: never */
	int spoil;	  /* which thing: 0 a register, 1 an XMM register, 2 memory */
};

/* @m has not run yet. Prints what differs. The text says why the library cannot be used, or NULL. */
const char *whole_run(struct pp_machine *m, const char *library,
		      const struct whole_options *options, struct whole_result *result);

#endif /* TESTS_JUDGES_WHOLE_GUEST_H_ */
