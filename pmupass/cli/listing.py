# SPDX-License-Identifier: Apache-2.0
"""``pmupass list``: what there is to name in options."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from pmupass.cli import options
from pmupass.errors import UsageError
from pmupass.options import DEFAULT_CPU
from pmupass.settings import near

if TYPE_CHECKING:
    from rich.table import Table

Rows = Iterable[tuple[str, ...]]
UNBROKEN = ("id", "confidence")


@click.command(name="list")
@click.argument("what", metavar="WHAT")
@options.cpu
def command(what: str, cpu: str) -> int:
    """List what can be named in options, or of a CPU.

    \b
    pmupass list events --cpu skylake-sp
    """
    if what not in LISTS:
        raise UsageError(
            f"nothing to list by the name {what!r}{near(what, LISTS)}\nThere is: {', '.join(LISTS)}"
        )
    from pmupass import cpus
    from pmupass.report import console

    cpus.load(cpu)  # refuse a bad name in every list
    columns, rows = LISTS[what](cpu)
    console.make().print(_table(columns, rows))
    return 0


def _table(columns: tuple[str, ...], rows: Rows) -> Table:
    from rich.markup import escape

    from pmupass.report import console

    out = console.table("", *columns)
    out.title = None
    for column in out.columns:
        column.justify = "left"
        column.no_wrap = column.header in UNBROKEN
    for row in rows:
        out.add_row(*(escape(cell) for cell in row))
    return out


def _cpus(_cpu: str) -> tuple[tuple[str, ...], Rows]:
    from pmupass import cpus

    rows = []
    for name in cpus.names():
        cpu = cpus.load(name)
        pmu = cpu.pmu
        note = " (default)" if name == DEFAULT_CPU else ""
        erratum = cpu.errata.overcount.erratum
        rows.append(
            (
                name + note,
                cpu.brand,
                f"version {pmu.version}, {pmu.nr_gp} GP + {pmu.nr_fixed} fixed"
                + (f"; erratum {erratum}" if erratum else ""),
                f"{cpu.tsc_khz / 1e6:g} GHz TSC, {cpu.core_khz / 1e6:g} GHz core",
            )
        )
    return ("cpu", "brand", "PMU", "clocks"), rows


def _events(cpu: str) -> tuple[tuple[str, ...], Rows]:
    from pmupass import cpus
    from pmupass.events.table import EventTable, counter_names

    table = EventTable(cpus.load(cpu))
    rows = []
    for name in table.names():
        config = table.encoding(name) or 0
        counts = table.feed_of(config)
        rows.append(
            (
                name,
                f"r{config:04x}",
                counter_names(table.counters_of(config)),
                counts or "zero: " + table.not_fed(config),
            )
        )
    return ("event", "encoding", "counters", "counts"), rows


def _workloads(_cpu: str) -> tuple[tuple[str, ...], Rows]:
    from pmupass import workloads

    return ("workload", "what it does", "events"), [
        (w.name, w.doc, w.events + (f" -F {w.frequency}" if w.frequency else ""))
        for w in workloads.BUILT_IN.values()
    ]


def _msrs(_cpu: str) -> tuple[tuple[str, ...], Rows]:
    from pmupass import core

    return ("number", "msr", "what"), [
        (f"{entry.value:#x}", entry.name, entry.text) for entry in core.table("msrs")
    ]


def _kernel_work(_cpu: str) -> tuple[tuple[str, ...], Rows]:
    from pmupass import core

    return ("function", "instructions", "what"), [
        (entry.name, str(entry.value), entry.text) for entry in core.table("kernel_work")
    ]


def _costs(cpu: str) -> tuple[tuple[str, ...], Rows]:
    from pmupass import costs
    from pmupass.core import table

    known = costs.load(cpu=cpu)
    rows = []
    for entry in table("costs"):
        cost = known[entry.name]
        rows.append(
            (
                cost.id,
                cost.function,
                f"{cost.cycles:,}",
                entry.text.removeprefix(f"{cost.function}: "),
                cost.source,
                cost.confidence,
            )
        )
    return ("id", "function", "cycles", "per", "source", "confidence"), rows


def _profiles(_cpu: str) -> tuple[tuple[str, ...], Rows]:
    from pmupass import profiles

    return ("profile", "what it is"), [(p.name, p.doc) for p in profiles.load_all()]


def _settings(_cpu: str) -> tuple[tuple[str, ...], Rows]:
    from pmupass.settings import OPEN_NAMESPACES, SETTINGS

    rows = [
        (s.key, "-" if s.default is None else s.show(s.default), _valid(s.values), s.doc)
        for s in SETTINGS
    ]
    rows += [(f"{name}.*", "-", "", f"{doc}") for name, doc in OPEN_NAMESPACES.items()]
    return ("setting", "default", "values", "what it does"), rows


def _valid(choices: tuple[str, ...]) -> str:
    return " | ".join(choices)


def _filters(_cpu: str) -> tuple[tuple[str, ...], Rows]:
    from pmupass.policy import event_filter

    rows = [
        (name, text.partition("\n#\n")[0].removeprefix("# ").replace("\n# ", " "))
        for name, text in event_filter.shipped().items()
    ]
    return ("filter", "what it allows"), rows


def _hosts(_cpu: str) -> tuple[tuple[str, ...], Rows]:
    from pmupass import hosts

    return ("host", "what happens on it"), list(hosts.names().items())


def _switch_policies(_cpu: str) -> tuple[tuple[str, ...], Rows]:
    from pmupass.settings import SWITCH_POLICIES

    return ("policy", "where the PMU changes hands"), list(SWITCH_POLICIES.items())


LISTS: dict[str, Callable[[str], tuple[tuple[str, ...], Rows]]] = {
    "cpus": _cpus,
    "events": _events,
    "workloads": _workloads,
    "msrs": _msrs,
    "costs": _costs,
    "kernel-work": _kernel_work,
    "profiles": _profiles,
    "filters": _filters,
    "hosts": _hosts,
    "switch-policies": _switch_policies,
    "settings": _settings,
}
