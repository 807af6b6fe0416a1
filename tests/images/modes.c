// SPDX-License-Identifier: Apache-2.0
/*
 * modes.c - from long mode to compatibility mode, to 32-bit protected mode without paging, and back,
 * with exceptions, interrupts and user code in each.
 *
 * The loader's way in, from protected to long mode, is start.S.
 */
#include "apic.h"
#include "page_tables.h"
#include "runtime.h"

#define IPI_VECTOR 0x61
#define USER_CS32 0x1b

/* What the 32-bit code left. */
extern struct {
	u32 compatible;	      /* INC EAX by a byte that is a REX prefix in 64-bit code */
	u32 compatible_stack; /* what PUSH moved ESP by */
	u32 efer, cr0;	      /* in protected mode */
	u32 nr_bp, bp_cs;
	u32 nr_ud, nr_de;
	u32 nr_gp, gp_error;
	u32 nr_ipis, ipi_flags;
	u32 pusha; /* what PUSHA moved ESP by */
	u32 user_cs, user_ss, user_ebx;
	u32 wrapped; /* an address is cut to 32 bits */
	u32 aam;     /* a decimal instruction that long mode does not have */
} left;

struct gate32 {
	u16 offset0, selector;
	u8 reserved, type;
	u16 offset16;
};

extern struct gate32 idt32[256];
struct gate32 idt32[256] __attribute__((aligned(16)));
static u32 tss32[26] __attribute__((aligned(16)));
static u8 stack32[4096] __attribute__((aligned(16)));
extern const u8 bp32[], ud32[], de32[], gp32[], ipi32[], user_return32[];
void tour(void);

__asm__("	.text\n"
	"	.code64\n"
	"tour:\n"
	"	.irp	reg, rbx, rbp, r12, r13, r14, r15\n"
	"	pushq	%\\reg\n"
	"	.endr\n"
	"	movq	%rsp, saved_rsp\n"
	"	sidt	saved_idt\n"
	"	pushq	$0x40\n"
	"	pushq	$1f\n"
	"	lretq\n"

	/* Compatibility mode: 32-bit code, the tables of long mode. */
	"	.code32\n"
	"1:	movl	$41, %eax\n"
	"	.byte	0x40\n" /* INC EAX */
	"	movl	%eax, left + 0\n"
	"	movl	%esp, %eax\n"
	"	pushl	$0\n"
	"	subl	%esp, %eax\n"
	"	movl	%eax, left + 4\n"
	"	popl	%ecx\n"
	"	int3\n" /* to a handler of 64 bits */

	/* Out of long mode; this code is where it is with or without paging. */
	"	movl	%cr0, %eax\n"
	"	andl	$0x7fffffff, %eax\n"
	"	movl	%eax, %cr0\n"
	"	movl	$0xc0000080, %ecx\n"
	"	rdmsr\n"
	"	andl	$~0x100, %eax\n"
	"	wrmsr\n"
	"	rdmsr\n"
	"	movl	%eax, left + 8\n"
	"	movl	%cr0, %eax\n"
	"	movl	%eax, left + 12\n"
	"	lidtl	idt32_pointer\n"
	"	movl	$0x10, %eax\n"
	"	movl	%eax, %ds\n"
	"	movl	%eax, %es\n"
	"	movl	%eax, %ss\n"
	"	int3\n"
	"	ud2\n"
	"	xorl	%ecx, %ecx\n"
	"	divl	%ecx\n"
	"	movl	$0x78, %eax\n"
	"	movl	%eax, %es\n" /* behind the GDT */
	"	movl	%esp, %eax\n"
	"	pushal\n"
	"	subl	%esp, %eax\n"
	"	movl	%eax, left + 48\n"
	"	popal\n"
	"	movl	$0xfffffff0, %ecx\n" /* and 0x10 more is 0, and so on */
	"	movl	left + 0x10(%ecx), %eax\n"
	"	movl	%eax, left + 64\n"
	"	movl	$57, %eax\n"
	"	aam\n" /* AH = 5, AL = 7 */
	"	movzwl	%ax, %eax\n"
	"	movl	%eax, left + 68\n"

	/* An interrupt of the APIC. */
	"	movl	$0x40061, 0xfee00300\n"
	"	sti\n"
	"	nop\n"
	"	cli\n"

	/* User code of 32 bits, and back by INT on the stack of a 32-bit TSS. */
	"	movl	$0x48, %eax\n"
	"	ltr	%ax\n"
	"	movl	%esp, saved_esp\n"
	"	pushl	$0x23\n"
	"	pushl	$user_stack_top\n"
	"	pushl	$2\n"
	"	pushl	$0x1b\n"
	"	pushl	$2f\n"
	"	iretl\n"
	"2:	movl	$0x5555, %ebx\n"
	"	int	$0x82\n"
	"user_return32:\n"
	"	movl	4(%esp), %eax\n"
	"	movl	%eax, left + 52\n"
	"	movl	16(%esp), %eax\n"
	"	movl	%eax, left + 56\n"
	"	movl	%ebx, left + 60\n"
	"	movl	saved_esp, %esp\n"

	/* Back to long mode. */
	"	movl	$0x10, %eax\n"
	"	movl	%eax, %ds\n"
	"	movl	%eax, %es\n"
	"	movl	$0xc0000080, %ecx\n"
	"	rdmsr\n"
	"	orl	$0x100, %eax\n"
	"	wrmsr\n"
	"	movl	%cr0, %eax\n"
	"	orl	$0x80000000, %eax\n"
	"	movl	%eax, %cr0\n"
	"	ljmpl	$0x08, $3f\n"
	"	.code64\n"
	"3:	lidt	saved_idt\n"
	"	movq	saved_rsp, %rsp\n"
	"	.irp	reg, r15, r14, r13, r12, rbp, rbx\n"
	"	popq	%\\reg\n"
	"	.endr\n"
	"	ret\n"

	"	.code32\n"
	"bp32:	incl	left + 16\n"
	"	pushl	4(%esp)\n"
	"	popl	left + 20\n"
	"	iretl\n"
	"ud32:	incl	left + 24\n"
	"	addl	$2, (%esp)\n"
	"	iretl\n"
	"de32:	incl	left + 28\n"
	"	addl	$2, (%esp)\n"
	"	iretl\n"
	"gp32:	incl	left + 32\n"
	"	popl	left + 36\n"
	"	addl	$2, (%esp)\n"
	"	iretl\n"
	"ipi32:	incl	left + 40\n"
	"	pushl	8(%esp)\n"
	"	popl	left + 44\n"
	"	movl	$0, 0xfee000b0\n"
	"	iretl\n"
	"	.code64\n"

	"	.data\n"
	"idt32_pointer:\n"
	"	.word	8 * 256 - 1\n"
	"	.long	idt32\n"
	"	.bss\n"
	"	.balign	16\n"
	"	.globl	left\n"
	"left:	.skip	128\n"
	"saved_rsp:\n"
	"	.skip	8\n"
	"saved_esp:\n"
	"	.skip	8\n"
	"saved_idt:\n"
	"	.skip	16\n"
	"	.text\n");

