/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_programs.h - random kernels, for judge_lockstep.c.
 *
 * A program is a sequence of snippets that begin at CPL 0 in 64-bit code: instructions with random
 * operands, exceptions, user and 32-bit excursions, loads of segments and control registers, changes
 * of the page tables, a second address space, code that is written at run time. Whatever faults goes
 * through an IDT whose handlers go on behind it. It ends with HLT, or when the steps are used up.
 */
#ifndef TESTS_JUDGES_KERNEL_PROGRAMS_H_
#define TESTS_JUDGES_KERNEL_PROGRAMS_H_

#include "lockstep.h"

/* Fills lockstep_ram_size() bytes of @ram, and @image but for how it is compared. */
void kernel_program(u64 seed, struct image *image, u8 *ram);

#endif /* TESTS_JUDGES_KERNEL_PROGRAMS_H_ */
