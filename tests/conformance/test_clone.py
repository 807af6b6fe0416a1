# SPDX-License-Identifier: Apache-2.0
"""Clones: both go on as the one machine would have, and neither notices the other."""

from __future__ import annotations

import dataclasses
import gc
from typing import TYPE_CHECKING

import guest_asm as asm
import pytest

from pmupass.config import Mode
from pmupass.core import Machine
from pmupass.options import Options, parse_time
from pmupass.plan import Plan
from pmupass.records import Stop

if TYPE_CHECKING:
    from pmupass.config import MachineConfig

CASES = [
    ("native", "sapphire-rapids", ()),
    ("emulated", "sapphire-rapids", ()),
    ("emulated", "sapphire-rapids", ("cycles:D", "instructions:D")),
    ("mediated", "sapphire-rapids", ()),
    ("mediated", "skylake-sp", ("cycles:DH",)),
    ("native", "zen4", ()),
    ("emulated", "zen3", ()),
    ("mediated", "zen4", ()),
]
each_case = pytest.mark.parametrize(("mode", "cpu", "host_perf"), CASES)


def config(
    mode: str, cpu: str, host_perf: tuple[str, ...] = (), workload: str = "perf-record"
) -> MachineConfig:
    """Return a guest that samples, multiplexes, ticks, exits and works, with a trace of it all."""
    settings = ("guest.chunk=2000", "guest.memory_mb=32", *asm.NO_ERRATA.get(cpu, ()))
    events = "cycles,instructions,branches,branch-misses,cache-references,cache-misses"
    given: dict = {"events": events, "frequency": 4000} if workload == "perf-record" else {}
    options = Options(
        workload,
        cpu=cpu,
        host=False,
        time_ns=parse_time("2ms"),
        host_perf=host_perf,
        settings=settings,
        **given,
    )
    made = Plan(options).config(Mode[mode.upper()], perf=True)
    return dataclasses.replace(made, trace_records=4000)


def to_end(machine: Machine) -> dict:
    """Run to the end and return all that can be read."""
    while (stop := machine.run(1 << 40)) is Stop.BUDGET:
        pass
    assert stop is Stop.EXIT, machine.invariant()
    return asm.readout(machine)


def cut(machine: Machine, share: float, blocks: int) -> None:
    """Run a share of so many blocks."""
    assert machine.run(int(blocks * share)) is Stop.BUDGET, machine.invariant()


def blocks_of(made: MachineConfig) -> int:
    """Return how many blocks a machine runs, to within a few."""
    machine, total = Machine(made), 0
    while machine.run(256) is Stop.BUDGET:
        total += 256
    return total


@each_case
def test_clone_and_original_go_on_alike(mode: str, cpu: str, host_perf: tuple[str, ...]) -> None:
    """Cloned again and again on the way, clones too: all that can be read is the same."""
    made = config(mode, cpu, host_perf)
    expected = to_end(Machine(made))
    total = blocks_of(made)
    machine, clones = Machine(made), []
    for part in (0.0, 0.1, 0.001, 0.2, 0.3, 0.05):
        if part:
            cut(machine, part, total)
        clones.append(machine.clone())
        # Every second time the clone takes the place of the original.
        if len(clones) % 2:
            machine, clones[-1] = clones[-1], machine
    for n, other in enumerate([*clones, machine]):
        assert to_end(other) == expected, n


@each_case
def test_a_clone_at_every_step(mode: str, cpu: str, host_perf: tuple[str, ...]) -> None:
    """Each block runs on a clone of the machine before it, which is gone by then."""
    made = dataclasses.replace(config(mode, cpu, host_perf), trace_records=0)
    expected = to_end(Machine(made))
    machine = Machine(made)
    machine.run(3000)
    for _ in range(150):
        machine = machine.clone()
        machine.run(1)
    gc.collect()
    assert to_end(machine) == expected


MEMORY = f"""
{asm.PRELUDE}
_start:
	movl	$200, %ecx
	movl	$0x400000, %edi
1:	movq	%rcx, (%rdi)
	movq	%rcx, 8(%rdi)
	addq	$4096, %rdi
	decl	%ecx
	jnz	1b
	finish
"""


def test_memory_is_not_shared() -> None:
    """What one writes the others do not see, whoever writes first, and whoever is gone."""
    made = asm.config(asm.assemble(MEMORY), mode="native", cpu="sapphire-rapids")
    first = Machine(made)
    first.run(100)
    second = first.clone()
    written = [first.physical(0x400000 + 4096 * page, 16) for page in range(200)]
    touched = sum(page != bytes(16) for page in written)
    assert 50 < touched < 150
    third = second.clone()
    to_end(second)
    fourth = second.clone()
    assert [first.physical(0x400000 + 4096 * page, 16) for page in range(200)] == written
    second.close()
    assert [third.physical(0x400000 + 4096 * page, 16) for page in range(200)] == written
    first.close()
    to_end(third)
    for page in range(200):
        expected = (200 - page).to_bytes(8, "little") * 2
        assert third.physical(0x400000 + 4096 * page, 16) == expected
        assert fourth.physical(0x400000 + 4096 * page, 16) == expected


def test_code_that_changes_itself() -> None:
    """A clone knows which pages hold decoded code: stores into them are seen by its own blocks."""
    source = f"""
{asm.PRELUDE}
_start:
	movl	$1000, %ecx
	xorl	%ebx, %ebx
again:	incb	patch + 1
patch:	addl	$0x100, %ebx
	decl	%ecx
	jnz	again
	movq	%rbx, RESULTS
	finish
	.section .text, "awx"
"""
    # Each turn adds one more than the turn before, modulo 256 in the lowest byte of the immediate:
    # the instruction is 81 c3 imm32, and its second byte is patched: c3 is EBX's ModRM, which
    # must not change. So the byte behind it is patched instead.
    source = source.replace("incb	patch + 1", "incb	patch + 2")
    made = asm.config(asm.assemble(source), mode="native", cpu="sapphire-rapids")
    total = sum(0x100 + (turn & 0xFF) for turn in range(1, 1001))
    machine = Machine(made)
    for _ in range(40):
        machine.run(7)
        clone = machine.clone()
        to_end(clone)
        assert int.from_bytes(clone.physical(asm.RESULTS, 8), "little") == total
    to_end(machine)
    assert int.from_bytes(machine.physical(asm.RESULTS, 8), "little") == total


def test_a_clone_of_a_machine_that_has_ended() -> None:
    made = config("mediated", "sapphire-rapids")
    machine = Machine(made)
    expected = to_end(machine)
    clone = machine.clone()
    assert clone.run(1) is Stop.EXIT
    assert asm.readout(clone) == expected


def test_a_bare_machine_beside_host_events() -> None:
    """Its configuration may have host events; it has no host, and can be cloned."""
    made = config("native", "skylake-sp", host_perf=("cycles:DH",))
    machine = Machine(made)
    machine.run(100)
    assert to_end(machine.clone()) == to_end(machine)
