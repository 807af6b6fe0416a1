/* SPDX-License-Identifier: Apache-2.0 */
/* chase.S - a linked list of 16384 nodes of 64 bytes in scattered order, walked with a sum. */
#define NODES 16384
	.text
	.globl	run
run:	movl	$nodes, %esi
	xorl	%ecx, %ecx
1:	leal	7919(%rcx), %eax	/* prime to NODES: the list visits every node */
	andl	$NODES - 1, %eax
	movl	%eax, %edx
	shll	$6, %eax
	shll	$6, %ecx
	addq	%rsi, %rax
	movq	%rax, (%rsi, %rcx)
	movl	%edx, 8(%rsi, %rcx)
	movl	%edx, %ecx
	testl	%ecx, %ecx
	jne	1b
	xorl	%eax, %eax
2:	movl	$NODES, %ecx
	movl	$nodes, %edx
3:	addl	8(%rdx), %eax
	movq	(%rdx), %rdx
	decl	%ecx
	jne	3b
	decl	%edi
	jne	2b
	ret

	.bss
	.balign	64
nodes:	.skip	64 * NODES
