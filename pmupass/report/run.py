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

    from pmupass.results import Result, Vm

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
    cpus = [1 if r.vcpus is UNSET else len(r.vcpus) for r in result.all_vms]
    every = sum(cpus)
    host = result.settings.get("host.cpus", every)
    on = f" on {host} pCPU{'' if host == 1 else 's'}"
    if len(cpus) > 1:
        return f", {len(cpus)} VMs with {every} vCPUs{on}"
    if every == 1:
        return ""
    return f", {every} CPUs" if result.mode == "native" or host == every else f", {every} vCPUs{on}"


def notes(console: Console, results: dict[str, Result]) -> None:
    """Print what a reader must know besides the tables: refusals to count, failure, serial text."""
    missing = sorted(
        {name for r in results.values() for vm in r.all_vms for name in vm.not_modelled}
    )
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
        for i, vm in enumerate(r.other_vms, 1):
            if vm.guest.exit_value or vm.guest.stop == "shutdown":
                how = f"exit value {vm.guest.exit_value}" if vm.guest.exit_value else "triple fault"
                console.print(f"{mode}: the guest of VM {i} reports failure, {how}")
        _serial(console, mode, r, SERIAL_LINES if len(results) == 1 else SERIAL_LINES_EACH)
        for i, vm in enumerate(r.other_vms, 1):
            _serial(console, f"{mode}, VM {i}", vm, SERIAL_LINES_EACH)


def _serial(console: Console, name: str, result: Result | Vm, most: int) -> None:
    lines = result.guest.serial.rstrip().splitlines()
    if len(lines) > most:
        console.print(f"{name} serial: the last {most} of {len(lines)} lines, --json has all")
    for line in lines[-most:]:
        console.print(f"{name} serial: {line}", markup=False, highlight=False, soft_wrap=True)
