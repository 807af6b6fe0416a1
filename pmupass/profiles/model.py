# SPDX-License-Identifier: Apache-2.0
"""What a work profile consists of. Rates are events per 2^20 instructions, cycles core cycles."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct

from pmupass.config import Profile
from pmupass.errors import ModelError, UsageError
from pmupass.events.table import MAX_EVENTS, EventTable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

PER = 1 << 20
MILLION = 1_000_000
MAX_EXITS = 8
DERIVED = ("instructions", "ref-cycles", "slots")  # of the instruction itself and of the cycles
MAX_RATE = 1 << 32
MAX_KERNEL = 1024
OF_THE_KERNEL = "kernel-perf"  # what the built-in guests retire beside their work
MAX_CHUNK = 10**9
Rate = Annotated[int, Meta(ge=0, le=MAX_RATE)]


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
    kernel: Annotated[int, Meta(ge=0, le=MAX_KERNEL)]
    chunk: Annotated[int, Meta(ge=1, le=MAX_CHUNK)]
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


class Override(NamedTuple):
    """What ``--set`` says of a profile's key: the setting as it was typed, and the value."""

    typed: str
    value: int | str


def split_overrides(
    overrides: Mapping[str, int | str], known: Sequence[str], keys: Collection[str] = ()
) -> dict[str, dict[str, Override]]:
    """Sort ``NAME.KEY`` and ``KEY`` by profile; UsageError for an unknown name.

    ``KEY`` is of all profiles but the kernel's own: another workload does not make another Linux.

    ``keys`` are those that a profile has: some of them are names with a dot.
    """
    result: dict[str, dict[str, Override]] = {name: {} for name in known}
    for key, value in overrides.items():
        name, dot, rate = key.partition(".")
        override = Override(f"--set profile.{key}", value)
        if dot and name in result:
            result[name][rate] = override
        elif not dot or key in keys:
            for each in known:
                if each != OF_THE_KERNEL:
                    result[each].setdefault(key, override)
        else:
            raise UsageError(
                f"--set profile.{key}: no work profile {name!r}; there is {', '.join(known)}"
            )
    return result


_LIMITS = {"kernel": (0, MAX_KERNEL), "chunk": (1, MAX_CHUNK)}


def _override(data: dict[str, Any], name: str, overrides: Mapping[str, Override]) -> None:
    for key, (typed, given) in overrides.items():
        if key in _LIMITS:
            place = data
        elif key in data["rates"]:
            place = data["rates"]
        elif key in data.get("named", {}):
            place = data["named"]
        else:
            there = [*_LIMITS, *data["rates"], *data.get("named", {})]
            raise UsageError(
                f"{typed}: no such rate; there is {', '.join(there)}\n"
                f"Write profile.KEY=N for all workloads, or for one as in profile.{name}.KEY=N"
            )
        least, most = _LIMITS.get(key, (0, MAX_RATE))
        try:
            place[key] = int(str(given), 0)
        except ValueError:
            place[key] = least - 1
        if not least <= place[key] <= most:
            raise UsageError(f"{typed}={given}: a whole number from {least} to {most} is expected")


def parse(
    name: str, text: str, overrides: Mapping[str, int | str], known: Sequence[str] = ()
) -> WorkProfile:
    """Read a profile's text; ``known`` are the names of all profiles, for the overrides.

    UsageError for bad overrides, ModelError for a malformed file.
    """
    data: dict[str, Any] = tomllib.loads(text)
    mine = split_overrides(overrides, known, data.get("named", {})).get(name, {})
    _override(data, name, mine)
    try:
        return msgspec.convert({**data, "name": name}, WorkProfile)
    except msgspec.ValidationError as error:
        if mine:
            given = ", ".join(f"{typed}={value}" for typed, value in mine.values())
            raise UsageError(f"{given}: work profile {name}: {error}") from None
        raise ModelError(f"the work profile {name} is malformed: {error}") from error
