# SPDX-License-Identifier: Apache-2.0
"""Which counters KVM reprograms for a write, and what reprogramming does to events of host perf.

A guest does a few accesses; the same guest with one access more shows what that one costs. The
counters count no instructions and no branches, so that KVM credits them nothing and reprograms
them for no other reason.
"""

from __future__ import annotations

import dataclasses

import guest_asm as asm
import pytest
from guest_asm import EVENTS, run, run_script, script

from pmupass.core import Machine
from pmupass.records import Stop

COUNT = asm.EN | asm.OS | asm.USR
LOADS, STORES = COUNT | EVENTS["loads"], COUNT | EVENTS["stores"]
TURNS = 20
FIXED_1_2 = 0x330  # OS and USR of fixed counters 1 and 2
BOTH_AND_FIXED = 3 | 6 << asm.FIXED

# Two GP counters and two fixed ones that count.
SET_UP = [
    ("wr", asm.EVTSEL0, LOADS),
    ("wr", asm.EVTSEL0 + 1, STORES),
    ("wr", asm.FIXED_CTR_CTRL, FIXED_1_2),
    ("wr", asm.GLOBAL_CTRL, BOTH_AND_FIXED),
]


def stats(ops: list[tuple], mode: str, cpu: str) -> dict[str, int]:
    """Return the core's statistics of a guest that does these accesses."""
    return run(script(ops), mode=mode, cpu=cpu).machine.stats()


def added(op: tuple, name: str, mode: str, cpu: str) -> int:
    """Return what one more access adds to a statistic."""
    return stats([*SET_UP, op], mode, cpu)[name] - stats(SET_UP, mode, cpu)[name]


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", ["emulated", "mediated"])
@pytest.mark.parametrize(
    ("op", "counters"),
    [
        pytest.param(("wr", asm.EVTSEL0, LOADS), 0, id="the same selector"),
        pytest.param(("wr", asm.EVTSEL0, STORES), 1, id="another selector"),
        pytest.param(("wr", asm.FIXED_CTR_CTRL, FIXED_1_2), 0, id="the same FIXED_CTR_CTRL"),
        pytest.param(("wr", asm.FIXED_CTR_CTRL, 0x310), 1, id="one field of FIXED_CTR_CTRL"),
        pytest.param(("wr", asm.FIXED_CTR_CTRL, 0), 2, id="both fields of FIXED_CTR_CTRL"),
        pytest.param(("wr", asm.PERFCTR0, 1234), 0, id="a counter"),
    ],
)
def test_a_write_reprograms_what_it_changes(mode: str, cpu: str, op: tuple, counters: int) -> None:
    """A selector its counter if it changes; FIXED_CTR_CTRL those whose field changes."""
    assert added(op, "reprograms", mode, cpu) == counters


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize(
    ("value", "counters"), [(BOTH_AND_FIXED, 0), (BOTH_AND_FIXED & ~1, 1), (2, 3), (0, 4)]
)
def test_global_ctrl_reprograms_what_it_changes(cpu: str, value: int, counters: int) -> None:
    """Emulated: the counters whose bit differs. Mediated guests may write it without KVM."""
    assert added(("wr", asm.GLOBAL_CTRL, value), "reprograms", "emulated", cpu) == counters


@pytest.mark.parametrize("cpu", asm.CPUS)
def test_a_refused_event_is_tried_again_with_the_next(cpu: str) -> None:
    """Loads get a constraint that no counter fulfils, so perf refuses their event (-EINVAL).

    Its counter stays marked without a request: the next write that asks for a reprogramming has
    two counters looked at, the one that it changes and the refused one.
    """
    made = asm.config(b"", mode="emulated", cpu=cpu)
    maps = tuple(
        dataclasses.replace(entry, counters=1 << 63) if entry.config == EVENTS["loads"] else entry
        for entry in made.event_maps
    )
    refused = [("wr", asm.EVTSEL0, LOADS), ("spin", 1000)]
    before, after = (
        run(script(ops), mode="emulated", cpu=cpu, event_maps=maps).machine
        for ops in (refused, [*refused, ("wr", asm.EVTSEL0 + 1, STORES)])
    )
    assert after.stats()["reprograms"] - before.stats()["reprograms"] == 2
    assert after.stats()["perf_events_created"] - before.stats()["perf_events_created"] == 1


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", ["emulated", "mediated"])
def test_a_write_drops_credits_that_are_not_folded_in(mode: str, cpu: str) -> None:
    """[9] The VMM writes 0 to a counter at each step of a guest, behind emulated CPUIDs too.

    A credit that survived the write would be folded in on top of 2^48 - 1, which is an overflow.
    """
    source = f"""
	{asm.PRELUDE}
_start:	wr	{asm.EVTSEL0}, {asm.EN | asm.OS | EVENTS["instructions"]}
	movl	${TURNS}, %esi
1:	xorl	%eax, %eax
	cpuid
	decl	%esi
	jnz	1b
	rd	{asm.GLOBAL_STATUS}
	keep	0
	finish
"""
    made = Machine(asm.config(asm.assemble(source), mode=mode, cpu=cpu))
    writes = emulated = 0
    while made.run(1) is Stop.BUDGET:
        if made.guest().emulated != emulated and writes < TURNS:
            emulated = made.guest().emulated
            assert made.set_msrs([(asm.PERFCTR0, 0)]) == 1
            assert made.get_msrs([asm.PERFCTR0, asm.GLOBAL_STATUS]) == [0, 0]
            writes += 1
    assert writes == TURNS
    assert int.from_bytes(made.physical(asm.RESULTS, 8), "little") == 0


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize(
    ("more", "created", "resumed"),
    [
        pytest.param([("wr", asm.EVTSEL0, STORES)], 1, 0, id="another event"),
        pytest.param([("wr", asm.EVTSEL0, LOADS & ~asm.USR)], 1, 0, id="other privileges"),
        pytest.param(
            [("wr", asm.GLOBAL_CTRL, 0), ("wr", asm.GLOBAL_CTRL, BOTH_AND_FIXED)],
            0,
            4,
            id="all off and on",
        ),
        pytest.param(
            [("wr", asm.EVTSEL0, LOADS & ~asm.EN), ("wr", asm.EVTSEL0, LOADS)],
            0,
            1,
            id="one off and on",
        ),
    ],
)
def test_an_event_is_resumed_for_what_it_was_made_for(
    cpu: str, more: list[tuple], created: int, resumed: int
) -> None:
    """Emulated: another configuration gets an event of its own, the same one the old event."""
    before, after = stats(SET_UP, "emulated", cpu), stats([*SET_UP, *more], "emulated", cpu)
    assert after["perf_events_created"] - before["perf_events_created"] == created
    assert after["perf_events_resumed"] - before["perf_events_resumed"] == resumed


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
@pytest.mark.parametrize("first", [0, 1 << 20])
def test_a_counter_written_while_it_runs_overflows_by_what_was_written(
    mode: str, cpu: str, first: int
) -> None:
    """A running counter that is far from its overflow is written to be 256 branches before it.

    The loop has a thousand branches, the script a few more for each step.
    """
    ops = [
        ("wr", asm.GLOBAL_CTRL, 1),
        ("wr", asm.PERFCTR0, first),
        ("wr", asm.EVTSEL0, COUNT | EVENTS["branches"]),
        ("wr", asm.PERFCTR0, (1 << 32) - 256),
        ("rd", asm.GLOBAL_STATUS),
        ("spin", 1000),
        ("rd", asm.GLOBAL_STATUS),
    ]
    assert run_script(ops, mode=mode, cpu=cpu)[4::2] == [0, 1]
