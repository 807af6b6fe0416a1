# SPDX-License-Identifier: Apache-2.0
"""Thousands of instructions completed by KVM: no mode loses an instruction or a branch.

An instruction that exits is completed by KVM in the guest's place and credited to the counters that
count instructions at its privilege; natively it retires like any other. None of those that exit
here is a branch.
"""

from __future__ import annotations

import guest_asm as asm
import pytest

import pmupass

ROUNDS = 400

# Each round: CPUID, WRMSR and RDMSR of the APIC, OUT and IN.
STORM = f"""
	movl	${ROUNDS}, %esi
1:	xorl	%eax, %eax
	xorl	%ecx, %ecx
	cpuid
	movl	$0x834, %ecx
	movl	$0x400, %eax
	xorl	%edx, %edx
	wrmsr
	rdmsr
	movl	$0x80, %edx
	xorl	%eax, %eax
	outb	%al, %dx
	inb	%dx, %al
	call	2f
	decl	%esi
	jnz	1b
	jmp	3f
2:	ret
3:
"""
# mov, 400 * (15 + ret), jmp; branches: 400 * (call, ret, jnz), jmp. LVTPC's RDMSR does not exit
# with APICv, so of the 16 in a round 4 do: CPUID, WRMSR, OUT, IN.
INSTRUCTIONS = 1 + ROUNDS * 16 + 1
BRANCHES = ROUNDS * 3 + 1
EMULATED = ROUNDS * 4


def storm(privileges: int) -> str:
    """Return the guest: instructions on GP 0 and fixed 0, branches on GP 1."""
    fixed = bool(privileges & asm.OS) | bool(privileges & asm.USR) << 1
    return f"""
	{asm.PRELUDE}
_start:	kernel_setup
	wr	0x38f, 0
	wr	0x186, {asm.EN | privileges | asm.EVENTS["instructions"]}
	wr	0x187, {asm.EN | privileges | asm.EVENTS["branches"]}
	wr	0x38d, {fixed}
	wr	0x4c1, 0
	wr	0x4c2, 0
	wr	0x309, 0
	wr	0x38f, {1 << asm.FIXED | 3}
	{STORM}
	counting_off
	keep_pmc 0, 0
	keep_pmc 1, 1
	keep_pmc 2, 0x40000000
	finish
"""


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
def test_a_storm_of_exits_loses_nothing(mode: str, cpu: str) -> None:
    ran = asm.run(storm(asm.OS | asm.USR), mode=mode, cpu=cpu)
    # and the frame: the WRMSR that enables, 3 instructions before the one that disables
    assert ran.results(3) == [INSTRUCTIONS + 4, BRANCHES, INSTRUCTIONS + 4]
    for counter in ran.counters().values():
        assert counter.true_count == counter.counted > 0
        assert not counter.causes
    if mode == "native":
        assert ran.machine.guest().emulated == 0
        return
    assert ran.machine.guest().emulated >= EMULATED >= 1000
    exits = ran.exits()
    assert exits["CPUID"] == ROUNDS
    assert exits["IO_INSTRUCTION"] == 2 * ROUNDS + 1
    assert exits["MSR_WRITE"] >= ROUNDS
    stats = ran.machine.stats()
    # Two counters count instructions. Credits beyond the storm: the WRMSR that enables, if it
    # exits.
    assert stats["credited_instructions"] - 2 * EMULATED in (0, 2)


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
def test_user_only_counters_get_no_credit_for_the_kernel(mode: str, cpu: str) -> None:
    ran = asm.run(storm(asm.USR), mode=mode, cpu=cpu)
    assert ran.results(3) == [0, 0, 0]
    for counter in ran.counters().values():
        assert counter.true_count == counter.counted == 0
        assert not counter.causes


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
def test_user_code_that_exits_is_credited_to_user_counters(mode: str, cpu: str) -> None:
    """RDPMC with CR4.PCE and CPUID at CPL 3 are credited at CPL 3."""
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	movq	%cr4, %rax
	orq	$0x100, %rax
	movq	%rax, %cr4
	wr	0x38f, 0
	wr	0x186, {asm.EN | asm.USR | asm.EVENTS["instructions"]}
	wr	0x187, {asm.EN | asm.OS | asm.EVENTS["instructions"]}
	wr	0x4c1, 0
	wr	0x4c2, 0
	user_frame user
	wr	0x38f, 3
	iretq
user:	movl	$600, %esi
1:	xorl	%ecx, %ecx
	rdpmc
	cpuid
	decl	%esi
	jnz	1b
	syscall
	ud2
syscall_entry:
	counting_off
	keep_pmc 0, 0
	keep_pmc 1, 1
	finish
