# SPDX-License-Identifier: Apache-2.0
"""A cost table: cycles are core clock cycles of the host, callees apart, for one unit of work."""

from __future__ import annotations

import difflib
import functools
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from pmupass.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_CYCLES = 1_000_000_000
Cycles = Annotated[int, Meta(ge=0, le=MAX_CYCLES)]
Confidence = Literal["high", "medium", "low", "estimate"]


class Cost(Struct, frozen=True, forbid_unknown_fields=True):
    """One function's cost.

    ``confidence``: high, medium and low are the published number's own; an estimate has none.
    ``note`` has the arithmetic. ``range`` is where a measurement may find the cycles; what is so by
    definition has none. ``id`` is the entry's ID in costs.def, in lower case.
    """

    id: str
    function: str
    cycles: Cycles
    source: Annotated[str, Meta(min_length=1)]
    confidence: Confidence
    note: str = ""
    range: tuple[Cycles, Cycles] | None = None


class CostTable(dict[str, Cost]):
    """Costs by function name; an entry's ID finds it as well."""

    def __missing__(self, key: str) -> Cost:
        """Find an entry by its ID, in upper or lower case."""
        for cost in self.values():
            if cost.id == key.lower():
                return cost
        raise KeyError(key)

    def in_order(self, names: Sequence[str]) -> tuple[int, ...]:
        """Return the cycles of a list of names; ModelError for one that is missing."""
        try:
            return tuple(self[name].cycles for name in names)
        except KeyError as error:
            raise ModelError(f"the cost table has no entry {error}") from None


def _cycles(key: str, given: int | str) -> int:
    try:
        value = int(str(given), 0)
    except ValueError:
        value = -1
    if not 0 <= value <= MAX_CYCLES:
        raise UsageError(
            f"--set cost.{key}={given}: cycles are a whole number from 0 to {MAX_CYCLES}"
        )
    return value


@functools.cache
def _entries(text: str) -> tuple[Cost, ...]:
    """Return the entries of a cost table: kept, because a process may run many experiments."""
    data: dict[str, Any] = tomllib.loads(text)
    found = []
    for name, entry in data.items():
        try:
            found.append(msgspec.convert({**entry, "id": name}, Cost))
        except msgspec.ValidationError as error:
            raise ModelError(f"the cost table is malformed: {name}: {error}") from error
    functions = {cost.function: cost for cost in found}
    for cost in found:
        if functions.get(cost.id, cost) is not cost:
            raise ModelError(f"the cost table: {cost.id} is an entry and another one's function")
    return tuple(found)


def parse(text: str, overrides: Mapping[str, int | str], own: str = "") -> CostTable:
    """Read a cost table, and what a CPU has of its own in place of entries of it.

    UsageError for bad overrides, ModelError for a malformed table.
    """
    table = CostTable((cost.function, cost) for cost in (*_entries(text), *_entries(own)))
    for key, given in overrides.items():
        try:
            cost = table[key]
        except KeyError:
            raise UsageError(f"no setting cost.{unknown(key, table)}") from None
        table[cost.function] = msgspec.structs.replace(cost, cycles=_cycles(key, given))
    return table


def unknown(key: str, table: CostTable) -> str:
    """Return the end of an error about an entry that is not there: the key, and what is near."""
    names = [*table, *(cost.id for cost in table.values())]
    near = difflib.get_close_matches(key, names, n=3)
    hint = f"; did you mean {' or '.join(f'cost.{n}' for n in near)}?" if near else ""
    return f"{key}{hint} (pmupass list costs)"
