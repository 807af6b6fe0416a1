/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idle_mix.S - a round is a million LOOP instructions that jump to themselves and about two million
 * of ordinary code: arithmetic, loads and stores, calls, sorting, reading tokens.
 */
	.text
	.globl	run
run:	pushq	%rbx
	movl	%edi, %ebx
1:	movl	$1000000, %ecx
	loop	.
	movl	$14000, %edi
	call	run_alu
	movl	$15, %edi
	call	run_memory
	movl	$250, %edi
	call	run_calls
	movl	$1, %edi
	call	run_sort
	movl	$40, %edi
	call	run_lexer
	decl	%ebx
	jne	1b
	popq	%rbx
	ret
