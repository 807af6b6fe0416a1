# SPDX-License-Identifier: Apache-2.0
"""The table at the end of a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.measure import Measurement

from pmupass.report.console import number, percent, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from pmupass.results import SweepLine

OUTCOME = "outcome"
ERRORS = 5
UNLIMITED = 100_000
WORD = 24  # what is longer may be folded


def render(console: Console, columns: Sequence[str], lines: Sequence[SweepLine]) -> None:
    """Print a row a cell; how it went, where not all went well."""
    if not columns:
        return
    chosen = list(columns)
    if OUTCOME not in chosen and any(line.outcome != "ok" for line in lines):
        chosen.append(OUTCOME)
    # Settings without their set., and lines that are no wider than they have to be.
    headers = [name.removeprefix("set.").replace("_", "\n") for name in chosen]
    out = table("", "cell", *map(escape, headers))
    out.title = None
    out.columns[0].justify = "right"
    for name, column in zip(chosen, out.columns[1:], strict=True):
        cells = [_cell(line, name) for line in lines]
        column.no_wrap = max(map(len, cells), default=0) <= WORD
        if name == OUTCOME or any(name in line.axes for line in lines):
            column.justify = "left"
    for line in lines:
        out.add_row(str(line.cell), *(escape(_cell(line, column)) for column in chosen))
    # A number that is broken into two lines is another number.
    unlimited = console.options.update(max_width=UNLIMITED)
    console.width = max(console.width, Measurement.get(console, unlimited, out).minimum)
    console.print(out)


def _cell(line: SweepLine, column: str) -> str:
    if column == OUTCOME:
        return line.outcome
    if column in line.axes:
        return _label(line.axes[column])
    return _value(line.figures[column]) if column in line.figures else "-"


def _label(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return str(int(value)) if isinstance(value, bool) else str(value)


def _value(value: Any) -> str:
    """Return a figure for people: floats of the documents are shares."""
    if isinstance(value, float):
        return percent(value)
    if isinstance(value, bool) or value is None:
        return "-" if value is None else str(int(value))
    if isinstance(value, int):
        return number(value)
    if isinstance(value, list):
        return " ".join(map(_value, value)) or "-"
    if isinstance(value, dict):
        return " ".join(f"{name} {_value(inner)}" for name, inner in value.items()) or "-"
    return str(value)


def summary(lines: Iterable[SweepLine], total: int) -> list[str]:
    """Return in words how the cells went: how many, and what went wrong."""
    outcomes: dict[str, int] = {}
    errors: dict[str, list[int]] = {}
    for line in lines:
        outcomes[line.outcome] = outcomes.get(line.outcome, 0) + 1
        if line.outcome != "ok":
            # What has several lines points into the first one: they stay below each other.
            gap = "\n" if "\n" in str(line.error) else " "
            errors.setdefault(f"{line.outcome}:{gap}{line.error}", []).append(line.cell)
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items())
    done = sum(outcomes.values())
    of = f"{done:,}" if done == total else f"{done:,} of {total:,}"
    noun = "cell" if total == 1 else "cells"
    out = [f"{of} {noun}: {counts}" if counts else f"{of} {noun}"]
    for text, cells in list(errors.items())[:ERRORS]:
        more = f" and {len(cells) - 1:,} more" if len(cells) > 1 else ""
        out.append(f"cell {cells[0]}{more}: {text}")
    if len(errors) > ERRORS:
        out.append(f"and {len(errors) - ERRORS} other errors")
    return out
