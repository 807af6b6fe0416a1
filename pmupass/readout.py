# SPDX-License-Identifier: Apache-2.0
"""From a machine that has run to the parts of its result document."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType, structs

import pmupass
from pmupass import core, records, results
from pmupass.policy import branch_records

if TYPE_CHECKING:
    from pmupass.config import HostEvent, Pmu
    from pmupass.core import Machine

NameOf = Callable[[int], str]
_STOPS: dict[records.Stop, str] = {
    records.Stop.EXIT: "exit",
    records.Stop.HALTED: "halted",
    records.Stop.TIME: "time",
    records.Stop.SHUTDOWN: "shutdown",
    records.Stop.BUDGET: "interrupted",
    records.Stop.UNIMPLEMENTED: "unimplemented",
    records.Stop.INVARIANT: "invariant",
}


def raw(value: int) -> str:
    """Return a raw 64-bit register value as documents have it."""
    return f"{value:#x}"


def reports(machine: Machine, vm: int = 0) -> list[records.GuestReport]:
    """Return what the CPUs of the guest report, those that do."""
    found = (machine.report(vm, n) for n in range(len(machine.guests_of(vm))))
    return [report for report in found if report is not None]


def _report_of(machine: Machine, n: int, vm: int) -> records.GuestReport | None:
    """Return the report of CPU ``n``, which is the VM's."""
    return machine.report(vm, n - machine.guests_of(vm)[0])


def measured_cycles(machine: Machine) -> int | None:
    """Return TSC cycles from the first begin to the last end; None if a CPU has no report."""
    found = reports(machine)
    if len(found) < len(machine.guests_of(0)):
        return None
    return max(r.tsc_end for r in found) - min(r.tsc_begin for r in found)


def instructions(machine: Machine) -> int:
    """Return the instructions of all CPUs of the guest."""
    return sum(machine.guest(n).instructions for n in machine.guests_of(0))


def read_guest(machine: Machine, stop: records.Stop, name_of: NameOf, vm: int = 0) -> results.Guest:
    """Return the ``guest`` part; ``Stop.BUDGET`` means that somebody interrupted the run."""
    infos = [machine.guest(n) for n in machine.guests_of(vm)]
    first = infos[0]
    found = reports(machine, vm)
    how = _STOPS[stop]
    if vm:
        how = "running" if first.stop is records.Stop.BUDGET else _STOPS[first.stop]
    return results.Guest(
        instructions=sum(info.instructions for info in infos),
        emulated=sum(info.emulated for info in infos),
        tsc_cycles=max(info.tsc_cycles for info in infos),
        core_cycles=sum(info.core_cycles for info in infos),
        stop=how,  # type: ignore[arg-type]
        exit_value=first.exit_value if first.exited else 0,
        serial=machine.serial(vm),
        serial_truncated=first.serial_truncated,
        report=_report(_sum_of_reports(found), name_of) if found else UNSET,
    )


def read_vcpus(machine: Machine, name_of: NameOf, vm: int = 0) -> list[results.Vcpu] | UnsetType:
    """Return the ``vcpus`` part, if there are several."""
    if len(machine.guests_of(vm)) == 1:
        return UNSET
    return [_vcpu(machine, n, name_of, vm) for n in machine.guests_of(vm)]


def _vcpu(machine: Machine, n: int, name_of: NameOf, vm: int) -> results.Vcpu:
    info, report = machine.guest(n), _report_of(machine, n, vm)
    return results.Vcpu(
        instructions=info.instructions,
        emulated=info.emulated,
        core_cycles=info.core_cycles,
        counters=_counters_of(machine, n, name_of, vm),
        pmi=_pmi(machine.pmi(n)),
        exits=sum(e.count for e in machine.exits(n)),
        report=UNSET if report is None else _report(report, name_of),
    )


