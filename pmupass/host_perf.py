# SPDX-License-Identifier: Apache-2.0
"""``--host-perf SPEC``: perf sessions of the host, as perf's own command line writes them.

    cycles:D,instructions                     count on all CPUs, from before the VM to the end
    {cycles,instructions}:D                   a group: on the PMU as a whole, or not at all
    -a -c 100000 cycles:H@10ms-30ms           sample every 100,000 cycles, from 10 to 30 ms
    -F 4000 cycles@0ms                        4000 times a second, once the VM is there
    -t vcpu0 -e branches@20ms                 of the thread of vCPU 0, from 20 ms to the end
    -t task0 cycles                           of one of the host's tasks (host.tasks)

Without ``-t`` a session is CPU-wide (``-a``, which may be left out). An event of a thread goes with
it. Times are those of the guest, from its start. What has none begins before the VM, and is there
when KVM creates it; a vCPU's thread is there when the VM is, so its sessions begin with the guest.
vCPUs are counted through all VMs (``--vm``).
"""

from __future__ import annotations

import dataclasses
import errno
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmupass.config import HostThread
from pmupass.errors import UsageError
from pmupass.events.parse import modified
from pmupass.options import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pmupass.config import HostEvent
    from pmupass.core import Machine
    from pmupass.events import EventTable
    from pmupass.events.parse import EventSpec

