/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_faulting.h - guests whose code ends in HLT or in a fault: each of the 32 exceptions has a
 * handler of its own, which halts.
 */
#ifndef TESTS_C_TEST_CPU_FAULTING_H_
#define TESTS_C_TEST_CPU_FAULTING_H_

#include "test_cpu_guest.h"

#define NR_HANDLERS 32u
#define HANDLER_SIZE 16u
#define MISSING_AT 0x1ff000ull /* the page behind DATA_AT.. that a test takes away */
#define NO_FAULT (-1)

static struct guest *faulting_guest(const u8 *from, const u8 *end)
{
	struct guest *g = guest_new();

	for (unsigned int v = 0; v < NR_HANDLERS; v++) {
		guest_gate(g, v, HANDLER_AT + v * HANDLER_SIZE, 0, 0);
		g->ram[HANDLER_AT + v * HANDLER_SIZE] = 0xf4;
	}
	guest_bytes(g, CODE_AT, from, end);
	return g;
}

/* Run to HLT; the vector whose handler it was in, or NO_FAULT. */
static int run(struct guest *g)
{
	u64 at;

	EXPECT_EQ(CPU_STOP_HALT, guest_run(g));
	at = cpu_rip(g->cpu) - 1 - HANDLER_AT;
	return at < NR_HANDLERS * HANDLER_SIZE ? (int)(at / HANDLER_SIZE) : NO_FAULT;
}

/* RIP that a fault without an error code has pushed. */
static u64 pushed_rip(const struct guest *g)
{
	return guest_get(g, cpu_reg(g->cpu, CPU_RSP));
}

#endif /* TESTS_C_TEST_CPU_FAULTING_H_ */
