# SPDX-License-Identifier: Apache-2.0
"""The documents: ``pmupass.result/1``, ``diff/1``, ``bench/1`` and, a line each, ``sweep/1``.

The JSON Schemas in ``pmupass/schemas`` are generated from these types (:func:`schema`). Keys that
may be missing are left out, never null; only ``overhead`` and ``standing_cost`` can be null. A
version may gain keys, so readers must pass over those they do not know. Raw 64-bit register values
are strings ``"0x…"``. Cycles are core cycles of host work, TSC values and times are TSC cycles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

Value = str | int | float | bool | list[str]
Label = str | int | bool | list[str | int | bool]


class ReportEvent(Struct, frozen=True):
    """One perf event as the guest's own perf reported it; times in TSC cycles."""

    event: str
    config: str
    value: int
    enabled: int
    running: int
    samples: int
    period: int


class PmuShape(Struct, frozen=True):
    """A PMU: architectural version (0: none) and numbers of counters."""

    version: int
    gp: int
    fixed: int


class Pmus(Struct, frozen=True):
    """The silicon's PMU and the one that the guest's CPUID shows."""

    hardware: PmuShape
    guest: PmuShape


class GuestReport(Struct, frozen=True):
    """What a built-in guest says of its run; ``tsc_end - tsc_begin`` is the measured time."""

    work: int
    tsc_begin: int
    tsc_end: int
    ticks: int
    pmis: int
    pmis_empty: int
    pmi_cycles: int
    rotations: int
    task_switches: int
    throttles: int
    max_sample_rate: int
    reads: int
    exits: int
    events: list[ReportEvent]


class Guest(Struct, frozen=True):
    """What became of the guest; ``emulated`` of its instructions were completed by KVM."""

    instructions: int
    emulated: int
    tsc_cycles: int
    core_cycles: int
    stop: Literal[
        "exit", "halted", "time", "shutdown", "interrupted", "unimplemented", "invariant", "running"
    ]
    exit_value: int
    serial: str
    serial_truncated: bool
    report: GuestReport | UnsetType = UNSET


class Counter(Struct, frozen=True):
    """One guest event: true, counted, and lost = true - counted split by cause.

    ``enabled_cycles`` and ``running_cycles`` are what the guest believes, ``true_running_cycles``
    is how long a counting counter really stood behind the event.
    """

    event: str
    config: str
    true: int
    counted: int
    lost: int
    causes: dict[str, int]
    filtered: bool
    enabled_cycles: int
    running_cycles: int
    true_running_cycles: int
    reads: int
    wrong_reads: int
    overflows: int
    unread: int
    scaled: int | UnsetType = UNSET


class Reads(Struct, frozen=True):
    """Counter reads by the guest, and how many of them returned something untrue."""

    total: int
    wrong: int


class SilentError(Struct, frozen=True):
    """One episode in which a guest event lost counts and nobody was told.

    ``vcpu``: on which of several CPUs.
    """

    event: str
    tsc: int
    until: int
    lost: int
    cause: str
    vcpu: int | UnsetType = UNSET


class Quantiles(Struct, frozen=True):
    """A distribution."""

    p50: int
    p99: int
    max: int


class Pmi(Struct, frozen=True):
    """PMIs that were due in the truth, and what became of them."""

    due: int
    delivered: int
    coalesced: int
    masked: int
    dropped: int
    latency_cycles: Quantiles
    latency_instructions: Quantiles


class Exit(Struct, frozen=True):
    """VM-exits of one reason; a work profile asked for ``profile`` of them."""

    reason: str
    count: int
    profile: int
    cycles: int


class AccessKind(Struct, frozen=True):
    """PMU accesses of one kind; ``cycles`` is all of them together, exits included."""

    kind: str
    direct: int
    intercepted: int
    cycles: int


class Accesses(Struct, frozen=True):
    """Guest accesses to PMU MSRs and RDPMC."""

    direct: int
    intercepted: int
    by_kind: list[AccessKind]


class Switch(Struct, frozen=True):
    """PMU switches between host and guest; all zero where there are none."""

    policy: str
    loads: int
    puts: int
    rdmsr: int
    wrmsr: int
    rdpmc: int
    lvtpc: int
    cycles: int
    host_blind_cycles: int

    @property
    def accesses(self) -> int:
        """Registers that it has read and written."""
        return self.rdmsr + self.wrmsr + self.rdpmc + self.lvtpc


class Cost(Struct, frozen=True):
    """Cycles spent in the innermost function of one call stack, callees apart."""

    stack: str
    count: int
    cycles: int


class Vcpu(Struct, frozen=True):
    """One of several CPUs of a guest; natively a CPU of the computer."""

    instructions: int
    emulated: int
    core_cycles: int
    counters: list[Counter]
    pmi: Pmi
    exits: int
    report: GuestReport | UnsetType = UNSET


