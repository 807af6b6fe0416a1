// SPDX-License-Identifier: Apache-2.0
/*
 * self-monitor.c - a program that reads its own counters: user code issues RDPMC for each of its
 * events after each piece of work.
 */
#include "guest/perf.h"
#include "guest/percpu.h"
#include "guest/program.h"
#include "guest/settings.h"

static volatile u64 last_read; /* a read must not be optimised away */

static void read_all(void)
{
	u32 i;

	if (!settings.perf)
		return;
	for (i = 0; i < settings.nr_events; i++)
		last_read = perf_user_read(&this_cpu()->perf_events[i]);
}

const struct program program = {
	.name = "self-monitor",
	.counts_only = true,
	.user_rdpmc = true,
	.step = read_all,
};
