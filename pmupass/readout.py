# SPDX-License-Identifier: Apache-2.0
"""From a machine that has run to the parts of its result document."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

import pmupass
from pmupass import records, results
from pmupass.policy import branch_records

if TYPE_CHECKING:
    from pmupass.config import Pmu
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


def read_guest(machine: Machine, stop: records.Stop, name_of: NameOf) -> results.Guest:
    """Return the ``guest`` part; ``Stop.BUDGET`` means that somebody interrupted the run."""
    info = machine.guest()
    report = machine.report()
    return results.Guest(
        instructions=info.instructions,
        emulated=info.emulated,
        tsc_cycles=info.tsc_cycles,
        core_cycles=info.core_cycles,
        stop=_STOPS[stop],  # type: ignore[arg-type]
        exit_value=info.exit_value if info.exited else 0,
        serial=machine.serial(),
        serial_truncated=info.serial_truncated,
        report=UNSET if report is None else _report(report, name_of),
    )


def _report(report: records.GuestReport, name_of: NameOf) -> results.GuestReport:
    return results.GuestReport(
        work=report.work,
        tsc_begin=report.tsc_begin,
        tsc_end=report.tsc_end,
        ticks=report.ticks,
        pmis=report.pmis,
        pmis_empty=report.pmis_empty,
        rotations=report.rotations,
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


def read_counters(machine: Machine, name_of: NameOf) -> list[results.Counter]:
    """Return the guest's events, each once: what was true, what was counted, why they differ."""
    report = machine.report()
    by_guest: dict[int, list[records.ReportEvent]] = {}
    for event in report.events if report else ():
        by_guest.setdefault(event.config, []).append(event)
    return [
        _counter(counter, by_guest.get(counter.config, []), name_of(counter.config))
        for counter in machine.counters()
    ]


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


def read_not_modelled(machine: Machine, name_of: NameOf) -> list[str]:
    """Return the guest's events that the model does not feed: they count zero."""
    return sorted({name_of(c.config) for c in machine.counters() if not c.fed})


def read_silent_errors(machine: Machine, name_of: NameOf) -> list[results.SilentError]:
    """Return the episodes of silent loss, in time order."""
    return [
        results.SilentError(
            event=name_of(e.config), tsc=e.tsc, until=e.until, lost=e.lost, cause=e.cause
        )
        for e in machine.silent_errors()
    ]


def read_pmi(machine: Machine) -> results.Pmi:
    """Return the ``pmi`` part."""
    p = machine.pmi()
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


def read_exits(machine: Machine) -> list[results.Exit]:
    """Return the VM-exits by reason, most frequent first."""
    exits = sorted(machine.exits(), key=lambda e: (-e.count, e.reason))
    return [results.Exit(e.reason, e.count, e.profile, e.cycles) for e in exits]


def read_accesses(machine: Machine) -> results.Accesses:
    """Return the ``accesses`` part."""
    kinds = machine.accesses()
    return results.Accesses(
        direct=sum(a.direct for a in kinds),
        intercepted=sum(a.intercepted for a in kinds),
        by_kind=[results.AccessKind(a.kind, a.direct, a.intercepted, a.cycles) for a in kinds],
    )


def read_switch(machine: Machine, policy: str) -> results.Switch:
    """Return the ``switch`` part."""
    s = machine.switch()
    return results.Switch(
        policy=policy,
        loads=s.loads,
        puts=s.puts,
        rdmsr=s.rdmsr,
        wrmsr=s.wrmsr,
        rdpmc=s.rdpmc,
        lvtpc=s.lvtpc,
        cycles=s.cycles,
        host_blind_cycles=s.host_blind_cycles,
    )


def read_costs(machine: Machine) -> list[results.Cost]:
    """Return the charged cycles by call stack, dearest first."""
    costs = sorted(machine.costs(), key=lambda c: (-c.cycles, c.stack))
    return [results.Cost(c.stack, c.count, c.cycles) for c in costs]


def read_host_events(machine: Machine, specs: Sequence[str]) -> list[results.HostEvent]:
    """Return the host's perf events beside how they were given."""
    return [
        results.HostEvent(
            event=spec,
            config=raw(e.config),
            count=e.count,
            time_enabled=e.time_enabled,
            time_running=e.time_running,
            state=e.state,
        )
        for spec, e in zip(specs, machine.host_events(), strict=False)
    ]


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


def read_stats(machine: Machine, guest: Pmu) -> dict[str, int]:
    """Return the statistics; those of PEBS and of the LBR if the guest has them."""
    caps = guest.perf_capabilities
    absent = tuple(
        prefix
        for prefix, formats in (("pebs_", branch_records.PEBS), ("lbr_", branch_records.LBR_FMT))
        if not caps & formats
    )
    return {name: n for name, n in machine.stats().items() if not name.startswith(absent)}
