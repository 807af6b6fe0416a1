# SPDX-License-Identifier: Apache-2.0
"""What is complete of a sweep, on disk at every moment, and the file that becomes of it.

Lines go to ``FILE.jsonl.partial`` as cells are completed, in whatever order, behind a first line
that says which sweep they are of. Once all are there, ``FILE.jsonl`` is written whole, in the order
of the cells, and the partial file goes away. Whatever happens in between, the lines that are whole
count, each cell's first one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Self

import msgspec
from msgspec import Struct

from pmupass.cli.output import write_whole
from pmupass.errors import InputError
from pmupass.results import SweepLine

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX = ".partial"
BEGINNING = b'{"schema":"pmupass.sweep'
ANEW = "--restart begins anew, -o names another file"


class Identity(Struct, frozen=True):
    """Which sweep lines are of: as much of it as one wants to be told when it is another one.

    ``cells`` and ``kept`` (what of each result) are digests, ``files`` those of the user's files.
    """

    schema: str
    version: str
    build: str
    sweep: str
    cells: str
    kept: str
    files: dict[str, str]

    def difference(self, mine: Identity) -> str | None:
        """Return in what a sweep that was begun is another one than mine."""
        if self.schema != mine.schema or self.version != mine.version:
            return f"pmupass {self.version} began it, this is {mine.version}"
        if self.cells != mine.cells:
            return "it is of other cells: the sweep has changed since"
        if self.kept != mine.kept:
            return "it keeps other figures: the sweep has changed since"
        for path in {**self.files, **mine.files}:
            if self.files.get(path) != mine.files.get(path):
                return f"{path} has changed since"
        if self.build != mine.build:
            return f"another build of pmupass {mine.version} began it"
        return None if self == mine else "it is another sweep"


class Journal:
    """The lines of one sweep. To be used as a context; one process has it at a time."""

    def __init__(self, output: Path, identity: Identity, cells: int, *, restart: bool) -> None:
        self.output = output
        self.lines: dict[int, bytes] = {}
        self._identity = identity
        self._cells = cells
        self._restart = restart
        self._path = output.with_name(output.name + SUFFIX)
        self._file = -1
        self._header = msgspec.json.encode(identity) + b"\n"

    @property
    def complete(self) -> bool:
        """Whether every cell has its line."""
        return len(self.lines) == self._cells

    def __enter__(self) -> Self:
        """Open what there is; InputError for lines of another sweep, or a file that is no sweep's.

        A sweep that is complete has no partial file, and gets none.
        """
        # One that was begun and did not end replaces the output: that was asked for then.
        finished = None if self._path.exists() else self._finished()
        if finished is not None:
            self.lines = finished
            return self
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            raise InputError(f"{self._path}: another pmupass sweep is writing it") from None
        except OSError as error:
            raise InputError(f"{self._path}: {error.strerror or error}") from None
        try:
            self._begin()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0 and not self.lines:
            self._path.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def add(self, cell: int, line: bytes) -> None:
        """Keep the line of a cell."""
        if cell in self.lines:
            return
        try:
            _write(self._file, line)
        except OSError as error:
            raise InputError(f"{self._path}: {error.strerror or error}") from None
        self.lines[cell] = line

    def in_order(self) -> list[bytes]:
        """Return the lines in the order of the cells."""
        return [self.lines[cell] for cell in sorted(self.lines)]

    def finish(self) -> None:
        """Write the file of a sweep that is complete, unless it was found so."""
        if self._file >= 0:
            write_whole(self.output, b"".join(self.in_order()))
            self._path.unlink(missing_ok=True)

    # What is there

    def _finished(self) -> dict[int, bytes] | None:
        """Return the lines of the output, None if it is not there or begun anew."""
        try:
            data = self.output.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{self.output}: {error.strerror or error}") from None
        found = {}
        for number, line in enumerate(data.splitlines(keepends=True), 1):
            try:
                head = msgspec.json.decode(line, type=SweepLine)
            except msgspec.MsgspecError:
                raise InputError(
                    f"{self.output}:{number}: no line of a sweep; -o names another file"
                ) from None
            found[head.cell] = line
            if not self._restart and self._is_other(head):
                raise InputError(
                    f"{self.output}: of another sweep, or of this one before it changed "
                    f"(pmupass {head.pmupass}); {ANEW}"
                )
        if self._restart:
            return None
        if len(found) != self._cells:
            raise InputError(f"{self.output}: {len(found)} of {self._cells} lines; {ANEW}")
        return found

    def _is_other(self, line: SweepLine) -> bool:
        mine = self._identity
        return (line.sweep, line.pmupass) != (mine.sweep, mine.version)

    def _begin(self) -> None:
        """Take over what the partial file has, or begin it. A first line alone is nothing."""
        data = self._read()
        if data[: len(BEGINNING)] != BEGINNING[: len(data)]:
            raise InputError(f"{self._path}: not of a sweep; -o names another file")
        if self._restart:
            data = b""
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.splitlines(keepends=True)
        if len(lines) < 2:
            os.ftruncate(self._file, 0)
            _write(self._file, self._header)
            return
        self._check(lines[0])
        kept = len(lines[0])
        for number, line in enumerate(lines[1:], 2):
            try:
                cell = msgspec.json.decode(line, type=SweepLine).cell
            except msgspec.MsgspecError:
                if number < len(lines):
                    raise InputError(f"{self._path}:{number}: no line of a sweep; {ANEW}") from None
                break  # the last one was not written whole
            self.lines.setdefault(cell, line)
            kept += len(line)
        os.ftruncate(self._file, kept)

    def _read(self) -> bytes:
        with contextlib.closing(os.fdopen(os.dup(self._file), "rb")) as file:
            return file.read()

    def _check(self, header: bytes) -> None:
        try:
            begun = msgspec.json.decode(header, type=Identity)
        except msgspec.MsgspecError:
            raise InputError(f"{self._path}: no sweep that was begun; {ANEW}") from None
        difference = begun.difference(self._identity)
        if difference is not None:
            raise InputError(f"{self._path}: cannot go on with it: {difference}; {ANEW}")


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
