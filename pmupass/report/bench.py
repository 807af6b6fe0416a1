# SPDX-License-Identifier: Apache-2.0
"""The report of a benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UnsetType

from pmupass.report import charts, sensitivity
from pmupass.report.console import table

if TYPE_CHECKING:
    from rich.console import Console

    from pmupass.results import Bench, Measurement

CONCLUSIONS = "conclusions"  # has a report of its own


def render(console: Console, bench: Bench) -> None:
    """Print a table a group, published figures beside ours, and a table for each chart."""
    if not isinstance(bench.sensitivity, UnsetType):
        sensitivity.render(console, bench.sensitivity)
    for group in dict.fromkeys(m.group for m in bench.results if m.group != CONCLUSIONS):
        rows = [m for m in bench.results if m.group == group]
        more = [column for column in COLUMNS if any(COLUMNS[column](m) for m in rows)]
        out = table(group, "", "value", *more)
        out.add_column("unit")
        for m in rows:
            cells = [COLUMNS[column](m) or "-" for column in more]
            out.add_row(m.name, f"{m.value:,}", *cells, m.unit)
        console.print(out)
        console.print()
    for chart in bench.charts:
        charts.render(console, chart)
    for m in bench.results:
        if not isinstance(m.analysis, UnsetType):
            console.print(f"{m.name}: {m.analysis}\n", markup=False)
    sources = dict.fromkeys(m.source for m in bench.results if not isinstance(m.source, UnsetType))
    for source in sources:
        console.print(f"published: {source}", markup=False)
    if not bench.complete:
        console.print("Interrupted: these are the figures so far.")


def _published(m: Measurement) -> str:
    return "" if isinstance(m.published, UnsetType) else f"{m.published:,}"


def _ratio(m: Measurement) -> str:
    return "" if isinstance(m.ratio, UnsetType) else f"{m.ratio:.2f}"


def _verdict(m: Measurement) -> str:
    return "" if isinstance(m.verdict, UnsetType) else m.verdict


COLUMNS = {"published": _published, "ratio": _ratio, "verdict": _verdict}
