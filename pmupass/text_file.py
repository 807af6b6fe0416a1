# SPDX-License-Identifier: Apache-2.0
"""Files of the user's that are read as a whole: a filter, a table of costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmupass.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 1 << 20


def read(path: Path, *, name: str, kind: str) -> str:
    """Return the text of a file. InputError, with ``name``, for one that is no ``kind``.

    FileNotFoundError for one that is not there.
    """
    try:
        with path.open("rb") as file:
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
