# SPDX-License-Identifier: Apache-2.0
"""The tables of a report. Each takes the results by mode: one of them, or several side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType
from rich.markup import escape

from pmupass.report.console import each, number, percent, ratio, table
from pmupass.results import Counter, HostEvent, Result, Vm

if TYPE_CHECKING:
    from rich.table import Table

Results = Mapping[str, Result]
VmResults = Mapping[str, Vm]
TOP_COSTS = 12


def everything(results: Results) -> list[Table]:
    """Return the tables that have something to say, in reading order."""
    tables = (
        counters(results),
        summary(results),
        exits(results),
        accesses(results),
        switches(results),
        costs(results),
        silent_errors(results),
        *other_vms(results),
        host_events(results),
        host_view(results),
    )
    return [table for table in tables if table is not None]


def other_vms(results: Results) -> list[Table | None]:
    """The further VMs of the host, one after the other; native has none."""
    tables: list[Table | None] = []
    for i in range(max(len(r.other_vms) for r in results.values())):
        vms = {mode: r.other_vms[i] for mode, r in results.items() if r.other_vms}
        name = f"VM {i + 1}: {next(iter(vms.values())).workload}"
        tables += [vm_summary(vms, name), counters(vms, f"{name}, counters")]
    return tables


def vm_summary(vms: VmResults, title: str) -> Table:
    """One line a quantity, one column a mode."""
    out = table(escape(title), "", *vms)

    def line(what: str, cell: Callable[[Vm], str]) -> None:
        cells = [cell(vm) for vm in vms.values()]
        if any(c not in ("-", "0") for c in cells):
            out.add_row(what, *cells)

    line("vPMU", lambda vm: vm.vpmu)
    line("vCPUs", lambda vm: number(1 if vm.vcpus is UNSET else len(vm.vcpus)))
    line("stopped by", lambda vm: "end of the run" if vm.guest.stop == "running" else vm.guest.stop)
    line("guest time, TSC cycles", lambda vm: number(vm.guest.tsc_cycles))
    line("guest instructions", lambda vm: number(vm.guest.instructions))
    line("VM-exits", lambda vm: number(vm.exit_count))
    line("PMU accesses, intercepted", lambda vm: number(vm.accesses.intercepted))
    line("PMU switches", lambda vm: number(vm.switch.loads))
    line("PMIs due", lambda vm: number(vm.pmi.due))
    line("PMIs delivered", lambda vm: number(vm.pmi.delivered))
    line("silent errors", lambda vm: number(len(vm.silent_errors)))
    return out


def counters(results: Results | VmResults, title: str = "Counters") -> Table | None:
    """True against counted, with the loss and its causes; an event's rows are its modes.

    ``running`` is the share of the enabled time that the guest believes the event was counted,
    ``truly`` the share in which a counter counted it; host time belongs to the former only.
    """
    several = len(results) > 1
    rows = [(mode, c) for mode, r in results.items() for c in r.counters]
    if not rows:
        return None
    multiplexed = any(c.running_cycles < c.enabled_cycles for _, c in rows)
    columns = ["event", *(["mode"] if several else []), "true", "counted"]
    columns += ["scaled"] if multiplexed else []
    out = table(escape(title), *columns, "lost", "running", "truly")
    if several:
        out.columns[1].justify = "left"
    out.add_column("cause", overflow="fold")
    events = list(dict.fromkeys(c.event for _, c in rows))
    for event in events:
        last = None
        for mode, c in rows:
            if c.event != event:
                continue
            cells = ["" if last == event else escape(event), *([mode] if several else [])]
            cells += [number(c.true), number(c.counted)]
            cells += [_scaled(c)] if multiplexed else []
            cells += [number(c.lost), ratio(c.running_cycles, c.enabled_cycles)]
            cells += [ratio(c.true_running_cycles, c.enabled_cycles)]
            out.add_row(*cells, _causes(c))
            last = event
    return out


def _scaled(counter: Counter) -> str:
    return "-" if isinstance(counter.scaled, UnsetType) else number(counter.scaled)


def _causes(counter: Counter) -> str:
    if len(counter.causes) == 1:
        return next(iter(counter.causes))
    return ", ".join(f"{name} {number(n)}" for name, n in counter.causes.items())


def summary(results: Results) -> Table:
    """One line a quantity, one column a mode."""
    out = table("In short" if len(results) > 1 else "Totals", "", *results)

    def line(what: str, cell: Callable[[Result], str], *, always: bool = False) -> None:
        cells = [cell(r) for r in results.values()]
        if always or any(c not in ("-", "0") for c in cells):
            out.add_row(what, *cells)

    line("guest time, TSC cycles", lambda r: number(r.guest.tsc_cycles), always=True)
    line("guest instructions", lambda r: number(r.guest.instructions), always=True)
    line("  of them completed by KVM", lambda r: number(r.guest.emulated))
    line("overhead of profiling", lambda r: percent(r.overhead))
    line("standing cost of the vPMU", lambda r: percent(r.standing_cost))
    line("VM-exits", lambda r: number(r.own_exit_count))
    line("  asked for by the work profile", lambda r: number(r.exit_count - r.own_exit_count))
    line("PMU accesses, direct", lambda r: number(r.accesses.direct))
    line("PMU accesses, intercepted", lambda r: number(r.accesses.intercepted))
    line("PMIs due", lambda r: number(r.pmi.due))
    line("PMIs delivered", lambda r: number(r.pmi.delivered))
    line("  coalesced", lambda r: number(r.pmi.coalesced))
    line("  masked", lambda r: number(r.pmi.masked))
    line("  dropped", lambda r: number(r.pmi.dropped))
    line("PMI latency p50, TSC cycles", lambda r: number(r.pmi.latency_cycles.p50))
    line("PMI latency p99, TSC cycles", lambda r: number(r.pmi.latency_cycles.p99))
    line("PMI latency max, TSC cycles", lambda r: number(r.pmi.latency_cycles.max))
    line("PMI latency p50, guest instructions", lambda r: number(r.pmi.latency_instructions.p50))
    line("counter reads", lambda r: number(r.reads.total))
    line("  of them wrong", lambda r: number(r.reads.wrong))
    line("silent errors", lambda r: number(len(r.silent_errors)))
    line("host work, cycles", lambda r: number(r.cost_cycles))
    return out


def exits(results: Results) -> Table | None:
    """VM-exits by reason; None where there were none."""
    reasons = list(dict.fromkeys(e.reason for r in results.values() for e in r.exits))
    if not reasons:
        return None
    if len(results) == 1:
        (result,) = results.values()
        out = table("VM-exits", "reason", "count", "of profile", "cycles", "cycles each")
        for e in result.exits:
            out.add_row(
                e.reason,
                number(e.count),
                number(e.profile),
                number(e.cycles),
                each(e.cycles, e.count),
            )
        return out
    shown = {mode: {e.reason: e for e in r.exits} for mode, r in results.items() if r.exits}
    columns = [c for mode in shown for c in (mode, "cycles each")]
    out = table("VM-exits by reason (those of the work profile included)", "reason", *columns)
    for reason in reasons:
        cells: list[str] = []
        for by_reason in shown.values():
            found = by_reason.get(reason)
            if found is None:
                cells += ["-", "-"]
            else:
                cells += [number(found.count), each(found.cycles, found.count)]
        out.add_row(reason, *cells)
    return out


def accesses(results: Results) -> Table | None:
    """Guest accesses to the PMU: how many exit, and what one of them costs in each mode."""
    kinds = list(dict.fromkeys(a.kind for r in results.values() for a in r.accesses.by_kind))
    if not kinds:
        return None
    if len(results) == 1:
        (result,) = results.values()
        out = table("Register accesses", "access", "direct", "intercepted", "cycles", "cycles each")
        for a in result.accesses.by_kind:
            out.add_row(
                a.kind,
                number(a.direct),
                number(a.intercepted),
                number(a.cycles),
                each(a.cycles, a.direct + a.intercepted),
            )
        return out
    columns = [c for mode in results for c in (mode, "each")]
    title = "Register accesses (i: intercepted), cycles each"
    out = table(title, "access", *columns)
    for kind in kinds:
        cells: list[str] = []
        for r in results.values():
            found = next((a for a in r.accesses.by_kind if a.kind == kind), None)
            if found is None:
                cells += ["-", "-"]
                continue
            mark = "" if not found.intercepted else " i" if not found.direct else " i/d"
            cells += [
                number(found.direct + found.intercepted) + mark,
                each(found.cycles, found.direct + found.intercepted),
            ]
        out.add_row(kind, *cells)
    return out


def switches(results: Results) -> Table | None:
    """The mediated design's PMU switches and their register traffic; None without any."""
    moved = {mode: r.switch for mode, r in results.items() if r.switch.loads or r.switch.puts}
    if not moved:
        return None
    out = table("PMU switches", "", *(f"{mode} ({s.policy})" for mode, s in moved.items()))
    for what in ("loads", "puts", "wrmsr", "rdmsr", "rdpmc", "lvtpc"):
        out.add_row(what, *(number(getattr(s, what)) for s in moved.values()))
    out.add_row("cycles", *(number(s.cycles) for s in moved.values()))
    out.add_row("cycles each (load and put)", *(each(s.cycles, s.loads) for s in moved.values()))
    out.add_row(
        "cycles that host perf could not see",
        *(number(s.host_blind_cycles) for s in moved.values()),
    )
    return out


