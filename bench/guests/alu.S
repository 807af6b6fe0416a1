/* SPDX-License-Identifier: Apache-2.0 */
/* alu.S - register arithmetic: additions, logic, shifts, LEA, SETcc and CMOVcc, one branch in 29. */
	.text
	.globl	run
run:	movabsq	$0x9e3779b97f4a7c15, %rax
	movl	$1, %ecx
	movl	$2, %edx
	movl	$3, %r8d
	movl	$5, %r9d
1:	addq	%rax, %rcx
	xorq	%rcx, %rdx
	leaq	7(%rcx, %rdx, 2), %r8
	shlq	$13, %r8
	subq	%r8, %rax
	movq	%rax, %r9
	shrq	$7, %r9
	xorq	%r9, %rax
	addl	$0x1234567, %ecx
	adcq	$0, %rdx
	movl	%edx, %r10d
	andl	$0xffff, %r10d
	orl	%r10d, %ecx
	negq	%r8
	notl	%r9d
	cmpq	%r8, %rax
	setb	%r11b
	movzbl	%r11b, %r11d
	addl	%r11d, %r10d
	testl	$0x40, %eax
	cmovneq	%r9, %rdx
	roll	$5, %ecx
	incl	%r10d
	leal	(%r10, %rcx), %r9d
	movq	%r9, %r8
	sarq	$3, %r8
	decl	%r10d
	decl	%edi
	jne	1b
	ret
