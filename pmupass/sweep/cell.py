# SPDX-License-Identifier: Apache-2.0
"""One cell of a sweep: run it and say it as a line. This is what workers do.

What is wrong with the cell (KVM refuses the VM, an event that the CPU does not have, a guest that
the model cannot run) is its line. What is wrong with the worker (another pmupass, a file that is
not there or has changed, no memory) is no result: :class:`WorkerError` ends the sweep.
"""

from __future__ import annotations

import functools
import hashlib
import shlex
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

import pmupass
from pmupass import text_file
from pmupass.core import VmRefusedError
from pmupass.errors import InputError, ModelError, UsageError
from pmupass.machine import Session
from pmupass.results import SweepLine
from pmupass.sweep import figures, words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

    from pmupass.results import Result
    from pmupass.sweep.words import Words

# What a cell without a result is called, by what was raised; the first that fits.
OUTCOMES: dict[type[Exception], str] = {
    VmRefusedError: "refused",
    UsageError: "usage",
    InputError: "input",
    ModelError: "model",
}


class WorkerError(InputError):
    """A worker that cannot do its work; nothing is known about the cell."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is the same for all cells of a sweep.

    ``files`` are the user's files that cells name, by path, with their digests; ``version`` and
    ``build`` are of the pmupass that gave the order.
    """

    sweep: str
    version: str
    build: str
    folder: str
    files: tuple[tuple[str, str], ...]
    figures: tuple[tuple[str, str], ...]
    full: bool


@dataclass(frozen=True, slots=True)
class Job:
    """A cell: its number, where it is in the grid, and what stands behind ``pmupass run``."""

    cell: int
    axes: tuple[tuple[str, Any], ...]
    words: Words

    def __str__(self) -> str:
        return f"cell {self.cell}: pmupass run {shlex.join(self.words)}"


def digest(data: bytes) -> str:
    """Return what bytes are known by."""
    return hashlib.sha256(data).hexdigest()[:16]


@functools.cache
def build() -> str:
    """Return a digest of the installed pmupass: modules, tables, guests and the compiled core."""
    found = hashlib.sha256()
    for name, file in sorted(_package(resources.files("pmupass"))):
        found.update(f"{name} {digest(file.read_bytes())}\n".encode())
    return found.hexdigest()[:16]


def _package(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _package(entry, f"{prefix}{entry.name}/")
        elif not entry.name.endswith(".pyc"):
            yield prefix + entry.name, entry


def digest_of_file(folder: str, path: str) -> str:
    """Return the digest of a user's file; WorkerError if it cannot be read."""
    try:
        return digest((Path(folder) / path).read_bytes())
    except OSError as error:
        raise WorkerError(f"{path}: {error.strerror or error}") from error


@functools.lru_cache(maxsize=8)
def _check(order: Order) -> None:
    """WorkerError for a process that is not where, or what, the order was given for."""
    if order.build != build():
        raise WorkerError(
            f"the worker has another build of pmupass ({pmupass.__version__}, {build()}) than the "
            f"sweep ({order.version}, {order.build}); install the same one for both"
        )
    _check_files(order)


def _check_files(order: Order) -> None:
    for path, expected in order.files:
        if digest_of_file(order.folder, path) != expected:
            raise WorkerError(
                f"{path}: changed while the sweep ran, or is another file for the worker"
            )


def work(order: Order, job: Job) -> bytes:
    """Run a cell and return its line, newline included. WorkerError: see above."""
    _check(order)
    try:
        with text_file.beside(Path(order.folder)):
            line = _run(order, job)
    except (MemoryError, OSError) as error:
        raise WorkerError(f"{job}: {type(error).__name__}: {error}") from error
    return msgspec.json.encode(line) + b"\n"


def _run(order: Order, job: Job) -> SweepLine:
    warnings: tuple[str, ...] = ()
    try:
        mode, options = words.parse(job.words)
        session = Session(options)
        warnings = session.plan.warnings([mode])
        result = session.run(mode)
        warnings += session.notes
    except (MemoryError, OSError):
        raise
    except Exception as error:
        outcome, text = _trouble(order, error)
        return _line(order, job, outcome, text, warnings)
    outcome, text = "ok", ""
    if result.failed:
        outcome, guest = "guest-failure", result.guest
        text = f"the guest reports failure: {guest.stop}, exit value {guest.exit_value}"
    return _line(order, job, outcome, text, warnings, result)


def _trouble(order: Order, error: Exception) -> tuple[str, str]:
    """Return how a cell went that has no result, and why; an unknown error is a bug."""
    if isinstance(error, InputError) and not isinstance(error, VmRefusedError):
        _check_files(order)
    for kind, outcome in OUTCOMES.items():
        if isinstance(error, kind):
            return outcome, str(error)
    text = f"internal error: {type(error).__name__}: {error}; this is a bug in pmupass"
    return "model", text


def _line(
    order: Order,
    job: Job,
    outcome: Any,
    error: str,
    warnings: tuple[str, ...],
    result: Result | None = None,
) -> SweepLine:
    chosen: dict[str, Any] = {}
    if result is not None:
        found = ((f.name, f.of(result)) for f in figures.parse_all(order.figures))
        chosen = {name: value for name, value in found if value is not UNSET}
    return SweepLine(
        pmupass=order.version,
        sweep=order.sweep,
        cell=job.cell,
        axes=dict(job.axes),
        command=f"pmupass run {shlex.join(job.words)}",
        outcome=outcome,
        figures=chosen,
        error=error or UNSET,
        warnings=list(warnings) or UNSET,
        result=result if result is not None and order.full else UNSET,
    )
