# SPDX-License-Identifier: Apache-2.0
"""What the modes cost in the model: perf-record's VM-exits and overheads, by CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmupass.machine import InterruptedRunError, Session, Watch
from pmupass.options import Options
from pmupass.results import Measurement, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = "RFC PATCH 00/41, KVM: x86/pmu: Introduce passthrough vPM, 2024-01-26"
TIME_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class Sampling:
    """``perf record -F 1000`` of so many instructions events on Sapphire Rapids, as published.

    The overheads are percent: emulated, mediated with selectors intercepted, all MSRs direct. They
    were measured in January 2024, with a guest kernel of that time; the mediated ones switched the
    PMU at every VM-entry and VM-exit, which this version does not.
    """

    events: int
    emulated: float
    selectors: float
    direct: float


GUEST = "guest.linux=6.8"
PUBLISHED = (Sampling(6, 33.62, 6.21, 4.24), Sampling(10, 79.32, 10.45, 7.34))
PUBLISHED_EXIT = 3000
EXIT_SOURCE = "commit b0b6a8d3be16: CPUID exit on Emerald Rapids"


def measure(watch: Watch) -> Iterator[Measurement]:
    """Yield the figures of the suite."""
    for name, cpu, settings in (
        ("skylake-sp", "skylake-sp", ()),
        ("sapphire-rapids", "sapphire-rapids", ()),
        (
            "sapphire-rapids, 4 fixed counters",
            "sapphire-rapids",
            ("kvm.max_fixed_counters=4",),
        ),
    ):
        session = _session(
            watch, Options("perf-record", cpu=cpu, settings=settings, time_ns=TIME_NS)
        )
        emulated, mediated = _run(session, "emulated"), _run(session, "mediated")
        if mediated.own_exit_count:
            ratio = round(emulated.own_exit_count / mediated.own_exit_count, 3)
            yield Measurement(f"exits, emulated to mediated, {name}", "VM-exits", ratio, "times")
    for case in PUBLISHED:
        yield from _overheads(watch, case)
    yield from _idle(watch)


def _overheads(watch: Watch, case: Sampling) -> Iterator[Measurement]:
    events = ",".join(["instructions"] * case.events)
    for name, mode, settings, published in (
        ("emulated", "emulated", (GUEST,), case.emulated),
        ("mediated, rfc2024", "mediated", (GUEST, "kvm.interception=rfc2024"), case.selectors),
        ("mediated, all direct", "mediated", (GUEST, "kvm.interception=none"), case.direct),
        ("mediated, as of 7.0", "mediated", (GUEST,), None),
    ):
        options = Options("perf-record", events=events, settings=settings, time_ns=TIME_NS)
        overhead = _run(_session(watch, options), mode).overhead
        if overhead is None:
            continue
        text = f"overhead of sampling {case.events} x instructions, {name}"
        percent = round(100 * overhead, 2)
        if published is None:
            yield Measurement(text, "overhead", percent, "%")
        else:
            yield Measurement(text, "overhead", percent, "%", published=published, source=SOURCE)


def _idle(watch: Watch) -> Iterator[Measurement]:
    """What a vPMU costs that nobody uses."""
    result = _run(_session(watch, Options("exit-storm", time_ns=TIME_NS)), "mediated")
    for e in result.exits:
        if e.reason == "CPUID":
            yield Measurement(
                "CPUID exit beside an idle mediated vPMU",
                "idle vPMU",
                round(e.cycles / e.count),
                "cycles",
                published=PUBLISHED_EXIT,
                source=EXIT_SOURCE,
            )
    if result.standing_cost is not None:
        share = round(100 * result.standing_cost, 2)
        yield Measurement("standing cost, mediated, exit-storm", "idle vPMU", share, "%")


def _session(watch: Watch, options: Options) -> Session:
    return Session(options, lambda label, fraction: watch(f"bench modes: {label}", fraction))


def _run(session: Session, mode: str) -> Result:
    result = session.run(mode)
    if not result.complete:
        raise InterruptedRunError
    return result
