/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pp_guest.h - what a built-in guest program and the machine say to each other.
 *
 * One header for both sides: freestanding guests and the host's machine.c include it. Settings reach
 * the guest as key=value words of the multiboot command line; a guest answers by writing the 32-bit
 * physical address of its struct pp_guest_report to PP_PORT_REPORT: that of its first CPU, behind which
 * those of the others follow. The host copies the reports when the run ends, so a guest may write the port
 * early and fill them as it goes. A report without the magic number is none.
 */
#ifndef GUEST_PP_GUEST_H_
#define GUEST_PP_GUEST_H_

#include <stdint.h>

#define PP_PORT_REPORT 0x505
#define PP_PORT_EXIT 0xf4 /* outl: exit value, 0 = passed */
#define PP_PORT_SERIAL 0x3f8
#define PP_REPORT_MAGIC 0x34304d50u /* "PM04", little endian */
#define PP_GUEST_MAX_EVENTS 32
#define PP_GUEST_MAX_CPUS 8
#define PP_GUEST_KERNEL_PROFILE 3 /* work profile of the guest's own kernel */

/* One perf event as the guest's perf driver sees it. Times are TSC cycles. */
struct pp_guest_event {
	uint64_t config;  /* PERFEVTSEL bits: event, umask, USR, OS, cmask, inv, edge; no EN, INT */
	uint64_t value;	  /* raw count, not scaled for multiplexing */
	uint64_t enabled; /* time the event was enabled */
	uint64_t running; /* time it was on a counter */
	uint64_t samples; /* overflows handled */
	uint64_t period;  /* last sample period, 0 when counting */
};

struct pp_guest_report {
	uint32_t magic;
	uint32_t nr_events;
	uint64_t work;	    /* instructions of work done */
	uint64_t tsc_begin; /* the measured phase: the work, with perf set up and torn down in it */
	uint64_t tsc_end;
	uint64_t ticks;	     /* timer interrupts handled */
	uint64_t pmis;	     /* PMI handler entries */
	uint64_t pmis_empty; /* of these, with no status bit set */
	uint64_t pmi_cycles; /* TSC cycles in the PMI handler, in all */
	uint64_t rotations;  /* multiplexing rotations */
	uint64_t task_switches;
	uint64_t throttles; /* times that an event was stopped for too many samples in a tick */
	uint64_t
		max_sample_rate; /* samples a second that an event may bring, at the end; 0 without perf */
	uint64_t reads;		 /* counter reads by RDPMC in the monitored code (self-monitor) */
	uint64_t exits;		 /* sensitive instructions issued on purpose (exit-storm) */
	struct pp_guest_event events[PP_GUEST_MAX_EVENTS];
};

/*
 * Settings of the built-in guests (numbers decimal unless 0x):
 *
 *	work=N		do N instructions of work, then stop (profile below)
 *	time=T		instead: work until T TSC cycles have passed and report how much was done
 *	cpus=N		CPUs to start, 1 to 8, with APIC IDs from 0 on; each does all that is said here
 *	profile=ID	RAX of the work instruction
 *	chunk=N		instructions per piece of work between the program's own steps
 *	kernel=N	of 1024: the share of each chunk done at CPL 0, by a system call
 *	tsc_khz=N	TSC frequency
 *	hz=N		timer interrupts a second (0: none)
 *	linux=6.8|6.9	GLOBAL_CTRL around each sampling event at the tick, or once per PMU
 *	mux_us=N	multiplexing interval, microseconds
 *	tasks=1|2	of each CPU; the events are the first one's
 *	slice_us=N	how long one runs before the other, microseconds
 *	perf_work=N	percent of the instructions that Linux's kernel retires for perf and its ticks
 *	hint=0|1	tell KVM which counters are in use, if CPUID says that it wants to know
 *	perf=0|1	leave the PMU alone, or run the events
 *	ev=CONFIG:MASK:KIND[:PHASE]	one event, repeated: CONFIG hex as above; MASK hex, counters it
 *			may use (bit n: GP n, bit 32+n: fixed n); KIND s = count, F<hz> = sample at a
 *			frequency, c<n> = sample with period n; PHASE: microseconds after the
 *			previous event's start at which this one starts (default 0)
 */

#endif /* GUEST_PP_GUEST_H_ */
