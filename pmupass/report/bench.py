# SPDX-License-Identifier: Apache-2.0
"""The report of a benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UnsetType

from pmupass.report.console import table

if TYPE_CHECKING:
    from rich.console import Console

    from pmupass.results import Bench, Measurement


def render(console: Console, bench: Bench) -> None:
    """Print a table a group; published figures stand beside ours."""
    for group in dict.fromkeys(m.group for m in bench.results):
        rows = [m for m in bench.results if m.group == group]
        published = any(not isinstance(m.published, UnsetType) for m in rows)
        out = table(group, "", "value", *(["published"] if published else []))
        out.add_column("unit")
        for m in rows:
            out.add_row(m.name, f"{m.value:,}", *([_published(m)] if published else []), m.unit)
        console.print(out)
        console.print()
    sources = dict.fromkeys(m.source for m in bench.results if not isinstance(m.source, UnsetType))
    for source in sources:
        console.print(f"published: {source}", markup=False)
    if not bench.complete:
        console.print("Interrupted: these are the figures so far.")


def _published(measurement: Measurement) -> str:
    value = measurement.published
    return "-" if isinstance(value, UnsetType) else f"{value:,}"
