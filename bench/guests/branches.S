/* SPDX-License-Identifier: Apache-2.0 */
/*
 * branches.S - short blocks: four conditional branches on bits of a random number, an unconditional
 * one and an indirect one through a table of four, two or three instructions between them.
 */
	.text
	.globl	run
run:	movl	$12345, %eax
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	xorl	%r8d, %r8d
1:	imull	$1103515245, %eax, %eax
	addl	$12345, %eax
	testl	$0x10000, %eax
	je	2f
	incl	%ecx
2:	testl	$0x20000, %eax
	jne	3f
	addl	%eax, %edx
3:	testl	$0x1c0000, %eax		/* taken seven times in eight */
	jne	4f
	xorl	%ecx, %edx
4:	jmp	5f
	ud2
5:	movl	%edi, %r8d
	shrl	$3, %r8d
	andl	$3, %r8d
	jmp	*table(, %r8, 8)
10:	addl	$1, %ecx
	jmp	6f
11:	addl	$2, %ecx
	jmp	6f
12:	subl	$3, %edx
	jmp	6f
13:	xorl	%edi, %edx
6:	cmpl	%ecx, %edx
	ja	7f
	addl	$3, %ecx
7:	decl	%edi
	jne	1b
	ret

	.section .rodata
	.balign	8
table:	.quad	10b, 11b, 12b, 13b
