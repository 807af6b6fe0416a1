/* SPDX-License-Identifier: Apache-2.0 */
/*
 * percpu.h - what each CPU of a guest has for itself: tables, stacks, timers, perf, its report.
 *
 * The GS base of a CPU points here, in the kernel and in user code alike, so that nobody needs SWAPGS. It
 * never changes once it is set. Before that only the pointer is of use: this_cpu() is not for the
 * functions that set a CPU up, since the compiler may read it early.
 */
#ifndef GUEST_PERCPU_H_
#define GUEST_PERCPU_H_

#include "base/types.h"
#include "guest/layout.h"
#include "guest/perf.h"
#include "guest/pp_guest.h"
#include "guest/timer.h"

struct tss_struct {
	u32 reserved0;
	u64 rsp[3]; /* entry.S knows the offset of rsp[0] */
	u64 reserved1;
	u64 ist[7];
	u64 reserved2;
	u16 reserved3;
	u16 io_bitmap;
} __attribute__((packed));

struct percpu {
	struct percpu *self; /* entry.S knows where these four are */
	u64 user_rsp;
	struct tss_struct tss __attribute__((aligned(16)));
	u8 kernel_stack[BOOT_STACK_SIZE] __attribute__((aligned(16)));

	u32 id; /* its APIC's, and its place in percpus[] */
	u64 gdt[8] __attribute__((aligned(16)));
	struct pp_guest_report *report;
	u32 nr_started; /* events */
	struct timer_queue timers;
	struct timer tick_timer;
	struct timer mux_timer;
	struct timer slice_timer;
	struct perf_context perf_context;
	struct cpu_hw_events hw_events;
	struct perf_event perf_events[PP_GUEST_MAX_EVENTS];

	u8 nmi_stack[NMI_STACK_SIZE] __attribute__((aligned(16)));
	u8 double_fault_stack[DOUBLE_FAULT_STACK_SIZE] __attribute__((aligned(16)));
	u8 user_stack[USER_STACK_SIZE] __attribute__((aligned(16)));
};

_Static_assert(offsetof(struct percpu, user_rsp) == PERCPU_USER_RSP &&
		       offsetof(struct percpu, tss.rsp) == PERCPU_TSS + TSS_RSP0 &&
		       offsetof(struct percpu, kernel_stack) == PERCPU_KERNEL_STACK,
	       "layout.h says so to entry.S");

extern struct percpu percpus[PP_GUEST_MAX_CPUS];

static inline struct percpu *this_cpu(void)
{
	struct percpu *self;

	__asm__("movq %%gs:0, %0" : "=r"(self));
	return self;
}

#endif /* GUEST_PERCPU_H_ */
