// SPDX-License-Identifier: Apache-2.0
/*
 * perf-record.c - sampling events, and counting ones among them, during the work: PMIs, the tick's
 * frequency adjustment, and turns when there are more events than counters.
 *
 * Not modelled: what perf does with a sample.
 */
#include "guest/program.h"

const struct program program = {
	.name = "perf-record",
};
