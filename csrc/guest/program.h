/* SPDX-License-Identifier: Apache-2.0 */
/*
 * program.h - what is common to the guest programs: set-up, the work at CPL 3, the report.
 *
 * A program is one constant struct. Its step() runs at CPL 3 after each piece of work (`chunk`
 * instructions, of which kernel/1024 were done at CPL 0 by a system call). All CPUs do the same.
 *
 * The flow is the same with perf=0 and perf=1: tick, pieces, phases and system calls do not depend
 * on it, so that the times of both can be compared.
 */
#ifndef GUEST_PROGRAM_H_
#define GUEST_PROGRAM_H_

#include "base/types.h"
#include "guest/pp_guest.h"

struct program {
	const char *name;
	bool counts_only;   /* events that sample make no sense in it */
	bool user_rdpmc;    /* step() reads counters: CR4.PCE */
	void (*step)(void); /* may be NULL */
};

extern const struct program program; /* one per image */

void guest_main(const void *multiboot_info) __attribute__((noreturn));

#endif /* GUEST_PROGRAM_H_ */