def costs(results: Results, top: int = TOP_COSTS) -> Table | None:
    """Host cycles by kernel function, callees apart; the dearest in any mode."""
    by_mode = {mode: by_function(r) for mode, r in results.items()}
    totals = {mode: sum(cycles for _, cycles in f.values()) for mode, f in by_mode.items()}
    by_mode = {mode: functions for mode, functions in by_mode.items() if totals[mode]}
    if not by_mode:
        return None
    weight: dict[str, float] = {}
    for mode, functions in by_mode.items():
        for name, (_, cycles) in functions.items():
            weight[name] = max(weight.get(name, 0.0), cycles / totals[mode])
    shown = sorted(weight, key=lambda name: (-weight[name], name))[:top]
    if len(by_mode) == 1:
        ((mode, functions),) = by_mode.items()
        out = table("Host cycles by kernel function", "function", "count", "cycles", "share")
        for name in shown:
            count, cycles = functions[name]
            out.add_row(name, number(count), number(cycles), ratio(cycles, totals[mode]))
    else:
        columns = [c for mode in by_mode for c in (mode, "share")]
        out = table("Host cycles by kernel function", "function", *columns)
        for name in shown:
            cells: list[str] = []
            for mode, functions in by_mode.items():
                _, cycles = functions.get(name, (0, 0))
                cells += [number(cycles), ratio(cycles, totals[mode])] if cycles else ["-", "-"]
            out.add_row(name, *cells)
    return out


