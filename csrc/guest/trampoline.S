/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trampoline.S - from real mode, where a SIPI starts a CPU, by protected mode to long mode.
 *
 * Interface: trampoline.h. What lies between trampoline_start and trampoline_end runs at TRAMPOLINE, the
 * rest where it is linked; all of the image lies below 4 GB.
 */
#include "layout.h"

#define MSR_EFER 0xc0000080
#define CR0_PE 0x1
#define CS_64 0x08
#define DS_FLAT 0x10
#define CS_32 0x18

	.text
	.globl	trampoline_start, trampoline_end
	.balign	16
	.code16
trampoline_start:
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	gdt_register - trampoline_start
	movl	%cr0, %eax
	orl	$CR0_PE, %eax
	movl	%eax, %cr0
	ljmpl	$CS_32, $ap_protected

	.balign	8
gdt:
	.quad	0
	.quad	0x00af9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0x00cf9b000000ffff
gdt_register:
	.word	gdt_register - gdt - 1
	.long	TRAMPOLINE + gdt - trampoline_start
trampoline_end:

	.code32
ap_protected:
	movl	$DS_FLAT, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	ap_boot + AP_BOOT_CR4, %eax
	movl	%eax, %cr4
	movl	ap_boot + AP_BOOT_CR3, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	rdmsr
	movl	ap_boot + AP_BOOT_EFER, %eax
	wrmsr
	movl	ap_boot, %eax
	movl	%eax, %cr0
	ljmpl	$CS_64, $ap_long

	.code64
ap_long:
	movq	ap_boot + AP_BOOT_RSP, %rsp
	movq	ap_boot + AP_BOOT_CPU, %rdi
	xorl	%ebp, %ebp
	call	ap_main
	ud2

	.section .note.GNU-stack, "", @progbits
