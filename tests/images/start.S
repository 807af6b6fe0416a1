/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start.S - the ways into and out of a test image: multiboot entry, 256 vectors, user code.
 *
 * Interface
 *  - _start is entered as multiboot prescribes: 32-bit protected mode, EAX = magic, EBX = boot
 *    information. It goes to long mode with the first 4 GB mapped one to one, everything of it
 *    accessible to user code, and calls runtime_main(EAX, EBX).
 *  - vector_stubs has a stub each 16 bytes, which makes a struct trap_frame and calls trap().
 *  - run_user(function, argument) calls function(argument) at CPL 3, IOPL 0, interrupts off, and
 *    returns what it returns. run_user_with(function, argument, rflags) likewise. No nesting.
 */
#include "guest/layout.h"
#include "layout.h"

	.section .multiboot, "a"
	.balign	4
	.long	0x1badb002, 0, -0x1badb002

	.text
	.code32
	.globl	_start
_start:
	cld
	movl	$boot_stack_top, %esp
	movl	%eax, %edi
	movl	%ebx, %esi
	lgdtl	boot_gdt_pointer
	movl	%cr4, %eax
	orl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	$boot_pml4, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	/* EFER: SCE, LME, NXE */
	rdmsr
	orl	$0x901, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$0x80010020, %eax	/* PG, WP, NE */
	movl	%eax, %cr0
	ljmpl	$KERNEL_CS, $1f

	.code64
1:	movl	$KERNEL_DS, %eax
	movl	%eax, %ss
	movl	%eax, %ds
	movl	%eax, %es
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	movl	%edi, %edi
	movl	%esi, %esi
	xorl	%ebp, %ebp
	call	runtime_main
2:	cli
	hlt
	jmp	2b

/* ---- vectors ---- */

/* Exceptions that push an error code: 8, 10-14, 17, 21, 29, 30. The others get a 0. */
#define WITH_ERROR_CODE 0x60227d00

	.globl	vector_stubs
	.balign	16
vector_stubs:
	.set	vector, 0
	.rept	256
	.balign	16
	.set	pushed, 0
	.if	vector < 32
	.set	pushed, WITH_ERROR_CODE >> vector & 1
	.endif
	.if	!pushed
	pushq	$0
	.endif
	pushq	$vector
	jmp	1f
	.set	vector, vector + 1
	.endr

1:	.irp	reg, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
	pushq	%\reg
	.endr
	cld
	movq	%rsp, %rdi
	call	trap
	.irp	reg, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax
	popq	%\reg
	.endr
	addq	$16, %rsp
	iretq

/* ---- user code ---- */

	.globl	run_user
run_user:
	movl	$RFLAGS_ALWAYS, %edx
	.globl	run_user_with
run_user_with:
	.irp	reg, rbx, rbp, r12, r13, r14, r15
	pushq	%\reg
	.endr
	subq	$8, %rsp
	movq	%rsp, tss + TSS_RSP0
	movq	%rdi, %rax
	movq	%rsi, %rdi
	movq	$user_return, user_stack_top - 8
	pushq	$USER_DS
	pushq	$user_stack_top - 8
	pushq	%rdx
	pushq	$USER_CS
	pushq	%rax
	iretq

/* CPL 3: where the user function's return goes. */
user_return:
	int	$USER_RETURN_VECTOR

	.globl	leave_user
leave_user:
	movq	tss + TSS_RSP0, %rsp
	cld
	addq	$8, %rsp
	.irp	reg, r15, r14, r13, r12, rbp, rbx
	popq	%\reg
	.endr
	ret

/* ---- tables and stacks ---- */

	.data
	.balign	4096
	.globl	boot_pml4
boot_pml4:
	.quad	boot_pdpt + 7
	.skip	4088
boot_pdpt:
	.quad	boot_pd + 7, boot_pd + 0x1007, boot_pd + 0x2007, boot_pd + 0x3007
	.skip	4064
boot_pd:
	.set	page, 0
	.rept	2048
	.quad	page << 21 | 0x87
	.set	page, page + 1
	.endr
	.balign	16
	.globl	gdt
gdt:	.quad	0
	.quad	0x00af9b000000ffff	/* 0x08 kernel code, 64 bits */
	.quad	0x00cf93000000ffff	/* 0x10 kernel data */
	.quad	0x00cffb000000ffff	/* 0x1b user code, 32 bits */
	.quad	0x00cff3000000ffff	/* 0x23 user data */
	.quad	0x00affb000000ffff	/* 0x2b user code, 64 bits */
	.quad	0, 0			/* 0x30 TSS, see tables.c */
	.quad	0x00cf9b000000ffff	/* 0x40 kernel code, 32 bits */
	.quad	0, 0			/* 0x48, 0x50: free for an image */
gdt_end:
boot_gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt

	.bss
	.balign	16
	.skip	BOOT_STACK_SIZE
boot_stack_top:
	.skip	USER_STACK_SIZE
	.globl	user_stack_top
user_stack_top:

	.section .note.GNU-stack, "", @progbits
