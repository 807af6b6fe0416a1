/* SPDX-License-Identifier: Apache-2.0 */
/* muldiv.S - multiplications and divisions of 32 and 64 bits, a few moves between them. */
	.text
	.globl	run
run:	movabsq	$0x9e3779b97f4a7c15, %rsi
	movl	$12345, %r8d
	movl	%edi, %r9d
1:	movq	%rsi, %rax
	mulq	%r8
	xorq	%rdx, %rsi
	imulq	$1000003, %rsi, %rsi
	movq	%rsi, %rax
	xorl	%edx, %edx
	movl	%r9d, %ecx
	divq	%rcx
	addq	%rdx, %r8
	movl	%r8d, %eax
	cltd
	orl	$1, %ecx
	idivl	%ecx
	imull	%edx, %eax
	addl	%eax, %r8d
	movl	%esi, %eax
	mull	%r8d
	leaq	(%rsi, %rdx), %rsi
	decl	%r9d
	jne	1b
	ret
