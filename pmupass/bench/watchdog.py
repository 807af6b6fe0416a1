# SPDX-License-Identifier: Apache-2.0
"""The host's hard lockup detector: what each kind of it leaves to guests with a vPMU, and costs.

Linux' own counts cycles of host and guests on a counter of each CPU: guests of the emulated design
have one counter less, and a mediated VM is refused. ``buddy`` has CPUs look at each other, without
a counter; ``hpet`` takes NMIs from a timer, as patches did that Linux never merged. ``perf, host
only`` is no kernel's: a counter that leaves guests out, so that a mediated VM may run beside it.

All have a timer each two fifths of the threshold. The check itself is not modelled, nor how soon it
would find something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pmupass import cpus
from pmupass.core import VmRefusedError
from pmupass.machine import Session
from pmupass.options import Options
from pmupass.results import Measurement

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
HOST_ONLY = "perf, host only"
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
    storm = [e for e in stormed.exits if e.reason.upper() == "CPUID"]
    seen = [e.count / long.cost_cycles for e in long.host_events]
    return Row(
        counters=sum(share < GOOD for share in lost),
        cycles_lost=lost[-1],
        sampling=sampled.overhead or 0.0,
        samples_lost=sum(c.lost for c in sampled.counters) / sum(c.true for c in sampled.counters),
        exit_cycles=sum(e.cycles for e in storm) / sum(e.count for e in storm),
        exits=_exits(long) - _exits(short),
        host_cycles=long.cost_cycles - short.cost_cycles,
        seen=seen[0] if seen else None,
    )


def _exits(result: Result) -> int:
    return sum(e.count for e in result.exits)


def measure(watch: Watch) -> Iterator[Measurement]:
    """Yield the figures of the suite."""
    rows = {
        (cpu, mode, detector): row(watch, cpu, mode, detector)
        for cpu in EVENTS
        for mode in MODES
        for detector in DETECTORS
    }

    def each(
        group: str, unit: str, figure: Callable[[Row, Row], float | None]
    ) -> Iterator[Measurement]:
        for (cpu, mode, detector), found in rows.items():
            without = rows[cpu, mode, "none"]
            value = figure(found, without) if found and without else None
            if value is not None:
                yield Measurement(f"{cpu}, {mode}, {detector}", group, value, unit)

    for (cpu, mode, detector), found in rows.items():
        if not found:
            yield Measurement(f"{cpu}, {mode}, {detector}", "VMs that KVM refuses", 1, "VM")
    yield from each(
        "counters that count, of a guest that uses all it has", "counters", lambda r, _: r.counters
    )
    yield from each("cycles that such a guest loses", "%", lambda r, _: _percent(r.cycles_lost))
    yield from each("6 events sampled at 1000 Hz: overhead", "%", lambda r, _: _percent(r.sampling))
    yield from each("6 events sampled at 1000 Hz: lost", "%", lambda r, _: _percent(r.samples_lost))
    yield from each("CPUID exit, guest PMU idle", "cycles", lambda r, _: round(r.exit_cycles))
    yield from each(
        f"exits that the detector adds in {SECONDS} s",
        "VM-exits",
        lambda r, none: r.exits - none.exits,
    )
    yield from each(
        f"host cycles that it adds in {SECONDS} s",
        "cycles",
        lambda r, none: r.host_cycles - none.host_cycles,
    )
    yield from each(
        "of the host's cycles, a counter that leaves guests out sees",
        "%",
        lambda r, _: None if r.seen is None else _percent(r.seen),
    )


def _percent(share: float) -> float:
    return round(100 * share, 2)
