# SPDX-License-Identifier: Apache-2.0
"""Experiments: the runs that one result needs.

A built-in workload is sized once, natively and without a vPMU, so that every run does the same
work (of several CPUs each does what the first one did); then it runs profiled (the result),
unprofiled in the same mode (the overhead) and in a VM without a vPMU (the standing cost). An image
of the user's runs once in each mode.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, cast

from msgspec import UNSET, UnsetType

from pmupass import diff, readout
from pmupass.config import MachineConfig, Mode
from pmupass.core import Machine, VmRefusedError
from pmupass.errors import InputError, ModelError
from pmupass.options import (
    MODES,
    Options,
)
from pmupass.plan import Plan
from pmupass.records import Stop
from pmupass.results import Diff, Refused, Result, Vm

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pmupass.workloads import Workload

SLICE_SECONDS = 0.025
UNLIMITED = 1 << 62
ModeName = Literal["native", "emulated", "mediated"]


class Watch(Protocol):
    """Called between slices with what runs and how far it is (None: nobody knows)."""

    def __call__(self, label: str, fraction: float | None, /) -> bool:
        """Return False to stop the run."""


def unwatched(_label: str, _fraction: float | None) -> bool:
    """Go on."""
    return True


class BrokenRunError(ModelError):
    """A broken invariant or an unimplemented instruction; ``document`` is what there is so far."""

    def __init__(self, text: str, document: Result | Diff) -> None:
        super().__init__(text)
        self.document = document


class InterruptedRunError(Exception):
    """Somebody stopped a run that only serves another one."""


@dataclass(slots=True)
class Ran:
    """A machine that has stopped, and why."""

    machine: Machine
    stop: Stop
    not_begun: tuple[str, ...] = ()  # options for times that the run has not come to
    has_limit: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the run that its document does not say, a line each."""
        if self.stop in (Stop.BUDGET, Stop.INVARIANT, Stop.UNIMPLEMENTED):
            return ()
        found = [
            f"{asked} did not take effect: the run ended before that" for asked in self.not_begun
        ]
        if self.stop is Stop.TIME and not self.has_limit:
            found.append(
                "the guest is not done: the run has come to the end of the model's clock, 2^56 "
                "core cycles; a guest that waits for nothing gets there, and one whose host has "
                "very high costs (--costs, --set cost.NAME)"
            )
        return tuple(found)

    @property
    def measured_cycles(self) -> int | None:
        """TSC cycles of the measured phase of all CPUs, None for a guest without a report."""
        return readout.measured_cycles(self.machine) if self.stop is Stop.EXIT else None

    @property
    def trouble(self) -> str:
        """What the model could not do, empty if there was nothing."""
        if self.stop is Stop.UNIMPLEMENTED:
            return unimplemented_text(self.machine)
        if self.stop is Stop.INVARIANT:
            return (
                f"a model invariant is broken: {self.machine.invariant()}\n"
                "This is a bug in pmupass; please report it with the command line."
            )
        return ""

    def check(self) -> None:
        """Raise InterruptedRunError or ModelError for a run that only serves another one."""
        if self.stop is Stop.BUDGET:
            raise InterruptedRunError
        if self.trouble:
            raise ModelError(self.trouble)


