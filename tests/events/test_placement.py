# SPDX-License-Identifier: Apache-2.0
"""Placement by constraints, as Linux's perf does it."""

from __future__ import annotations

from pmupass import cpus
from pmupass.events import EventTable
from pmupass.events.placement import counter_mask, place

SPR = cpus.load("sapphire-rapids")
SKX = cpus.load("skylake-sp")


def masks(cpu: cpus.CpuModel, text: str) -> list[int]:
    return [spec.counters for spec in EventTable(cpu).parse(text)]


def test_counter_mask() -> None:
    assert counter_mask(SKX.pmu) == 0xF | 7 << 32


def test_fixed_counters_come_first() -> None:
    assert place(masks(SPR, "cycles,instructions,branches"), SPR.pmu) == [33, 32, 0]


def test_the_most_constrained_goes_first() -> None:
    # ref-cycles has fixed 2 alone; instructions finds fixed 0 taken the second time.
    assert place(masks(SKX, "instructions,instructions,ref-cycles"), SKX.pmu) == [32, 0, 34]


def test_too_many() -> None:
    # 4 GP counters for five events that no fixed counter takes.
    assert place(masks(SKX, ",".join(["branches"] * 5)), SKX.pmu) is None
    # Fixed 2 alone for two.
    assert place(masks(SKX, "ref-cycles,ref-cycles"), SKX.pmu) is None