def _sum_of_reports(found: Sequence[records.GuestReport]) -> records.GuestReport:
    """Return reports as one: from the first begin to the last end; periods are the first CPU's."""
    if len(found) == 1:
        return found[0]
    return records.GuestReport(
        work=sum(r.work for r in found),
        tsc_begin=min(r.tsc_begin for r in found),
        tsc_end=max(r.tsc_end for r in found),
        ticks=sum(r.ticks for r in found),
        pmis=sum(r.pmis for r in found),
        pmis_empty=sum(r.pmis_empty for r in found),
        pmi_cycles=sum(r.pmi_cycles for r in found),
        rotations=sum(r.rotations for r in found),
        task_switches=sum(r.task_switches for r in found),
        throttles=sum(r.throttles for r in found),
        max_sample_rate=found[0].max_sample_rate,
        reads=sum(r.reads for r in found),
        exits=sum(r.exits for r in found),
        events=tuple(_sum_of_events(e) for e in zip(*(r.events for r in found), strict=False)),
    )


def _sum_of_events(events: Sequence[records.ReportEvent]) -> records.ReportEvent:
    return records.ReportEvent(
        config=events[0].config,
        value=sum(e.value for e in events),
        enabled=sum(e.enabled for e in events),
        running=sum(e.running for e in events),
        samples=sum(e.samples for e in events),
        period=events[0].period,
    )


def _report(report: records.GuestReport, name_of: NameOf) -> results.GuestReport:
    return results.GuestReport(
        work=report.work,
        tsc_begin=report.tsc_begin,
        tsc_end=report.tsc_end,
        ticks=report.ticks,
        pmis=report.pmis,
        pmis_empty=report.pmis_empty,
        pmi_cycles=report.pmi_cycles,
        rotations=report.rotations,
        task_switches=report.task_switches,
        throttles=report.throttles,
        max_sample_rate=report.max_sample_rate,
        reads=report.reads,
        exits=report.exits,
        events=[
            results.ReportEvent(
                event=name_of(e.config),
                config=raw(e.config),
                value=e.value,
                enabled=e.enabled,
                running=e.running,
                samples=e.samples,
                period=e.period,
            )
            for e in report.events
        ],
    )


def read_counters(machine: Machine, name_of: NameOf, vm: int = 0) -> list[results.Counter]:
    """Return the guest's events, each once: what was true, what was counted, why they differ."""
    by_config: dict[str, list[results.Counter]] = {}
    for n in machine.guests_of(vm):
        for counter in _counters_of(machine, n, name_of, vm):
            by_config.setdefault(counter.config, []).append(counter)
    return [_sum_of_counters(counters) for counters in by_config.values()]


def _counters_of(machine: Machine, n: int, name_of: NameOf, vm: int) -> list[results.Counter]:
    report = _report_of(machine, n, vm)
    by_guest: dict[int, list[records.ReportEvent]] = {}
    for event in report.events if report else ():
        by_guest.setdefault(event.config, []).append(event)
    return [
        _counter(counter, by_guest.get(counter.config, []), name_of(counter.config))
        for counter in machine.counters(n)
    ]


def _sum_of_counters(counters: Sequence[results.Counter]) -> results.Counter:
    """Return one event of several CPUs as one."""
    first = counters[0]
    if len(counters) == 1:
        return first
    causes: Counter[str] = Counter()
    for counter in counters:
        causes.update(counter.causes)
    scaled = [c.scaled for c in counters if c.scaled is not UNSET]
    return results.Counter(
        event=first.event,
        config=first.config,
        true=sum(c.true for c in counters),
        counted=sum(c.counted for c in counters),
        lost=sum(c.lost for c in counters),
        causes={name: lost for name, lost in causes.items() if lost},
        filtered=any(c.filtered for c in counters),
        enabled_cycles=sum(c.enabled_cycles for c in counters),
        running_cycles=sum(c.running_cycles for c in counters),
        true_running_cycles=sum(c.true_running_cycles for c in counters),
        reads=sum(c.reads for c in counters),
        wrong_reads=sum(c.wrong_reads for c in counters),
        overflows=sum(c.overflows for c in counters),
        unread=sum(c.unread for c in counters),
        scaled=sum(scaled) if scaled else UNSET,
    )


