# SPDX-License-Identifier: Apache-2.0
"""Multiboot images: 32-bit entry, to long mode and back, fw_cfg, PIC, fallbacks, in every mode.

The image is ELF32 with 64-bit code in it, as third-party test guests are: the program is assembled
for x86-64, and objcopy makes ELF32 of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import guest_asm as asm
import pytest

from pmupass.errors import UsageError
from pmupass.options import Options
from pmupass.plan import Plan
from pmupass.records import Stop

if TYPE_CHECKING:
    from pathlib import Path

CPU = "sapphire-rapids"

# Leaves EAX, EBX's information, goes to long mode, counts there, comes back, counts there.
TOUR = (
    asm.MULTIBOOT
    + r"""
	movl	%eax, RESULTS
	movl	(%ebx), %eax		/* flags */
	movl	%eax, RESULTS + 4
	movl	8(%ebx), %eax		/* mem_upper */
	movl	%eax, RESULTS + 8
	movl	20(%ebx), %eax		/* mods_count */
	movl	%eax, RESULTS + 12
	movl	16(%ebx), %esi		/* cmdline */
	movl	$RESULTS + 0x100, %edi
1:	lodsb
	stosb
	testb	%al, %al
	jnz	1b

	movl	$stack_top, %esp
	movw	$0x510, %dx		/* fw_cfg: CPUs, low byte and high byte */
	movw	$5, %ax
	outw	%ax, %dx
	incw	%dx
	xorl	%eax, %eax
	inb	%dx, %al
	movb	%al, %ah
	inb	%dx, %al
	xchgb	%al, %ah
	movl	%eax, RESULTS + 16
	movb	$0xff, %al
	outb	%al, $0x21
	outb	%al, $0xa1

	lgdtl	gdt_pointer
	lidtl	idt32_pointer
	ljmpl	$0x18, $2f
2:	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$handler32, %eax	/* a 32-bit gate for vector 3 */
	movw	%ax, idt32 + 24
	movw	$0x18, idt32 + 26
	movw	$0x8e00, idt32 + 28
	shrl	$16, %eax
	movw	%ax, idt32 + 30
	int3
	movl	%esi, RESULTS + 20

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

handler32:
	movl	$0x3232, %esi
	iretl

	.code64
long_mode:
	movl	$0x186, %ecx		/* counter 0: instructions */
	movl	$0x4300c0, %eax
	xorl	%edx, %edx
	wrmsr
	movl	$0x38f, %ecx
	movl	$1, %eax
	xorl	%edx, %edx
	wrmsr
	movl	$1000, %ecx
3:	loop	3b
	/* to compatibility mode, still counting */
	pushq	$0x18
	pushq	$compatible
	lretq
	.code32
compatible:
	movl	$1000, %ecx
4:	decl	%ecx
	jnz	4b
	pushal
	popal
	movl	%cr0, %eax		/* out of long mode */
	andl	$0x7fffffff, %eax
	movl	%eax, %cr0
	movl	$1000, %ecx
5:	loop	5b
	movl	$0x38f, %ecx
	xorl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
	xorl	%ecx, %ecx
	rdpmc
	movl	%eax, RESULTS + 24
	movl	$text, %esi		/* the text port */
	movw	$0x8900, %dx
6:	lodsb
	testb	%al, %al
	jz	7f
	outb	%al, %dx
	jmp	6b
7:	xorl	%eax, %eax
	outl	%eax, $0xf4
text:	.asciz	"three modes\n"

	.section .tables, "aw"
	.balign	4096
pml4:	.quad	pdpt + 7
	.skip	4088
pdpt:	.quad	0x83
	.quad	0x40000083
	.quad	0x80000083
	.quad	0xc0000083
	.skip	4064
gdt:	.quad	0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
gdt_pointer:
	.word	31
	.long	gdt
idt32:	.skip	256
idt32_pointer:
	.word	255
	.long	idt32
	.skip	4096
