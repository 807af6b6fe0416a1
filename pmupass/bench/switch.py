# SPDX-License-Identifier: Apache-2.0
"""Switch policies of the mediated vPMU against each other.

By exit rate, use of the guest's PMU, counters exposed, and whether the host counts for itself. The
figure is what the vPMU takes of the guest's time, use included; who has the least wins there. With
it what a policy costs in accuracy: of a host event that leaves guests out, the cycles that it
misses while the guest's PMU is loaded in the host; of the guest, counts and PMIs that are lost.

The guest is exit-storm, with CPUIDs among the profile's work, idle or counting; and for sampling,
perf-record, which exits for its PMU alone. Rates are of the guest's own time: a guest that does
little I/O, a busy one, and one such as fio with small blocks has on one vCPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pmupass.bench.exit_rate import chunk
from pmupass.bench.experiment import (
    CPUS,
    POLICIES,
    Cell,
    percent,
    run_all,
    series,
    share_lost,
)
from pmupass.options import Options
from pmupass.results import Chart, Measurement, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pmupass.machine import Watch

RATES = (1_000, 10_000, 50_000, 200_000)
STORM_NS = 50_000_000
SAMPLING_NS = 50_000_000
HOST = ("cycles:H",)


@dataclass(frozen=True, slots=True)
class Use:
    """What a guest does with its PMU, and how often it exits beside."""

    workload: str
    events: int
    rate: int = 0

    def __str__(self) -> str:
        if self.workload == "perf-record":
            return f"sampling {self.events}"
        what = f"counting {self.events}" if self.events else "idle"
        return f"{what}, {self.rate // 1000}k"


USES = (
    *(Use("exit-storm", events, rate) for events in (0, 1, 6) for rate in RATES),
    Use("perf-record", 1),
    Use("perf-record", 6),
    Use("perf-record", 10),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """A computer and its host: one chart."""

    name: str
    text: str
    cpu: str
    settings: tuple[str, ...] = ()
    host: tuple[str, ...] = ()


SCENES = (
    Scene("intel", "sapphire-rapids, 8 GP and 3 fixed counters", "sapphire-rapids"),
    Scene(
        "intel-host", "sapphire-rapids, the host counts its cycles", "sapphire-rapids", host=HOST
    ),
    Scene(
        "intel-few",
        "sapphire-rapids, 2 GP and 3 fixed counters",
        "sapphire-rapids",
        ("kvm.max_gp_counters=2",),
    ),
    Scene("skylake", "skylake-sp, 4 GP and 3 fixed counters", "skylake-sp"),
    Scene("amd", "zen4, 6 GP counters", "zen4"),
    Scene("amd-host", "zen4, the host counts its cycles", "zen4", host=HOST),
)


IDLE_LOADS = (0, 1, 2, 4, 8, 16, 64)


class Kept(NamedTuple):
    """What is kept of a run."""

    lost: float  # share of the guest's time
    missed: float  # share of its cycles that the host's event did not count
    wrong: int  # events of the guest whose counts are not true, but for what errata add
    dropped: int  # PMIs


def keep(result: Result) -> Kept:
    """Return what is kept of a run."""
    missed = 0.0
    for event in result.host_events:
        if isinstance(event.true_host, int) and event.true_host:
            missed = 1 - event.count / event.true_host
    wrong = sum(any(cause != "erratum" for cause in c.causes) for c in result.counters)
    return Kept(share_lost(result), missed, wrong, result.pmi.dropped)


def cell(scene: Scene, use: Use, policy: str) -> Cell:
    """Return a run."""
    switch, more = POLICIES[policy]
    settings = (*scene.settings, *more)
    if use.workload == "exit-storm":
        settings = (*settings, chunk(scene.cpu, use.rate))
        if use.events:
            settings = (*settings, "guest.pmu=busy")
    sampling = use.workload == "perf-record"
    return Cell(
        "mediated",
        Options(
            use.workload,
            cpu=scene.cpu,
            events=",".join(["instructions"] * use.events) or None,
            frequency=1000 if sampling else None,
            time_ns=SAMPLING_NS if sampling else STORM_NS,
            switch=switch,
            settings=settings,
            host_perf=scene.host,
        ),
    )


def _waiting(cpu: str, loads: int) -> Cell:
    """Return a run of a guest that samples, under lazy."""
    scene = Scene("", "", cpu, (f"kvm.lazy_idle_loads={loads}",))
    return cell(scene, Use("perf-record", 6), "lazy")


def measure(watch: Watch, workers: int | None = None) -> Iterator[Chart | Measurement]:
    """Yield the charts of the suite, and who wins how often."""
    cells = {
        (scene, use, policy): cell(scene, use, policy)
        for scene in SCENES
        for use in USES
        for policy in POLICIES
    }
    waiting = [_waiting(cpu, loads) for cpu in CPUS for loads in IDLE_LOADS]
    made = run_all(watch, "bench switch", (*cells.values(), *waiting), keep, workers)

    def chart(
        scene: Scene, name: str, text: str, unit: str, share: Callable[[Kept], float]
    ) -> Chart:
        return Chart(
            suite="switch",
            name=name,
            text=text,
            point="use, exits/s",
            points=[str(use) for use in USES],
            unit=unit,
            digits=2,
            best="lowest",
            series=series(
                POLICIES, USES, lambda policy, use: percent(share(made[cells[scene, use, policy]]))
            ),
        )

    charts = [
        chart(
            scene,
            scene.name,
            f"{scene.text}: what the vPMU takes",
            "% of the guest's time",
            lambda k: k.lost,
        )
        for scene in SCENES
    ]
    yield from charts
    for scene in SCENES:
        if scene.host:
            yield chart(
                scene,
                f"{scene.name}-missed",
                f"Cycles that the host's event misses, {scene.cpu}",
                "% of the host's cycles",
                lambda k: k.missed,
            )
    yield Chart(
        suite="switch",
        name="idle-loads",
        text="Sampling 6 events under lazy, by how many loads of no use come before one is put off",
        point="kvm.lazy_idle_loads",
        points=list(map(float, IDLE_LOADS)),
        unit="% of the guest's time",
        digits=2,
        series=series(
            CPUS, IDLE_LOADS, lambda cpu, loads: percent(made[_waiting(cpu, loads)].lost)
        ),
    )
    yield from _wins(charts)
    for policy in POLICIES:
        runs = [made[c] for (_, _, p), c in cells.items() if p == policy]
        wrong, dropped = sum(k.wrong for k in runs), sum(k.dropped for k in runs)
        yield Measurement(f"{policy}: guest events miscounted", "accuracy", wrong, "events")
        yield Measurement(f"{policy}: PMIs dropped", "accuracy", dropped, "PMIs")


def _wins(charts: Iterable[Chart]) -> Iterator[Measurement]:
    """Yield how often each policy is the cheapest, or as cheap."""
    found = [winners for chart in charts for winners in map(chart.best_of, range(len(USES)))]
    for policy in POLICIES:
        number = sum(policy in winners for winners in found)
        yield Measurement(f"{policy}: cheapest, of {len(found)}", "who wins", number, "cases")
