/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu_tables.h - the descriptor and page tables of a guest, and what a vector's handler gets.
 */
#ifndef GUEST_CPU_TABLES_H_
#define GUEST_CPU_TABLES_H_

#include "base/types.h"

/* As entry.S pushes it. */
struct trap_frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8;
	u64 rdi, rsi, rbp, rbx, rdx, rcx, rax;
	u64 vector, error_code;
	u64 rip, cs, rflags, rsp, ss;
};

struct percpu;

void cpu_tables_init(void);
void cpu_tables_load(struct percpu *cpu);
void allow_user_rdpmc(void);

/* entry.S */
void run_user(void (*function)(void), void *stack_top);

/* program.c; called by entry.S. trap() runs with interrupts off, do_syscall() with them on. */
void trap(struct trap_frame *frame);
u64 do_syscall(u32 nr, u64 argument);

#endif /* GUEST_CPU_TABLES_H_ */
