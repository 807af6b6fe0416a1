# SPDX-License-Identifier: Apache-2.0
"""Registers of Intel's PMU that few guests touch, on every Intel CPU model and in each mode.

Fixed counter 3 and the topdown metrics beside it, what KVM offers of DEBUGCTL, RDPMC outside of
long mode, a checkpointed counter's interrupt. Numbers in brackets are those of docs/model.md's
list.
"""

from __future__ import annotations

import guest_asm as asm
import pytest
from guest_asm import GP, run_script
from test_guest_cpuid import INTEL_CPUS, SKYLAKES

from pmupass.records import Stop

NATIVE, EMULATED, MEDIATED = asm.MODES
each_mode = pytest.mark.parametrize("mode", asm.MODES)
each_vpmu = pytest.mark.parametrize("mode", [EMULATED, MEDIATED])
each_cpu = pytest.mark.parametrize("cpu", INTEL_CPUS)
with_slots = pytest.mark.parametrize(
    "cpu", [cpu for cpu in INTEL_CPUS if cpu not in (*SKYLAKES, "sierra-forest")]
)

DEBUGCTL, METRICS, PERF_CAPABILITIES = 0x1D9, 0x329, 0x345
LBR, BTF, FREEZE_LBRS, FREEZE_PERFMON = 1 << 0, 1 << 1, 1 << 11, 1 << 12
FIXED_TYPE, METRICS_TYPE = 0x40000000, 0x20000000


# ---- fixed counter 3 ----

# Issue slots a cycle: Sunny Cove 5, Golden Cove and its successor 6 (as Intel says of them).
WIDTH = {"icelake-sp": 5, "sapphire-rapids": 6, "emerald-rapids": 6, "granite-rapids": 6}


@with_slots
@each_mode
def test_fixed_counter_3_counts_slots(mode: str, cpu: str) -> None:
    """Natively, and in a guest that KVM gives it to: the issue width for each cycle."""
    settings = ("kvm.max_fixed_counters=4",)
    ops = [
        ("wr", asm.GLOBAL_CTRL, 0),
        ("wr", asm.FIXED_CTR_CTRL, 0x3030),
        ("wr", asm.GLOBAL_CTRL, 0xA << 32),
        ("spin", 1000),
        ("wr", asm.GLOBAL_CTRL, 0),
        ("pmc", FIXED_TYPE | 1),
        ("pmc", FIXED_TYPE | 3),
        ("rd", asm.FIXED_CTR0 + 3),
    ]
    found = run_script(ops, mode=mode, cpu=cpu, settings=settings)
    cycles, slots = int(found[5]), int(found[6])
    # Both are rounded down, from the same start: a cycle may be cut in two.
    assert cycles > 200
    assert abs(slots - WIDTH[cpu] * cycles) <= WIDTH[cpu]
    assert found[7] == slots


@each_cpu
@each_vpmu
def test_kvm_keeps_fixed_counter_3(mode: str, cpu: str) -> None:
    """Linux 7.0 offers three: its register, field, enable bit and RDPMC index are #GP."""
    ops = [
        ("rd", asm.FIXED_CTR0 + 3),
        ("wr", asm.FIXED_CTR_CTRL, 1 << 12),
        ("wr", asm.GLOBAL_CTRL, 1 << 35),
        ("pmc", FIXED_TYPE | 3),
    ]
    assert run_script(ops, mode=mode, cpu=cpu) == [GP] * 4


@each_cpu
@each_mode
@pytest.mark.parametrize("settings", [(), ("kvm.max_fixed_counters=4",)], ids=["", "4 fixed"])
def test_there_are_no_metrics(mode: str, cpu: str, settings: tuple[str, ...]) -> None:
    """[29] PERF_METRICS: no register, no enable bit, no RDPMC type, and no capability bit (15).

    No guest of KVM has them. The silicon of Ice Lake and later does; the model's has not, and so
    does not say that it had.
    """
    ops = [
        ("rd", METRICS),
        ("wr", METRICS, 0),
        ("wr", asm.GLOBAL_CTRL, 1 << 48),
        ("pmc", METRICS_TYPE),
        ("pmc", METRICS_TYPE | FIXED_TYPE),
        ("rd", PERF_CAPABILITIES),
    ]
    found = run_script(ops, mode=mode, cpu=cpu, settings=settings)
    assert found[:5] == [GP] * 5
    assert not int(found[5]) >> 15 & 1


# ---- DEBUGCTL ----


@each_cpu
@each_vpmu
def test_what_kvm_offers_of_debugctl(mode: str, cpu: str) -> None:
    """[28] No freezing on a PMI. LBR and BTF are taken and dropped: there is no virtual LBR."""
    ops = [
        ("rd", DEBUGCTL),
        ("wr", DEBUGCTL, LBR | BTF),
        ("rd", DEBUGCTL),
        ("wr", DEBUGCTL, FREEZE_PERFMON),
        ("wr", DEBUGCTL, FREEZE_LBRS),
        ("wr", DEBUGCTL, FREEZE_LBRS | LBR),
        *(("wr", DEBUGCTL, 1 << bit) for bit in range(2, 64, 7)),
        ("wr", DEBUGCTL, 0),
        ("rd", DEBUGCTL),
    ]
    expected = [0, 0, 0, GP, GP, GP, *[GP] * 9, 0, 0]
    assert run_script(ops, mode=mode, cpu=cpu) == expected


