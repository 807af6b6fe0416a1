/* SPDX-License-Identifier: Apache-2.0 */
/*
 * entry.S - the ways into and out of CPL 0: start, 256 vectors, system calls, user code.
 *
 * Interface
 *  - _start is entered in long mode with RDI = multiboot information; guest_main() never returns.
 *  - vector_stubs has a stub each 16 bytes, which makes a struct trap_frame and calls trap().
 *  - run_user(function, stack_top) runs function() at CPL 3 until it returns.
 *  - syscall_entry serves SYSCALL: RAX = number, RDI = argument, result in RAX.
 *
 * No nesting of user code: SYSCALL finds its stack in this CPU's TSS. The GS base is struct percpu in the
 * kernel and in user code, so there is no SWAPGS. SYSCALL runs with interrupts off up to the stack
 * switch; an NMI has a stack of its own.
 */
#include "layout.h"

	.section .text.start, "ax"
	.globl	_start
_start:
	cli
	cld
	movq	$percpus + PERCPU_KERNEL_STACK + BOOT_STACK_SIZE, %rsp
	xorl	%ebp, %ebp
	call	guest_main
1:	cli
	hlt
	jmp	1b

/* Exceptions that push an error code: 8, 10-14, 17, 21, 29, 30. The others get a 0. */
#define WITH_ERROR_CODE 0x60227d00

	.text
	.globl	vector_stubs
	.balign	16
vector_stubs:
	.set	vector, 0
	.rept	256
	.balign	16
	.set	with_error_code, 0
	.if	vector < 32
	.set	with_error_code, WITH_ERROR_CODE >> vector & 1
	.endif
	.if	!with_error_code
	pushq	$0
	.endif
	pushq	$vector
	jmp	trap_entry
	.set	vector, vector + 1
	.endr

trap_entry:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rbx
	pushq	%rbp
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	cld
	movq	%rsp, %rdi
	call	trap
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rbp
	popq	%rbx
	popq	%rdx
	popq	%rcx
	popq	%rax
	addq	$16, %rsp
	iretq

/*
 * load_segments(): CS and SS of the GDT just loaded; DS and ES need no value in long mode. GS is null, so
 * that its base survives the way to user code.
 */
	.globl	load_segments
load_segments:
	popq	%rax
	pushq	$KERNEL_CS
	pushq	%rax
	movl	$KERNEL_DS, %ecx
	movl	%ecx, %ss
	movl	%ecx, %ds
	movl	%ecx, %es
	xorl	%ecx, %ecx
	movl	%ecx, %gs
	lretq

/* run_user(function, stack_top) */
	.globl	run_user
run_user:
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	subq	$8, %rsp
	movq	%rsp, %gs:PERCPU_TSS + TSS_RSP0
	movq	$user_return, -8(%rsi)
	subq	$8, %rsi
	pushq	$USER_DS
	pushq	%rsi
	pushq	$(RFLAGS_IF | RFLAGS_ALWAYS)
	pushq	$USER_CS
	pushq	%rdi
	iretq

/* CPL 3: where the user function's return goes. */
user_return:
	movl	$SYS_RETURN, %eax
	syscall
	ud2

	.globl	syscall_entry
syscall_entry:
	movq	%rsp, %gs:PERCPU_USER_RSP
	movq	%gs:PERCPU_TSS + TSS_RSP0, %rsp
	pushq	%gs:PERCPU_USER_RSP
	pushq	%r11
	pushq	%rcx
	pushq	%rax
	testl	%eax, %eax
	jz	leave_user
	sti
	movq	%rdi, %rsi
	movl	%eax, %edi
	call	do_syscall
	cli
	addq	$8, %rsp
	popq	%rcx
	popq	%r11
	popq	%rsp
	sysretq

/* Back to the caller of run_user(). */
leave_user:
	addq	$40, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret

	.section .note.GNU-stack, "", @progbits