def by_function(result: Result) -> dict[str, tuple[int, int]]:
    """Return count and self cycles by innermost function."""
    out: dict[str, tuple[int, int]] = {}
    for cost in result.costs:
        name = cost.stack.rpartition(";")[2]
        count, cycles = out.get(name, (0, 0))
        out[name] = (count + cost.count, cycles + cost.cycles)
    return out


def silent_errors(results: Results, most: int = 8) -> Table | None:
    """The first episodes of silent loss; None without any."""
    rows = [(mode, e) for mode, r in results.items() for e in r.silent_errors]
    if not rows:
        return None
    title = (
        f"Silent errors, the first {most} of {len(rows)}" if len(rows) > most else "Silent errors"
    )
    out = table(title, "event", "mode", "from TSC", "until TSC", "lost")
    out.columns[1].justify = "left"
    out.add_column("cause")
    for mode, e in rows[:most]:
        out.add_row(escape(e.event), mode, number(e.tsc), number(e.until), number(e.lost), e.cause)
    return out


def host_events(results: Results) -> Table | None:
    """What became of the host's own perf events; None without any."""
    rows = [(mode, e) for mode, r in results.items() for e in r.host_events]
    if not rows:
        return None
    out = table(
        "Host perf events", "event", "mode", "true, guest", "true, host", "count", "lost", "running"
    )
    out.columns[1].justify = "left"
    out.add_column("state")
    for mode, e in rows:
        running = ratio(e.time_running, e.time_enabled)
        parts = [_known(e.true_guest), _known(e.true_host), number(e.count), _known(e.lost)]
        out.add_row(escape(e.label), mode, *parts, running, e.state)
    return out


def host_view(results: Results) -> Table | None:
    """What the host's profilers show of guests beside what guests did; None without any.

    ``counted`` and ``of guests`` are what ``perf kvm --guest`` shows, ``samples`` is a plain
    profile. ``truly`` is the guests' share of what was done, whether the event counts guests or
    not; ``share`` what the profile says it is.
    """
    rows = [(mode, e) for mode, r in results.items() for e in r.host_events]
    if not rows:
        return None
    columns = ("guests did", "truly", "counted", "samples", "of guests", "share")
    out = table("Guests in host perf", "event", "mode", *columns)
    out.columns[1].justify = "left"
    for mode, e in rows:
        samples, of_guests = e.samples or 0, e.guest_samples or 0
        cells = [number(e.all_guest), _true_share(e), _known(e.guest_count)]
        cells += [number(samples), number(of_guests), ratio(of_guests, samples)]
        out.add_row(escape(e.label), mode, *cells)
    return out


def _true_share(event: HostEvent) -> str:
    guest = event.all_guest
    if guest is None or event.true_host is UNSET:
        return "-"
    return ratio(guest, guest + event.true_host)


def _known(value: int | UnsetType) -> str:
    return "-" if value is UNSET else number(value)
