# SPDX-License-Identifier: Apache-2.0
"""The run loop: exits that are about an instruction and exits that are not, HLT, timers, hosts.

Guests that are out to confuse it: nothing they do may hang a run, invent an exit, or reach the
host's counters.
"""

from __future__ import annotations

import dataclasses

import guest_asm as asm
import pytest

from pmupass.core import Machine, names
from pmupass.records import Stop

each_mode = pytest.mark.parametrize("mode", asm.MODES)
each_vpmu = pytest.mark.parametrize("mode", asm.MODES[1:])
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)

WORK = "\t.byte 0x0f, 0x1f, 0x80, 0x01, 0x55, 0x4d, 0x50\n"  # nopl 0x504d5501(%rax)
KERNEL_MIX = 2


@each_vpmu
@each_cpu
def test_an_exit_of_a_profile_is_over_when_it_is_over(mode: str, cpu: str) -> None:
    # kernel-mix asks for 5 exits in 2^20 instructions (EPT_MISCONFIG 4, IO_INSTRUCTION 1), so 2^21
    # have 8 and 2. The last of both fall on the last instruction; the one goes first, the other
    # would be taken at the next instruction of the profile, which never comes: 8 and 1. A read of
    # memory that is no RAM then exits as EPT_MISCONFIG too: it must leave RCX alone, and be no
    # profile's exit.
    ran = asm.run(
        asm.PRELUDE
        + f"""
	.text
	.globl	_start
_start:	movl	${KERNEL_MIX}, %eax
	movl	$0x200000, %ecx
{WORK}
	movl	$0x7fffffff, %ecx
	movl	$0x40000000, %ebx	/* 1 GB: beyond the 16 MB of RAM, in the identity map */
	movl	$10, %esi
1:	movl	(%rbx), %eax
	decl	%esi
	jnz	1b
	keep	0, %rcx
	finish
""",
        mode=mode,
        cpu=cpu,
    )
    assert ran.result(0) == 0x7FFFFFFF
    reasons = {exit_.reason: exit_ for exit_ in ran.machine.exits()}
    assert reasons["EPT_MISCONFIG"].profile == 8
    assert reasons["EPT_MISCONFIG"].count == 8 + 10
    assert reasons["IO_INSTRUCTION"].profile == 1


@each_vpmu
@pytest.mark.parametrize("reason", names("exit_reasons"))
def test_a_profile_may_ask_for_any_exit(mode: str, reason: str) -> None:
    # One exit in 2^10 instructions: 2^16 instructions have 64. Each is one instruction that KVM
    # completes, whatever it is called, so the work ends and nothing is lost.
    config = asm.config(
        asm.assemble(
            asm.PRELUDE
            + f"""
	.text
	.globl	_start
_start:	movl	$99, %eax
	movl	$65536, %ecx
{WORK}
	finish
"""
        ),
        mode=mode,
        cpu="sapphire-rapids",
    )
    kind = dataclasses.replace(
        config.profiles[0], id=99, exits=((names("exit_reasons").index(reason), 1 << 10),)
    )
    machine = Machine(dataclasses.replace(config, profiles=(kind,)))
    assert machine.run(10_000) is Stop.EXIT
    found = {exit_.reason: exit_.profile for exit_ in machine.exits()}
    assert found[reason] == 64
    # Besides the 64: one OUT.
    assert machine.guest().emulated == 64 + 1


@each_mode
@each_cpu
def test_hlt_sleeps_until_the_timer(mode: str, cpu: str) -> None:
    # An instruction counter runs, so that under KVM the credit of the HLT itself asks for the
    # counters to be looked at before the next entry. That wakes nobody: one HLT, one timer
    # interrupt, and at least the 1,000,000 TSC cycles up to the deadline in between.
    ran = asm.run(
        asm.PRELUDE
        + """
	.text
	.globl	_start
_start:	kernel_setup
	gate	0x40, timer
	wr	0x832, 0x40040		/* LVTT: TSC deadline, vector 0x40 */
	wr	0x186, 0x4300c0
	wr	0x38f, 1
	rdtsc
	shlq	$32, %rdx
	orq	%rdx, %rax
	movq	%rax, %r8
	addq	$1000000, %rax
	movq	%rax, %rdx
	shrq	$32, %rdx
	movl	$0x6e0, %ecx
	wrmsr
	xorl	%r9d, %r9d
	xorl	%r10d, %r10d
1:	incl	%r9d
	sti
	hlt
	cli
	testl	%r10d, %r10d
	jz	1b
	rdtsc
	shlq	$32, %rdx
	orq	%rdx, %rax
	subq	%r8, %rax
	keep	0, %r9
	keep	1, %rax
	finish
timer:	incl	%r10d
	iretq
""",
        mode=mode,
        cpu=cpu,
    )
    assert ran.result(0) == 1
    assert 1_000_000 <= ran.result(1) < 1_100_000
    assert ran.exits().get("HLT", 0) == (mode != "native")


@each_mode
@each_cpu
def test_a_timer_faster_than_its_handling_does_not_hang_the_run(mode: str, cpu: str) -> None:
    # A periodic timer of one tick. KVM stretches it to 200 us (min_timer_period_us); on silicon it
    # expires on every tick. Either way a budget ends, and the loop of 10,000 rounds comes to its
    # end with interrupts off.
    config = asm.config(
        asm.assemble(
            asm.PRELUDE
            + """
	.text
	.globl	_start
_start:	kernel_setup
	wr	0x83e, 0xb		/* divide by 1 */
	wr	0x832, 0x20040		/* LVTT: periodic, vector 0x40 */
	wr	0x838, 1		/* one tick */
	movl	$10000, %ecx
1:	loop	1b
	finish
"""
        ),
        mode=mode,
        cpu=cpu,
    )
    machine = Machine(config)
    stop = Stop.BUDGET
    for _ in range(100):
        stop = machine.run(1000)
        if stop is not Stop.BUDGET:
            break
    assert stop is Stop.EXIT


@each_cpu
def test_a_vm_without_a_vpmu_keeps_out_of_the_hosts_counters(cpu: str) -> None:
    # The host's cycles:H must not see the guest: perf's switch of GLOBAL_CTRL belongs to every
    # VM-entry of a VM that is not mediated, whether its guest has a PMU or not. What it counts are
    # host cycles, and those are what all charges add up to.
    source = """
	.text
	.globl	_start
_start:	movl	$1000000, %ecx
1:	loop	1b
	finish
"""
    for vpmu in (True, False):
        config = asm.config(
            asm.assemble(asm.PRELUDE + source),
            mode="emulated",
            cpu=cpu,
            host_perf=("cycles:DH",),
        )
        kvm = dataclasses.replace(config.kvm, vpmu=vpmu)
        machine = Machine(dataclasses.replace(config, kvm=kvm))
        assert machine.run(1 << 30) is Stop.EXIT
        (host,) = machine.host_events()
        assert 0 < host.count <= sum(cost.cycles for cost in machine.costs())
        assert machine.guest().core_cycles > 100_000
