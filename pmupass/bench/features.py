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
from pmupass.results import Measurement
from pmupass.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pmupass.machine import Watch

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
REGISTERS = "registers that a switch reads and writes, load and put"
CYCLES = "cycles of a switch, or of what it would have more"


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
        moved = switch.rdmsr + switch.wrmsr + switch.rdpmc + switch.lvtpc
        return switch.loads, moved, switch.cycles

    short, long = (total(time_ns) for time_ns in EXIT_NS)
    loads, moved, cycles = (b - a for a, b in zip(short, long, strict=True))
    return moved / loads, cycles / loads


def _cycles(which: str, accesses: list[str]) -> int:
    price = prices(which)
    return sum(price[id_] for id_ in accesses)


def _switches(watch: Watch) -> Iterator[Measurement]:
    moved: dict[str, float] = {}
    taken: dict[str, dict[str, float]] = {}
    for used, words in ((False, "guest PMU idle"), (True, "guest counts on all 11 counters")):
        name = f"today, {words}"
        found = {which: today(watch, which, used=used) for which in PRICES}
        moved[name] = found[PRICES[0]][0]
        taken[name] = {which: cycles for which, (_, cycles) in found.items()}
    for feature in load():
        for used, words in ((False, "not in use"), (True, "in use")):
            accesses = feature.accesses(used=used)
            name = f"{feature.name}, {words}"
            moved[name] = len(accesses)
            taken[name] = {which: _cycles(which, accesses) for which in PRICES}
    for name, value in moved.items():
        yield Measurement(name, REGISTERS, round(value, 1), "accesses")
    for name, by_price in taken.items():
        for which, cycles in by_price.items():
            yield Measurement(f"{name}, {which}", CYCLES, round(cycles), "cycles")


# ---- PEBS and LBR of an emulated guest ----

TIME_NS = 100_000_000
WORK = 3_000_000  # instructions between two exits, some millisecond
DEBUGCTL, PEBS_ENABLE = 0x1D9, 0x3F1
BRANCHES = 0xC4
# The CPUs on which KVM offers them.
PEBS_CPUS = ("icelake-sp", "sapphire-rapids")
LBR_CPUS = ("skylake-sp", "icelake-sp")
# Loads of the host: a scenario, sessions beside it.
LOADS: dict[str, tuple[str, tuple[str, ...]]] = {
    "nobody": ("idle", ()),
    "watchdog": ("watchdog", ()),
    "perf top": ("perf-top", ()),
    "perf record -e cycles:pp, half of the time": ("idle", ("-F 1000 cycles:pp@25ms-75ms",)),
    "perf record -b": ("idle", ("-F 1000 cycles/branch_type=any/",)),
    "perf record -b, pinned, half of the time": (
        "idle",
        ("-F 1000 cycles/branch_type=any/D@25ms-75ms",),
    ),
    "an agent that leaves 3 GP counters": ("agent-leaves-three", ()),
    "an agent that leaves 1 GP counter": ("monitoring-agent", ()),
    "an agent that takes all counters": ("agent-takes-all", ()),
    "profilers that come and go": ("profiling-storm", ()),
}


def guest(*, pebs: bool, lbr: bool) -> bytes:
    """Return a guest that samples branches with PEBS on GP 0 and records them, as it is told."""
    before = images.wrmsr(PEBS_ENABLE, 1) if pebs else b""
    before += images.wrmsr(images.PERFEVTSEL0, images.ENABLE_ALL | BRANCHES)
    before += images.wrmsr(DEBUGCTL, 1) if lbr else b""
    before += images.wrmsr(images.GLOBAL_CTRL, 1)
    return images.loop(1 << 31, images.work(WORK) + images.CPUID, before)


def available(watch: Watch, cpu: str, load_: str, *, pebs: bool, lbr: bool) -> dict[str, float]:
    """Return of a guest's time with a feature on the share in which it has it, by feature."""
    scenario, host_perf = LOADS[load_]
    options = Options(
        "a guest with PEBS and LBR",
        cpu=cpu,
        time_ns=TIME_NS,
        scenario=scenario,
        host_perf=host_perf,
        settings=(f"guest.pebs={int(pebs)}", f"guest.lbr={int(lbr)}"),
        host=False,
    )
    image = Workload("features", "PEBS and LBR on", data=guest(pebs=pebs, lbr=lbr))
    result = _session(watch, options, image).whole("emulated")
    found = {}
    for feature, on, off in (
        ("PEBS", "pebs_on_cycles", "pebs_off_"),
        ("LBR", "lbr_active_cycles", "lbr_stolen_cycles"),
    ):
        if on in result.stats:
            has = result.stats[on]
            lacks = sum(n for key, n in result.stats.items() if key.startswith(off))
            found[feature] = has / (has + lacks)
    return found


def _availability(watch: Watch) -> Iterator[Measurement]:
    for cpu in dict.fromkeys((*PEBS_CPUS, *LBR_CPUS)):
        for load_ in LOADS:
            shares = available(watch, cpu, load_, pebs=cpu in PEBS_CPUS, lbr=cpu in LBR_CPUS)
            for feature, share in shares.items():
                group = f"{feature} of an emulated guest: how much of the time it has it"
                yield Measurement(f"{cpu}, {load_}", group, round(100 * share, 2), "%")


def measure(watch: Watch) -> Iterator[Measurement]:
    """Yield the figures of the suite."""
    yield from _switches(watch)
    yield from _availability(watch)


def _session(watch: Watch, options: Options, workload: Workload | None = None) -> Session:
    return Session(
        options, lambda _, fraction: watch("bench features", fraction), workload=workload
    )
