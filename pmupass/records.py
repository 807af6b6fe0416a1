# SPDX-License-Identifier: Apache-2.0
"""What a machine hands out: plain frozen records, one per ``pp_*`` result of ``csrc/pmupass.h``.

Indices into the core's lists are already names here. Times are TSC cycles, costs are core cycles.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pmupass.config import HostEvent


class Stop(enum.IntEnum):
    """Why a run stopped; ``enum pp_stop``."""

    BUDGET = 0
    EXIT = 1
    HALTED = 2
    TIME = 3
    SHUTDOWN = 4
    UNIMPLEMENTED = 5
    INVARIANT = 6
    UNTIL = 7


@dataclass(frozen=True, slots=True)
class Guest:
    """What became of the guest; ``bytes`` is the instruction of ``Stop.UNIMPLEMENTED``.

    ``stop`` is why it stopped.
    """

    instructions: int
    emulated: int
    tsc_cycles: int
    core_cycles: int
    rip: int
    exit_value: int
    exited: bool
    stop: Stop
    serial_length: int
    serial_truncated: bool
    has_report: bool
    bytes: bytes


@dataclass(frozen=True, slots=True)
class ReportEvent:
    """One perf event as the guest's own perf driver saw it."""

    config: int
    value: int
    enabled: int
    running: int
    samples: int
    period: int


@dataclass(frozen=True, slots=True)
class GuestReport:
    """``struct pp_guest_report`` as the guest left it."""

    work: int
    tsc_begin: int
    tsc_end: int
    ticks: int
    pmis: int
    pmis_empty: int
    pmi_cycles: int
    rotations: int
    task_switches: int
    throttles: int
    max_sample_rate: int
    reads: int
    exits: int
    events: tuple[ReportEvent, ...]


@dataclass(frozen=True, slots=True)
class Counter:
    """One guest event, summed over the counters that ran it."""

    config: int
    true_count: int
    counted: int
    causes: dict[str, int]
    enabled_cycles: int
    true_running_cycles: int
    reads: int
    wrong_reads: int
    overflows: int
    filtered: bool
    unread: int
    fed: bool


@dataclass(frozen=True, slots=True)
class SilentError:
    """One episode of a guest event that lost counts without anybody being told."""

    config: int
    tsc: int
    until: int
    lost: int
    cause: str


@dataclass(frozen=True, slots=True)
class Pmi:
    """PMIs and their latency, in TSC cycles and in guest instructions."""

    due: int
    delivered: int
    coalesced: int
    masked: int
    dropped: int
    latency_p50: int
    latency_p99: int
    latency_max: int
    instructions_p50: int
    instructions_p99: int
    instructions_max: int


@dataclass(frozen=True, slots=True)
class Exits:
    """VM-exits of one reason; ``profile`` of them were asked for by a work profile."""

    reason: str
    count: int
    profile: int
    cycles: int


@dataclass(frozen=True, slots=True)
class Accesses:
    """Guest accesses to the PMU of one kind; ``cycles`` is all of them together."""

    kind: str
    direct: int
    intercepted: int
    cycles: int


@dataclass(frozen=True, slots=True)
class Switch:
    """PMU switches of the mediated design and their register traffic."""

    loads: int
    puts: int
    rdmsr: int
    wrmsr: int
    rdpmc: int
    lvtpc: int
    cycles: int
    host_blind_cycles: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Cycles charged under one call stack (kernel functions, outermost first, joined by ``;``)."""

    stack: str
    cost: str
    count: int
    cycles: int


@dataclass(frozen=True, slots=True)
class HostEventResult:
    """A host perf event after the run, and what it would have counted on counters of its own.

    ``guest_count`` and ``guest_samples`` are what of count and samples is the guests'.
    ``excluded_guest``: what guests did of it, if it leaves them out. The truth is None for an event
    with a threshold, and so is ``guest_count`` if it counts both sides.
    """

    event: HostEvent
    count: int
    guest_count: int | None
    samples: int
    guest_samples: int
    time_enabled: int
    time_running: int
    state: str
    true_guest: int | None
    true_host: int | None
    excluded_guest: int | None
