# SPDX-License-Identifier: Apache-2.0
"""The console that reports are written to, and how numbers look in them."""

from __future__ import annotations

import errno
import os
import re
import sys
from typing import IO, Any, cast

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 100


class _Trimmed:
    """A text file whose lines end where their text does; a table's cells are padded."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        self._file.write(re.sub(r" +(?=\n)", "", text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Console(Console):
    """Leaves a closed output to the command line; rich would end the program with status 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def make(*, stderr: bool = False, file: IO[str] | None = None) -> Console:
    """Return a console of at most 100 columns, of exactly 100 where the output is no terminal."""
    if file is None and sys.stdout is not None and not stderr:
        file = cast("IO[str]", _Trimmed(sys.stdout))
    console = _Console(stderr=stderr, file=file, highlight=False, soft_wrap=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    return console


def table(title: str, *columns: str) -> Table:
    """Return an empty table: the first column names the row, the others hold numbers."""
    out = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        show_edge=False,
    )
    for i, column in enumerate(columns):
        if i == 0:
            out.add_column(column, overflow="fold")
        else:
            out.add_column(column, justify="right", overflow="fold")
    return out


def number(value: int | None) -> str:
    """Return an integer with separators, ``-`` for none."""
    return "-" if value is None else f"{value:,}"


def percent(value: float | None) -> str:
    """Return a share as a percentage with two decimals, ``-`` for none."""
    return "-" if value is None else f"{100 * value:z.2f}%"


def ratio(part: int, whole: int) -> str:
    """Return part of whole as a percentage, ``-`` if there is no whole."""
    return percent(part / whole) if whole else "-"


def each(total: int, count: int) -> str:
    """Return a mean as a whole number, ``-`` if there was nothing."""
    return number(round(total / count)) if count else "-"