"""
    ran = asm.run(source, mode=mode, cpu=cpu)
    # User: mov, 600 * 5, syscall. Kernel: WRMSR, IRET, 3 before the last WRMSR.
    assert ran.results(2) == [1 + 600 * 5 + 1, 1 + 1 + 3]
    for counter in ran.counters().values():
        assert counter.true_count == counter.counted
        assert not counter.causes
    if mode != "native":
        assert ran.machine.guest().emulated >= 600


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
def test_exit_storm_with_events(mode: str, cpu: str) -> None:
    """The built-in storm of CPUIDs with a busy PMU, and with a tick and syscalls about it."""
    result = pmupass.run(
        "exit-storm",
        mode=mode,
        cpu=cpu,
        time="10ms",
        events="instructions,branches,instructions:u,branches:k",
        settings={"guest.pmu": "busy", "guest.chunk": 5000},
    )
    if mode != "native":
        assert result.guest.emulated >= 1000
        assert next(e.count for e in result.exits if e.reason == "CPUID") >= 1000
    assert [c.event for c in result.counters] == [
        "instructions",
        "branches",
        "instructions:u",
        "branches:k",
    ]
    for counter in result.counters:
        assert counter.true > 1000
        assert (counter.lost, counter.causes) == (0, {})
    assert result.silent_errors == []
    assert result.reads.wrong == 0


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
def test_credits_can_make_a_counter_wrap(mode: str, cpu: str) -> None:
    """The last event before the wrap is an emulated instruction: status is set, the value is 0.

    The counter stands 10 short: the WRMSR that enables and 8 plain instructions leave it at -1, so
    CPUID wraps it.
    """
    source = f"""
	{asm.PRELUDE}
_start:	wr	0x38f, 0
	wr	0x38d, 1
	wr	0x309, {(1 << 48) - 10}
	wr	0x38f, {1 << asm.FIXED}
	nop
	nop
	nop
	nop
	nop
	nop
	xorl	%eax, %eax
	xorl	%ecx, %ecx
	cpuid				/* the tenth */
	counting_off
	rd	0x38e
	keep	0
	keep_pmc 1, 0x40000000
	finish
"""
    ran = asm.run(source, mode=mode, cpu=cpu)
    assert ran.results(2) == [1 << asm.FIXED, 3]
    (counter,) = ran.counters().values()
    assert (counter.true_count, counter.counted, counter.overflows) == (13, 13, 1)


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", ["emulated", "mediated"])
def test_kvm_credits_without_looking_at_cmask(mode: str, cpu: str) -> None:
    """KVM compares event and umask only: a counter with a threshold gets a credit it should not.

    What exact hardware counts is cycles with so many instructions; one that KVM completes takes no
    guest cycle. The difference is signed and stands under `uncredited`.
    """
    selector = asm.EN | asm.OS | 1 << 24 | asm.EVENTS["instructions"]
    source = f"""
	{asm.PRELUDE}
_start:	wr	0x38f, 0
	wr	0x186, {selector}
	wr	0x4c1, 0
	wr	0x38f, 1
	movl	$100, %esi
1:	cpuid
	decl	%esi
	jnz	1b
	counting_off
	keep_pmc 0, 0
	finish
"""
    ran = asm.run(source, mode=mode, cpu=cpu)
    (counter,) = ran.counters().values()
    exits = next(i for i in ran.config.kvm.intercepts if i.msr == asm.GLOBAL_CTRL).write
    credited = 100 + exits  # the WRMSR that enables
    assert counter.counted - counter.true_count == credited
    assert counter.causes == {"uncredited": -credited}
    assert ran.result(0) == counter.counted


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
@pytest.mark.parametrize("event", ["instructions", "branches"])
def test_the_fastpath_waits_for_nobody_but_instructions(event: str, mode: str, cpu: str) -> None:
    """100 writes of the TSC deadline, which KVM serves in the inner loop if it may.

    A mediated vCPU's counters are in hardware there, so that a counter of instructions could not be
    credited: the fastpath is refused, and nothing is lost. A counter of branches does not mind.
    """
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	wr	0x832, 0x40040
	wr	0x38f, 0
	wr	0x186, {asm.EN | asm.OS | asm.EVENTS[event]}
	wr	0x4c1, 0
	wr	0x38f, 1
	movl	$100, %esi
	movl	$0x6e0, %ecx
	xorl	%eax, %eax
	movl	$1, %edx		/* far away */
1:	wrmsr
	decl	%esi
	jnz	1b
	counting_off
	keep_pmc 0, 0
	finish
"""
    ran = asm.run(source, mode=mode, cpu=cpu)
    # WRMSR of GLOBAL_CTRL, 4 MOVs and XORs, 100 turns of 3, 3 before the last WRMSR.
    assert ran.result(0) == {"instructions": 1 + 4 + 300 + 3, "branches": 100}[event]
    (counter,) = ran.counters().values()
    assert not counter.causes
    stats = ran.machine.stats()
    refused = 100 if (mode, event) == ("mediated", "instructions") else 0
    assert stats["fastpath_refused"] == refused
    # In the emulated design each credit asks for a reprogramming, which ends the stay in the loop.
    taken = mode == "mediated" or (mode == "emulated" and event == "branches")
    assert stats["fastpath_exits"] == (100 if taken and not refused else 0)
