/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_work.h - what Linux's kernel retires where this one only does the accesses.
 *
 *	kernel_work(KERNEL_WORK_OVERFLOW);
 *
 * retires so many instructions of the profile kernel-perf, at CPL 0, from NMIs and interrupts as well. The
 * amounts are csrc/base/kernel_work.def, scaled by the setting perf_work.
 */
#ifndef GUEST_KERNEL_WORK_H_
#define GUEST_KERNEL_WORK_H_

#include "guest/insn.h"
#include "guest/pp_guest.h"
#include "guest/settings.h"

enum kernel_work {
#define KERNEL_WORK(id, function, instructions, text) KERNEL_WORK_##id,
#include "base/kernel_work.def"
#undef KERNEL_WORK
};

/* @times as much. */
static inline void kernel_works(enum kernel_work kind, u32 times)
{
	static const u16 instructions[] = {
#define KERNEL_WORK(id, function, instructions, text) [KERNEL_WORK_##id] = (instructions),
#include "base/kernel_work.def"
#undef KERNEL_WORK
	};

	work(PP_GUEST_KERNEL_PROFILE, times * instructions[kind] * settings.perf_work / 100);
}

static inline void kernel_work(enum kernel_work kind)
{
	kernel_works(kind, 1);
}

#endif /* GUEST_KERNEL_WORK_H_ */
