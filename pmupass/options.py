# SPDX-License-Identifier: Apache-2.0
"""What a user asked for: the options that the command line and the Python API share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmupass.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

MODES = ("native", "emulated", "mediated")
DEFAULT_CPU = "sapphire-rapids"
DEFAULT_TIME_NS = 100_000_000
_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}


@dataclass(frozen=True, slots=True)
class FilterChange:
    """An event filter that replaces the one before at a guest time."""

    path: Path
    at_ns: int


@dataclass(frozen=True, slots=True)
class Options:
    """One experiment: everything but the mode. ``time_ns`` of None is the workload's default.

    ``filter`` is there from the start, each of ``filter_changes`` from its time on. ``scenario`` is
    a load of the host beside what ``host_perf`` names. ``vms`` are VMs beside this one: of their
    options those count that a VM has of its own.
    """

    workload: str
    cpu: str = DEFAULT_CPU
    events: str | None = None
    frequency: int | None = None
    period: int | None = None
    time_ns: int | None = None
    filter: Path | None = None
    filter_changes: tuple[FilterChange, ...] = ()
    host_perf: tuple[str, ...] = ()
    scenario: str = "idle"
    switch: str = "upstream"
    settings: tuple[str, ...] = ()
    seed: int = 1
    host: bool = True
    vms: tuple[Options, ...] = ()

    def __post_init__(self) -> None:
        if self.frequency is not None and self.period is not None:
            raise UsageError("-F and -c exclude each other: a frequency in Hz or a fixed period")
        if self.frequency is not None and not 1 <= self.frequency <= 1_000_000:
            raise UsageError(f"-F {self.frequency}: a frequency lies between 1 and 1000000 Hz")
        if self.period is not None and not 1 <= self.period < 1 << 47:
            raise UsageError(f"-c {self.period}: a period lies between 1 and 2^47 - 1")
        if not 0 <= self.seed < 1 << 32:
            raise UsageError(f"--seed {self.seed}: a seed lies between 0 and 2^32 - 1")


def parse_time(text: str, option: str = "--time") -> int:
    """Return nanoseconds of a time with its unit, as in ``100ms``.

    UsageError otherwise, in which ``option`` stands before the time.
    """
    match = re.fullmatch(r"(\d{1,30}(?:\.\d{1,30})?)\s*(ns|us|ms|s)", text.strip(), re.ASCII)
    if not match:
        raise UsageError(f"{option} {text}: write a number and ns, us, ms or s, for instance 100ms")
    whole, _, fraction = match[1].partition(".")
    unit = _UNITS[match[2]]
    nanoseconds = int(whole) * unit + (
        int(fraction) * unit // 10 ** len(fraction) if fraction else 0
    )
    if not nanoseconds:
        raise UsageError(f"{option} {text}: the time must not be zero")
    if nanoseconds > 10**13:
        raise UsageError(f"{option} {text}: at most 10000s")
    return nanoseconds


def parse_filters(texts: Iterable[str | Path]) -> tuple[Path | None, tuple[FilterChange, ...]]:
    """Return the filter of the start and what replaces it, of ``FILE`` and ``FILE@TIME``.

    UsageError for a time that is none, that does not come after the one before, or is missing.
    """
    from pathlib import Path

    first: Path | None = None
    changes: list[FilterChange] = []
    for i, text in enumerate(map(str, texts)):
        # A name may have an @ in it; behind the last one a time begins with a digit.
        match = re.fullmatch(r"(.*)@(\d+(?:\.\d+)?\s*[^\W\d_]*)", text, re.ASCII | re.DOTALL)
        name = match[1] if match else text
        if not name:
            raise UsageError("--filter: the name of a file is missing")
        if not match:
            if i:
                raise UsageError(
                    f"--filter {text}: only the first filter is there from the start; say when "
                    f"this one replaces it, as in {text}@20ms"
                )
            first = Path(name)
            continue
        at_ns = parse_time(match[2], f"--filter {name} at")
        if changes and at_ns <= changes[-1].at_ns:
            raise UsageError(
                f"--filter {text}: filters stand in the order of their times, and the one before "
                f"comes at {changes[-1].at_ns} ns"
            )
        changes.append(FilterChange(Path(name), at_ns))
    return first, tuple(changes)


def check_modes(names: Iterable[str]) -> tuple[str, ...]:
    """Return modes in the order given; UsageError for an unknown one or one given twice."""
    from pmupass.settings import near

    modes = tuple(name.strip() for name in names)
    for mode in modes:
        if mode not in MODES:
            raise UsageError(f"no mode {mode!r}{near(mode, MODES)}\nModes: {', '.join(MODES)}")
    if len(set(modes)) < len(modes):
        raise UsageError(f"--modes {','.join(modes)}: each mode once")
    return modes


def assignments(settings: Mapping[str, object] | Iterable[str]) -> tuple[str, ...]:
    """Return ``key=value`` texts of a mapping, or the texts as they are."""
    if isinstance(settings, Mapping):
        return tuple(
            f"{key}={int(value) if isinstance(value, bool) else value}"
            for key, value in settings.items()
        )
    return tuple(settings)
