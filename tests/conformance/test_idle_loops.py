# SPDX-License-Identifier: Apache-2.0
"""Loops that wait advance in one step, and nothing of a machine shows it, in any mode."""

import time

import guest_asm as asm
import pytest

from pmupass.records import Stop

RING = 1 << 14
LOOPS = 30_000
ROUNDS = 6

# User code that waits in loops, for itself and for a timer, under sampling counters of both
# privileges. The kernel waits with interrupts on, and exits.
WAITING = f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	gate	2, pmi, 1
	gate	0x40, timer
	wr	0x38f, 0
	wr	0x834, 0x400
	wr	0x832, 0x40		/* LVTT: one-shot, set again by each */
	wr	0x83e, 0xb
	wr	0x186, {asm.EN | asm.INT | asm.OS | asm.USR | 0xC0}
	wr	0x4c1, {(1 << 48) - 7001}
	wr	0x187, {asm.EN | asm.INT | asm.USR | 0xC4}
	wr	0x4c2, {(1 << 48) - 5003}
	wr	0x188, {asm.EN | asm.OS | asm.USR | 0x3C}
	user_frame user, 0x202
	wr	0x838, 20000
	wr	0x38f, 7
	iretq
user:	movl	${ROUNDS}, %r12d
1:	movl	${LOOPS}, %ecx
2:	loop	2b
	movq	RESULTS + 64, %rbx
3:	pause
	cmpq	%rbx, RESULTS + 64
	je	3b
	movl	${LOOPS}, %eax
4:	decl	%eax
	jnz	4b
	syscall
	decl	%r12d
	jnz	1b
	movl	$1, %r13d
	syscall
syscall_entry:
	testl	%r13d, %r13d
	jnz	6f
	movq	%rcx, %r14
	xorl	%eax, %eax
	cpuid
	movq	RESULTS + 64, %rbx
	sti
5:	movq	RESULTS + 64, %rax
	cmpq	%rax, %rbx
	je	5b
	movq	%r14, %rcx
	sysretq
6:	counting_off
	keep_pmc 0, 0
	keep_pmc 1, 1
	keep_pmc 2, 2
	finish
timer:	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	incq	RESULTS + 64
	wr	0x838, 20000
	wr	0x80b, 0
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq
pmi:	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	incq	RESULTS + 72
	wr	0x390, 3
	wr	0x4c1, {(1 << 48) - 9001}
	wr	0x4c2, {(1 << 48) - 6007}
	wr	0x834, 0x400
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq
"""


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
def test_nothing_shows_how_idle_loops_are_executed(mode: str, cpu: str) -> None:
    """Every readout, the trace with its times and the guest's memory are equal."""
    image, found = asm.assemble(WAITING), []
    for step, blocks in ((True, 1 << 40), (False, 1 << 40), (False, 4001)):
        ran = asm.run_image(
            image, mode=mode, cpu=cpu, blocks=blocks, one_by_one=step, trace_records=RING
        )
        assert ran.stop is Stop.EXIT
        found.append((asm.readout(ran.machine), ran.results(64)))
    stepped, memory = found[0]
    # Six waits of the user's and six of the kernel's; the two counted loops of user code are three
    # instructions an iteration, and the first counter overflows at every 9001st. (The second one's
    # PMIs may be one with the first one's.)
    assert memory[8] >= 2 * ROUNDS
    assert memory[9] >= 3 * LOOPS * ROUNDS // 9001
    for skipped, left in found[1:]:
        assert left == memory
        for part, value in stepped.items():
            assert skipped[part] == value, part


FOREVER = f"""
	{asm.PRELUDE}
_start:	wr	0x186, {asm.EN | asm.OS | 0xC0}
1:	pause
	jmp	1b
"""


@pytest.mark.parametrize("mode", asm.MODES)
def test_a_loop_without_end_goes_to_the_time_limit_at_once(mode: str) -> None:
    """A guest day. An iteration is 2 instructions and costs a PAUSE and a jump."""
    day = 86_400 * 2_000_000 * 1000  # TSC cycles of Sapphire Rapids' model
    started = time.monotonic()
    ran = asm.run_image(asm.assemble(FOREVER), mode=mode, cpu="sapphire-rapids", time_limit=day)
    assert ran.stop is Stop.TIME
    timing, info = ran.config.timing, ran.machine.guest()
    iteration = (timing["pause"] + timing["simple"]) / 64
    assert info.tsc_cycles >= day
    assert info.instructions == pytest.approx(2 * info.core_cycles / iteration, rel=1e-6)
    (counter,) = ran.machine.counters()
    # GLOBAL_CTRL is all ones at reset: armed by the fourth instruction, which counts itself.
    assert counter.true_count == info.instructions - 3
    assert time.monotonic() - started < 10  # a day of it would take hours


@pytest.mark.parametrize("mode", asm.MODES)
def test_the_clock_has_an_end(mode: str) -> None:
    """Without a limit such a guest ends at 2^56 core cycles, before sums of times overflow."""
    ran = asm.run_image(asm.assemble(FOREVER), mode=mode, cpu="skylake-sp")
    assert ran.stop is Stop.TIME
    info = ran.machine.guest()
    # In all modes the last iteration may reach over it; under KVM host time counts as well.
    assert (1 << 56) - 10**6 < info.core_cycles < (1 << 56) + 1000
