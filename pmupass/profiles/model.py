# SPDX-License-Identifier: Apache-2.0
"""What a work profile consists of. Rates are events per 2^20 instructions, cycles core cycles."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from pmupass.config import Profile
from pmupass.errors import ModelError, UsageError
from pmupass.events.table import MAX_EVENTS, EventTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PER = 1 << 20
MILLION = 1_000_000
MAX_EXITS = 8
DERIVED = ("instructions", "ref-cycles", "slots")  # of the instruction itself and of the cycles
Rate = Annotated[int, Meta(ge=0, le=1 << 32)]


class ProfileExit(Struct, frozen=True, forbid_unknown_fields=True):
    """VM-exits of one reason (VMX_EXIT_REASONS): so many of a million instructions exit."""

    reason: str
    per_million: Annotated[int, Meta(ge=1, le=MILLION)]

    @property
    def rate(self) -> int:
        """Exits per 2^20 instructions, rounded."""
        return (self.per_million * PER + MILLION // 2) // MILLION


class WorkProfile(Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of work.

    ``rates`` are of base events, ``named`` of events of the CPU's list (which only ``work`` feeds,
    and which a CPU without them does without). ``kernel`` is the share of 1024 and ``chunk`` the
    instructions between two steps of a guest program that the profile suggests.
    """

    name: str
    id: Annotated[int, Meta(ge=0)]
    doc: str
    kernel: Annotated[int, Meta(ge=0, le=1024)]
    chunk: Annotated[int, Meta(ge=1, le=10**9)]
    rates: dict[str, Rate]
    named: dict[str, Rate] = {}
    exits: Annotated[tuple[ProfileExit, ...], Meta(max_length=MAX_EXITS)] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        cycles = self.rates.get("cycles", 0)
        if not cycles:
            raise ValueError("cycles are missing: work takes time")
        for derived in DERIVED:
            if derived in self.rates:
                raise ValueError(f"{derived} follows from the others and has no rate")
        for part, whole in (("branch-misses", "branches"), ("llc-misses", "llc-references")):
            if self.rates.get(part, 0) > self.rates.get(whole, 0):
                raise ValueError(f"more {part} than {whole}")
        if self.rates.get("branches", 0) > PER:
            raise ValueError("more branches than instructions")
        if sum(e.rate for e in self.exits) > PER:
            raise ValueError("more exits than instructions")

    def record(
        self,
        *,
        named: Sequence[str] = (),
        base_events: Sequence[str] | None = None,
        exit_reasons: Sequence[str] | None = None,
    ) -> Profile:
        """Return it for the core.

        ``named`` are the named events in the order of their ids, as given to EventTable.maps().
        The core's lists are asked for if they are not given. ModelError for a name that is in
        none of them.
        """
        if base_events is None or exit_reasons is None:
            from pmupass import core

            base_events = base_events or core.names("base_events")
            exit_reasons = exit_reasons or core.names("exit_reasons")
        rates = [0] * MAX_EVENTS
        try:
            for name, rate in self.rates.items():
                rates[base_events.index(name)] = rate
            for name, rate in self.named.items():
                if name in named:
                    rates[len(base_events) + named.index(name)] = rate
            exits = tuple((exit_reasons.index(e.reason), e.rate) for e in self.exits)
        except ValueError as error:
            raise ModelError(f"work profile {self.name}: {error}") from error
        return Profile(id=self.id, rates=tuple(rates), exits=exits)


def named_events(profiles: Sequence[WorkProfile], table: EventTable) -> list[str]:
    """Return the named events of profiles that a CPU has, each once, for EventTable.maps()."""
    seen: dict[int, str] = {}
    for profile in profiles:
        for name in profile.named:
            encoding = table.encoding(name)
            if encoding is not None:
                seen.setdefault(encoding, name)
    return list(seen.values())


def split_overrides(
    overrides: Mapping[str, int | str], known: Sequence[str]
) -> dict[str, dict[str, int | str]]:
    """Sort ``NAME.KEY`` and ``KEY`` (all profiles) by profile; UsageError for an unknown name."""
    result: dict[str, dict[str, int | str]] = {name: {} for name in known}
    for key, value in overrides.items():
        name, dot, rate = key.partition(".")
        if not dot:
            for each in known:
                result[each].setdefault(key, value)
        elif name in result:
            result[name][rate] = value
        else:
            raise UsageError(
                f"profile.{key}: no work profile {name!r}; there is {', '.join(known)}"
            )
    return result


def _override(data: dict[str, Any], name: str, overrides: Mapping[str, int | str]) -> None:
    for key, given in overrides.items():
        if key in ("kernel", "chunk"):
            place = data
        elif key in data["rates"]:
            place = data["rates"]
        elif key in data.get("named", {}):
            place = data["named"]
        else:
            there = ["kernel", "chunk", *data["rates"], *data.get("named", {})]
            raise UsageError(f"profile.{name}.{key}: no such rate; there is {', '.join(there)}")
        try:
            place[key] = int(str(given), 0)
        except ValueError:
            raise UsageError(f"profile.{name}.{key}={given}: a whole number is expected") from None


def parse(name: str, text: str, overrides: Mapping[str, int | str]) -> WorkProfile:
    """Read a profile's text. UsageError for bad overrides, ModelError for a malformed file."""
    data: dict[str, Any] = tomllib.loads(text)
    _override(data, name, overrides)
    try:
        return msgspec.convert({**data, "name": name}, WorkProfile)
    except msgspec.ValidationError as error:
        if overrides:
            given = ", ".join(f"profile.{name}.{key}={value}" for key, value in overrides.items())
            raise UsageError(f"{given}: {error}") from None
        raise ModelError(f"the work profile {name} is malformed: {error}") from error
