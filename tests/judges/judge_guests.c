/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge_guests.c - whole guests in a machine of pmupass and in Unicorn, in lock-step.
 *
 *	judge_guests LIBRARY CONFIGS NUMBER IMAGE COMMAND_LINE [STRIDE [SEED [SPOIL AT]]]
 *
 * LIBRARY is Unicorn's. CONFIGS is what tests/fuzz/configs.py writes, NUMBER the machine in it. The guest
 * runs to its end. With a STRIDE, states are compared at random instructions that far apart at most, up to
 * which the machine runs in whole blocks; not for guests with `work`. All of memory is compared every
 * so often and at the end. When it differs, the guest runs again, and memory is compared more often from
 * the last time on that it was the same, until the instruction is found.
 * SPOIL and AT are those of struct whole_options, for the test of the judge itself.
 */
#define _DEFAULT_SOURCE /* setenv() */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/configs.h"
#include "whole_guest.h"

#define MEMORY_EVERY 50000u
#define CLOSER 50u

static u8 *read_file(const char *name, u64 *size)
{
	FILE *file = fopen(name, "rb");
	u8 *bytes;

	if (!file) {
		perror(name);
		exit(2);
	}
	fseek(file, 0, SEEK_END);
	*size = (u64)ftell(file);
	rewind(file);
	bytes = malloc(*size + 1);
	if (fread(bytes, 1, *size, file) != *size)
		exit(2);
	fclose(file);
	return bytes;
}

static const char *run(const struct pp_config *config, const char *library,
		       const struct whole_options *options, struct whole_result *result)
{
	struct pp_error error;
	struct pp_machine *m = pp_machine_new(config, &error);
	const char *why;

	if (!m) {
		fprintf(stderr, "%s\n", error.text);
		exit(2);
	}
	why = whole_run(m, library, options, result);
	pp_machine_free(m);
	return why;
}

static void print_counts(const struct whole_result *r)
{
	u64 given = 0;

	for (unsigned int n = 0; n < NR_STEP_KINDS; n++)
		given += r->given[n];
	printf("# executed %" PRIu64 "\n# compared %" PRIu64 "\n# memory %" PRIu64 "\n",
	       r->executed, r->compared, r->memory);
	printf("# user %" PRIu64 "\n# legacy %" PRIu64 "\n# simd %" PRIu64 "\n# x87 %" PRIu64
	       "\n# modes %" PRIu64 "\n# software %" PRIu64 "\n",
	       r->user, r->legacy, r->simd, r->x87, r->modes, r->software);
	printf("# interrupts %" PRIu64 "\n# traps %" PRIu64 "\n# raised %" PRIu64
	       "\n# given %" PRIu64 "\n",
	       r->interrupts, r->traps, r->raised, given);
	for (unsigned int n = 1; n < NR_STEP_KINDS; n++)
		if (r->given[n])
			printf("# given %" PRIu64 " of %s\n", r->given[n], steps_kind_text(n));
	for (unsigned int v = 0; v < 32; v++)
		if (r->exceptions[v])
			printf("# vector %u: %" PRIu64 "\n", v, r->exceptions[v]);
	for (unsigned int n = 0; n < NR_REVIEWED; n++)
		if (r->reviewed[n])
			printf("# reviewed %" PRIu64 ": %s\n", r->reviewed[n], reviewed_text(n));
}

static u64 number(int argc, char **argv, int n, u64 otherwise)
{
	return argc > n ? strtoull(argv[n], NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
	struct whole_options options = {.memory_every = MEMORY_EVERY};
	struct whole_result result;
	struct pp_config config;
	const char *why;
	u8 *image;

	if (argc < 6) {
		fprintf(stderr,
			"judge_guests LIBRARY CONFIGS NUMBER IMAGE COMMAND_LINE [STRIDE ..]\n");
		return 2;
	}
	setenv("PMUPASS_FUZZ_CONFIGS", argv[2], 1);
	config = config_of((u32)number(argc, argv, 3, 0));
	image = read_file(argv[4], &config.image_size);
	config.image = image;
	config.cmdline = argv[5];
	options.stride = number(argc, argv, 6, 1);
	options.seed = number(argc, argv, 7, 1);
	options.spoil = (int)number(argc, argv, 8, 0);
	options.spoil_at = number(argc, argv, 9, 0);
	why = run(&config, argv[1], &options, &result);
	if (why) {
		printf("1..0 # SKIP %s\n", why);
		free(image);
		return 0;
	}
	printf("1..1\n");
	while (result.what && !strcmp(result.what, "memory") && options.memory_every > 1) {
		options.memory_from = result.compared -
				      min_u64(result.compared, options.memory_every);
		options.memory_every = options.memory_every > CLOSER ? options.memory_every / CLOSER
								     : 1;
		printf("# again, memory behind every %" PRIu64 ". from %" PRIu64 " on\n",
		       options.memory_every, options.memory_from);
		run(&config, argv[1], &options, &result);
	}
	free(image);
	print_counts(&result);
	printf("# stop %d\n", result.stop);
	printf("%s 1 - a guest in lock-step with Unicorn%s%s\n", result.what ? "not ok" : "ok",
	       result.what ? ": " : "", result.what ? result.what : "");
	return result.what != NULL;
}
