/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge_lockstep.c - random kernels, instruction by instruction in the interpreter and in Unicorn.
 *
 *	judge_lockstep LIBRARY [PROGRAMS [SEED [STRIDE [memory]]]]
 *
 * LIBRARY is Unicorn's. Each program has a seed of its own, SEED and up. Registers, flags, control
 * registers, MSRs, segments and tables are compared after each instruction, or with a STRIDE at random
 * instructions that far apart at most, up to which the interpreter runs in whole blocks; memory at the
 * end, or with a fifth argument every time. What differs is printed with the instructions before it and both states.
 *
 * Left out, beside what integer_program.c says, because Unicorn does it otherwise than the manual
 * says: jumps to and bases of addresses that are not canonical; null selectors of RPL 3 for SS and
 * null ones for TR; the I/O permissions of CPL 3; deliveries that stay at CPL 3. What it is put right in: enum correction.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_programs.h"
#include "lockstep.h"

#define DEFAULT_PROGRAMS 30u
#define MAX_STEPS 20000u
#define MAX_FAILURES 3u

static void print_summary(const struct lockstep *l, const struct lockstep_result *r)
{
	printf("# %" PRIu64 " instructions, %" PRIu64 " retired, %" PRIu64
	       " states compared, %" PRIu64 " forms, %" PRIu64 " at CPL 3, %" PRIu64
	       " in 32-bit code\n",
	       r->steps, r->retired, r->compared, r->forms, r->user, r->compatible);
	printf("# %" PRIu64 " INT n, %" PRIu64 " programs left memory, %" PRIu64
	       " states with Unicorn's flags not up to date\n",
	       r->software, r->left_memory, r->loose);
	for (unsigned int v = 0; v < 32; v++) {
		if (r->exceptions[v])
			printf("# vector %u: %" PRIu64 "\n", v, r->exceptions[v]);
	}
	for (unsigned int n = 0; n < NR_CORRECTIONS; n++) {
		const char *reason;
		u64 times;

		reason = unicorn_corrected(lockstep_unicorn(l), n, &times);
		printf("# corrected %" PRIu64 " times: %s\n", times, reason);
	}
}

int main(int argc, char **argv)
{
	u64 programs = argc > 2 ? strtoull(argv[2], NULL, 0) : DEFAULT_PROGRAMS;
	u64 seed = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
	u32 stride = argc > 4 ? (u32)strtoul(argv[4], NULL, 0) : 1;
	struct lockstep_result result = {0};
	const char *why = "no library was given";
	struct lockstep *l = NULL;
	u32 failures = 0;
	u8 *ram;

	if (argc > 1)
		why = lockstep_new(&l, argv[1]);
	if (why) {
		printf("1..0 # SKIP %s\n", why);
		return 0;
	}
	printf("1..1\n");
	ram = malloc(lockstep_ram_size());
	for (u64 n = 0; n < programs && failures < MAX_FAILURES; n++) {
		struct image image = {.ram = ram,
				      .max_steps = MAX_STEPS,
				      .max_stride = stride,
				      .memory = argc > 5};

		kernel_program(seed + n, &image, ram);
		lockstep_run(l, &image, &result);
		if (!result.what)
			continue;
		printf("# program %" PRIu64 ": %s; again: judge_lockstep LIBRARY 1 %" PRIu64
		       " %u\n",
		       seed + n, result.what, seed + n, stride);
		result.what = NULL;
		failures++;
		lockstep_free(l);
		lockstep_new(&l, argv[1]);
	}
	print_summary(l, &result);
	printf("%s 1 - kernels_in_lock_step_with_unicorn\n", failures ? "not ok" : "ok");
	lockstep_free(l);
	free(ram);
	return failures != 0;
}
