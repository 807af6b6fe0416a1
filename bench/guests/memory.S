/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.S - an array of 64 KiB, up and down: loads, stores, read-modify-write of all sizes; one
 * access in nine is not aligned.
 */
	.text
	.globl	run
run:	movl	$array, %esi
1:	xorl	%ecx, %ecx
2:	movq	(%rsi, %rcx, 8), %rax
	addq	8(%rsi, %rcx, 8), %rax
	movq	%rax, 16(%rsi, %rcx, 8)
	movl	24(%rsi, %rcx, 8), %edx
	addl	%edx, 28(%rsi, %rcx, 8)
	movzbl	5(%rsi, %rcx, 8), %r8d
	addw	%r8w, 34(%rsi, %rcx, 8)
	movb	%al, 37(%rsi, %rcx, 8)
	movq	41(%rsi, %rcx, 8), %r9
	addq	%r9, %rdx
	addl	$8, %ecx
	cmpl	$8192 - 8, %ecx
	jb	2b
3:	subl	$4, %ecx
	movq	(%rsi, %rcx, 8), %r10
	xorq	%rdx, %r10
	movq	%r10, 8(%rsi, %rcx, 8)
	incl	(%rsi, %rcx, 8)
	testl	%ecx, %ecx
	jne	3b
	decl	%edi
	jne	1b
	ret

	.bss
	.balign	64
array:	.skip	65536 + 64
