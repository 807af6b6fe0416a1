# SPDX-License-Identifier: Apache-2.0
"""How late PMIs are: from the overflow to the guest's handler, in cycles and in instructions.

One event of instructions, a PMI each PERIOD of them. Late by instructions is the skid that a
sample's address has; a guest of the emulated design is stopped by the host's NMI at once and runs
no further until the PMI is injected, so that its skid is silicon's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pmupass.bench.experiment import Cell, run_all
from pmupass.options import Options
from pmupass.results import Chart, Measurement, Result, Series

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pmupass.machine import Watch

CPUS = ("sapphire-rapids", "skylake-sp", "zen4")
PERIOD = 200_000
TIME_NS = 50_000_000
HOST = ("cycles:H",)
HINT = ("kvm.pmu_hint=1",)
# The design, its switch policy, further settings, what the host counts.
DESIGNS: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "native": ("native", "upstream", (), ()),
    "emulated": ("emulated", "upstream", (), ()),
    "emulated, the host counts": ("emulated", "upstream", (), HOST),
    "emulated, host under perf top": ("emulated", "upstream", (), ()),
    "mediated": ("mediated", "upstream", (), ()),
    "mediated, the host counts": ("mediated", "upstream", (), HOST),
    "mediated, entry-exit": ("mediated", "entry-exit", (), ()),
    "mediated, vcpu-loop": ("mediated", "vcpu-loop", (), ()),
    "mediated, lazy": ("mediated", "lazy", (), ()),
    "mediated, enlightened": ("mediated", "enlightened", (), ()),
    "mediated, hint": ("mediated", "enlightened", HINT, ()),
}
SCENARIOS = {"emulated, host under perf top": "perf-top"}


class Kept(NamedTuple):
    """What is kept of a run."""

    cycles: tuple[int, int]  # median, 99 of 100
    instructions: tuple[int, int]
    lost: int  # PMIs that were due and dropped


def keep(result: Result) -> Kept:
    """Return what is kept of a run."""
    pmi = result.pmi
    cycles, skid = pmi.latency_cycles, pmi.latency_instructions
    return Kept((cycles.p50, cycles.p99), (skid.p50, skid.p99), pmi.dropped)


def _cell(cpu: str, design: str) -> Cell:
    mode, switch, settings, host = DESIGNS[design]
    return Cell(
        mode,
        Options(
            "perf-record",
            cpu=cpu,
            events="instructions",
            period=PERIOD,
            time_ns=TIME_NS,
            switch=switch,
            settings=settings,
            host_perf=host,
            scenario=SCENARIOS.get(design, "idle"),
        ),
    )


def measure(watch: Watch, workers: int | None = None) -> Iterator[Chart | Measurement]:
    """Yield the charts of the suite."""
    cells = [_cell(cpu, design) for cpu in CPUS for design in DESIGNS]
    made = run_all(watch, "bench latency", cells, keep, workers)
    for name, i, unit, text in (
        ("cycles", 0, "TSC cycles", "From an overflow to the guest's handler, median"),
        ("cycles-99", 1, "TSC cycles", "From an overflow to the guest's handler, 99 of 100"),
        ("instructions", 0, "instructions", "What the guest retires in between, median"),
        ("instructions-99", 1, "instructions", "What the guest retires in between, 99 of 100"),
    ):
        field = name.partition("-")[0]
        yield Chart(
            suite="latency",
            name=name,
            text=text,
            point="design",
            points=list(DESIGNS),
            unit=unit,
            digits=0,
            series=[
                Series(
                    cpu, [float(getattr(made[_cell(cpu, design)], field)[i]) for design in DESIGNS]
                )
                for cpu in CPUS
            ],
        )
    yield Measurement(
        "PMIs dropped, in all",
        "accuracy",
        sum(k.lost for k in made.values()),
        "PMIs",
    )
