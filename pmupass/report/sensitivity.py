# SPDX-License-Identifier: Apache-2.0
"""The report of how far conclusions depend on costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UnsetType

from pmupass.report.console import table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from pmupass.results import ConclusionReport, Sensitivity

MOST = 5  # costs of a conclusion that are shown
COST = "cost."
LEGEND = """\
Verdicts. holds: whatever the costs are in their ranges, up to the worst corner, which has each at
its worse end. till N %: for each cost alone, and for all together on N % of the way to that corner.
flips: one cost alone ends it. no: not even with the table's own costs.
Each figure is of runs made anew with those costs. A cost that a run is not charged was not varied
alone, but with all such costs at once, and the run came out the same."""


def render(console: Console, found: Sensitivity) -> None:
    """Print what holds, and for each conclusion what moves it most."""
    console.print(
        f"{found.costs} costs with a range, guest.perf_work from 50 to 200; {found.runs:,} runs; "
        f"{found.draws} draws by seed {found.seed}\n"
    )
    out = table(
        "Conclusions", "", "has to be", "is", "one cost", "draws", "worst corner", "verdict"
    )
    for c in found.conclusions:
        singles = [c.value, *(at for s in c.swings for at in (s.at_low, s.at_high))]
        out.add_row(
            c.name,
            f"{c.relation} {_figure(c, c.bound)}",
            _figure(c, c.value),
            _span(c, singles),
            _span(c, (c.drawn.min, c.drawn.max)),
            _figure(c, c.worst),
            c.in_words,
        )
    console.print(out)
    console.print()
    console.print(LEGEND, markup=False)
    console.print()
    for c in found.conclusions:
        _conclusion(console, c)


def _conclusion(console: Console, c: ConclusionReport) -> None:
    """Print the widest costs first."""
    title = f"{c.name}: {c.text}"
    out = table(title, f"{c.figure}, {_figure(c, c.value)}", "from", "to", "at low", "at high")
    out.add_column("flips at", justify="right")
    for s in c.widest(MOST):
        flips = "-" if isinstance(s.flips_at, UnsetType) else f"{s.flips_at:,}"
        name = s.key.removeprefix(COST)
        ends = (_figure(c, s.at_low), _figure(c, s.at_high))
        out.add_row(name, f"{s.low:,}", f"{s.high:,}", *ends, flips)
    all_of_them = (_figure(c, c.all_low), _figure(c, c.all_high))
    out.add_row("all of them", "low", "high", *all_of_them, "")
    out.add_row(
        "each at its better, its worse end", "", "", _figure(c, c.best), _figure(c, c.worst)
    )
    console.print(out)
    console.print()


def _span(c: ConclusionReport, values: Iterable[float]) -> str:
    low, *_, high = sorted(values)
    return f"{_figure(c, low)} to {_figure(c, high)}"


def _figure(c: ConclusionReport, value: float) -> str:
    return f"{100 * value:.1f}%" if c.unit == "%" else f"{value:.2f}"
