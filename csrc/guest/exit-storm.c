// SPDX-License-Identifier: Apache-2.0
/*
 * exit-storm.c - as many VM-exits as it can make: CPUID after each piece of work. The PMU is idle
 * unless events are given.
 */
#include "guest/insn.h"
#include "guest/percpu.h"
#include "guest/program.h"

static void exit_once(void)
{
	cpuid(0);
	this_cpu()->report->exits++;
}

const struct program program = {
	.name = "exit-storm",
	.step = exit_once,
};
