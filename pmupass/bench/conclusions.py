# SPDX-License-Identifier: Apache-2.0
"""What pmupass says of the two designs: each conclusion as a figure, and a bound that it keeps.

A conclusion is data: the runs that it needs, the figure made of them, and on which side of the
bound the figure has to be. ``pmupass bench sensitivity`` asks which of them hold whatever a cost
may be in its range.

Overheads are compared as they are printed, shares of the profiled time. *Added time* is the same
against the time without profiling, o / (1 - o): that adds up, where a share can only come near one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from pmupass import cpus
from pmupass.bench import published
from pmupass.bench.break_even import Design, share_to_profile
from pmupass.bench.experiment import cycles_of
from pmupass.options import DEFAULT_CPU, Options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pmupass.results import Result

SAMPLING_NS = 100_000_000
EXITS_NS = 20_000_000
EXIT_RATE = 10_000  # exits a second, of the break-even
PERF_CALLS = (  # into host perf, by the emulated vPMU
    "perf_event_create_kernel_counter",
    "perf_event_enable",
    "perf_event_disable",
    "perf_event_pause",
    "perf_event_period",
    "perf_event_read_value",
    "perf_event_release_kernel",
)
TRANSITIONS = ("vmx_vmexit", "vmx_vmenter")


@dataclass(frozen=True, slots=True)
class Case:
    """One run, up to the costs."""

    workload: str
    mode: str
    events: str | None = None
    settings: tuple[str, ...] = ()
    switch: str = "upstream"
    cpu: str = DEFAULT_CPU
    time_ns: int = SAMPLING_NS

    def options(self, settings: tuple[str, ...]) -> Options:
        """Return its options, with further settings."""
        return Options(
            self.workload,
            cpu=self.cpu,
            events=self.events,
            frequency=1000 if self.workload == "perf-record" else None,
            settings=(*self.settings, *settings),
            switch=self.switch,
            time_ns=self.time_ns,
            host=False,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is kept of a run."""

    overhead: float
    cpuid_cycles: float  # of an exit
    pmi_latency: int  # TSC cycles, median
    host_cycles: int
    inclusive: Mapping[str, int]  # host cycles by function, callees among them
    charged: frozenset[str]  # functions

    @property
    def added(self) -> float:
        """Time that profiling adds, against the time without it."""
        return self.overhead / (1 - self.overhead)

    def share(self, *functions: str) -> float:
        """Return the share of host cycles of functions that do not call each other."""
        return sum(self.inclusive.get(f, 0) for f in functions) / self.host_cycles


