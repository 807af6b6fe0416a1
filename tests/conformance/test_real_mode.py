# SPDX-License-Identifier: Apache-2.0
"""From long mode down to real mode and up again, with two counters running, in every mode.

The guest copies its 16-bit code below 64 KB, as start-up code for further CPUs is copied, and goes
there itself: 64-bit code, compatibility mode, 32-bit code without paging, 16-bit protected mode,
real mode with an interrupt through its vector table, and back. Every instruction counts once, in
whatever mode, and so does every branch.
"""

from __future__ import annotations

import guest_asm as asm
import pytest

LOOPS_64, LOOPS_32, LOOPS_16 = 100, 70, 50

PAGE_TABLES = r"""
	.section .tables, "aw"
	.balign	4096
pml4:	.quad	pdpt + 7
	.skip	4088
pdpt:	.quad	0x83
	.quad	0x40000083
	.quad	0x80000083
	.quad	0xc0000083
	.skip	4064
	/* 64-bit code, data, 32-bit code, 16-bit code, 16-bit data */
gdt:	.quad	0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
	.quad	0x00009b000000ffff, 0x000093000000ffff
gdt_pointer:
	.word	47
	.long	gdt
	.skip	4096
stack_top:
"""

TO_LONG_MODE = r"""
	movl	$stack_top, %esp
	lgdtl	gdt_pointer
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%cr4, %eax
	orl	$0x20, %eax
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx
	rdmsr
	orl	$0x100, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$0x80000000, %eax
	movl	%eax, %cr0
	ljmpl	$8, $long_mode
	.code64
long_mode:
"""

TOUR = (
    asm.MULTIBOOT
    + f"\t.set\tLOOPS_64, {LOOPS_64}\n\t.set\tLOOPS_32, {LOOPS_32}\n\t.set\tLOOPS_16, {LOOPS_16}\n"
    + asm.WR_32
    + r"""
	.set	LOW, 0x8000

	cld
	movl	$low, %esi
	movl	$LOW, %edi
	movl	$low_end - low, %ecx
	rep movsb
	movl	$LOW + on_interrupt - low, 0x100	/* vector 40 of real mode: selector 0 */
"""
    + TO_LONG_MODE
    + r"""
	wr	0x38f, 0
	wr	0x186, 0x4300c0		/* instructions */
	wr	0x187, 0x4300c4		/* branches */
	wr	0x38f, 3		/* 1: it counts itself */

	movl	$LOOPS_64, %ecx		/* 1 + LOOPS_64, as many branches */
1:	loop	1b
	pushq	$0x18			/* 3, 1 branch */
	pushq	$compatible
	lretq
	.code32
compatible:				/* 3 */
	movl	%cr0, %eax
	andl	$0x7fffffff, %eax
	movl	%eax, %cr0
	movl	$LOOPS_32, %ecx		/* 1 + 2 LOOPS_32, LOOPS_32 branches */
2:	decl	%ecx
	jnz	2b
	ljmpl	$0x20, $LOW		/* 1, 1 branch */

back_to_32:				/* 5 */
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$stack_top, %esp
	movl	%cr0, %eax		/* 3 */
	orl	$0x80000000, %eax
	movl	%eax, %cr0
	ljmpl	$8, $back_to_64		/* 1, 1 branch */
	.code64
back_to_64:
	movl	$0x38f, %ecx		/* 3, and the WRMSR is not counted */
	xorl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
	movl	%esi, RESULTS + 16
	movl	%edi, RESULTS + 20
	xorl	%ecx, %ecx
	rdpmc
	movl	%eax, RESULTS
	movl	%edx, RESULTS + 4
	movl	$1, %ecx
	rdpmc
	movl	%eax, RESULTS + 8
	movl	%edx, RESULTS + 12
	xorl	%eax, %eax
	outl	%eax, $0xf4

	.balign	16
	.code16
low:	movw	$0x28, %ax		/* 4 */
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	%cr0, %eax		/* 3 */
	andl	$~1, %eax
	movl	%eax, %cr0
	ljmp	$LOW >> 4, $real - low	/* 1, 1 branch */
real:	xorw	%ax, %ax		/* 5 */
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	$0x7c00, %sp
	lidtl	%cs:vectors - low	/* 1 */
	xorl	%esi, %esi		/* 1 */
	int	$0x40			/* 1, 1 branch */
	movw	$LOOPS_16, %cx		/* 1 + LOOPS_16, as many branches */
3:	loop	3b
	call	4f			/* 1, 1 branch */
	movw	$0x7000, %di		/* 4 */
	movw	$16, %cx
	movb	$0x55, %al
	rep stosb
	pushal				/* 2 */
	popal
	sti				/* 3 */
	nop
	cli
	movw	$0x3f8, %dx		/* 3 */
	movb	$'R', %al
	outb	%al, %dx
	lgdtl	%cs:tables - low	/* 1 */
	movl	%cr0, %eax		/* 3 */
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$0x18, $back_to_32	/* 1, 1 branch */
4:	incw	%si			/* 2, 1 branch */
	ret
on_interrupt:				/* 2, 1 branch */
	addw	$16, %si
	iretw
vectors:
	.word	0x3ff
	.long	0
tables:	.word	47
	.long	gdt
low_end:
"""
    + PAGE_TABLES
)

