# SPDX-License-Identifier: Apache-2.0
"""The event filter on AMD's CPUs: 12 bits of event select, no fixed counters.

The rules are those of test_filter. A stretch is counted as test_amd_counting says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import guest_amd as amd
import guest_asm as asm
import pytest
from guest_amd import ctl, ctr
from test_amd_counting import BRANCHES, FRAME, INSTRUCTIONS, STORM, counted

import pmupass
from pmupass.config import Filter, FilterAction, FilterEntry

if TYPE_CHECKING:
    from pathlib import Path

ALLOW, DENY = FilterAction.ALLOW, FilterAction.DENY
each_v2_vpmu = pytest.mark.parametrize(
    ("cpu", "mode"), [pair for pair in amd.PAIRS if pair[0] in amd.V2 and pair[1] != amd.NATIVE]
)
REF_CYCLES, LOW_HALF = 0x1_0000_0120, 0x0120


def entry(select: int, umask: int = 0, mask: int = 0xFF) -> FilterEntry:
    return FilterEntry(select, mask, umask)


@amd.each_vpmu
@pytest.mark.parametrize(
    ("action", "entries", "allowed"),
    [
        (DENY, [entry(0x0C0)], False),
        (DENY, [entry(0x1C0)], True),
        (DENY, [entry(0x0C2)], True),
        (ALLOW, [entry(0x0C0)], True),
        (ALLOW, [entry(0x1C0), entry(0xFC0)], False),
        (ALLOW, [entry(0x0C0, 0, 0), FilterEntry(0x0C0, 0xFF, 0, exclude=True)], False),
    ],
)
def test_instructions_and_credits(
    cpu: str, mode: str, action: FilterAction, entries: list[FilterEntry], allowed: bool
) -> None:
    """What hardware counts and what KVM credits are filtered alike; each CPUID is KVM's."""
    ran = asm.run(
        counted(cpu, {0: amd.COUNT | amd.INSTRUCTIONS}, STORM),
        mode=mode,
        cpu=cpu,
        filter=Filter(action, 0, tuple(entries)),
    )
    assert ran.result(0) == (INSTRUCTIONS + FRAME if allowed else 0)
    (counter,) = ran.counters().values()
    assert counter.true_count == INSTRUCTIONS + FRAME
    assert counter.filtered is not allowed
    assert counter.causes.get("filtered", 0) == (0 if allowed else INSTRUCTIONS + FRAME)
    assert not ran.machine.silent_errors()


@each_v2_vpmu
@pytest.mark.parametrize(
    ("action", "select", "allowed"),
    [(DENY, 0x120, False), (DENY, 0x020, True), (ALLOW, 0x120, True), (ALLOW, 0x020, False)],
)
def test_selects_of_12_bits_are_told_apart(
    cpu: str, mode: str, action: FilterAction, select: int, allowed: bool
) -> None:
    """Cycles at the TSC's rate are event 0x120; an entry for 0x020 says nothing about them."""
    body = "movl $5000, %esi\n1: imulq %rax, %rax\n decl %esi\n jnz 1b\n"
    selectors = {0: amd.COUNT | REF_CYCLES, 1: amd.COUNT | LOW_HALF}
    ran = asm.run(
        counted(cpu, selectors, body),
        mode=mode,
        cpu=cpu,
        filter=Filter(action, 0, (entry(select, 0x01),)),
    )
    assert bool(ran.result(0)) is allowed
    by_config = {c.config & 0xF_0000_FFFF: c for c in ran.counters().values()}
    assert by_config[REF_CYCLES].filtered is not allowed
    assert by_config[LOW_HALF].filtered is allowed


@amd.each_vpmu
@pytest.mark.parametrize("sides", [0, amd.GUESTONLY, amd.HOSTONLY, amd.GUESTONLY | amd.HOSTONLY])
def test_neither_rdpmc_nor_the_side_is_filtered(cpu: str, mode: str, sides: int) -> None:
    """A denied counter keeps what was written, by RDPMC too; its selector has lost the sides only.

    An allowed one beside it counts the BRANCHES jumps whatever sides the guest asked for.
    """
    value, selector = 0xABCDEF, amd.COUNT | amd.INSTRUCTIONS | sides
    source = counted(
        cpu,
        {1: amd.COUNT | amd.BRANCHES | sides},
        STORM,
        values=f"wr {ctr(0)}, {value}\nwr {ctl(0)}, {selector}",
    ).replace("finish\n", f"keep_pmc 2, 0\nrd {ctr(0)}\nkeep 3\nrd {ctl(0)}\nkeep 4\nfinish\n", 1)
    ran = asm.run(source, mode=mode, cpu=cpu, filter=Filter(DENY, 0, (entry(0x0C0),)))
    assert ran.results(5)[1:] == [BRANCHES, value, value, amd.COUNT | amd.INSTRUCTIONS]


@amd.each_vpmu
def test_a_filter_file(cpu: str, mode: str, tmp_path: Path) -> None:
    """As a user writes it; an allow list need not name fixed counters, there are none."""
    path = tmp_path / "filter.toml"
    path.write_text('action = "allow"\nevents = ["branches"]\n', encoding="utf-8")
    result = pmupass.run(
        "perf-stat",
        mode=mode,
        cpu=cpu,
        events="cycles,instructions,branches",
        filter=path,
        time="2ms",
        settings=asm.NO_ERRATA.get(cpu, ()),
    )
    counters = {c.event: c for c in result.counters}
    for event in ("cycles", "instructions"):
        counter = counters[event]
        assert counter.filtered
        assert counter.counted == 0
        assert counter.causes == {"filtered": counter.true}
    assert not counters["branches"].filtered
    assert counters["branches"].counted > 100_000
    assert result.silent_errors == []
