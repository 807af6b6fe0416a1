# SPDX-License-Identifier: Apache-2.0
"""Runs side by side: the same results whoever makes them, and an end when somebody asks for it."""

from __future__ import annotations

import msgspec
import pytest

from pmupass.bench.experiment import Cell, cycles_of, run_all, share_lost
from pmupass.bench.workers import Workers
from pmupass.machine import InterruptedRunError, Session
from pmupass.options import Options

STORM = Options("exit-storm", time_ns=200_000, host=False)
CELLS = [Cell(mode, STORM) for mode in ("mediated", "emulated", "mediated")]


def go_on(_label: str, _fraction: float | None) -> bool:
    return True


@pytest.mark.parametrize("workers", [1, 2])
def test_each_cell_once_in_the_order_given(workers: int) -> None:
    """Two different cells of three; what is kept is of the run, wherever it was made."""
    made = run_all(go_on, "test", CELLS, share_lost, workers)
    assert list(made) == CELLS[:2]
    for cell, kept in made.items():
        assert kept == share_lost(Session(cell.options).whole(cell.mode)) != 0


@pytest.mark.parametrize("workers", [1, 2])
def test_it_ends_when_told(workers: int) -> None:
    """The watch says no: no further run begins."""
    seen: list[float | None] = []

    def no(_label: str, fraction: float | None) -> bool:
        seen.append(fraction)
        return False

    with pytest.raises(InterruptedRunError):
        run_all(no, "test", CELLS, share_lost, workers)
    assert len(seen) == 1


def test_an_exit_by_either_vendors_name() -> None:
    """CPUID or cpuid; the mean of all, and 0 where there is none."""
    for cpu in ("sapphire-rapids", "zen4"):
        result = Session(Options("exit-storm", cpu=cpu, time_ns=200_000, host=False)).whole(
            "mediated"
        )
        (exit_,) = (e for e in result.exits if e.reason in ("CPUID", "cpuid"))
        assert cycles_of(result, "CPUID") == exit_.cycles / exit_.count > 1000
        assert cycles_of(result, "NONE") == 0


def square(n: int) -> int:
    return n * n


def test_progress_ends_at_all_of_it() -> None:
    """Of three more behind seven: 10 in all."""
    seen: list[float | None] = []

    def watch(_label: str, fraction: float | None) -> bool:
        seen.append(fraction)
        return True

    with Workers(watch, "test", 1) as hands:
        assert list(hands.each(square, [1, 2, 3], before=7)) == [(1, 1), (2, 4), (3, 9)]
        assert hands.here(square, 4) == 16
    assert seen == [0.7, 0.8, 0.9, 1.0]


def test_the_share_that_a_guest_loses() -> None:
    """A tenth to the standing vPMU, of the rest a half to profiling: 0.55 of all."""
    result = Session(STORM).whole("mediated")
    assert share_lost(msgspec.structs.replace(result, overhead=0.5, standing_cost=0.1)) == 0.55
    for missing in ("overhead", "standing_cost"):
        with pytest.raises(ValueError, match="a result without"):
            share_lost(msgspec.structs.replace(result, **{missing: None}))