class Vm(Struct, frozen=True):
    """A further VM on the host; ``settings`` are those that it has of its own."""

    workload: str
    vpmu: Literal["none", "emulated", "mediated"]
    settings: dict[str, Value]
    pmu: PmuShape
    guest: Guest
    counters: list[Counter]
    reads: Reads
    silent_errors: list[SilentError]
    pmi: Pmi
    exits: list[Exit]
    accesses: Accesses
    switch: Switch
    not_modelled: list[str]
    vcpus: list[Vcpu] | UnsetType = UNSET

    @property
    def exit_count(self) -> int:
        """VM-exits in all."""
        return sum(e.count for e in self.exits)


class HostEvent(Struct, frozen=True):
    """A host perf event after the run, with its truth, and what of it the guests' is."""

    event: str
    config: str
    count: int
    time_enabled: int
    time_running: int
    state: str
    true_guest: int | UnsetType = UNSET
    true_host: int | UnsetType = UNSET
    lost: int | UnsetType = UNSET
    excluded_guest: int | UnsetType = UNSET
    guest_count: int | UnsetType = UNSET
    samples: int | UnsetType = UNSET
    guest_samples: int | UnsetType = UNSET
    thread: str | UnsetType = UNSET
    group_leader: int | UnsetType = UNSET

    @property
    def label(self) -> str:
        """The event, and whose it is if it is not CPU-wide."""
        return self.event if self.thread is UNSET else f"{self.event} ({self.thread})"

    @property
    def all_guest(self) -> int | None:
        """What guests did of it while it was open, whether it counts them or not."""
        if self.true_guest is UNSET or self.excluded_guest is UNSET:
            return None
        return self.true_guest + self.excluded_guest


class Host(Struct, frozen=True):
    """The computer that pmupass ran on; nothing in a model's result depends on it."""

    machine: str
    cpu: str
    cpus: int
    kernel: str
    python: str
    pmupass: str
    seconds: float


class Result(Struct, frozen=True, kw_only=True):
    """One run of one guest in one mode: ``pmupass.result/1``."""

    schema: Literal["pmupass.result/1"] = "pmupass.result/1"
    complete: bool
    workload: str
    mode: Literal["native", "emulated", "mediated"]
    cpu: str
    seed: int
    settings: dict[str, Value]
    pmu: Pmus
    guest: Guest
    counters: list[Counter]
    reads: Reads
    silent_errors: list[SilentError]
    pmi: Pmi
    exits: list[Exit]
    accesses: Accesses
    switch: Switch
    costs: list[Cost]
    overhead: float | None
    standing_cost: float | None
    not_modelled: list[str]
    host_events: list[HostEvent]
    stats: dict[str, int]
    vcpus: list[Vcpu] | UnsetType = UNSET
    vms: list[Vm] | UnsetType = UNSET
    host: Host | UnsetType = UNSET

    @property
    def exit_count(self) -> int:
        """VM-exits in all."""
        return sum(e.count for e in self.exits)

    @property
    def own_exit_count(self) -> int:
        """VM-exits that no work profile asked for."""
        return sum(e.count - e.profile for e in self.exits)

    @property
    def cost_cycles(self) -> int:
        """Core cycles of host work in all."""
        return sum(cost.cycles for cost in self.costs)

    @property
    def other_vms(self) -> list[Vm]:
        """The further VMs; none in most runs."""
        return [] if isinstance(self.vms, UnsetType) else self.vms

    @property
    def all_vms(self) -> list[Result | Vm]:
        """What is about a VM each: this document, for the first one, and the further ones."""
        return [self, *self.other_vms]

    @property
    def failed(self) -> bool:
        """Whether the guest reported failure: a non-zero exit value, or a triple fault."""
        return self.guest.exit_value != 0 or self.guest.stop == "shutdown"


class Refused(Struct, frozen=True):
    """A mode that KVM refused, with the reason and what to change."""

    refused: str


# msgspec has no union of two structs without a tag; a mode that ran is told from a refused one
# by its keys, as the schema says.
if TYPE_CHECKING:
    ModeResult = Result | Refused
else:
    ModeResult = Annotated[
        Any,
        msgspec.Meta(
            extra_json_schema={"anyOf": [{"$ref": "#/$defs/Result"}, {"$ref": "#/$defs/Refused"}]}
        ),
    ]

DifferenceClass = Literal["architectural", "accuracy", "cost", "host-visibility"]


class Difference(Struct, frozen=True):
    """One thing in which the modes differ; ``values`` by mode."""

    kind: DifferenceClass = field(name="class")
    what: str
    values: dict[str, int | float | str | None]
    expected: bool


class Diff(Struct, frozen=True, kw_only=True):
    """The same guest in several modes: ``pmupass.diff/1``."""

    schema: Literal["pmupass.diff/1"] = "pmupass.diff/1"
    complete: bool
    workload: str
    modes: dict[str, ModeResult]
    differences: list[Difference]
    verdict: str

    @property
    def results(self) -> dict[str, Result]:
        """The modes that ran."""
        return {name: r for name, r in self.modes.items() if isinstance(r, Result)}

    @property
    def refusals(self) -> dict[str, str]:
        """The modes that were refused, with the reasons."""
        return {name: r.refused for name, r in self.modes.items() if isinstance(r, Refused)}


class Measurement(Struct, frozen=True):
    """One figure of a benchmark, with the published one beside it where there is one.

    ``ratio`` is value by published; ``verdict`` whether it is near enough, ``analysis`` why not.
    """

    name: str
    group: str
    value: float | int
    unit: str
    published: float | int | UnsetType = UNSET
    source: str | UnsetType = UNSET
    ratio: float | UnsetType = UNSET
    verdict: Literal["pass", "fail"] | UnsetType = UNSET
    analysis: str | UnsetType = UNSET


Verdict = Literal["holds", "together", "flips", "no"]


class Swing(Struct, frozen=True):
    """What one uncertain setting does to a conclusion's figure, the others as they are."""

    key: str
    low: int
    value: int
    high: int
    at_low: float
    at_high: float
    flips_at: int | UnsetType = UNSET

    @property
    def width(self) -> float:
        """How much it moves the figure."""
        return abs(self.at_high - self.at_low)


class Drawn(Struct, frozen=True):
    """A conclusion's figure over random values of all uncertain settings."""

    min: float
    max: float
    failed: int


class ConclusionReport(Struct, frozen=True):
    """A conclusion, which holds while its figure is below or above a bound, and how it fares.

    ``swings`` are widest first. Figures are plain numbers, shares of one if ``unit`` is ``%``.
    """

    name: str
    text: str
    figure: str
    unit: Literal["times", "%"]
    relation: Literal["below", "above"]
    bound: float
    value: float
    verdict: Verdict
    scatter: float
    all_low: float
    all_high: float
    drawn: Drawn
    best: float
    worst: float
    swings: list[Swing]
    way: float | UnsetType = UNSET

    def widest(self, most: int) -> list[Swing]:
        """Return the settings that move it most, none of which only scatters."""
        return [s for s in self.swings[:most] if s.width > self.scatter]

    @property
    def in_words(self) -> str:
        """The verdict for people."""
        if isinstance(self.way, UnsetType):
            return self.verdict
        return f"till {100 * self.way:.0f} %"


class Sensitivity(Struct, frozen=True):
    """How far conclusions depend on uncertain costs."""

    costs: int
    draws: int
    seed: int
    runs: int
    conclusions: list[ConclusionReport]


class Series(Struct, frozen=True):
    """What one of several things comes to at each point of a chart; None: there it is not."""

    name: str
    values: list[float | None]


class Chart(Struct, frozen=True, kw_only=True):
    """Figures over one quantity: a table, and a plot.

    ``points`` are numbers (``scale``) or names; ``best`` says which figure of a point wins.
    """

    suite: str
    name: str
    text: str
    point: str
    points: list[float | str]
    unit: str
    digits: int
    series: list[Series]
    scale: Literal["linear", "log"] = "linear"
    best: Literal["lowest", "highest"] | UnsetType = UNSET

    def best_of(self, i: int) -> list[str]:
        """Return the series that win at a point: the best, and those as good as far as shown."""
        if isinstance(self.best, UnsetType):
            return []
        found = {s.name: s.values[i] for s in self.series}
        there = {n: round(v, self.digits) for n, v in found.items() if v is not None}
        if not there:
            return []
        top = min(there.values()) if self.best == "lowest" else max(there.values())
        return [name for name, value in there.items() if value == top]


class Bench(Struct, frozen=True, kw_only=True):
    """Figures of ``pmupass bench``: ``pmupass.bench/1``."""

    schema: Literal["pmupass.bench/1"] = "pmupass.bench/1"
    complete: bool
    results: list[Measurement]
    charts: list[Chart] = []
    sensitivity: Sensitivity | UnsetType = UNSET
    host: Host | UnsetType = UNSET


class SweepLine(Struct, frozen=True, kw_only=True):
    """One cell of a sweep, a line of its file: ``pmupass.sweep/1``."""

    schema: Literal["pmupass.sweep/1"] = "pmupass.sweep/1"
    pmupass: str
    sweep: str
    cell: int
    axes: dict[str, Label]
    command: str
    outcome: Literal["ok", "guest-failure", "refused", "usage", "input", "model"]
    figures: dict[str, Any]
    error: str | UnsetType = UNSET
    warnings: list[str] | UnsetType = UNSET
    result: Result | UnsetType = UNSET


DOCUMENTS: dict[str, type[Struct]] = {
    "result": Result,
    "diff": Diff,
    "bench": Bench,
    "sweep": SweepLine,
}


def encode(document: Struct) -> bytes:
    """Return a document as JSON, indented, with a final newline; same document, same bytes."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a document: result, diff, bench or sweep (of one line)."""
    types = [DOCUMENTS[name], *((Result, Refused) if name == "diff" else ())]
    (body, *_), definitions = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    for definition in definitions.values():
        if "schema" in definition["properties"]:
            definition["required"].insert(0, "schema")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"pmupass.{name}/1",
        **body,
        "$defs": definitions,
    }