class Slices:
    """Cuts what a machine runs into slices of host time, from a thread of its own.

    A number of blocks would not do: a block may be a nanosecond's work, or a rep string of
    65536 iterations, and a guest changes from one to the other at once.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._cut, name="pmupass-slices", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _cut(self) -> None:
        while not self._over.wait(SLICE_SECONDS):
            self._machine.pause()


class Session:
    """One experiment in one or more modes.

    ``blocks`` fixes the budget of a slice in basic blocks; results do not depend on it. A
    ``workload`` that was put together in memory goes before the one that the options name.
    """

    def __init__(
        self,
        options: Options,
        watch: Watch = unwatched,
        blocks: int | None = None,
        workload: Workload | None = None,
    ) -> None:
        self.plan = Plan(options, workload)
        self._watch = watch
        self._blocks = blocks
        self._sized = False
        self._work: int | None = None
        self._without_vpmu: dict[Mode, int | None] = {}
        self.notes: tuple[str, ...] = ()

    def whole(self, mode: str) -> Result:
        """Run it as :meth:`run` does; InterruptedRunError if the result is not complete."""
        result = self.run(mode)
        if not result.complete:
            raise InterruptedRunError
        return result

    def run(self, mode: str) -> Result:
        """Run the experiment in one mode; ``notes`` are then what a user should know of the run.

        VmRefusedError if KVM would refuse the VM, InputError for a bad image or file,
        BrokenRunError (a ModelError) for a broken invariant or an unimplemented instruction.
        """
        plan, started = self.plan, time.perf_counter()
        chosen = Mode[mode.upper()]
        self.notes = ()
        refusal = plan.refusal(chosen)
        if refusal is not None:
            raise VmRefusedError(refusal)
        complete = True
        trouble = ""
        overhead: float | None = None
        standing_cost: float | None = None
        try:
            work = self._size()
        except InterruptedRunError:
            work, complete = None, False
        except ModelError as error:
            work, complete, trouble = None, False, str(error)
        config = plan.config(chosen, work=work, perf=plan.profiles_guest)
        ran = self._run(config, f"{plan.workload.name}, {mode}", go=complete)
        self.notes = ran.notes
        trouble = trouble or ran.trouble
        complete = complete and not trouble and ran.stop is not Stop.BUDGET
        if complete and plan.workload.builtin:
            try:
                overhead, standing_cost = self._overheads(chosen, work, ran)
            except InterruptedRunError:
                complete = False
            except ModelError as error:
                complete, trouble = False, str(error)
        machine, name_of = ran.machine, plan.name_of
        counters = readout.read_counters(machine, name_of)
        result = Result(
            complete=complete,
            workload=plan.workload.name,
            mode=cast("ModeName", mode),
            cpu=plan.options.cpu,
            seed=plan.options.seed,
            settings=plan.settings_dict(),
            pmu=plan.pmus(chosen),
            guest=readout.read_guest(machine, ran.stop, name_of),
            counters=counters,
            reads=readout.read_reads(counters),
            silent_errors=readout.read_silent_errors(machine, name_of),
            pmi=readout.read_pmi(machine),
            exits=readout.read_exits(machine),
            accesses=readout.read_accesses(machine),
            switch=readout.read_switch(machine, plan.options.switch),
            costs=readout.read_costs(machine),
            overhead=overhead,
            standing_cost=standing_cost,
            not_modelled=readout.read_not_modelled(machine, name_of),
            host_events=readout.read_host_events(machine),
            stats=readout.read_stats(machine, [p.guest_pmu(chosen) for p in (plan, *plan.vms)]),
            vcpus=readout.read_vcpus(machine, name_of),
            vms=_read_vms(machine, plan, chosen),
            host=readout.host_facts(time.perf_counter() - started) if plan.options.host else UNSET,
        )
        machine.close()
        if trouble:
            raise BrokenRunError(trouble, result)
        return result

    def diff_modes(self, modes: Iterable[str] = MODES) -> Diff:
        """Run the experiment in several modes and compare; refused modes stand as such.

        ``notes`` are then those of the runs, each with the modes that it holds for.
        BrokenRunError, with the comparison so far, for what :meth:`run` raises it for.
        """
        by_mode: dict[str, Result | Refused] = {}
        trouble = ""
        notes: dict[str, list[str]] = {}
        for mode in modes:
            try:
                result = self.run(mode)
            except VmRefusedError as error:
                by_mode[mode] = Refused(str(error))
                continue
            except BrokenRunError as error:
                result, trouble = cast("Result", error.document), f"{mode}: {error}"
            by_mode[mode] = result
            for note in self.notes:
                notes.setdefault(note, []).append(mode)
            if not result.complete:
                break
        self.notes = tuple(f"{', '.join(ran)}: {note}" for note, ran in notes.items())
        compared = diff.compare(self.plan.workload.name, by_mode)
        if trouble:
            raise BrokenRunError(trouble, compared)
        return compared

    def _size(self) -> int | None:
        """Return the instructions of work that fill the time, None for images that take none."""
        if not self._sized and self.plan.workload.builtin:
            config = self.plan.config(Mode.NATIVE, work=None, perf=False)
            ran = self._run(config, f"{self.plan.workload.name}, sizing the work")
            ran.check()
            report = ran.machine.report()
            failed = report is None or ran.stop is not Stop.EXIT or ran.machine.guest().exit_value
            # A guest that fails here fails again in the run proper, where it is reported.
            self._work = None if failed or report is None else report.work or None
            ran.machine.close()
        self._sized = True
        return self._work

    def _overheads(
        self, mode: Mode, work: int | None, profiled: Ran
    ) -> tuple[float | None, float | None]:
        """Return overhead and standing cost of a complete run."""
        plan, name = self.plan, f"{self.plan.workload.name}, {mode.name.lower()}"
        busy = profiled.measured_cycles
        quiet = busy
        if plan.profiles_guest:
            config = plan.config(mode, work=work, perf=False)
            quiet = self._measure(config, f"{name}, unprofiled")
        if busy is None or quiet is None:
            return None, None
        overhead = share(quiet, busy)
        if mode is Mode.NATIVE:
            return overhead, None
        # The other VMs are those of this mode; without any, the mode makes no difference.
        host = mode if plan.vms else Mode.EMULATED
        if host not in self._without_vpmu:
            config = plan.config(host, work=work, perf=False, vpmu=False)
            self._without_vpmu[host] = self._measure(
                config, f"{plan.workload.name}, without a vPMU"
            )
        without = self._without_vpmu[host]
        return overhead, None if without is None else share(without, quiet)

    def _measure(self, config: MachineConfig, label: str) -> int | None:
        ran = self._run(config, label)
        ran.check()
        cycles = ran.measured_cycles
        ran.machine.close()
        return cycles

    def _run(self, config: MachineConfig, label: str, *, go: bool = True) -> Ran:
        try:
            machine = Machine(config)
        except VmRefusedError:
            raise
        except InputError as error:
            raise InputError(self._named(str(error))) from None
        if not go:
            return Ran(machine, Stop.BUDGET)
        not_begun = [timed.asked for timed in self.plan.once(config.mode) if timed.asked]
        stop = self._drive(machine, config.mode, label, not_begun)
        return Ran(machine, stop, tuple(not_begun), has_limit=bool(config.time_limit))

    def _named(self, text: str) -> str:
        """Return an error with the workload that it is about."""
        for i, vm in enumerate(self.plan.vms, 1):
            if text.startswith(f"VM {i}: "):
                return f"--vm {vm.workload.name} ({text[:4]}){text[4:]}"
        return f"{self.plan.workload.name}: {text}"

    def _drive(self, machine: Machine, mode: Mode, label: str, not_begun: list[str]) -> Stop:
        """Run to the end in slices of SLICE_SECONDS of host time, doing what is due at a time.

        ``not_begun`` loses the options that have begun.
        """
        timed = self.plan.timed(mode)
        due = next(timed, None)
        while due and not due.tsc:
            due.act(machine)
            due = next(timed, None)
        blocks = self._blocks or UNLIMITED
        with contextlib.nullcontext() if self._blocks else Slices(machine):
            while True:
                stop = machine.run_until(blocks, due.tsc) if due else machine.run(blocks)
                if stop is Stop.UNTIL and due:
                    due.act(machine)
                    if due.asked:
                        not_begun.remove(due.asked)
                    due = next(timed, None)
                elif stop is not Stop.BUDGET or not self._watch(label, self._fraction(machine)):
                    return stop

    def _fraction(self, machine: Machine) -> float | None:
        if not self._work:
            return None
        cpus = len(machine.guests_of(0))
        return min(readout.instructions(machine) / (self._work * cpus), 1.0)


def _read_vms(machine: Machine, plan: Plan, mode: Mode) -> list[Vm] | UnsetType:
    """Return the ``vms`` part, if there are further ones."""
    if machine.vms == 1:
        return UNSET
    return [_read_vm(machine, i, vm, mode) for i, vm in enumerate(plan.vms, 1)]


def _vpmu(plan: Plan, mode: Mode) -> Literal["none", "emulated", "mediated"]:
    if not plan.has_vpmu(mode):
        return "none"
    return "mediated" if mode is Mode.MEDIATED else "emulated"


def _read_vm(machine: Machine, i: int, plan: Plan, mode: Mode) -> Vm:
    name_of = plan.name_of
    counters = readout.read_counters(machine, name_of, i)
    return Vm(
        workload=plan.workload.name,
        vpmu=_vpmu(plan, mode),
        settings=plan.own_settings(),
        pmu=plan.pmus(mode).guest,
        guest=readout.read_guest(machine, Stop.BUDGET, name_of, i),
        counters=counters,
        reads=readout.read_reads(counters),
        silent_errors=readout.read_silent_errors(machine, name_of, i),
        pmi=readout.read_pmi(machine, i),
        exits=readout.read_exits(machine, i),
        accesses=readout.read_accesses(machine, i),
        switch=readout.read_switch(machine, plan.options.switch, i),
        not_modelled=readout.read_not_modelled(machine, name_of, i),
        vcpus=readout.read_vcpus(machine, name_of, i),
    )


def share(quiet: int, busy: int) -> float | None:
    """Return the share of ``busy`` cycles that ``quiet`` ones would have saved."""
    return round(1 - quiet / busy, 6) if busy else None


def _vm_that_stopped(machine: Machine) -> int:
    of_each = (map(machine.guest, machine.guests_of(vm)) for vm in range(machine.vms))
    return next(vm for vm, infos in enumerate(of_each) if any(info.bytes for info in infos))


def unimplemented_text(machine: Machine) -> str:
    """Return the error for an instruction that the guest CPU does not have."""
    info = next(i for i in map(machine.guest, range(machine.guests)) if i.bytes)
    code = info.bytes.hex(" ")
    vm = _vm_that_stopped(machine)
    where = f" in VM {vm}" if vm else ""
    return (
        f"unimplemented instruction at {info.rip:#x}{where}: {code}\n"
        "The guest CPU does not have it; see docs/model.md for what it has"
    )
