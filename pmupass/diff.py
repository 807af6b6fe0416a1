# SPDX-License-Identifier: Apache-2.0
"""What differs between the modes, each difference with its class and whether it is expected.

- architectural: what the guest computed; must be equal. What it printed stands from the first line
  that differs, and may differ between modes that show the guest different PMUs.
- accuracy: counts and PMIs against the truth. A loss is expected where the design is known to
  lose (the emulated one to contention, refusals, dropped overflows and rounded periods; any to the
  event filter; any under KVM to a fault that a setting asks for, and to an erratum by which the CPU
  model overcounts that event at VM-exits or VM-entries); elsewhere it is not.
- cost: exits, accesses, host cycles, time; expected to differ.
- host-visibility: what the host's own perf could see, beside what there was; expected to differ.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from pmupass import cpus, verdict
from pmupass.config import Mode
from pmupass.policy import enablement
from pmupass.results import (
    Counter,
    Diff,
    Difference,
    DifferenceClass,
    HostEvent,
    PmuShape,
    Refused,
    Result,
    Vm,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EMULATED_LOSES_TO = {"contention", "throttled", "refused", "dropped-overflow", "period-rounding"}
# The setting that asks for a fault, what it is by default, and the cause that it loses counts to.
FAULTS = (
    ("host.fault_late_reprogram", 0, "late-reprogram"),
    ("kvm.fault_counter_write", "none", "counter-write"),
)
Cell = int | float | str | None
Values = dict[str, Cell]
# What a plain profile or count of the host shows, what perf kvm --guest shows, and what was true.
HOST_EVENT_QUANTITIES: dict[str, Callable[[HostEvent], Cell | UnsetType]] = {
    "": lambda e: e.count,
    ": lost": lambda e: e.lost,
    ": what guests did": lambda e: e.all_guest,
    ": of guests (perf kvm --guest)": lambda e: e.guest_count,
    ": samples": lambda e: e.samples,
    ": samples of guests (perf kvm --guest)": lambda e: e.guest_samples,
}


def compare(workload: str, modes: Mapping[str, Result | Refused]) -> Diff:
    """Return the comparison of one workload's runs by mode."""
    results = {mode: r for mode, r in modes.items() if isinstance(r, Result)}
    refusals = {mode: r.refused for mode, r in modes.items() if isinstance(r, Refused)}
    return Diff(
        complete=all(r.complete for r in results.values()),
        workload=workload,
        modes=dict(modes),
        differences=differences(results) if len(results) > 1 else [],
        verdict=verdict.of_diff(results, refusals),
    )


def differences(results: Mapping[str, Result]) -> list[Difference]:
    """Return what differs, architectural first, then accuracy, cost and host visibility."""
    return [
        *_architectural(results),
        *_accuracy(results),
        *_cost(results),
        *_host_visibility(results),
    ]


def _values(results: Mapping[str, Result], of: Callable[[Result], Cell]) -> Values | None:
    values = {mode: of(r) for mode, r in results.items()}
    return values if len(set(values.values())) > 1 else None


def _listed(
    results: Mapping[str, Result],
    kind: DifferenceClass,
    quantities: Mapping[str, Callable[[Result], Cell]],
) -> list[Difference]:
    out = []
    for what, of in quantities.items():
        values = _values(results, of)
        if values is not None:
            out.append(Difference(kind, what, values, expected=kind != "architectural"))
    return out


def _architectural(results: Mapping[str, Result]) -> list[Difference]:
    def work(r: Result) -> Cell:
        report = r.guest.report
        return None if not report else report.work

    return _listed(
        results,
        "architectural",
        {
            "exit value": lambda r: r.guest.exit_value,
            "how the guest stopped": lambda r: r.guest.stop,
            "instructions of work": work,
        },
    ) + _serial(results)


def _serial(results: Mapping[str, Result]) -> list[Difference]:
    """Return the first line of serial text that differs between the modes; None: no such line."""
    texts = {mode: r.guest.serial.splitlines() for mode, r in results.items()}
    longest = max(len(lines) for lines in texts.values())
    for n in range(longest):
        values: Values = {m: lines[n] if n < len(lines) else None for m, lines in texts.items()}
        if len(set(values.values())) > 1:
            expected = not _same_pmu_printed_otherwise(results)
            return [Difference("architectural", f"serial output, line {n + 1}", values, expected)]
    return []


def _same_pmu_printed_otherwise(results: Mapping[str, Result]) -> bool:
    printed: dict[PmuShape, set[str]] = {}
    for r in results.values():
        printed.setdefault(r.pmu.guest, set()).add(r.guest.serial)
    return any(len(texts) > 1 for texts in printed.values())


