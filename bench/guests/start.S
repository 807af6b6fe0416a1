/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start.S - around a guest of bench/vs_unicorn.py: arm every counter, run(ROUNDS), leave the registers.
 *
 * Eight general-purpose and three fixed counters of Sapphire Rapids count at CPL 0 and 3 from here to
 * the end, as in `pmupass bench speed`. ROUNDS comes from the linker's command line. Registers go to
 * .results in the order of their numbers; the exit port ends the run, and `done` is where another
 * emulator has to stop.
 */
	.text
	.globl	_start
_start:
	movl	$stack_top, %esp
	movl	$selectors, %esi
	movl	$0x186, %ecx
1:	movl	(%rsi), %eax
	xorl	%edx, %edx
	wrmsr
	addl	$4, %esi
	incl	%ecx
	cmpl	$0x18e, %ecx
	jne	1b
	movl	$0x38d, %ecx		/* FIXED_CTR_CTRL */
	movl	$0x333, %eax
	wrmsr
	movl	$0x38f, %ecx		/* GLOBAL_CTRL */
	movl	$0xff, %eax
	movl	$7, %edx
	wrmsr
	movl	$ROUNDS, %edi
	call	run
	movq	%rax, results
	movq	%rcx, results + 8
	movq	%rdx, results + 16
	movq	%rbx, results + 24
	movq	%rsp, results + 32
	movq	%rbp, results + 40
	movq	%rsi, results + 48
	movq	%rdi, results + 56
	movq	%r8, results + 64
	movq	%r9, results + 72
	movq	%r10, results + 80
	movq	%r11, results + 88
	movq	%r12, results + 96
	movq	%r13, results + 104
	movq	%r14, results + 112
	movq	%r15, results + 120
	jmp	finish

	.section .end, "ax"
finish:	xorl	%eax, %eax
	outl	%eax, $0xf4
done:	hlt

	/* EN, OS, USR: instructions, cycles, branches, branch misses, and again */
	.section .rodata
	.balign	4
selectors:
	.long	0x4300c0, 0x43003c, 0x4300c4, 0x4300c5, 0x4300c0, 0x43003c, 0x4300c4, 0x4300c5

	.section .results, "aw", @nobits
results:
	.skip	128

	.bss
	.balign	16
	.skip	65536
stack_top:
