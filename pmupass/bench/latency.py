# SPDX-License-Identifier: Apache-2.0
"""How late PMIs are: from the overflow to the guest's handler, in cycles and in instructions.

One event of instructions, a PMI each PERIOD of them. Late by instructions is the skid that a
sample's address has; a guest of the emulated design is stopped by the host's NMI at once and runs
no further until the PMI is injected, so that its skid is silicon's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pmupass.bench.experiment import CPUS, POLICIES, Cell, run_all, series
from pmupass.options import Options
from pmupass.results import Chart, Measurement, Quantiles, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pmupass.machine import Watch

PERIOD = 200_000
TIME_NS = 50_000_000
HOST = ("cycles:H",)


class Design(NamedTuple):
    """A design, its switch policy, and what the host does."""

    mode: str
    policy: str = "upstream"
    host_perf: tuple[str, ...] = ()
    scenario: str = "idle"


DESIGNS = {
    "native": Design("native"),
    "emulated": Design("emulated"),
    "emulated, the host counts": Design("emulated", host_perf=HOST),
    "emulated, host under perf top": Design("emulated", scenario="perf-top"),
    "mediated": Design("mediated"),
    "mediated, the host counts": Design("mediated", host_perf=HOST),
    **{
        f"mediated, {policy}": Design("mediated", policy)
        for policy in ("entry-exit", "vcpu-loop", "lazy", "enlightened", "hint")
    },
}


class Kept(NamedTuple):
    """What is kept of a run."""

    cycles: Quantiles
    instructions: Quantiles
    dropped: int  # PMIs


def keep(result: Result) -> Kept:
    """Return what is kept of a run."""
    pmi = result.pmi
    return Kept(pmi.latency_cycles, pmi.latency_instructions, pmi.dropped)


def _cell(cpu: str, name: str) -> Cell:
    design = DESIGNS[name]
    switch, settings = POLICIES[design.policy]
    return Cell(
        design.mode,
        Options(
            "perf-record",
            cpu=cpu,
            events="instructions",
            period=PERIOD,
            time_ns=TIME_NS,
            switch=switch,
            settings=settings,
            host_perf=design.host_perf,
            scenario=design.scenario,
        ),
    )


def measure(watch: Watch, workers: int | None = None) -> Iterator[Chart | Measurement]:
    """Yield the charts of the suite."""
    cells = [_cell(cpu, design) for cpu in CPUS for design in DESIGNS]
    made = run_all(watch, "bench latency", cells, keep, workers)

    def chart(name: str, text: str, unit: str, figure: Callable[[Kept], int]) -> Chart:
        return Chart(
            suite="latency",
            name=name,
            text=text,
            point="design",
            points=list(DESIGNS),
            unit=unit,
            digits=0,
            series=series(
                CPUS, list(DESIGNS), lambda cpu, design: float(figure(made[_cell(cpu, design)]))
            ),
        )

    cycles, skid = "From an overflow to the guest's handler", "What the guest retires in between"
    yield chart("cycles", f"{cycles}, median", "TSC cycles", lambda k: k.cycles.p50)
    yield chart("cycles-99", f"{cycles}, 99 of 100", "TSC cycles", lambda k: k.cycles.p99)
    yield chart("instructions", f"{skid}, median", "instructions", lambda k: k.instructions.p50)
    yield chart(
        "instructions-99", f"{skid}, 99 of 100", "instructions", lambda k: k.instructions.p99
    )
    dropped = sum(k.dropped for k in made.values())
    yield Measurement("PMIs dropped, in all", "accuracy", dropped, "PMIs")