stack_top:
"""
)

# GLOBAL_CTRL is set from reset, so the first WRMSR counts itself; then mov, mov, xor, WRMSR; mov,
# 1000 loop, push, push, lretq; mov, 1000 dec, 1000 jnz, pusha, popa; three for CR0; mov, 1000 loop,
# mov, xor, xor. The last WRMSR is not counted.
TOUR_INSTRUCTIONS = 1 + 4 + 1 + 1000 + 3 + 1 + 2000 + 2 + 3 + 1 + 1000 + 3

HALT = asm.MULTIBOOT + "\tcli\n\thlt\n"
AVX = asm.MULTIBOOT + "\tvzeroupper\n"


@pytest.mark.parametrize("elf32", [True, False], ids=["elf32", "elf64"])
@pytest.mark.parametrize("mode", asm.MODES)
def test_a_multiboot_image_goes_through_the_modes(mode: str, elf32: bool) -> None:
    data = asm.multiboot_image(TOUR, elf32=elf32)
    assert data[4] == (1 if elf32 else 2)
    ran = asm.run_image(data, mode=mode, cpu="sapphire-rapids")
    info = ran.machine.guest()
    assert ran.stop is Stop.EXIT, f"{ran.stop!r} at {info.rip:#x} {info.bytes.hex(' ')}"
    assert info.exit_value == 0
    words = [(w >> shift) & 0xFFFFFFFF for w in ran.results(4) for shift in (0, 32)]
    assert words[0] == 0x2BADB002
    assert words[1] & 5 == 5  # memory, command line
    assert words[2] == (16 - 1 - 1) * 1024  # 16 MB without the first and the last
    assert words[3] == 0
    assert words[4] == 1  # one CPU
    assert words[5] == 0x3232  # INT3 through the 32-bit IDT
    assert words[6] == TOUR_INSTRUCTIONS
    raw = ran.machine.physical(asm.RESULTS + 0x100, 64)
    assert raw.split(b"\0")[0].split()[0] == b"guest"
    assert ran.machine.serial() == "three modes\n"


# mods_count, the size of the module, its text and the byte behind it; the string.
MODULE = (
    asm.MULTIBOOT
    + r"""
	movl	20(%ebx), %eax
	movl	%eax, RESULTS
	movl	24(%ebx), %edx
	movl	(%edx), %esi
	movl	4(%edx), %ecx
	subl	%esi, %ecx
	movl	%ecx, RESULTS + 4
	incl	%ecx
	movl	$RESULTS + 16, %edi
	rep movsb
	movl	8(%edx), %esi
	movl	(%esi), %eax
	movl	%eax, RESULTS + 8
	xorl	%eax, %eax
	outl	%eax, $0xf4
"""
)


@pytest.mark.parametrize("mode", asm.MODES)
def test_the_environment_file_is_the_module(mode: str, tmp_path: Path) -> None:
    text = b"A=1\nNAME=value with spaces\n"
    (tmp_path / "env").write_bytes(text)
    image = asm.multiboot_image(MODULE)
    ran = asm.run_image(image, mode=mode, cpu=CPU, settings=(f"guest.env_file={tmp_path / 'env'}",))
    assert ran.stop is Stop.EXIT
    raw = ran.machine.physical(asm.RESULTS, 16 + len(text) + 1)
    assert raw[:8] == (1).to_bytes(4, "little") + len(text).to_bytes(4, "little")
    assert raw[8:12] == b"env\0"
    assert raw[16:] == text + b"\0"


def test_built_in_guests_take_no_environment_file(tmp_path: Path) -> None:
    (tmp_path / "env").write_bytes(b"A=1")
    options = Options("perf-stat", settings=(f"guest.env_file={tmp_path / 'env'}",))
    with pytest.raises(UsageError, match="for images of your own; perf-stat takes its settings"):
        Plan(options)


@pytest.mark.parametrize("mode", asm.MODES)
def test_hlt_with_interrupts_off_ends_the_run(mode: str) -> None:
    ran = asm.run_image(asm.multiboot_image(HALT), mode=mode, cpu="sapphire-rapids")
    assert ran.stop is Stop.HALTED


@pytest.mark.parametrize("mode", asm.MODES)
def test_what_is_not_implemented_stops_with_its_bytes(mode: str) -> None:
    ran = asm.run_image(asm.multiboot_image(AVX), mode=mode, cpu="sapphire-rapids")
    assert ran.stop is Stop.UNIMPLEMENTED
    assert ran.machine.guest().bytes[:3] == b"\xc5\xf8\x77"
