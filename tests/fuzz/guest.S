/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.S - the guest of fuzz_machine.c: an ELF64 image that sets up descriptors, page tables that
 * user code may use and an IDT, and runs the program that the target has put behind it.
 *
 * The program's rules: R15 is where a fault goes on; RBX points to memory that may be used. An
 * interrupt or NMI does what the bits of fuzz_guest_on_interrupt say, and goes on.
 *
 *	bit 0	status of the PMU read, and reset
 *	bit 1	LVTPC written with what it is now, unmasked
 *	bit 2	EOI, at the xAPIC page and by MSR
 *	bit 3	counter 0 written with -100
 */
#define AT(label) (BASE + label - fuzz_guest)
	.set	BASE, 0x100000
	.set	KERNEL_CS, 0x08
	.set	KERNEL_DS, 0x10
	.set	TSS_SELECTOR, 0x30
	.set	APIC, 0xfee00000
	.set	MEMORY, BASE + 0x80000

	.section .rodata
	.balign	4096
	.globl	fuzz_guest
fuzz_guest:
	.byte	0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
	.word	2, 62
	.long	1
	.quad	AT(start), 64, 0
	.long	0
	.word	64, 56, 1, 0, 0, 0
	.long	1, 7
	.quad	0, BASE, BASE
	.globl	fuzz_guest_filesz
fuzz_guest_filesz:
	.quad	0		/* the target knows it */
	.quad	0x100000, 0x1000

	.balign	8
gdt:	.quad	0
	.quad	0x00af9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0
	.quad	0x00cff3000000ffff	/* 0x23 */
	.quad	0x00affb000000ffff	/* 0x2b */
	.quad	0x0010890000000067 | (tss - fuzz_guest) << 16, 0
gdt_pointer:
	.word	0x3f
	.quad	AT(gdt)
	.balign	8
idt_pointer:
	.word	0xfff
	.quad	BASE + 0x40000
	.balign	8
	.globl	fuzz_guest_on_interrupt
fuzz_guest_on_interrupt:
	.quad	0
	.balign	8
tss:	.long	0
	.quad	BASE + 0x60000, 0, 0, 0
	.quad	BASE + 0x64000, BASE + 0x68000, 0, 0, 0, 0, 0
	.skip	10
	.word	104

	/* RAX: handler, RDI: entry */
put_gate:
	movw	%ax, (%rdi)
	movl	%eax, %edx
	shrl	$16, %edx
	movw	%dx, 6(%rdi)
	movw	$KERNEL_CS, 2(%rdi)
	movw	$0xee00, 4(%rdi)
	addq	$16, %rdi
	ret

start:	lgdt	AT(gdt_pointer)
	movl	$KERNEL_DS, %eax
	movl	%eax, %ss
	movl	%eax, %ds
	movl	%eax, %es
	movl	$TSS_SELECTOR, %eax
	ltr	%ax
	movl	$BASE + 0x5fff0, %esp
	/* 1 GB pages for everybody */
	movl	$BASE + 0x51007, BASE + 0x50000
	xorl	%ecx, %ecx
1:	movl	%ecx, %eax
	shll	$30, %eax
	orl	$0x87, %eax
	movl	%eax, BASE + 0x51000(, %rcx, 8)
	incl	%ecx
	cmpl	$4, %ecx
	jb	1b
	movl	$BASE + 0x50000, %eax
	movq	%rax, %cr3
	/* PCE, FSGSBASE */
	movq	%cr4, %rax
	orl	$0x10100, %eax
	movq	%rax, %cr4
	movl	$BASE + 0x40000, %edi
	xorl	%ebx, %ebx
2:	movl	$AT(on_fault), %eax
	movl	$AT(on_fault_with_code), %edx
	btl	%ebx, AT(with_code)
	cmovcl	%edx, %eax
	movl	$AT(on_nmi), %edx
	cmpl	$2, %ebx
	cmovel	%edx, %eax
	cmpl	$32, %ebx
	movl	$AT(on_interrupt), %edx
	cmovael	%edx, %eax
	call	put_gate
	incl	%ebx
	cmpl	$256, %ebx
	jb	2b
	lidt	AT(idt_pointer)
	movb	$1, BASE + 0x40000 + 8 * 16 + 4		/* #DF and NMI on IST */
	movb	$2, BASE + 0x40000 + 2 * 16 + 4
	/* SYSCALL comes back behind itself at CPL 0 */
	movl	$0xc0000080, %ecx
	rdmsr
	orl	$1, %eax
	wrmsr
	movl	$0xc0000081, %ecx
	xorl	%eax, %eax
	movl	$0x001b0008, %edx
	wrmsr
	movl	$0xc0000082, %ecx
	movl	$AT(on_syscall), %eax
	xorl	%edx, %edx
	wrmsr
	movl	$APIC, %eax
	movl	$0x1ff, 0xf0(%rax)
	movl	$MEMORY, %ebx
	leaq	fuzz_guest_end(%rip), %r15
	jmp	*%r15

	.balign	8
with_code:
	.long	0x00027d00	/* #DF, #TS, #NP, #SS, #GP, #PF, #AC */

on_fault_with_code:
	addq	$8, %rsp
on_fault:
	movq	%r15, (%rsp)
	iretq

on_syscall:
	movl	$BASE + 0x5fff0, %esp
	jmp	*%rcx

on_nmi:
	andl	$~4, AT(fuzz_guest_on_interrupt)
	pushq	%r15
	leaq	3f(%rip), %r15
	jmp	serve
3:	popq	%r15
	iretq

on_interrupt:
	pushq	%r15
	leaq	4f(%rip), %r15
	jmp	serve
4:	popq	%r15
	iretq

	/* A fault in here goes to R15 too, with the stack where it was. */
serve:	movl	AT(fuzz_guest_on_interrupt), %r14d
	testl	$1, %r14d
	jz	5f
	movl	$0x38e, %ecx
	rdmsr
	movl	$0x390, %ecx
	wrmsr
5:	testl	$2, %r14d
	jz	6f
	movl	$APIC, %ecx
	movl	0x340(%rcx), %eax
	andl	$~0x10000, %eax
	movl	%eax, 0x340(%rcx)
6:	testl	$8, %r14d
	jz	7f
	movl	$0xc1, %ecx
	movl	$-100, %eax
	movl	$-1, %edx
	wrmsr
7:	testl	$4, %r14d
	jz	8f
	movl	$APIC, %ecx
	movl	$0, 0xb0(%rcx)
	movl	$0x80b, %ecx
	xorl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
8:	jmp	*%r15

	.balign	16
	.globl	fuzz_guest_end
fuzz_guest_end:

	.section .note.GNU-stack, "", @progbits