static void set_gate32(u32 vector, const u8 *entry, u8 type)
{
	u32 offset = (u32)(uintptr_t)entry;

	idt32[vector] = (struct gate32){(u16)offset, KERNEL_CS32, 0, type, (u16)(offset >> 16)};
}

static void prepare(void)
{
	u64 base = (uintptr_t)tss32;

	set_gate32(VECTOR_BP, bp32, GATE_INTERRUPT);
	set_gate32(VECTOR_UD, ud32, GATE_INTERRUPT);
	set_gate32(VECTOR_DE, de32, GATE_INTERRUPT);
	set_gate32(VECTOR_GP, gp32, GATE_INTERRUPT);
	set_gate32(IPI_VECTOR, ipi32, GATE_INTERRUPT);
	set_gate32(0x82, user_return32, GATE_INTERRUPT | GATE_USER);
	tss32[1] = (u32)(uintptr_t)(stack32 + sizeof(stack32)); /* ESP0 */
	tss32[2] = KERNEL_DS;
	tss32[25] = 0x680000; /* no I/O map */
	gdt[FREE_SELECTOR / 8] = (sizeof(tss32) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
				 (base >> 24 & 0xff) << 56;
}

static struct trap_frame seen;

static void note(struct trap_frame *f)
{
	seen = *f;
}

void image_main(void)
{
	u64 efer = rdmsr(0xc0000080);

	apic_enter(XAPIC);
	prepare();
	on_trap(VECTOR_BP, note);
	for (u32 round = 1; round <= 3; round++) {
		tour();
		/* The TSS of long mode again; it is still marked busy. */
		gdt[TSS_SELECTOR / 8] &= ~(2ull << 40);
		gdt[FREE_SELECTOR / 8] &= ~(2ull << 40);
		__asm__ volatile("ltr %w0" : : "r"(TSS_SELECTOR));
		expect(left.compatible, 42, "compatibility mode: 0x40 is INC EAX");
		expect(left.compatible_stack, 4, "compatibility mode: a push is 4 bytes");
		expect(seen.cs, KERNEL_CS32, "compatibility mode: INT3 to a handler of 64 bits");
		expect(left.efer & 0x500, 0, "protected mode: LMA and LME are off");
		expect(left.cr0 >> 31, 0, "protected mode: paging is off");
		expect(left.nr_bp, round, "protected mode: #BP through the 32-bit IDT");
		expect(left.bp_cs, KERNEL_CS32, "from 32-bit code");
		expect(left.nr_ud, round, "protected mode: #UD");
		expect(left.nr_de, round, "protected mode: #DE");
		expect(left.nr_gp, round, "protected mode: #GP");
		expect(left.gp_error, 0x78, "with the selector as its error code");
		expect(left.nr_ipis, round, "protected mode: an interrupt of the APIC");
		expect(left.ipi_flags & RFLAGS_IF, RFLAGS_IF, "with interrupts on");
		expect(left.pusha, 32, "protected mode: PUSHA is 8 registers");
		expect(left.user_cs, USER_CS32, "user code of 32 bits");
		expect(left.user_ss, USER_DS, "on its own stack");
		expect(left.user_ebx, 0x5555, "ran");
		expect(left.wrapped, 42, "protected mode: addresses wrap at 4 GB");
		expect(left.aam, 0x0507, "protected mode: decimal instructions");
		expect(rdmsr(0xc0000080), efer, "long mode again, as before");
	}
}
