/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trampoline.h - the way of a CPU from its SIPI to ap_main(), trampoline.S.
 *
 * The bytes from trampoline_start to trampoline_end are to be copied to TRAMPOLINE, and ap_boot filled,
 * before the SIPI is sent.
 */
#ifndef GUEST_TRAMPOLINE_H_
#define GUEST_TRAMPOLINE_H_

#include "base/types.h"
#include "guest/layout.h"

struct percpu;

/* What the CPU loads on its way; those are the bootstrap CPU's. */
struct ap_boot {
	u32 cr0, cr3, cr4, efer;
	u64 rsp;
	struct percpu *cpu;
};

_Static_assert(offsetof(struct ap_boot, cr3) == AP_BOOT_CR3 &&
		       offsetof(struct ap_boot, cr4) == AP_BOOT_CR4 &&
		       offsetof(struct ap_boot, efer) == AP_BOOT_EFER &&
		       offsetof(struct ap_boot, rsp) == AP_BOOT_RSP &&
		       offsetof(struct ap_boot, cpu) == AP_BOOT_CPU,
	       "layout.h says so to trampoline.S");

extern struct ap_boot ap_boot;
extern const u8 trampoline_start[], trampoline_end[];

#endif /* GUEST_TRAMPOLINE_H_ */
