# SPDX-License-Identifier: Apache-2.0
"""``--costs FILE``: entries of the cost table that a file puts in place of ours.

    wrmsr = 90                                   # cycles

    [perf_event_period]                          # or as our own table has them
    cycles = 700
    range = [600, 800]
    source = "measured on my machine"
    confidence = "medium"

Entries go by their ID or by the function's name; what else stands in one is looked at and not used.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from pmupass import text_file
from pmupass.costs.model import Confidence, CostTable, Cycles, unknown
from pmupass.errors import InputError


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """What a file says of one cost."""

    cycles: Cycles
    function: str = ""
    source: str = ""
    confidence: Confidence = "estimate"
    note: str = ""
    range: tuple[Cycles, Cycles] | None = None


def _cycles(path: Path, name: str, value: Any) -> int:
    try:
        entry = msgspec.convert(value if isinstance(value, dict) else {"cycles": value}, Entry)
    except msgspec.ValidationError as error:
        raise InputError(f"--costs {path}: {name}: {error}") from None
    return entry.cycles


def settings(path: str | Path, table: CostTable) -> tuple[str, ...]:
    """Return a file's costs as settings, ``cost.ID=CYCLES``; InputError for one that is no good."""
    path = Path(path)
    try:
        data = tomllib.loads(text_file.read(path, name=f"--costs {path}", kind="cost table"))
    except FileNotFoundError as error:
        raise InputError(f"--costs {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"--costs {path}: {error}") from None
    found: dict[str, int] = {}
    for name, value in data.items():
        try:
            key = table[name].id
        except KeyError:
            raise InputError(f"--costs {path}: no cost {unknown(name, table)}") from None
        if key in found:
            raise InputError(f"--costs {path}: {name}: a second entry for {key}")
        found[key] = _cycles(path, name, value)
    return tuple(f"cost.{key}={cycles}" for key, cycles in found.items())
