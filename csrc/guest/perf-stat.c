// SPDX-License-Identifier: Apache-2.0
/*
 * perf-stat.c - counting events around the work, as `perf stat -- work` does.
 */
#include "guest/program.h"

const struct program program = {
	.name = "perf-stat",
	.counts_only = true,
};