def _accuracy(results: Mapping[str, Result]) -> list[Difference]:
    out = []
    configs = dict.fromkeys(c.config for r in results.values() for c in r.counters)
    for config in configs:
        found = {mode: _find(r, config) for mode, r in results.items()}
        name = next(c.event for c in found.values() if c)
        lost: Values = {mode: c.lost for mode, c in found.items() if c}
        if len(set(lost.values())) > 1:
            expected = all(
                _loss_expected(results[mode], c) for mode, c in found.items() if c and c.lost
            )
            out.append(Difference("accuracy", f"{name}: counts lost", lost, expected=expected))
    silent = _values(results, lambda r: len(r.silent_errors))
    if silent is not None:
        expected = all(_silent_errors_expected(r) for r in results.values())
        out.append(Difference("accuracy", "silent errors", silent, expected=expected))
    undelivered = _values(results, lambda r: r.pmi.due - r.pmi.delivered)
    if undelivered is not None:
        expected = all(
            mode == "emulated" for mode, r in results.items() if r.pmi.due != r.pmi.delivered
        )
        out.append(
            Difference("accuracy", "PMIs due but not delivered", undelivered, expected=expected)
        )
    out += _listed(
        results,
        "accuracy",
        {
            "PMI latency p50, cycles": lambda r: r.pmi.latency_cycles.p50,
            "PMI latency p50, guest instructions": lambda r: r.pmi.latency_instructions.p50,
        },
    )
    return out


def _find(result: Result, config: str) -> Counter | None:
    return next((c for c in result.counters if c.config == config), None)


def _loss_expected(result: Result, counter: Counter) -> bool:
    allowed = {"filtered"} | _loses_to(result)
    if counter.causes.get("erratum", 0) < 0 and _event_select(counter) in _overcounted(result):
        allowed.add("erratum")
    return set(counter.causes) <= allowed


def _loses_to(result: Result) -> set[str]:
    """Return the causes that a mode is known for, and those of the faults that were asked for."""
    asked = {cause for key, no, cause in FAULTS if result.settings.get(key, no) != no}
    if result.mode == "native":
        return set()
    return asked | (EMULATED_LOSES_TO if result.mode == "emulated" else set())


def _silent_errors_expected(result: Result) -> bool:
    overcounted = _overcounted(result)
    by_erratum = {c.event for c in result.counters if _event_select(c) in overcounted}
    return all(
        e.cause in _loses_to(result)
        or (e.cause == "erratum" and e.lost < 0 and e.event in by_erratum)
        for e in result.silent_errors
    )


def _event_select(counter: Counter) -> int:
    """Return event and umask of a counter's encoding."""
    return int(counter.config, 16) & 0xFFFF


def _overcounted(result: Result) -> set[int]:
    """Return the encodings that VM-exits or VM-entries overcount, by an erratum of the CPU."""
    if result.mode == "native":
        return set()
    prefix = "cpu."
    changed = {
        key[len(prefix) :]: value
        for key, value in result.settings.items()
        if key.startswith(prefix) and isinstance(value, int | str)
    }
    cpu = cpus.load(result.cpu, changed)
    by = cpu.overcount
    events = {
        "instructions": by.exit_instructions + by.entry_instructions,
        "branches": by.exit_branches + by.entry_branches,
    }
    return {e for name, n in events.items() if n for e in cpu.feeds.get(name, ())}


def _cost(results: Mapping[str, Result]) -> list[Difference]:
    return _listed(
        results,
        "cost",
        {
            "overhead": lambda r: r.overhead,
            "standing cost": lambda r: r.standing_cost,
            "guest time, TSC cycles": lambda r: r.guest.tsc_cycles,
            "VM-exits, those of the work profile left out": lambda r: r.own_exit_count,
            "PMU accesses intercepted": lambda r: r.accesses.intercepted,
            "PMU accesses direct": lambda r: r.accesses.direct,
            "PMU switches": lambda r: r.switch.loads,
            "PMU switch, cycles": lambda r: r.switch.cycles,
            "host work, cycles": lambda r: r.cost_cycles,
        },
    )


def _of_host_event(i: int, what: Callable[[HostEvent], Cell | UnsetType], result: Result) -> Cell:
    if i >= len(result.host_events):
        return None
    value = what(result.host_events[i])
    return None if value is UNSET else value


def _visible_cycles(result: Result) -> Cell:
    """Return the guests' cycles that events of the host can count.

    Beside a mediated VM whose PMU is on perf has no event that counts guests, whoever they are.
    """
    if result.mode == "mediated" and any(_perf_is_asked_for(vm, result) for vm in result.all_vms):
        return 0
    return sum(vm.guest.core_cycles for vm in result.all_vms)


def _perf_is_asked_for(vm: Result | Vm, host: Result) -> bool:
    off = not host.settings.get("kvm.enable_pmu", True)
    return enablement.vm_has_pmu(
        Mode.MEDIATED,
        disabled=off or bool(vm.settings.get("kvm.cap_pmu_disable")),
        in_kernel_lapic=vm.settings.get("kvm.irqchip") != "userspace",
    )


def _blind_cycles(result: Result) -> Cell:
    return sum(r.switch.host_blind_cycles for r in result.all_vms)


def _host_visibility(results: Mapping[str, Result]) -> list[Difference]:
    under_kvm = {mode: r for mode, r in results.items() if mode != "native"}
    quantities: dict[str, Callable[[Result], Cell]] = {
        "guest cycles that host perf can count": _visible_cycles,
        "cycles that host perf could not see": _blind_cycles,
    }
    for i, event in enumerate(next(iter(under_kvm.values())).host_events if under_kvm else []):
        for what, of in HOST_EVENT_QUANTITIES.items():
            quantities[f"host event {event.label}{what}"] = partial(_of_host_event, i, of)
    return _listed(under_kvm, "host-visibility", quantities)
