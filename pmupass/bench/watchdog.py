# SPDX-License-Identifier: Apache-2.0
"""The host's hard lockup detector: what each kind of it leaves to guests with a vPMU, and costs.

Linux' own counts cycles of host and guests on a counter of each CPU: guests of the emulated design
have one counter less, and a mediated VM is refused. ``buddy`` has CPUs look at each other, without
a counter; ``hpet`` takes NMIs from a timer, as patches did that Linux never merged. ``perf:H``
is no kernel's: a counter that leaves guests out, so that a mediated VM may run beside it.

All have a timer each two fifths of the threshold. The check itself is not modelled, nor how soon it
would find something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pmupass import cpus
from pmupass.bench.experiment import cycles_of, overhead_of
from pmupass.core import VmRefusedError
from pmupass.machine import Session
from pmupass.options import Options
from pmupass.results import Chart, Measurement, Series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pmupass.machine import Watch
    from pmupass.results import Result

THRESHOLD_S = 10  # kernel.watchdog_thresh
PERIODS = 10
# A guest that computes runs for a quarter of a threshold, and so long on top. The first timer comes
# at two fifths: what the longer run has more is what PERIODS thresholds bring.
SHORT_NS = THRESHOLD_S * 10**9 // 4
LONG_NS = SHORT_NS + PERIODS * THRESHOLD_S * 10**9
SECONDS = PERIODS * THRESHOLD_S
EXIT_NS, PROFILED_NS = 5_000_000, 100_000_000
HOST_ONLY = "perf:H"
DETECTORS = {  # host.nmi_watchdog
    "none": "none",
    "perf": "perf",
    "buddy": "buddy",
    "hpet": "hpet",
    HOST_ONLY: "buddy",  # whose timer it has
}
MODES = ("emulated", "mediated")
# An event for each counter that KVM offers: the GP counters first, cycles last.
EVENTS = {
    "sapphire-rapids": "loads:u,stores:u,cache-references:u,cache-misses:u,branches:u,branches:k,"
    "branch-misses:u,branch-misses:k,instructions,ref-cycles,cycles",
    "zen4": "branches:u,branches:k,branch-misses:u,branch-misses:k,instructions,cycles",
}
SAMPLED = ",".join(["instructions"] * 6)
SEEN = f"host cycles that {HOST_ONLY} counts"
GOOD = 0.01  # a counter that loses more than this share has lost


class Row(NamedTuple):
    """A guest beside a detector."""

    counters: int  # that count, of a guest that uses all it has
    cycles_lost: float  # share
    sampling: float  # overhead
    samples_lost: float  # share of what the sampled events should count
    exit_cycles: float
    exits: int  # of a guest that computes, in SECONDS
    host_cycles: int  # the same
    seen: float | None  # of these, share that the host's event counts, if it has one


def options(cpu: str, detector: str, workload: str) -> Options:
    """Return the options of a run; ``short`` and ``long`` are of a guest that computes."""
    times = {"short": SHORT_NS, "long": LONG_NS, "exit-storm": EXIT_NS}
    period = THRESHOLD_S * cpus.load(cpu).tsc_khz * 1000
    settings: tuple[str, ...] = (
        f"host.nmi_watchdog={DETECTORS[detector]}",
        f"host.watchdog_thresh={THRESHOLD_S}",
    )
    computes = workload in ("short", "long")
    if computes:
        settings = (*settings, "guest.chunk=1000000000", "guest.hz=0")
    return Options(
        "exit-storm" if computes else workload,
        cpu=cpu,
        events={"perf-stat": EVENTS[cpu], "perf-record": SAMPLED}.get(workload),
        frequency=1000 if workload == "perf-record" else None,
        time_ns=times.get(workload, PROFILED_NS),
        host_perf=(f"-c {period} cycles:HD",) if detector == HOST_ONLY else (),
        settings=settings,
        host=False,
    )


def row(watch: Watch, cpu: str, mode: str, detector: str) -> Row | None:
    """Return what becomes of a guest beside a detector; None if KVM refuses the VM."""

    def run(workload: str) -> Result:
        session = Session(
            options(cpu, detector, workload), lambda _, fraction: watch("bench watchdog", fraction)
        )
        return session.whole(mode)

    try:
        counted = run("perf-stat")
    except VmRefusedError:
        return None
    sampled, stormed = run("perf-record"), run("exit-storm")
    short, long = run("short"), run("long")
    lost = [max(c.lost, 0) / c.true for c in counted.counters]
    seen = [e.count / long.cost_cycles for e in long.host_events]
    return Row(
        counters=sum(share < GOOD for share in lost),
        cycles_lost=lost[-1],
        sampling=overhead_of(sampled),
        samples_lost=sum(c.lost for c in sampled.counters) / sum(c.true for c in sampled.counters),
        exit_cycles=cycles_of(stormed, "CPUID"),
        exits=long.exit_count - short.exit_count,
        host_cycles=long.cost_cycles - short.cost_cycles,
        seen=seen[0] if seen else None,
    )


def measure(watch: Watch) -> Iterator[Chart | Measurement]:
    """Yield the charts of the suite."""
    rows = {
        (cpu, mode, detector): row(watch, cpu, mode, detector)
        for cpu in EVENTS
        for mode in MODES
        for detector in DETECTORS
    }

    def chart(
        name: str, text: str, unit: str, figure: Callable[[Row, Row], float], digits: int = 0
    ) -> Chart:
        def value(cpu: str, mode: str, detector: str) -> float | None:
            found, without = rows[cpu, mode, detector], rows[cpu, mode, "none"]
            return round(figure(found, without), 4) if found and without else None

        return Chart(
            suite="watchdog",
            name=name,
            text=text,
            point="detector",
            points=list(DETECTORS),
            unit=unit,
            digits=digits,
            series=[
                Series(f"{cpu}, {mode}", [value(cpu, mode, detector) for detector in DETECTORS])
                for cpu in EVENTS
                for mode in MODES
            ],
        )

    yield chart(
        "counters",
        "Counters that count, of a guest that uses all it has",
        "counters",
        lambda r, _: r.counters,
    )
    yield chart(
        "sampling", "6 events sampled at 1000 Hz: overhead", "%", lambda r, _: 100 * r.sampling, 2
    )
    yield chart(
        "lost",
        "6 events sampled at 1000 Hz: what they lose",
        "%",
        lambda r, _: 100 * r.samples_lost,
        2,
    )
    yield chart("exit", "A CPUID exit, guest PMU idle", "cycles", lambda r, _: r.exit_cycles)
    yield chart(
        "exits",
        f"What the detector adds in {SECONDS} s of a guest that computes",
        "VM-exits",
        lambda r, without: r.exits - without.exits,
    )
    yield chart(
        "cycles",
        "The same",
        "host cycles",
        lambda r, without: r.host_cycles - without.host_cycles,
    )
    seen = {key: found.seen for key, found in rows.items() if found and found.seen is not None}
    for (cpu, mode, _), share in seen.items():
        yield Measurement(f"{cpu}, {mode}", SEEN, round(100 * share, 2), "%")
