# SPDX-License-Identifier: Apache-2.0
"""Many runs for one chart: each different cell once, on all cores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from pmupass.bench.workers import Workers
from pmupass.machine import Session
from pmupass.results import Series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pmupass.machine import Watch
    from pmupass.options import Options
    from pmupass.results import Result

# CPUs that differ: RDPMC and GLOBAL_* exit, nothing but selectors does, and the same of AMD's.
CPUS = ("sapphire-rapids", "skylake-sp", "zen4")
# Switch policies and their variants: what --switch and --set say.
POLICIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "upstream": ("upstream", ()),
    "entry-exit": ("entry-exit", ()),
    "vcpu-loop": ("vcpu-loop", ()),
    "lazy put": ("lazy", ("kvm.lazy=put",)),
    "lazy load": ("lazy", ("kvm.lazy=load",)),
    "lazy": ("lazy", ()),
    "enlightened": ("enlightened", ()),
    "hint": ("enlightened", ("kvm.pmu_hint=1",)),
}

Kept = TypeVar("Kept")
Name = TypeVar("Name")
Point = TypeVar("Point")


@dataclass(frozen=True, slots=True)
class Cell:
    """One run."""

    mode: str
    options: Options


def run(keep: Callable[[Result], Kept], cell: Cell) -> Kept:
    """Make a run and return what is to be kept of it."""
    return keep(Session(cell.options).whole(cell.mode))


def run_all(
    watch: Watch,
    label: str,
    cells: Iterable[Cell],
    keep: Callable[[Result], Kept],
    workers: int | None = None,
) -> dict[Cell, Kept]:
    """Run cells; ``keep`` is a function of a module, for other processes call it.

    InterruptedRunError if the watch says so.
    """
    wanted = list(dict.fromkeys(cells))
    with Workers(watch, label, workers) as hands:
        made = dict(hands.each(partial(run, keep), wanted))
    return {cell: made[cell] for cell in wanted}


def series(
    names: Iterable[Name], points: Sequence[Point], value: Callable[[Name, Point], float | None]
) -> list[Series]:
    """Return a chart's series, a value for each name and point."""
    return [Series(str(name), [value(name, point) for point in points]) for name in names]


def percent(share: float) -> float:
    """Return a share as a chart has it."""
    return round(100 * share, 4)


def share_lost(result: Result) -> float:
    """Return the share of its time that a guest loses to its vPMU and to using it.

    Against the same work unprofiled in a VM without a vPMU: of the two figures of a result,
    overhead and standing cost, each is a share of what the other leaves. ValueError if one is
    missing, as natively the second.
    """
    if result.standing_cost is None:
        raise ValueError("a result without a standing cost")
    return 1 - (1 - overhead_of(result)) * (1 - result.standing_cost)


def overhead_of(result: Result) -> float:
    """Return the overhead of a result; ValueError if it has none."""
    if result.overhead is None:
        raise ValueError("a result without an overhead")
    return result.overhead


def cycles_of(result: Result, reason: str) -> float:
    """Return the mean cycles of an exit, by its name on either vendor's CPUs; 0.0 if none."""
    found = [e for e in result.exits if e.reason.upper() == reason]
    count = sum(e.count for e in found)
    return sum(e.cycles for e in found) / count if count else 0.0
