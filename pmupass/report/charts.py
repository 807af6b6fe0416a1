# SPDX-License-Identifier: Apache-2.0
"""The charts of a benchmark as tables: a row for each point, a column for each series."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UnsetType
from rich.markup import escape

from pmupass.report.console import table

if TYPE_CHECKING:
    from rich.console import Console

    from pmupass.results import Chart

BEST = "*"


def render(console: Console, chart: Chart) -> None:
    """Print a chart; what is best at a point has a star."""
    ranked = not isinstance(chart.best, UnsetType)
    title = f"{chart.text}, {chart.unit}" + (f" ({BEST}: the {chart.best})" if ranked else "")
    out = table(escape(title), escape(chart.point), *(escape(s.name) for s in chart.series))
    for i, point in enumerate(chart.points):
        best = chart.best_of(i)
        cells = [_cell(chart, s.values[i], best=s.name in best) for s in chart.series]
        out.add_row(escape(point) if isinstance(point, str) else f"{point:,.10g}", *cells)
    console.print(out)
    console.print()


def _cell(chart: Chart, value: float | None, *, best: bool) -> str:
    if value is None:
        return "-"
    shown = round(value, chart.digits) + 0.0  # no minus in front of a zero
    star = "" if isinstance(chart.best, UnsetType) else BEST if best else " "
    return f"{shown:,.{chart.digits}f}{star}"