@each_cpu
def test_debugctl_of_silicon(cpu: str) -> None:
    """Reads 0, takes 0, faults for reserved bits; what turns something on stops the run."""
    ops = [("rd", DEBUGCTL), ("wr", DEBUGCTL, 0), ("wr", DEBUGCTL, 8), ("wr", DEBUGCTL, 1 << 63)]
    assert run_script(ops, mode=NATIVE, cpu=cpu) == [0, 0, GP, GP]
    for bit in (LBR, BTF, FREEZE_LBRS, FREEZE_PERFMON):
        image = asm.assemble(asm.script([("wr", DEBUGCTL, bit)]))
        ran = asm.run_image(image, mode=NATIVE, cpu=cpu)
        assert ran.stop is Stop.UNIMPLEMENTED
        assert ran.machine.guest().bytes[:2] == b"\x0f\x30"  # the WRMSR


# ---- checkpointed counters ----


@each_cpu
@each_mode
def test_the_interrupt_of_a_checkpointed_counter(mode: str, cpu: str) -> None:
    """[13] perf takes no period for IN_TXCP: emulated, its overflow is never seen."""
    code = asm.EN | asm.OS | asm.INT | 0x3C | 1 << 33
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	gate	0xf0, pmi
	movq	$0, RESULTS
	wr	0x834, 0xf0
	sti
	wr	0x38f, 0
	wr	0x188, {code}
	wr	0x4c3, {asm.WIDTH - 300}
	wr	0x38f, 4
	movl	$3000, %esi
1:	decl	%esi
	jnz	1b
	counting_off
	rd	0x38e
	keep	1
	pmc	2
	keep	2
	finish
pmi:	incq	RESULTS
	iretq
"""
    ran = asm.run(source, mode=mode, cpu=cpu, settings=("cpu.rtm=1",))
    pmis, status, value = ran.results(3)
    assert (pmis, status) == ((0, 0) if mode == EMULATED else (1, 4))
    # 3,000 rounds of two instructions, at two to four a cycle, less the 301 to the wrap; or a
    # few hundred cycles more for the interrupt.
    assert 1000 < value < 4000


# ---- RDPMC outside of long mode ----

MODES_OF_CODE = (
    asm.MULTIBOOT
    + asm.WR_32
    + r"""
	.set	LOW, 0x8000
	.macro	read ecx, where
	movl	$\ecx, %ecx
	rdpmc
	movl	%eax, \where
	.endm

	wr	0x38f, 0
	wr	0x4c1, 77
	wr	0x309, 78
	/* 32-bit protected mode at CPL 0, CR4.PCE clear */
	read	0, 0x6000
	read	0x40000000, 0x6004
	cld
	movl	$low, %esi
	movl	$LOW, %edi
	movl	$low_end - low, %ecx
	rep movsb
	movl	$LOW + on_gp - low, 0x34	/* vector 13 of real mode: selector 0 */
	lidtl	idt_pointer
	lgdtl	gdt_pointer
	ljmpl	$8, $LOW
low:	.code16
	movw	$0x10, %ax
	movw	%ax, %ds
	movw	%ax, %ss
	movl	%cr0, %eax
	andb	$0xfe, %al
	movl	%eax, %cr0
	ljmpl	$0, $LOW + real - low
real:	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %ss
	movw	$0x7000, %sp
	read	0, 0x6008
	read	0x40000000, 0x600c
	xorl	%ebx, %ebx
	read	0x80000000, 0x6010
	read	0x20000000, 0x6010
	read	8, 0x6010
	movl	%ebx, 0x6014
	xorl	%eax, %eax
	outl	%eax, $0xf4
	hlt
on_gp:	incl	%ebx
	movw	%sp, %bp
	addw	$2, (%bp)
	iretw
low_end:
	.section .tables, "aw"
	.balign	8
gdt:	.quad	0, 0x00009b000000ffff, 0x000093000000ffff
gdt_pointer:
	.word	23
	.long	gdt
idt_pointer:
	.word	0x3ff
	.long	0
"""
)


@each_cpu
@each_mode
def test_rdpmc_in_protected_and_real_mode(mode: str, cpu: str) -> None:
    """[29] Allowed whatever CR4.PCE says; what is #GP elsewhere is #GP there too.

    The interrupt goes through real mode's vector table. No CPU model has a GP counter 8.
    """
    ran = asm.run_image(asm.multiboot_image(MODES_OF_CODE), mode=mode, cpu=cpu)
    assert ran.stop is Stop.EXIT
    words = ran.machine.physical(0x6000, 24)
    found = [int.from_bytes(words[4 * i : 4 * i + 4], "little") for i in range(6)]
    assert found[:4] == [77, 78, 77, 78]
    assert found[5] == 3