MAX_SAMPLE_RATE = 100_000  # kernel.perf_event_max_sample_rate, which nobody has changed
_TIMES = re.compile(r"(.*)@(\d[^@-]*)(?:-(\d[^@-]*))?", re.ASCII | re.DOTALL)
_ZERO = re.compile(r"0+(?:\.0+)?\s*(?:ns|us|ms|s)", re.ASCII)
_LONG = {"--all-cpus": "-a", "--count": "-c", "--freq": "-F", "--tid": "-t", "--event": "-e"}
_THREAD = re.compile(r"(vcpu|task)(\d{1,4})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread of the host."""

    kind: HostThread
    number: int

    def __str__(self) -> str:
        return f"{self.kind.name.lower()}{self.number}"


@dataclass(frozen=True, slots=True)
class HostSession:
    """One ``--host-perf``: its events, how they sample, whose they are, and when.

    At most one of ``period`` and ``frequency`` is not 0. ``start_ns`` is None for a session that
    begins before the VM. ``number`` is that of its first event among those of all sessions.
    """

    text: str
    specs: tuple[EventSpec, ...]
    period: int = 0
    frequency: int = 0
    thread: Thread | None = None
    start_ns: int | None = None
    stop_ns: int | None = None
    number: int = 0

    @property
    def leaders(self) -> tuple[int | None, ...]:
        """For each event the place in ``specs`` of its group's leader, None if it leads itself."""
        first: dict[int, int] = {}
        found: list[int | None] = []
        for i, spec in enumerate(self.specs):
            leader = first.setdefault(spec.group, i) if spec.group else i
            found.append(None if leader == i else leader)
        return tuple(found)

    def events(self, first: int = 0) -> tuple[HostEvent, ...]:
        """Return its events as the core takes them, if they have places from ``first`` on.

        As perf does, a group is opened with its leader disabled, and enabled as a whole.
        """
        led = set(self.leaders)
        return tuple(
            dataclasses.replace(
                spec.host_event(self.frequency or self.period),
                freq=bool(self.frequency),
                disabled=i in led,
                group_leader=None if leader is None else first + leader,
                thread_kind=self.thread.kind if self.thread else HostThread.NONE,
                thread=self.thread.number if self.thread else 0,
                number=self.number + i,
            )
            for i, (spec, leader) in enumerate(zip(self.specs, self.leaders, strict=True))
        )


class Running:
    """A session of one machine while it comes and goes."""

    def __init__(self, session: HostSession, first: int) -> None:
        self._session = session
        here = range(first, first + len(session.specs)) if session.start_ns is None else ()
        self._places: list[int | None] = list(here)  # of each event, None: it was refused

    def open(self, machine: Machine) -> None:
        """Open its events; those that count guests fall back to ``:H`` if the host refuses them.

        So does perf since 6.13 (``evsel__fallback()``), unless G or H was asked for. A group whose
        leader is refused is refused.
        """
        session = self._session
        self._places = []
        for spec, event, leader in zip(
            session.specs, session.events(), session.leaders, strict=True
        ):
            place: int | None = None
            if leader is None or self._places[leader] is not None:
                fd = None if leader is None else self._places[leader]
                placed = dataclasses.replace(event, group_leader=fd)
                place = _open(machine, placed, may_fall_back=not spec.says_who)
            if place is None:
                machine.note_refused(event)
            self._places.append(place)
        for leader in sorted({leader for leader in session.leaders if leader is not None}):
            opened = self._places[leader]
            if opened is not None:
                machine.enable_host_event(opened)

    def close(self, machine: Machine) -> None:
        """Close those that are open."""
        for place in self._places:
            if place is not None:
                machine.close_host_event(place)
        self._places = []


def _open(machine: Machine, event: HostEvent, *, may_fall_back: bool) -> int | None:
    place = machine.open_host_event(event)
    if place == -errno.EOPNOTSUPP and may_fall_back:
        text = modified(event.text, "H")
        place = machine.open_host_event(dataclasses.replace(event, exclude_guest=True, text=text))
    return place if place >= 0 else None


def _number(option: str, words: list[str], text: str, most: int) -> int:
    if not words:
        raise UsageError(f"--host-perf {text}: {option} wants a number")
    word = words.pop(0)
    number = int(word) if re.fullmatch(r"\d{1,18}", word, re.ASCII) else 0
    if not 1 <= number <= most:
        raise UsageError(f"--host-perf {text}: {option} {word}: a number from 1 to {most}")
    return number


def _frequency(text: str, words: list[str]) -> int:
    """Return what ``-F`` says; as for perf, ``max`` is as fast as the host allows."""
    if words[:1] == ["max"]:
        words.pop(0)
        return MAX_SAMPLE_RATE
    try:
        return _number("-F", words, text, MAX_SAMPLE_RATE)
    except UsageError as error:
        raise UsageError(
            f"{error}, which is kernel.perf_event_max_sample_rate; -F max takes that"
        ) from None


def _thread(text: str, words: list[str]) -> Thread:
    word = words.pop(0) if words else ""
    match = _THREAD.fullmatch(word)
    if match is None:
        raise UsageError(
            f"--host-perf {text}: -t {word or 'wants a thread'}: one thread, a vCPU's (vcpu0) or "
            "one of the host's tasks (task0)"
        )
    return Thread(HostThread[match[1].upper()], int(match[2]))


def _times(text: str, events: str) -> tuple[str, int | None, int | None]:
    names, at, times = events.rpartition("@")
    if not at:
        return events, None, None
    match = _TIMES.fullmatch(events)
    if match is None:
        raise UsageError(
            f"--host-perf {text}: behind the @ stands when it begins, or from when until when: "
            f"{names or 'cycles'}@10ms or {names or 'cycles'}@10ms-30ms"
            + ("" if times else "; a time is missing")
        )
    if not names:
        raise UsageError(f"--host-perf {text}: an event is missing, as in cycles:D@{times}")
    start = 0
    if not _ZERO.fullmatch(match[2].strip()):
        start = parse_time(match[2], f"--host-perf {text}: from")
    stop = parse_time(match[3], f"--host-perf {text}: until") if match[3] else None
    if stop is not None and stop <= start:
        when = "when" if stop == start else "before"
        raise UsageError(f"--host-perf {text}: it ends {when} it begins")
    return match[1], start, stop


@dataclass(slots=True)
class _Asked:
    """What has been read of a SPEC."""

    text: str
    events: str = ""
    period: int = 0
    frequency: int = 0
    thread: Thread | None = None
    all_cpus: bool = False

    def take(self, words: list[str]) -> None:
        """Take the next option, with what belongs to it."""
        word = words.pop(0)
        option = _LONG.get(word, word)
        if option == "-a":
            self.all_cpus = True
        elif option == "-c":
            self.period = _number("-c", words, self.text, (1 << 47) - 1)
        elif option == "-F":
            self.frequency = _frequency(self.text, words)
        elif option == "-t":
            self.thread = _thread(self.text, words)
        elif option == "-e" and not words:
            raise UsageError(f"--host-perf {self.text}: -e wants events")
        elif option == "-e" or not word.startswith("-"):
            self._take_events(words.pop(0) if option == "-e" else word)
        else:
            raise UsageError(
                f"--host-perf {self.text}: {word} is not supported; what is: -a, -t THREAD, "
                "-c PERIOD, -F HZ, -e EVENTS"
            )

    def _take_events(self, events: str) -> None:
        if self.events:
            raise UsageError(
                f"--host-perf {self.text}: one list of events, its parts joined by ','"
            )
        self.events = events

    def check(self) -> None:
        """UsageError for what does not go together."""
        what = None
        if not self.events:
            what = "an event is missing, as in --host-perf cycles:D"
        elif self.period and self.frequency:
            what = "-c and -F exclude each other: a fixed period or a frequency in Hz"
        elif self.thread and self.all_cpus:
            what = "-a and -t exclude each other: all CPUs or a thread"
        if what:
            raise UsageError(f"--host-perf {self.text}: {what}")


def parse(text: str, table: EventTable) -> HostSession:
    """Return what a SPEC says; UsageError for one that says nothing that perf would take."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--host-perf {text}: {error}") from None
    asked = _Asked(text)
    while words:
        asked.take(words)
    asked.check()
    names, start, stop = _times(text, asked.events)
    if start is None and asked.thread and asked.thread.kind is HostThread.VCPU:
        start = 0
    specs = table.host(names)
    return HostSession(text, specs, asked.period, asked.frequency, asked.thread, start, stop)


def parse_all(texts: Iterable[str], table: EventTable) -> tuple[HostSession, ...]:
    """Return the sessions in the order given."""
    found: list[HostSession] = []
    number = 0
    for text in texts:
        session = dataclasses.replace(parse(text, table), number=number)
        number += len(session.specs)
        found.append(session)
    return tuple(found)
