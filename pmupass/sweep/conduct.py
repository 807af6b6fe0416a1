# SPDX-License-Identifier: Apache-2.0
"""A sweep from its file to its lines: what is missing is given to workers, and kept as it comes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import msgspec

import pmupass
from pmupass.sweep import cell
from pmupass.sweep.cell import Job, Order
from pmupass.sweep.journal import Identity, Journal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pmupass.machine import Watch
    from pmupass.sweep.grid import Sweep

SCHEMA = "pmupass.sweep-begun/1"


class Workers(Protocol):
    """Who runs cells."""

    def lines(self, jobs: Iterable[Job]) -> Iterator[tuple[int, bytes] | None]:
        """Yield cells and their lines as they come, and None while none does."""


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def order(sweep: Sweep) -> Order:
    """Return what all cells have in common; WorkerError for a file that cannot be read."""
    identity = identify(sweep)
    return Order(
        sweep=identity.sweep,
        version=identity.version,
        build=identity.build,
        folder=str(sweep.folder),
        files=tuple(identity.files.items()),
        figures=sweep.figures,
        full=sweep.full,
    )


def identify(sweep: Sweep) -> Identity:
    """Return which sweep this is: its cells, what is kept of them, and the user's files."""
    folder = str(sweep.folder)
    cells = cell.digest(msgspec.json.encode([(job.axes, job.words) for job in sweep.jobs]))
    kept = cell.digest(msgspec.json.encode((sweep.figures, sweep.full)))
    files = {path: cell.digest_of_file(folder, path) for path in sweep.files}
    return Identity(
        schema=SCHEMA,
        version=pmupass.__version__,
        build=cell.build(),
        sweep=cell.digest(msgspec.json.encode((cells, kept, files))),
        cells=cells,
        kept=kept,
        files=files,
    )


def journal(sweep: Sweep, output: Path, *, restart: bool) -> Journal:
    """Return the lines of a sweep that there are."""
    return Journal(output, identify(sweep), len(sweep.jobs), restart=restart)


def missing(sweep: Sweep, lines: Journal) -> list[Job]:
    """Return the cells that have no line yet."""
    return [job for job in sweep.jobs if job.cell not in lines.lines]


def run(sweep: Sweep, lines: Journal, workers: Workers, watch: Watch) -> bool:
    """Run what is missing; return False if somebody stopped it. What is complete is kept."""
    total = len(sweep.jobs)
    for done in workers.lines(missing(sweep, lines)):
        if done is not None:
            lines.add(*done)
        count = len(lines.lines)
        if not watch(f"{count:,} of {total:,} cells", count / total):
            return lines.complete
    return True
