# SPDX-License-Identifier: Apache-2.0
"""Files of the user's: where they are, and those that are read as a whole: a filter, a cost table.

A relative path starts in the folder that one works in. What is said in a file of the user's (a
sweep) starts in that file's folder instead, in every process and thread that works for it, and is
shown as it is written there:

    with text_file.beside(folder):
        plan = Plan(options)
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from pmupass.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 1 << 20
_folder: ContextVar[Path] = ContextVar("folder", default=Path())


@contextlib.contextmanager
def beside(folder: Path) -> Iterator[None]:
    """Have relative paths start in a folder."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def place(path: str | Path) -> Path:
    """Return where a file of the user's is."""
    return _folder.get() / path


def read(path: Path, *, name: str, kind: str) -> str:
    """Return the text of a file. InputError, with ``name``, for one that is no ``kind``.

    FileNotFoundError for one that is not there.
    """
    try:
        with place(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise InputError(f"{name}: larger than {MAX_BYTES >> 20} MiB, no {kind}")
        return raw.decode("utf-8")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{name}: no UTF-8 text") from None
