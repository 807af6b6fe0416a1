# SPDX-License-Identifier: Apache-2.0
"""The report of several modes side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmupass.report import tables
from pmupass.report.console import number, percent, table
from pmupass.report.run import notes, setup

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from pmupass.results import Diff, Difference

SHARES = ("overhead", "standing cost")


def render(console: Console, diff: Diff) -> None:
    """Print a comparison: the setup, the tables with a column a mode, differences, verdict."""
    results = diff.results
    for mode, result in results.items():
        first, second = setup(result)
        if mode == next(iter(results)):
            console.print(
                first.replace(f", {mode} on", f": {', '.join(diff.modes)} on"), markup=False
            )
        console.print(f"{mode}: {second}", markup=False)
    for mode, reason in diff.refusals.items():
        console.print(f"{mode}: refused, {reason}", markup=False, style="red")
    console.print()
    if results:
        for part in (*tables.everything(results), differences(diff)):
            if part is not None:
                console.print(part)
                console.print()
        notes(console, results)
    console.print(diff.verdict, markup=False)


def differences(diff: Diff) -> Table | None:
    """Return the list of differences; unexpected ones are marked."""
    if not diff.differences:
        return None
    out = table("Differences", "class", "what", *diff.results)
    out.columns[1].justify = "left"
    out.add_column("")
    for d in diff.differences:
        cells = [_cell(d, mode) for mode in diff.results]
        out.add_row(d.kind, d.what, *cells, "" if d.expected else "unexpected")
    return out


def _cell(difference: Difference, mode: str) -> str:
    value = difference.values.get(mode)
    if value is None:
        return "-"
    if isinstance(value, float) or difference.what in SHARES:
        return percent(float(value))
    return number(value) if isinstance(value, int) else value
