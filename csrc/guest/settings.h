/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.h - the key=value words of the command line (list: pp_guest.h), parsed and checked.
 *
 * A setting that makes no sense ends the guest with exit value 1 and a line that names it.
 * Defaults: cpus 1, hint 0, profile 0, chunk 1000000, kernel 0, hz 1000, linux 6.9, mux_us 1000, perf_work 100,
 * perf 1 if an ev= is given, slice_us 3000, tasks 1, tsc_khz from CPUID 0x15.
 */
#ifndef GUEST_SETTINGS_H_
#define GUEST_SETTINGS_H_

#include "base/types.h"
#include "guest/pp_guest.h"

enum event_kind { KIND_COUNT, KIND_FREQ, KIND_PERIOD };

struct event_setting {
	u64 config;
	u64 mask; /* counters: bit n GP n, bit 32 + n fixed n */
	enum event_kind kind;
	u64 rate; /* KIND_FREQ: hertz; KIND_PERIOD: the period */
	u64 phase_us;
};

struct settings {
	u64 work; /* instructions; 0: time counts */
	u64 time; /* TSC cycles */
	u64 cpus;
	u64 tasks; /* of each */
	u64 slice_us;
	u64 profile;
	u64 chunk;  /* instructions */
	u64 kernel; /* of 1024 */
	u64 tsc_khz;
	u64 hz;
	u64 mux_us;
	u64 perf_work;	   /* percent of what Linux's kernel retires: kernel_work.h */
	bool per_pmu_tick; /* Linux 6.9: GLOBAL_CTRL off and on once per tick */
	bool perf;
	bool hint; /* tell KVM which counters are in use, if it wants to know */
	u32 nr_events;
	struct event_setting events[PP_GUEST_MAX_EVENTS];
};

extern struct settings settings;

void settings_parse(const char *cmdline);
const char *multiboot_cmdline(const void *info);
/* TSC cycles in @us microseconds. */
u64 us_to_tsc(u64 us);
u64 tsc_to_ns(u64 tsc);

#endif /* GUEST_SETTINGS_H_ */