def _counter(
    counter: records.Counter, by_guest: Sequence[records.ReportEvent], name: str
) -> results.Counter:
    enabled = sum(e.enabled for e in by_guest) if by_guest else counter.enabled_cycles
    running = sum(e.running for e in by_guest) if by_guest else counter.enabled_cycles
    scaled: int | UnsetType = UNSET
    if by_guest:
        scaled = sum(e.value * e.enabled // e.running if e.running else 0 for e in by_guest)
    return results.Counter(
        event=name,
        config=raw(counter.config),
        true=counter.true_count,
        counted=counter.counted,
        lost=counter.true_count - counter.counted,
        causes=counter.causes,
        filtered=counter.filtered,
        enabled_cycles=enabled,
        running_cycles=running,
        true_running_cycles=counter.true_running_cycles,
        reads=counter.reads,
        wrong_reads=counter.wrong_reads,
        overflows=counter.overflows,
        unread=counter.unread,
        scaled=scaled,
    )


def read_reads(counters: Sequence[results.Counter]) -> results.Reads:
    """Return the guest's counter reads over all events."""
    return results.Reads(
        total=sum(c.reads for c in counters), wrong=sum(c.wrong_reads for c in counters)
    )


def read_not_modelled(machine: Machine, name_of: NameOf, vm: int = 0) -> list[str]:
    """Return the guest's events that the model does not feed: they count zero."""
    return sorted(
        {name_of(c.config) for n in machine.guests_of(vm) for c in machine.counters(n) if not c.fed}
    )


def read_silent_errors(machine: Machine, name_of: NameOf, vm: int = 0) -> list[results.SilentError]:
    """Return the episodes of silent loss, in time order."""
    cpus = machine.guests_of(vm)
    several = len(cpus) > 1
    errors = [(e, n - cpus[0]) for n in cpus for e in machine.silent_errors(n)]
    if several:
        errors.sort(key=lambda error: (error[0].tsc, error[1]))
    return [
        results.SilentError(
            event=name_of(e.config),
            tsc=e.tsc,
            until=e.until,
            lost=e.lost,
            cause=e.cause,
            vcpu=n if several else UNSET,
        )
        for e, n in errors
    ]


def read_pmi(machine: Machine, vm: int = 0) -> results.Pmi:
    """Return the ``pmi`` part."""
    cpus = machine.guests_of(vm)
    return _pmi(machine.pmi(cpus[0], len(cpus)))


def _pmi(p: records.Pmi) -> results.Pmi:
    return results.Pmi(
        due=p.due,
        delivered=p.delivered,
        coalesced=p.coalesced,
        masked=p.masked,
        dropped=p.dropped,
        latency_cycles=results.Quantiles(p.latency_p50, p.latency_p99, p.latency_max),
        latency_instructions=results.Quantiles(
            p.instructions_p50, p.instructions_p99, p.instructions_max
        ),
    )


def _sums(rows: Iterable[tuple[str, tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
    """Return rows of numbers, added up by name; names in the order in which they come."""
    out: dict[str, tuple[int, ...]] = {}
    for name, numbers in rows:
        before = out.get(name, (0,) * len(numbers))
        out[name] = tuple(a + b for a, b in zip(before, numbers, strict=True))
    return out


def read_exits(machine: Machine, vm: int = 0) -> list[results.Exit]:
    """Return the VM-exits by reason, most frequent first."""
    rows = _sums(
        (e.reason, (e.count, e.profile, e.cycles))
        for n in machine.guests_of(vm)
        for e in machine.exits(n)
    )
    exits = [results.Exit(reason, *numbers) for reason, numbers in rows.items()]
    return sorted(exits, key=lambda e: (-e.count, e.reason))


def read_accesses(machine: Machine, vm: int = 0) -> results.Accesses:
    """Return the ``accesses`` part."""
    rows = _sums(
        (a.kind, (a.direct, a.intercepted, a.cycles))
        for n in machine.guests_of(vm)
        for a in machine.accesses(n)
    )
    order = core.names("access_kinds").index
    kinds = [results.AccessKind(kind, *rows[kind]) for kind in sorted(rows, key=order)]
    return results.Accesses(
        direct=sum(a.direct for a in kinds),
        intercepted=sum(a.intercepted for a in kinds),
        by_kind=kinds,
    )


def read_switch(machine: Machine, policy: str, vm: int = 0) -> results.Switch:
    """Return the ``switch`` part."""
    of_each = [machine.switch(n) for n in machine.guests_of(vm)]
    return results.Switch(
        policy=policy,
        **{
            name: sum(getattr(switch, name) for switch in of_each)
            for name in records.Switch.__slots__
        },
    )


def read_costs(machine: Machine) -> list[results.Cost]:
    """Return the charged cycles by call stack, dearest first."""
    rows = _sums(
        (c.stack, (c.count, c.cycles)) for n in range(machine.cpus) for c in machine.costs(n)
    )
    costs = [results.Cost(stack, *numbers) for stack, numbers in rows.items()]
    return sorted(costs, key=lambda c: (-c.cycles, c.stack))


def read_host_events(machine: Machine) -> list[results.HostEvent]:
    """Return the host's perf events in the order in which they were asked for."""
    opened = machine.host_events()
    places: list[int | None] = [*range(len(opened)), *[None] * len(machine.refused_events)]
    events = [*(e.event for e in opened), *machine.refused_events]
    documents = [*map(_host_event, opened), *map(_refused_event, machine.refused_events)]
    order = sorted(range(len(events)), key=lambda i: events[i].number)
    index = {places[i]: n for n, i in enumerate(order)}
    led = {e.event.group_leader for e in opened}
    for place, e in enumerate(opened):
        leader = place if place in led else e.event.group_leader
        if leader is not None:
            documents[place] = structs.replace(documents[place], group_leader=index[leader])
    return [documents[i] for i in order]


def _refused_event(event: HostEvent) -> results.HostEvent:
    return results.HostEvent(
        event.text, raw(event.config), 0, 0, 0, "refused", thread=event.thread_name or UNSET
    )


def _host_event(e: records.HostEventResult) -> results.HostEvent:
    lost: int | UnsetType = UNSET
    if e.true_guest is not None and e.true_host is not None:
        lost = e.true_guest + e.true_host - e.count
    return results.HostEvent(
        event=e.event.text,
        config=raw(e.event.config),
        count=e.count,
        time_enabled=e.time_enabled,
        time_running=e.time_running,
        state=e.state,
        true_guest=_known(e.true_guest),
        true_host=_known(e.true_host),
        lost=lost,
        excluded_guest=_known(e.excluded_guest),
        guest_count=_known(e.guest_count),
        samples=e.samples,
        guest_samples=e.guest_samples,
        thread=e.event.thread_name or UNSET,
    )


def _known(value: int | None) -> int | UnsetType:
    return UNSET if value is None else value


def host_facts(seconds: float) -> results.Host:
    """Return facts of this computer, and the host seconds that the runs took."""
    return results.Host(
        machine=platform.machine(),
        cpu=_cpu_name(),
        cpus=os.cpu_count() or 1,
        kernel=platform.release(),
        python=platform.python_version(),
        pmupass=pmupass.__version__,
        seconds=round(seconds, 3),
    )


def _cpu_name() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def read_stats(machine: Machine, guests: Iterable[Pmu]) -> dict[str, int]:
    """Return the host's statistics; those of PEBS and of the LBR if a guest has them."""
    caps = 0
    for guest in guests:
        caps |= guest.perf_capabilities
    absent = tuple(
        prefix
        for prefix, formats in (("pebs_", branch_records.PEBS), ("lbr_", branch_records.LBR_FMT))
        if not caps & formats
    )
    return {name: n for name, n in machine.stats().items() if not name.startswith(absent)}
