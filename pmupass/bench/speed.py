# SPDX-License-Identifier: Apache-2.0
"""How fast this program is: guest MIPS, and host nanoseconds per modelled event."""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import TYPE_CHECKING

from pmupass.bench import images
from pmupass.config import MachineConfig, Mode
from pmupass.core import Machine
from pmupass.errors import ModelError
from pmupass.machine import InterruptedRunError, Watch
from pmupass.options import Options
from pmupass.plan import Plan
from pmupass.records import Stop
from pmupass.results import Measurement
from pmupass.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 5
PLAIN_LOOPS = 2_000_000
DIRECT_LOOPS = 500_000
EXIT_LOOPS = 30_000
PMI_PERIOD = 100_000
PMI_TIME_NS = 50_000_000
SLICE = 1 << 18


class Clock:
    """Host seconds of named machines: each is run ROUNDS times, all of them in turn."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._configs: dict[str, MachineConfig] = {}
        self._seconds: dict[str, list[float]] = {}
        self.instructions: dict[str, int] = {}
        self.pmis: dict[str, int] = {}
        self.loads: dict[str, int] = {}

    def add(self, name: str, config: MachineConfig) -> None:
        """Have a machine measured."""
        self._configs[name] = config
        self._seconds[name] = []

    def measure(self) -> None:
        """Run everything; InterruptedRunError if the watch says so."""
        for round_ in range(ROUNDS):
            for name, config in self._configs.items():
                self._seconds[name].append(self._once(name, config, round_))

    def _once(self, name: str, config: MachineConfig, round_: int) -> float:
        machine = Machine(config)
        started = time.perf_counter()
        while (stop := machine.run(SLICE)) is Stop.BUDGET:
            if not self._watch(f"bench speed: {name}", round_ / ROUNDS):
                raise InterruptedRunError
        seconds = time.perf_counter() - started
        if stop is not Stop.EXIT:
            raise ModelError(
                f"bench guest {name!r} stopped by {stop.name.lower()}, not by its exit"
            )
        self.instructions[name] = machine.guest().instructions
        self.pmis[name] = machine.pmi().delivered
        self.loads[name] = machine.switch().loads
        machine.close()
        return seconds

    def seconds(self, name: str) -> float:
        """Return the median of a machine's runs."""
        return statistics.median(self._seconds[name])

    def nanoseconds(self, name: str, base: str, count: int) -> float:
        """Return what ``count`` events cost, each, over a machine without them."""
        return round(max(self.seconds(name) - self.seconds(base), 0) / count * 1e9, 1)


def measure(watch: Watch) -> Iterator[Measurement]:
    """Yield the figures of the suite."""
    clock = Clock(watch)
    _add_loops(clock)
    _add_pmis(clock, watch)
    clock.measure()
    yield from _mips(clock)
    yield from _accesses(clock)
    yield from _pmis(clock)


def _plan(image: bytes, cpu: str = "sapphire-rapids") -> Plan:
    workload = Workload("bench", "a loop of the benchmark", data=image)
    return Plan(Options("bench", cpu=cpu, host=False), workload)


def _add_loops(clock: Clock) -> None:
    for name, armed, truth in (
        ("plain", False, False),
        ("11 counters", True, False),
        ("11 counters and truth", True, True),
    ):
        plan = _plan(images.plain(PLAIN_LOOPS, armed=armed))
        clock.add(name, dataclasses.replace(plan.config(Mode.NATIVE), truth=truth))
    for mode in Mode:
        name = mode.name.lower()
        loops = DIRECT_LOOPS if mode is Mode.NATIVE else EXIT_LOOPS
        clock.add(f"wrmsr {name}", _plan(images.selector_writes(loops)).config(mode))
        clock.add(f"empty {name}", _plan(images.empty(loops)).config(mode))
    # Skylake-SP shows its guest every counter, so RDPMC is direct under the mediated vPMU.
    for mode in (Mode.NATIVE, Mode.MEDIATED):
        name = mode.name.lower()
        plan = _plan(images.counter_reads(DIRECT_LOOPS), "skylake-sp")
        clock.add(f"rdpmc {name}", plan.config(mode))
        clock.add(f"no rdpmc {name}", _plan(images.empty(DIRECT_LOOPS), "skylake-sp").config(mode))
    plan = _plan(images.cpuid(EXIT_LOOPS))
    clock.add("cpuid mediated", plan.config(Mode.MEDIATED))
    clock.add("cpuid without vPMU", plan.config(Mode.EMULATED, vpmu=False))


def _add_pmis(clock: Clock, watch: Watch) -> None:
    plan = Plan(
        Options("perf-record", events="cycles", period=PMI_PERIOD, time_ns=PMI_TIME_NS, host=False)
    )
    sizing = Machine(plan.config(Mode.NATIVE, perf=False))
    while sizing.run(SLICE) is Stop.BUDGET:
        if not watch("bench speed: sizing", None):
            raise InterruptedRunError
    report = sizing.report()
    sizing.close()
    if report is None or not report.work:
        raise ModelError("the guest perf-record left no report; it cannot be sized")
    for mode in Mode:
        name = mode.name.lower()
        clock.add(f"pmi {name}", plan.config(mode, work=report.work, perf=True))
        clock.add(f"no pmi {name}", plan.config(mode, work=report.work, perf=False))


def _mips(clock: Clock) -> Iterator[Measurement]:
    for name in ("plain", "11 counters", "11 counters and truth"):
        value = clock.instructions[name] / clock.seconds(name) / 1e6
        yield Measurement(f"guest code, {name}", "guest MIPS", round(value, 1), "MIPS")


def _accesses(clock: Clock) -> Iterator[Measurement]:
    for mode in Mode:
        name = mode.name.lower()
        loops = DIRECT_LOOPS if mode is Mode.NATIVE else EXIT_LOOPS
        what = "direct" if mode is Mode.NATIVE else "intercepted"
        value = clock.nanoseconds(f"wrmsr {name}", f"empty {name}", loops)
        yield Measurement(f"WRMSR of a selector, {name} ({what})", "accesses", value, "host ns")
    for mode in (Mode.NATIVE, Mode.MEDIATED):
        name = mode.name.lower()
        value = clock.nanoseconds(f"rdpmc {name}", f"no rdpmc {name}", DIRECT_LOOPS)
        yield Measurement(f"RDPMC, {name} (direct)", "accesses", value, "host ns")
    if clock.loads["cpuid mediated"]:
        value = clock.nanoseconds(
            "cpuid mediated", "cpuid without vPMU", clock.loads["cpuid mediated"]
        )
        yield Measurement("PMU load and put", "switch", value, "host ns")


def _pmis(clock: Clock) -> Iterator[Measurement]:
    for mode in Mode:
        name = mode.name.lower()
        if clock.pmis[f"pmi {name}"]:
            value = clock.nanoseconds(f"pmi {name}", f"no pmi {name}", clock.pmis[f"pmi {name}"])
            yield Measurement(f"PMI round trip, {name}", "PMI", value, "host ns")
