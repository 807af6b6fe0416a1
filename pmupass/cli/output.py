# SPDX-License-Identifier: Apache-2.0
"""Where results go: tables or JSON on stdout, JSON whole or not at all in a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pmupass.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from msgspec import Struct
    from rich.console import Console

STDOUT = "-"


def check_target(json_to: str | None, taken: Iterable[str], example: str) -> None:
    """Refuse a JSON file that was meant as a workload or suite, or that cannot be written.

    UsageError for a name in ``taken``: ``--json NAME`` takes the next word as its file. InputError
    for a file in no folder, before anything runs.
    """
    if json_to is None or json_to == STDOUT:
        return
    if not json_to:
        raise UsageError("--json=: the name of a file is missing; --json alone writes to stdout")
    if json_to in taken:
        raise UsageError(
            f"--json took {json_to!r} as the file to write; write --json=FILE, or --json at the "
            f"end: {example}"
        )
    check_file("--json", json_to)


def check_file(option: str, target: str) -> None:
    """Refuse the name of a file that cannot be written where it is: InputError, UsageError."""
    if not target:
        raise UsageError(f"{option}=: the name of a file is missing")
    path = Path(target)
    if path.is_dir():
        raise InputError(f"{option}={target}: is a folder")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{option}={target}: there is no folder {path.parent}")


def emit(
    document: Struct,
    json_to: str | None,
    render: Callable[[Console], None],
    *,
    tables: bool = True,
) -> None:
    """Write a document: JSON alone to stdout, or tables there and JSON to a file if asked.

    Without ``tables`` something else has stdout.
    """
    from pmupass.results import encode

    if json_to == STDOUT:
        click.echo(encode(document).decode(), nl=False)
        return
    if json_to is not None:
        write_whole(Path(json_to), encode(document))
    if not tables:
        return
    from pmupass.report import console

    render(console.make())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the whole new one; InputError if not."""
    temporary = None
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)  # a device or a pipe is written to, never replaced
            return
        path = path.resolve()  # a link stays a link
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
