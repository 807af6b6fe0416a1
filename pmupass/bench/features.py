# SPDX-License-Identifier: Apache-2.0
"""PEBS, LBR, topdown metrics and PT: what a mediated switch would pay for them, and who has them.

The first part is arithmetic: registers of mediated_features.toml at the cost table's cycles for
RDMSR, WRMSR and RDPMC, and at the ends of their ranges, beside today's switch as the model runs it.
These costs stand for PMU registers; none is published for those of LBR and PT.

The second part runs an emulated guest with PEBS on one counter and the LBR on, the two that KVM
offers such guests, under loads of the host.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

from pmupass import costs
from pmupass.bench import images
from pmupass.machine import Session
from pmupass.options import Options
from pmupass.results import Chart, Series
from pmupass.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pmupass.machine import Watch
    from pmupass.results import Result

Accesses = tuple[str, ...]  # IDs of costs


class Moves(Struct, frozen=True, forbid_unknown_fields=True):
    """What a load and a put do with a register."""

    load: Accesses = ()
    put: Accesses = ()


class Register(Struct, frozen=True, forbid_unknown_fields=True):
    """Registers that are moved alike."""

    name: str
    count: Annotated[int, Meta(ge=1)]
    why: str
    used: Moves = Moves()
    unused: Moves = Moves()


class Feature(Struct, frozen=True, forbid_unknown_fields=True):
    """What the mediated vPMU could offer."""

    name: str
    text: str
    source: str
    registers: list[Register]

    def accesses(self, *, used: bool) -> list[str]:
        """Return what a load and a put of it do, an ID of a cost each."""
        moves = [(r.count, r.used if used else r.unused) for r in self.registers]
        return [id_ for n, m in moves for id_ in n * (*m.load, *m.put)]


@cache
def load() -> tuple[Feature, ...]:
    """Return what mediated_features.toml has."""
    path = resources.files("pmupass") / "bench" / "mediated_features.toml"
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(msgspec.convert(data["feature"], list[Feature]))


# ---- the switch ----

CPU = "sapphire-rapids"
EXIT_NS = (5_000_000, 15_000_000)  # what the longer run has more is CPUIDs, without the start
# One for each of the 11 counters that KVM offers.
ALL_COUNTERS = (
    "loads:u,stores:u,cache-references:u,cache-misses:u,branches:u,branches:k,branch-misses:u,"
    "branch-misses:k,instructions,ref-cycles,cycles"
)
PRICED = ("rdmsr", "wrmsr", "rdpmc")
PRICES = ("cheapest", "as in the table", "dearest")
IN_TABLE = PRICES[1]
TODAY = "today's switch, 11 counters"


def prices(which: str) -> dict[str, int]:
    """Return cycles of an access by its ID: what the table has, or all at an end of their range."""
    found = {}
    for id_ in PRICED:
        cost = costs.load()[id_]
        low, high = cost.range or (cost.cycles, cost.cycles)
        found[id_] = {"cheapest": low, "dearest": high}.get(which, cost.cycles)
    return found


def today(watch: Watch, which: str, *, used: bool) -> tuple[float, float]:
    """Return accesses and cycles of today's switch, a load and a put, as the model runs it.

    ``used``: the guest counts on all its counters.
    """

    def total(time_ns: int) -> tuple[int, int, int]:
        options = Options(
            "exit-storm",
            cpu=CPU,
            events=ALL_COUNTERS if used else None,
            settings=(
                f"guest.pmu={'busy' if used else 'idle'}",
                "guest.hz=0",
                *(f"cost.{id_}={cycles}" for id_, cycles in prices(which).items()),
            ),
            time_ns=time_ns,
            host=False,
        )
        switch = _session(watch, options).whole("mediated").switch
        return switch.loads, switch.accesses, switch.cycles

    short, long = (total(time_ns) for time_ns in EXIT_NS)
    loads, moved, cycles = (b - a for a, b in zip(short, long, strict=True))
    return moved / loads, cycles / loads


def _cycles(which: str, accesses: list[str]) -> int:
    price = prices(which)
    return sum(price[id_] for id_ in accesses)


def _switches(watch: Watch) -> Iterator[Chart]:
    moved: dict[str, list[float]] = {}
    taken: dict[str, list[float]] = {}
    for used in (False, True):
        found = {which: today(watch, which, used=used) for which in PRICES}
        moved.setdefault(TODAY, []).append(found[PRICES[0]][0])
        taken.setdefault(TODAY, []).extend(
            found[which][1] for which in (PRICES if used else (IN_TABLE,))
        )
    for feature in load():
        unused, in_use = (feature.accesses(used=used) for used in (False, True))
        moved[feature.name] = [len(unused), len(in_use)]
        taken[feature.name] = [
            _cycles(IN_TABLE, unused),
            *(_cycles(which, in_use) for which in PRICES),
        ]
    yield _chart(
        "registers",
        "Registers that a mediated switch reads and writes, and what it would have more",
        "a load and put",
        ("not in use", "in use"),
        moved,
    )
    yield _chart(
        "cycles",
        "What these take",
        "cycles",
        ("not in use", "in use, low", "in use", "in use, high"),
        taken,
    )


def _chart(
    name: str,
    text: str,
    unit: str,
    columns: tuple[str, ...],
    rows: Mapping[str, Sequence[float]],
    point: str = "feature",
) -> Chart:
    return Chart(
        suite="features",
        name=name,
        text=text,
        point=point,
        points=list(rows),
        unit=unit,
        digits=0,
        series=[
            Series(column, [round(row[i], 4) for row in rows.values()])
            for i, column in enumerate(columns)
        ],
    )


# ---- PEBS and LBR of an emulated guest ----

TIME_NS = 100_000_000
WORK = 3_000_000  # instructions between two exits, some millisecond
DEBUGCTL, PEBS_ENABLE = 0x1D9, 0x3F1
BRANCHES = 0xC4
# The CPUs on which KVM offers them.
PEBS_CPUS = ("icelake-sp", "sapphire-rapids")
LBR_CPUS = ("skylake-sp", "icelake-sp")
ALL_CPUS = tuple(dict.fromkeys((*PEBS_CPUS, *LBR_CPUS)))
# Loads of the host: a scenario, sessions beside it.
LOADS: dict[str, tuple[str, tuple[str, ...]]] = {
    "nobody": ("idle", ()),
    "watchdog": ("watchdog", ()),
    "perf top": ("perf-top", ()),
    "cycles:pp, half the time": ("idle", ("-F 1000 cycles:pp@25ms-75ms",)),
    "perf record -b": ("idle", ("-F 1000 cycles/branch_type=any/",)),
    "-b pinned, half the time": (
        "idle",
        ("-F 1000 cycles/branch_type=any/D@25ms-75ms",),
    ),
    "agent leaves 3 GP counters": ("agent-leaves-three", ()),
    "agent leaves 1 GP counter": ("monitoring-agent", ()),
    "agent takes all counters": ("agent-takes-all", ()),
    "profilers come and go": ("profiling-storm", ()),
}


def guest(*, pebs: bool, lbr: bool) -> bytes:
    """Return a guest that samples branches with PEBS on GP 0 and records them, as it is told."""
    before = images.wrmsr(PEBS_ENABLE, 1) if pebs else b""
    before += images.wrmsr(images.PERFEVTSEL0, images.ENABLE_ALL | BRANCHES)
    before += images.wrmsr(DEBUGCTL, 1) if lbr else b""
    before += images.wrmsr(images.GLOBAL_CTRL, 1)
    return images.loop(1 << 31, images.work(WORK) + images.CPUID, before)


def beside(watch: Watch, cpu: str, load_: str) -> Result:
    """Return what becomes of an emulated guest that uses what its CPU has of the two."""
    scenario, host_perf = LOADS[load_]
    pebs, lbr = cpu in PEBS_CPUS, cpu in LBR_CPUS
    options = Options(
        "features",
        cpu=cpu,
        time_ns=TIME_NS,
        scenario=scenario,
        host_perf=host_perf,
        settings=(f"guest.pebs={int(pebs)}", f"guest.lbr={int(lbr)}"),
        host=False,
    )
    image = Workload("features", "PEBS and LBR on", data=guest(pebs=pebs, lbr=lbr))
    return _session(watch, options, image).whole("emulated")


def available(watch: Watch, cpu: str, load_: str) -> dict[str, float]:
    """Return of a guest's time with a feature on the share in which it has it, by feature."""
    stats = beside(watch, cpu, load_).stats
    found = {}
    for feature, on, off in (
        ("PEBS", "pebs_on_cycles", "pebs_off_"),
        ("LBR", "lbr_active_cycles", "lbr_stolen_cycles"),
    ):
        if on in stats:
            lacks = sum(n for key, n in stats.items() if key.startswith(off))
            found[feature] = stats[on] / (stats[on] + lacks)
    return found


def _availability(watch: Watch) -> Iterator[Chart]:
    of = {(cpu, load_): available(watch, cpu, load_) for cpu in ALL_CPUS for load_ in LOADS}
    for feature, cpus in (("PEBS", PEBS_CPUS), ("LBR", LBR_CPUS)):
        rows = {load_: [100 * of[cpu, load_][feature] for cpu in cpus] for load_ in LOADS}
        text = f"How much of the time an emulated guest has {feature}"
        yield _chart(feature.lower(), text, "%", cpus, rows, "on the host")


def measure(watch: Watch) -> Iterator[Chart]:
    """Yield the charts of the suite."""
    yield from _switches(watch)
    yield from _availability(watch)


def _session(watch: Watch, options: Options, workload: Workload | None = None) -> Session:
    return Session(
        options, lambda _, fraction: watch("bench features", fraction), workload=workload
    )
