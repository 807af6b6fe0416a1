/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worst.S - guests that never end, and do as much as they can for each block of the interpreter's budget.
 * ROUNDS says which; the order is that of bench/images.py.
 */
	.text
	.globl	run
run:	movl	%edi, %edi
	jmp	*table(, %rdi, 8)

jump:	jmp	.

loop:	movq	$-1, %rcx
	loop	.
	jmp	loop

string:	movl	$0x4000000, %edi	/* 384 MiB, byte by byte */
	movl	$0x18000000, %ecx
	rep stosb
	jmp	string

work:	xorl	%eax, %eax
	movq	$-1, %rcx
	.byte	0x0f, 0x1f, 0x80, 0x01, 0x55, 0x4d, 0x50
	jmp	work

fault:	lgdt	gdt_pointer
	lidt	idt_pointer
	movl	$handler, %eax
	movw	%ax, idt + 14 * 16
	movw	$8, idt + 14 * 16 + 2
	movw	$0x8e00, idt + 14 * 16 + 4
	shrl	$16, %eax
	movw	%ax, idt + 14 * 16 + 6
	movabsq	$0x100000000, %rbx	/* above what is mapped */
1:	movl	(%rbx), %eax
handler:
	addq	$8, %rsp
	iretq

rewrite:
	incl	1f + 1
1:	movl	$0, %eax
	incl	2f + 1
2:	movl	$0, %eax
	jmp	rewrite

exits:	xorl	%eax, %eax
	cpuid
	jmp	exits

device:	movl	0xfee00020, %eax
	jmp	device

unaligned:
	movl	$0x4000000 - 4, %ebx
1:	.set	page, 0
	.rept	24
	movq	page(%rbx), %rax
	.set	page, page + 4096
	.endr
	addq	$0x20000, %rbx
	andl	$0xfffffff, %ebx
	jmp	1b

flush:	movq	%cr3, %rax
1:	movq	%rax, %cr3
	movq	0x4000000, %rbx
	jmp	1b

	.section .rodata
	.balign	8
table:	.quad	jump, loop, string, work, fault, rewrite, exits, device, unaligned, flush

	.data
	.balign	16
gdt:	.quad	0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
	.word	23
	.quad	gdt
	.balign	16
idt:	.skip	256
idt_pointer:
	.word	255
	.quad	idt
