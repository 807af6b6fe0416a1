# SPDX-License-Identifier: Apache-2.0
"""``--host-perf SPEC``: perf sessions of the host, as perf's own command line writes them.

    cycles:D,instructions                     count on all CPUs, from before the VM to the end
    -a -c 100000 cycles:H@10ms-30ms           sample every 100,000 cycles, from 10 to 30 ms
    -e branches@20ms                          from 20 ms to the end

Sessions are CPU-wide (``-a``, which may be left out). Times are those of the guest, from its start.
What begins before the VM is there when KVM creates it.
"""

from __future__ import annotations

import dataclasses
import errno
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmupass.errors import UsageError
from pmupass.options import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pmupass.config import HostEvent
    from pmupass.core import Machine
    from pmupass.events import EventTable
    from pmupass.events.parse import EventSpec

_TIMES = re.compile(r"(.*)@(\d[^@-]*)(?:-(\d[^@-]*))?", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class HostSession:
    """One ``--host-perf``: its events, how they sample, and when. ``start_ns`` 0: before the VM."""

    text: str
    specs: tuple[EventSpec, ...]
    period: int = 0
    start_ns: int = 0
    stop_ns: int | None = None

    def events(self) -> tuple[HostEvent, ...]:
        """Return its events as the core takes them."""
        return tuple(spec.host_event(self.period) for spec in self.specs)


class Running:
    """A session of one machine while it comes and goes."""

    def __init__(self, session: HostSession, first: int) -> None:
        self._session = session
        here = () if session.start_ns else range(first, first + len(session.specs))
        self._places = list(here)

    def open(self, machine: Machine) -> None:
        """Open its events; those that count guests fall back to ``:H`` if the host refuses them.

        So does perf since 6.13 (``evsel__fallback()``), unless G or H was asked for.
        """
        for spec, event in zip(self._session.specs, self._session.events(), strict=True):
            place = machine.open_host_event(event)
            if place == -errno.EOPNOTSUPP and not spec.says_who:
                fallback = dataclasses.replace(
                    event,
                    exclude_guest=True,
                    text=f"{event.text}{'' if ':' in event.text else ':'}H",
                )
                place = machine.open_host_event(fallback)
            if place >= 0:
                self._places.append(place)
            else:
                machine.note_refused(event)

    def close(self, machine: Machine) -> None:
        """Close those that are open."""
        for place in self._places:
            machine.close_host_event(place)
        self._places = []


def _number(option: str, words: list[str], text: str, most: int) -> int:
    if not words:
        raise UsageError(f"--host-perf {text}: {option} wants a number")
    word = words.pop(0)
    if not re.fullmatch(r"\d{1,18}", word, re.ASCII) or not 1 <= int(word) <= most:
        raise UsageError(f"--host-perf {text}: {option} {word}: a number from 1 to {most}")
    return int(word)


def _times(text: str, events: str) -> tuple[str, int, int | None]:
    match = _TIMES.fullmatch(events)
    if match is None:
        return events, 0, None
    start = parse_time(match[2], f"--host-perf {text}: from")
    stop = parse_time(match[3], f"--host-perf {text}: until") if match[3] else None
    if stop is not None and stop <= start:
        raise UsageError(f"--host-perf {text}: it ends before it begins")
    return match[1], start, stop


def parse(text: str, table: EventTable) -> HostSession:
    """Return what a SPEC says; UsageError for one that says nothing that perf would take."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--host-perf {text}: {error}") from None
    events: str | None = None
    period = 0
    while words:
        word = words.pop(0)
        if word in ("-a", "--all-cpus"):
            continue
        if word in ("-c", "--count"):
            period = _number(word, words, text, (1 << 47) - 1)
        elif word in ("-e", "--event") or not word.startswith("-"):
            if word.startswith("-"):
                if not words:
                    raise UsageError(f"--host-perf {text}: {word} wants events")
                word = words.pop(0)
            if events is not None:
                raise UsageError(f"--host-perf {text}: one list of events, its parts joined by ','")
            events = word
        else:
            raise UsageError(
                f"--host-perf {text}: {word} is not supported; what is: -a, -c PERIOD, -e EVENTS"
            )
    if not events:
        raise UsageError(f"--host-perf {text}: an event is missing, as in --host-perf cycles:D")
    names, start, stop = _times(text, events)
    return HostSession(text, table.host(names), period, start, stop)


def parse_all(texts: Iterable[str], table: EventTable) -> tuple[HostSession, ...]:
    """Return the sessions in the order given."""
    return tuple(parse(text, table) for text in texts)
