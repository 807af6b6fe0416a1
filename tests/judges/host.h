/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.h - one instruction on the processor that the program runs on.
 *
 * host_step() loads all registers, XMM and x87 among them, the arithmetic flags and the FS and GS bases,
 * executes one instruction with TF set and returns what it left behind, be it a single step or a fault. It makes
 * no system call but sigreturn, so that a seccomp-strict child can use it.
 */
#ifndef TESTS_JUDGES_HOST_H_
#define TESTS_JUDGES_HOST_H_

#include "fpu.h"

#define TRAP_STEP 1 /* vector of #DB: the instruction has retired */

struct host_state {
	u64 regs[16]; /* RAX, RCX, .., in the order of the encoding */
	u64 rip, flags;
	u64 fs_base, gs_base;
	u16 cs, ss, data; /* legacy code: selectors, data for DS to GS; cs 0: 64-bit code */
	struct fpu_area fpu;
	int trap;   /* after: vector */
	u64 error;  /* after: error code, 0 if the vector has none */
	u64 linear; /* after: CR2, of page faults */
};

/* NULL, or why this host cannot do it. Installs the handlers. */
const char *host_prepare(void);
void host_step(const struct host_state *before, struct host_state *after);

#endif /* TESTS_JUDGES_HOST_H_ */