def outcome(result: Result) -> Outcome:
    """Return what is kept of a result."""
    inclusive: dict[str, int] = {}
    charged = set()
    for cost in result.costs:
        frames = cost.stack.split(";")
        charged.add(frames[-1])
        for frame in dict.fromkeys(frames):
            inclusive[frame] = inclusive.get(frame, 0) + cost.cycles
    return Outcome(
        overhead=result.overhead or 0.0,
        cpuid_cycles=cycles_of(result, "CPUID"),
        pmi_latency=result.pmi.latency_cycles.p50,
        host_cycles=result.cost_cycles,
        inclusive=inclusive,
        charged=frozenset(charged),
    )


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A sentence, and the figure that makes it true while it is below, or above, the bound."""

    name: str
    text: str
    figure: str  # in words
    cases: tuple[Case, ...]
    value: Callable[..., float]  # of the cases' outcomes, in their order
    relation: Literal["below", "above"]
    bound: float
    unit: Literal["times", "%"] = "times"  # a share is shown as per cent

    def holds(self, value: float) -> bool:
        """Return whether a value of the figure is on the right side."""
        return value < self.bound if self.relation == "below" else value > self.bound

    def worse(self, value: float, than: float) -> bool:
        """Return whether a value is nearer to the bound, or farther beyond it."""
        return value > than if self.relation == "below" else value < than


def _sampling(
    mode: str, events: int, *settings: str, cpu: str = DEFAULT_CPU, switch: str = "upstream"
) -> Case:
    return Case("perf-record", mode, ",".join(["instructions"] * events), settings, switch, cpu)


def _exits(
    mode: str,
    *settings: str,
    events: str | None = None,
    cpu: str = DEFAULT_CPU,
    switch: str = "upstream",
) -> Case:
    return Case("exit-storm", mode, events, settings, switch, cpu, EXITS_NS)


NATIVE, EMULATED, MEDIATED = (_sampling(mode, 6) for mode in ("native", "emulated", "mediated"))
EMULATED_TURNS, MEDIATED_TURNS = (_sampling(mode, 10) for mode in ("emulated", "mediated"))
ALL_EXPOSED = _sampling("mediated", 6, "kvm.max_fixed_counters=4")
PUBLISHED = tuple(cell for cell in published.CELLS if cell.events == 6)
OF_2024, DIRECT, SELECTORS = (
    _sampling(cell.mode, cell.events, *cell.settings, switch=cell.switch) for cell in PUBLISHED
)
IDLE_EMULATED, IDLE_MEDIATED = _exits("emulated"), _exits("mediated")
BUSY_EMULATED, BUSY_MEDIATED = (
    _exits(mode, "guest.pmu=busy", events=EMULATED.events) for mode in ("emulated", "mediated")
)
NO_VPMU = _exits("emulated", "kvm.cap_pmu_disable=1")
ZEN4 = "zen4"
COUNTING = ("instructions", ("guest.pmu=busy",))


def _overheads(a: Outcome, b: Outcome) -> float:
    return a.overhead / b.overhead


def _off(wanted: float, a: Outcome) -> float:
    return abs(a.overhead / wanted - 1)


def _cpuids(a: Outcome, b: Outcome) -> float:
    return a.cpuid_cycles / b.cpuid_cycles


def _leads(emulated: Outcome) -> float:
    """Return perf_event_enable() by the next of the calls."""
    others = (emulated.share(call) for call in PERF_CALLS if call != "perf_event_enable")
    return emulated.share("perf_event_enable") / max(others)


def _turns(emulated: Outcome, more: Outcome, mediated: Outcome, more_mediated: Outcome) -> float:
    return (more.added / emulated.added) / (more_mediated.added / mediated.added)


def _share_to_profile(*outcomes: Outcome) -> float:
    """Return the share of its time that a guest has to sample for both designs to cost the same."""
    emulated, mediated = (
        Design(idle.cpuid_cycles, busy.cpuid_cycles, sampling.added)
        for idle, busy, sampling in (outcomes[:3], outcomes[3:])
    )
    hertz = cpus.load(DEFAULT_CPU).core_khz * 1000
    share = share_to_profile(emulated, mediated, rate=EXIT_RATE, hertz=hertz)
    return float("inf") if share is None else share


CONCLUSIONS = (
    # ---- sampling ----
    Conclusion(
        "sampling",
        "perf record of 6 events at 1000 Hz costs less with the mediated vPMU",
        "overhead, mediated by emulated",
        (MEDIATED, EMULATED),
        _overheads,
        "below",
        1,
    ),
    Conclusion(
        "sampling-turns",
        "perf record of 10 events, which take turns, costs less with the mediated vPMU",
        "overhead, mediated by emulated",
        (MEDIATED_TURNS, EMULATED_TURNS),
        _overheads,
        "below",
        1,
    ),
    Conclusion(
        "sampling-zen4",
        "on Zen 4, too, perf record of 6 events costs less with the mediated vPMU",
        "overhead, mediated by emulated",
        (_sampling("mediated", 6, cpu=ZEN4), _sampling("emulated", 6, cpu=ZEN4)),
        _overheads,
        "below",
        1,
    ),
    Conclusion(
        "turns",
        "10 events that take turns, instead of 6, are worse for the emulated vPMU",
        "growth of the added time, emulated by mediated",
        (EMULATED, EMULATED_TURNS, MEDIATED, MEDIATED_TURNS),
        _turns,
        "above",
        1,
    ),
    Conclusion(
        "series-selectors",
        "as of 2024, selectors intercepted, sampling costs less than a third of emulated",
        "overhead, mediated by emulated",
        (SELECTORS, OF_2024),
        _overheads,
        "below",
        1 / 3,
    ),
    Conclusion(
        "series-direct",
        "as of 2024 sampling costs less with everything direct than selectors intercepted",
        "overhead, direct by selectors",
        (DIRECT, SELECTORS),
        _overheads,
        "below",
        1,
    ),
    Conclusion(
        "fixed-counter-3",
        "exposing fixed counter 3 more than halves what mediated sampling costs",
        "overhead, exposed by not exposed",
        (ALL_EXPOSED, MEDIATED),
        _overheads,
        "below",
        0.5,
    ),
    Conclusion(
        "native",
        "mediated sampling, fixed counter 3 exposed, costs more than twice the native one",
        "overhead, mediated by native",
        (ALL_EXPOSED, NATIVE),
        _overheads,
        "above",
        2,
    ),
    Conclusion(
        "latency",
        "a PMI reaches its guest sooner with the mediated vPMU",
        "median latency, mediated by emulated",
        (MEDIATED, EMULATED),
        lambda a, b: a.pmi_latency / b.pmi_latency,
        "below",
        1,
    ),
    Conclusion(
        "counting",
        "perf stat, which only counts, costs less than one per cent in either design",
        "the larger overhead",
        (Case("perf-stat", "emulated"), Case("perf-stat", "mediated")),
        lambda a, b: max(a.overhead, b.overhead),
        "below",
        0.01,
        unit="%",
    ),
    *(
        Conclusion(
            f"published-{cell.design.split()[0]}",
            f"as of 2024: sampling, {cell.design}, comes out as published, {cell.percent} %",
            "how far off",
            (case,),
            partial(_off, cell.percent / 100),
            "below",
            published.TOLERANCE,
            unit="%",
        )
        for cell, case in zip(PUBLISHED, (OF_2024, DIRECT, SELECTORS), strict=True)
    ),
    # ---- where the emulated vPMU's time goes ----
    Conclusion(
        "host-perf",
        "emulated sampling: more than half of the host's time is in calls of host perf",
        "share of host cycles",
        (EMULATED,),
        lambda a: a.share(*PERF_CALLS),
        "above",
        0.5,
        unit="%",
    ),
    Conclusion(
        "enable-leads",
        "emulated sampling: of these calls perf_event_enable() takes the most",
        "its cycles by the next one's",
        (EMULATED,),
        _leads,
        "above",
        1,
    ),
    Conclusion(
        "transitions",
        "emulated sampling: hardware takes less than a quarter for exits and entries",
        "share of host cycles",
        (EMULATED,),
        lambda a: a.share(*TRANSITIONS),
        "below",
        0.25,
        unit="%",
    ),
    # ---- a guest PMU that is idle, and exits ----
    Conclusion(
        "idle-exit",
        "guest PMU idle: a CPUID exit costs more than twice as much if mediated",
        "cycles of the exit, mediated by emulated",
        (IDLE_MEDIATED, IDLE_EMULATED),
        _cpuids,
        "above",
        2,
    ),
    Conclusion(
        "idle-exit-zen4",
        "guest PMU idle, Zen 4: a CPUID exit costs more than half as much again",
        "cycles of the exit, mediated by emulated",
        (_exits("mediated", cpu=ZEN4), _exits("emulated", cpu=ZEN4)),
        _cpuids,
        "above",
        1.5,
    ),
    Conclusion(
        "elision",
        "guest PMU idle: leaving out needless writes saves a tenth of the exit or more",
        "cycles of the exit, with by without",
        (IDLE_MEDIATED, _exits("mediated", "kvm.elide_wrmsr=0")),
        _cpuids,
        "below",
        0.9,
    ),
    Conclusion(
        "counting-exit",
        "guest counts instructions: a CPUID exit costs less with the mediated vPMU",
        "cycles of the exit, mediated by emulated",
        tuple(_exits(mode, *COUNTING[1], events=COUNTING[0]) for mode in ("mediated", "emulated")),
        _cpuids,
        "below",
        1,
    ),
    Conclusion(
        "break-even",
        f"{EXIT_RATE:,} exits a second, sampled a tenth of the time: mediated costs less",
        "share of its time that has to be sampled",
        (IDLE_EMULATED, BUSY_EMULATED, EMULATED, IDLE_MEDIATED, BUSY_MEDIATED, MEDIATED),
        _share_to_profile,
        "below",
        0.1,
        unit="%",
    ),
    # ---- switch policies ----
    Conclusion(
        "lazy-idle",
        "guest PMU idle, lazy switching: the exit is within 15 % of that without a vPMU",
        "cycles of a CPUID exit, lazy by no vPMU",
        (_exits("mediated", switch="lazy"), NO_VPMU),
        _cpuids,
        "below",
        1.15,
    ),
    Conclusion(
        "enlightened-idle",
        "guest PMU idle, enlightened switching: the exit costs less than as merged",
        "cycles of the exit, enlightened by upstream",
        (_exits("mediated", switch="enlightened"), IDLE_MEDIATED),
        _cpuids,
        "below",
        1,
    ),
    Conclusion(
        "lazy-sampling",
        "lazy switching makes sampling of 6 events cheaper than as merged",
        "overhead, lazy by upstream",
        (_sampling("mediated", 6, switch="lazy"), MEDIATED),
        _overheads,
        "below",
        1,
    ),
)
