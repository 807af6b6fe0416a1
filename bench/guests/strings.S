/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strings.S - REP MOVSQ and STOSB of some hundred elements, REPNE SCASB for a terminator, REPE CMPSB,
 * and LODSB and STOSB one by one.
 */
	.text
	.globl	run
run:	movl	%edi, %r8d
	cld
1:	movl	$source, %edi
	movl	$200, %ecx
	movl	%r8d, %eax
	orl	$1, %eax		/* bytes that are not 0 */
	rep stosb
	movb	$0, (%rdi)
	movl	$source, %esi
	movl	$target, %edi
	movl	$128, %ecx
	rep movsq
	movl	$target, %edi
	movl	$1024, %ecx
	xorl	%eax, %eax
	repne scasb
	movl	$source, %esi
	movl	$target, %edi
	movl	$150, %ecx
	repe cmpsb
	movl	$source, %esi
	movl	$target, %edi
	movl	$40, %ecx
2:	lodsb
	addb	$3, %al
	stosb
	decl	%ecx
	jne	2b
	decl	%r8d
	jne	1b
	ret

	.bss
	.balign	64
source:	.skip	4096
target:	.skip	4096
