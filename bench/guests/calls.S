/* SPDX-License-Identifier: Apache-2.0 */
/* calls.S - Fibonacci by recursion with saved registers, and a call through a table each round. */
	.text
	.globl	run
run:	pushq	%rbx
	pushq	%r12
	movl	%edi, %ebx
	xorl	%r12d, %r12d
1:	movl	$10, %edi
	call	fib
	addl	%eax, %r12d
	movl	%ebx, %ecx
	andl	$1, %ecx
	call	*table(, %rcx, 8)
	decl	%ebx
	jne	1b
	movl	%r12d, %eax
	popq	%r12
	popq	%rbx
	ret

fib:	cmpl	$2, %edi
	jae	2f
	movl	%edi, %eax
	ret
2:	pushq	%rbx
	pushq	%rbp
	movl	%edi, %ebx
	leal	-1(%rdi), %edi
	call	fib
	movl	%eax, %ebp
	leal	-2(%rbx), %edi
	call	fib
	addl	%ebp, %eax
	popq	%rbp
	popq	%rbx
	ret

even:	addl	$1, %r12d
	ret
odd:	xorl	%eax, %r12d
	ret

	.section .rodata
	.balign	8
table:	.quad	even, odd
