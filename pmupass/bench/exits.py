# SPDX-License-Identifier: Apache-2.0
"""Exit-heavy guests: what an idle vPMU costs them, and for whom the mediated one is cheaper.

The exits are CPUIDs, which leave the inner run loop; exits of the fastpath do not switch the PMU.

A guest that never uses its PMU pays for the mediated one's switch at any rate of exits; one that
profiles saves that again: break_even.py.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pmupass import cpus
from pmupass.bench.break_even import Design, share_to_profile
from pmupass.bench.exit_rate import chunk
from pmupass.bench.experiment import (
    CPUS,
    Cell,
    cycles_of,
    overhead_of,
    percent,
    run_all,
    series,
    share_lost,
)
from pmupass.options import Options
from pmupass.results import Chart, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pmupass.machine import Watch

RATES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
MODES = ("emulated", "mediated")
TIME_NS = 10_000_000
PROFILED_NS = 100_000_000
USES = {  # of the PMU: the workload, its events
    "sampling 6 events at 1000 Hz": ("perf-record", ",".join(["instructions"] * 6), 1000),
    "counting 4 events": ("perf-stat", "cycles,instructions,branches,branch-misses", None),
}


class Kept(NamedTuple):
    """What is kept of a run."""

    lost: float  # share of the guest's time
    added: float  # time that profiling adds, against the time without it
    exit_cycles: float


def keep(result: Result) -> Kept:
    """Return what is kept of a run."""
    overhead = overhead_of(result)
    return Kept(share_lost(result), overhead / (1 - overhead), cycles_of(result, "CPUID"))


def _idle(cpu: str, mode: str, rate: int) -> Cell:
    settings = (chunk(cpu, rate),)
    return Cell(mode, Options("exit-storm", cpu=cpu, time_ns=TIME_NS, settings=settings))


def _storm(cpu: str, mode: str, events: str | None) -> Cell:
    settings = ("guest.pmu=busy",) if events else ()
    return Cell(
        mode, Options("exit-storm", cpu=cpu, events=events, time_ns=TIME_NS, settings=settings)
    )


def _profiled(cpu: str, mode: str, use: str) -> Cell:
    workload, events, frequency = USES[use]
    return Cell(
        mode,
        Options(workload, cpu=cpu, events=events, frequency=frequency, time_ns=PROFILED_NS),
    )


def measure(watch: Watch, workers: int | None = None) -> Iterator[Chart]:
    """Yield the charts of the suite."""
    idle = [_idle(cpu, mode, rate) for cpu in CPUS for mode in MODES for rate in RATES]
    events = [None, *(USES[use][1] for use in USES)]
    storms = [_storm(cpu, mode, e) for cpu in CPUS for mode in MODES for e in events]
    profiled = [_profiled(cpu, mode, use) for cpu in CPUS for mode in MODES for use in USES]
    made = run_all(watch, "bench exits", (*idle, *storms, *profiled), keep, workers)
    for mode in reversed(MODES):
        yield _chart(
            f"idle-{mode}",
            f"What the {mode} vPMU costs a guest that never uses it",
            partial(_standing, made, mode),
        )
    for use in USES:
        yield _chart(
            f"break-even-{use.partition(' ')[0]}",
            f"How much of its time has to go into {use} for both designs to cost the same",
            partial(_break_even, made, use),
        )


def _chart(name: str, text: str, value: Callable[[str, int], float | None]) -> Chart:
    return Chart(
        suite="exits",
        name=name,
        text=text,
        point="exits a second",
        points=list(map(float, RATES)),
        unit="% of the guest's time",
        digits=2,
        scale="log",
        series=series(CPUS, RATES, value),
    )


def _standing(made: dict[Cell, Kept], mode: str, cpu: str, rate: int) -> float:
    """Return the share of its time that a guest loses to a vPMU that it never uses, in per cent."""
    return percent(made[_idle(cpu, mode, rate)].lost)


def _break_even(made: dict[Cell, Kept], use: str, cpu: str, rate: int) -> float | None:
    """Return the share of its time that a guest has to profile, in per cent."""
    emulated, mediated = (
        Design(
            idle_exit=made[_storm(cpu, mode, None)].exit_cycles,
            busy_exit=made[_storm(cpu, mode, USES[use][1])].exit_cycles,
            added=made[_profiled(cpu, mode, use)].added,
        )
        for mode in MODES
    )
    hertz = cpus.load(cpu).core_khz * 1000
    share = share_to_profile(emulated, mediated, rate=rate, hertz=hertz)
    return None if share is None else percent(share)
