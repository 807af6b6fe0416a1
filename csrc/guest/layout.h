/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout.h - what entry.S and the C files must agree on: selectors, stacks, vectors, system calls.
 * Included by assembly: constants only.
 */
#ifndef GUEST_LAYOUT_H_
#define GUEST_LAYOUT_H_

/* GDT. SYSRET wants user data, then user code, behind the selector in STAR[63:48]. */
#define KERNEL_CS 0x08
#define KERNEL_DS 0x10
#define SYSRET_BASE 0x1b
#define USER_DS 0x23
#define USER_CS 0x2b
#define TSS_SELECTOR 0x30

#define TSS_RSP0 4 /* offset in the TSS */
/* Offsets in struct percpu. */
#define PERCPU_USER_RSP 8
#define PERCPU_TSS 16
#define PERCPU_KERNEL_STACK 128
/* Offsets in struct ap_boot. */
#define AP_BOOT_CR3 4
#define AP_BOOT_CR4 8
#define AP_BOOT_EFER 12
#define AP_BOOT_RSP 16
#define AP_BOOT_CPU 24
#define TRAMPOLINE 0x8000 /* a page below 1 MB */

#define IST_NMI 1
#define IST_DOUBLE_FAULT 2

#define RFLAGS_ALWAYS 0x2
#define RFLAGS_TF 0x100
#define RFLAGS_IF 0x200
#define RFLAGS_DF 0x400
#define RFLAGS_AC 0x40000

#define BOOT_STACK_SIZE 16384
#define NMI_STACK_SIZE 8192
#define DOUBLE_FAULT_STACK_SIZE 4096
#define USER_STACK_SIZE 16384

#define NMI_VECTOR 2
#define DOUBLE_FAULT_VECTOR 8
#define PAGE_FAULT_VECTOR 14
#define LOCAL_TIMER_VECTOR 0xec
#define RESCHEDULE_VECTOR 0xfd
#define SPURIOUS_APIC_VECTOR 0xff

#define SYS_RETURN 0	 /* leave user mode; entry.S handles it */
#define SYS_WORK 1	 /* argument: instructions of work to do at CPL 0 */
#define SYS_PERF_START 2 /* start the next event; returns the TSC time of the start after it */

#endif /* GUEST_LAYOUT_H_ */
