# SPDX-License-Identifier: Apache-2.0
"""The report of one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET
from rich.markup import escape

from pmupass import verdict
from pmupass.report import availability, tables

if TYPE_CHECKING:
    from rich.console import Console

    from pmupass.results import Result

SERIAL_LINES = 40
SERIAL_LINES_EACH = 3  # of several modes, where the differences show what matters


def render(console: Console, result: Result) -> None:
    """Print a result: the setup, the tables, the verdict."""
    for line in setup(result):
        console.print(line, markup=False)
    console.print()
    results: dict[str, Result] = {result.mode: result}
    for part in tables.everything(results):
        console.print(part)
        console.print()
    notes(console, results)
    console.print(verdict.of_run(result), markup=False)


def setup(result: Result) -> list[str]:
    """Return the first lines: mode, CPU, counters and seed."""
    hardware, guest = result.pmu.hardware, result.pmu.guest
    shown = (
        f"guest sees {guest.gp} GP + {guest.fixed} fixed (version {guest.version})"
        if guest.version
        else "guest sees no PMU"
    )
    return [
        f"{result.workload}, {result.mode} on {result.cpu}{_cpus(result)}, seed {result.seed}",
        (
            f"silicon has {hardware.gp} GP + {hardware.fixed} fixed counters "
            f"(version {hardware.version}), {shown}"
        ),
    ]


def _cpus(result: Result) -> str:
    if result.vcpus is UNSET:
        return ""
    guest = len(result.vcpus)
    host = result.settings.get("host.cpus", guest)
    if result.mode == "native" or host == guest:
        return f", {guest} CPUs"
    return f", {guest} vCPUs on {host} pCPU{'' if host == 1 else 's'}"


def notes(console: Console, results: dict[str, Result]) -> None:
    """Print what a reader must know besides the tables: refusals to count, failure, serial text."""
    missing = sorted({name for r in results.values() for name in r.not_modelled})
    if missing:
        console.print(
            f"Not modelled, they count zero: {escape(', '.join(missing))}", style="yellow"
        )
    for mode, r in results.items():
        for line in availability.lines(r.stats):
            console.print(f"{mode}: {line}", markup=False, highlight=False)
        lost = r.stats.get("ignored_ipis", 0)
        if lost:
            console.print(f"{mode}: {lost:,} IPIs reached no CPU", style="yellow")
        if r.guest.stop != "exit" and r.complete:
            console.print(f"{mode}: the guest did not exit, it stopped by {r.guest.stop}")
        if r.guest.exit_value:
            console.print(f"{mode}: the guest reports failure, exit value {r.guest.exit_value}")
        _serial(console, mode, r, SERIAL_LINES if len(results) == 1 else SERIAL_LINES_EACH)


def _serial(console: Console, mode: str, result: Result, most: int) -> None:
    lines = result.guest.serial.rstrip().splitlines()
    if len(lines) > most:
        console.print(f"{mode} serial: the last {most} of {len(lines)} lines, --json has all")
    for line in lines[-most:]:
        console.print(f"{mode} serial: {line}", markup=False, highlight=False, soft_wrap=True)