INSTRUCTIONS = (
    (1 + 1 + LOOPS_64 + 3)  # 64-bit code
    + (3 + 1 + 2 * LOOPS_32 + 1)  # compatibility mode, then 32-bit code
    + (4 + 3 + 1)  # 16-bit protected mode
    + (5 + 1 + 1 + 1 + 1 + LOOPS_16 + 1 + 4 + 2 + 3 + 3 + 1)  # real mode
    + (2 + 2)  # the called function, the handler
    + (3 + 1)  # real mode, then 16-bit protected mode
    + (5 + 3 + 1 + 3)  # 32-bit code, compatibility mode, 64-bit code
)
BRANCHES = (LOOPS_64 + 1) + (LOOPS_32 + 1) + 1 + (1 + LOOPS_16 + 1) + 2 + 1 + 1


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
def test_counts_are_exact_from_long_mode_to_real_mode_and_back(mode: str, cpu: str) -> None:
    ran = asm.run_image(asm.multiboot_image(TOUR), mode=mode, cpu=cpu)
    info = ran.machine.guest()
    assert ran.stop.name == "EXIT", f"{ran.stop!r} at {info.rip:#x} {info.bytes.hex(' ')}"
    assert ran.result(0) == INSTRUCTIONS
    assert ran.result(1) == BRANCHES
    assert ran.result(2) == 0x7010 << 32 | 17  # DI behind the string, SI of both callees
    assert ran.machine.serial() == "R"
    assert ran.machine.physical(0x6FFF, 18) == b"\0" + b"\x55" * 16 + b"\0"
    counters = ran.counters()
    for config, want in ((0x300C0, INSTRUCTIONS), (0x300C4, BRANCHES)):
        counter = counters[config]
        assert (counter.true_count, counter.counted) == (want, want)


# An IPI of INIT, level-triggered and asserted, to all but the sender; then two of SIPI.
BROADCAST = (
    asm.MULTIBOOT
    + TO_LONG_MODE
    + r"""
	movl	$0xfee00000, %ebx
	movl	$0x1ff, 0xf0(%rbx)		/* software enable */
	movl	$0, 0x310(%rbx)
	movl	$0xc4500, 0x300(%rbx)
	movl	$0xc4607, 0x300(%rbx)
	movl	$0xc4607, 0x300(%rbx)
	movl	0x300(%rbx), %eax		/* delivery status: idle */
	movl	%eax, RESULTS
	movl	0x280(%rbx), %eax		/* no error */
	movl	%eax, RESULTS + 4
	movl	$0x1b, %ecx			/* to x2APIC */
	rdmsr
	orl	$0xc00, %eax
	wrmsr
	movl	$0x830, %ecx
	xorl	%edx, %edx
	movl	$0xc4500, %eax
	wrmsr
	movl	$0xc4607, %eax
	wrmsr
	wrmsr
	movw	$0x510, %dx			/* as many CPUs as fw_cfg says: this one */
	movw	$5, %ax
	outw	%ax, %dx
	incw	%dx
	inb	%dx, %al
	movzbl	%al, %eax
	movl	%eax, RESULTS + 8
	xorl	%eax, %eax
	outl	%eax, $0xf4
"""
    + PAGE_TABLES
)


@pytest.mark.parametrize("mode", asm.MODES)
def test_init_and_sipi_to_all_others_reach_nobody(mode: str) -> None:
    ran = asm.run_image(asm.multiboot_image(BROADCAST), mode=mode, cpu="sapphire-rapids")
    info = ran.machine.guest()
    assert ran.stop.name == "EXIT", f"{ran.stop!r} at {info.rip:#x} {info.bytes.hex(' ')}"
    assert ran.result(0) == 0xC4607
    assert ran.result(1) & 0xFFFFFFFF == 1
    assert ran.machine.stats()["ignored_ipis"] == 6
