# SPDX-License-Identifier: Apache-2.0
"""Fewer counters for the guest: a smaller PMU switch, and what the guest then has to do without.

``kvm.max_gp_counters`` is what KVM exposes at most. A guest that has fewer counters than events
takes turns with them; and Sapphire Rapids' RDPMC and GLOBAL_* exit in any case, since the guest
lacks one of the four fixed counters unless all are exposed (``kvm.max_fixed_counters=4``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pmupass.bench.experiment import (
    POLICIES,
    Cell,
    cycles_of,
    overhead_of,
    percent,
    run_all,
    series,
)
from pmupass.options import Options
from pmupass.results import Chart, Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pmupass.machine import Watch

GP = tuple(range(1, 9))
EXIT_NS = 5_000_000
PROFILED_NS = 50_000_000
# Which guest: the mode, the policy, further settings.
GUESTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "emulated": ("emulated", "upstream", ()),
    "mediated": ("mediated", "upstream", ()),
    "mediated, 4 fixed counters": ("mediated", "upstream", ("kvm.max_fixed_counters=4",)),
    **{policy: ("mediated", *POLICIES[policy]) for policy in ("enlightened", "hint")},
}
# Six events that any GP counter takes and no fixed one: the guest needs six.
EVENTS = "branches,branch-misses,loads,stores,cache-references,cache-misses"


class Kept(NamedTuple):
    """What is kept of a run."""

    exit_cycles: float
    accesses: float  # of the PMU switch, an exit
    overhead: float
    running: float  # share of its time in which an event is on a counter, the mean


def keep(result: Result) -> Kept:
    """Return what is kept of a run."""
    shares = [c.running_cycles / c.enabled_cycles for c in result.counters if c.enabled_cycles]
    return Kept(
        cycles_of(result, "CPUID"),
        result.switch.accesses / result.exit_count,
        overhead_of(result),
        sum(shares) / len(shares) if shares else 0.0,
    )


def _cell(guest: str, gp: int, workload: str) -> Cell:
    mode, switch, settings = GUESTS[guest]
    idle = workload == "exit-storm"
    return Cell(
        mode,
        Options(
            workload,
            events=None if idle else EVENTS,
            frequency=1000 if workload == "perf-record" else None,
            time_ns=EXIT_NS if idle else PROFILED_NS,
            switch=switch,
            settings=(f"kvm.max_gp_counters={gp}", *settings),
        ),
    )


def measure(watch: Watch, workers: int | None = None) -> Iterator[Chart]:
    """Yield the charts of the suite: Sapphire Rapids."""
    cells = [
        _cell(guest, gp, workload)
        for workload in ("exit-storm", "perf-stat", "perf-record")
        for guest in GUESTS
        for gp in GP
    ]
    made = run_all(watch, "bench exposed", cells, keep, workers)

    def chart(name: str, text: str, unit: str, digits: int, workload: str, of: str) -> Chart:
        def value(guest: str, gp: int) -> float:
            figure: float = getattr(made[_cell(guest, gp, workload)], of)
            return percent(figure) if unit == "%" else round(figure, 4)

        return Chart(
            suite="exposed",
            name=name,
            text=text,
            point="GP counters exposed",
            points=list(map(float, GP)),
            unit=unit,
            digits=digits,
            series=series(GUESTS, GP, value),
        )

    yield chart("idle", "A CPUID exit, guest PMU idle", "cycles", 0, "exit-storm", "exit_cycles")
    yield chart(
        "registers",
        "Registers that the PMU switch reads and writes, guest PMU idle",
        "an exit",
        1,
        "exit-storm",
        "accesses",
    )
    yield chart("counting", "perf stat of 6 events, overhead", "%", 2, "perf-stat", "overhead")
    yield chart(
        "sampling",
        "perf record of 6 events at 1000 Hz, overhead",
        "%",
        2,
        "perf-record",
        "overhead",
    )
    yield chart(
        "running",
        "perf record of 6 events: how much of the time an event is on a counter",
        "%",
        1,
        "perf-record",
        "running",
    )
