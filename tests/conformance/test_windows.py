# SPDX-License-Identifier: Apache-2.0
"""What waits for the guest to become able to take it: no window is forgotten, no sleep begun.

An NMI and an interrupt wait together; they become possible at different boundaries, and each has to
be taken at the first one, however a run is cut.
"""

from __future__ import annotations

import guest_asm as asm
import pytest

NMI_TO_SELF, VECTOR = 0x40400, 0x50


@pytest.mark.parametrize("apicv", [True, False])
@pytest.mark.parametrize("mode", asm.MODES)
def test_an_nmi_waits_for_the_iret_of_an_interrupt(mode: str, *, apicv: bool) -> None:
    """The handler of an NMI sends itself another one and an interrupt, then allows interrupts.

    The interrupt comes behind the instruction that follows STI. Its IRET ends the blocking of NMIs,
    so that the second NMI comes before the instruction to which it returns.
    """
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	gate	2, nmi
	gate	{VECTOR}, interrupt
	xorl	%ebx, %ebx
	wr	0x830, {NMI_TO_SELF}
	ud2
nmi:	incl	%ebx
	cmpl	$2, %ebx
	je	second
	wr	0x830, {NMI_TO_SELF}
	wr	0x830, {0x40000 | VECTOR}
	sti
	nop
behind:	nop
	movl	$3, %ebx
	finish	1
interrupt:
	movq	(%rsp), %rax
	keep	0
	keep	1, %rbx
	iretq
second:	movq	(%rsp), %rax
	keep	2
	movq	$behind, %rax
	keep	3
	finish
"""
    ran = asm.run(source, mode=mode, cpu="skylake-sp", settings=(f"kvm.apicv={int(apicv)}",))
    behind = ran.result(3)
    assert ran.results(3) == [behind, 1, behind]


# What is pending when HLT exits, and how often the vCPU's thread goes to sleep.
SLEEPS = {
    "interrupt": (f"wr 0x830, {0x40000 | VECTOR}\n\tsti\n\thlt", 0),
    "step": ("pushfq\n\torl $0x100, (%rsp)\n\tpopfq\n\thlt", 0),
    "nothing": ("wr 0x832, 0x40050\n\tdeadline\n\tsti\n\thlt", 1),
}


@pytest.mark.parametrize("pending", SLEEPS)
@pytest.mark.parametrize("mode", ["emulated", "mediated"])
def test_a_halt_with_something_pending_does_not_sleep(mode: str, pending: str) -> None:
    """Linux looks at pending events when it emulates HLT, a queued single-step trap among them."""
    code, sleeps = SLEEPS[pending]
    source = f"""
	{asm.PRELUDE}
	.macro	deadline
	rdtsc
	addl	$100000, %eax
	adcl	$0, %edx
	movl	$0x6e0, %ecx
	wrmsr
	.endm
_start:	kernel_setup
	gate	1, handler
	gate	{VECTOR}, handler
	{code}
behind:	ud2
handler:
	movq	(%rsp), %rax
	keep	0
	movq	$behind, %rax
	keep	1
	finish
"""
    ran = asm.run(source, mode=mode, cpu="skylake-sp")
    assert ran.result(0) == ran.result(1)
    assert ran.exits()["HLT"] == 1
    counts = dict.fromkeys(("VCPU_BLOCK", "EMULATE_HALT"), 0)
    for cost in ran.machine.costs():
        if cost.cost in counts:
            counts[cost.cost] += cost.count
    assert counts == {"VCPU_BLOCK": sleeps, "EMULATE_HALT": 1}
