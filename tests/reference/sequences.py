# SPDX-License-Identifier: Apache-2.0
"""A sequence on a machine of the product and in the reference, and what must hold after it."""

from __future__ import annotations

import dataclasses
import errno
import functools
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import amd
import guest_asm as asm
import rules
from drawing import PROFILES, SECRET, WRAP, Given
from emulated import Emulated
from program import (
    ENTRY,
    LVTPC,
    NMI,
    OTHER,
    OTHER_COUNTS,
    OTHER_SECRET,
    Guest,
    Left,
    Step,
    entry,
    image,
)
from rules import AtLeast, Between, Bits, Kvm, Mediated, Shape, Silicon, Unknown, Value

from pmupass import config as pmupass_config, cpus
from pmupass.config import FilterAction, HostTask, MachineConfig
from pmupass.core import Machine
from pmupass.errors import InputError
from pmupass.profiles.model import WorkProfile
from pmupass.records import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drawing_sequences import Example, Slice
    from host_perf import HostEvent

# Branches per 2^20 instructions of each work profile: none, some, nearly all.
RATES = dict(zip(PROFILES, (0, 233_017, (1 << 20) - 1), strict=True))
WORK = tuple(
    WorkProfile(
        name=f"test{number}",
        id=number,
        doc="branches at a rate",
        kernel=0,
        chunk=1000,
        rates={"cycles": 1 << 20, "branches": rate} if rate else {"cycles": 1 << 20},
    ).record()
    for number, rate in RATES.items()
)
INTEL_RULES = (Silicon, Emulated, Mediated)
AMD_RULES = (amd.AmdSilicon, amd.AmdEmulated, amd.AmdMediated)
TRACE = 1 << 13
TICK = 20_000  # TSC cycles, and the time slice: a sequence has dozens


def product_filter(chosen: rules.Filter) -> pmupass_config.Filter:
    """Return a filter as the product takes it: sorted."""
    action = {"": FilterAction.NONE, "allow": FilterAction.ALLOW, "deny": FilterAction.DENY}
    entries = sorted(chosen.entries, key=lambda e: (e.select, e.exclude))
    return pmupass_config.Filter(
        action[chosen.action],
        chosen.fixed_bitmap,
        tuple(pmupass_config.FilterEntry(e.select, e.mask, e.match, e.exclude) for e in entries),
    )


@functools.cache
def machine_config(given: Given, mode: str) -> MachineConfig:
    """Return the configuration of a machine, without its image and filter."""
    return asm.config(
        b"",
        mode=mode,
        cpu=given.cpu,
        settings=("guest.memory_mb=8", *given.settings),
        skid_cycles=0,
        profiles=WORK,
        trace_records=TRACE if mode == "mediated" or is_shared(given) else 0,
        host_events=tuple(product_event(event) for event in given.hosts),
        **(shared(given, mode) if is_shared(given) else {}),
    )


def is_shared(given: Given) -> bool:
    """Return whether there is more than one CPU, or a thread beside that of the vCPU."""
    return given.takes_turns or given.cpus > 1


def shared(given: Given, mode: str) -> dict[str, object]:
    """Return the configuration of CPUs and threads."""
    native = mode == "native"
    cpus = given.vcpus if native else given.cpus
    tasks = tuple(HostTask(cpu, given.tasks) for cpu in range(cpus))
    return {
        "vcpus": given.vcpus,
        "cpus": cpus,
        "host_tasks": tasks if given.tasks and not native else (),
        "tick_period": TICK,
        "slice": TICK,
        "quantum": TICK // 4,
    }


def product_event(event: HostEvent) -> pmupass_config.HostEvent:
    """Return a host event as the product takes it: of kernel and user code."""
    return pmupass_config.HostEvent(
        event.event | rules.OS | rules.USR,
        pinned=event.pinned,
        exclude_guest=event.exclude_guest,
    )


@functools.cache
def has_any_thread(cpu: str) -> bool:
    """Return whether the silicon has AnyThread."""
    return not cpus.load(cpu).silicon.anythread_deprecated


def shape(given: Given, made: MachineConfig, mode: str) -> Shape:
    """Return the PMU that a guest finds."""
    silicon = mode == "native"
    pmu = made.hw if silicon else made.guest
    amds = made.hw.vendor is pmupass_config.Vendor.AMD
    written = [one for one in made.kvm.intercepts if one.write]
    return Shape(
        version=pmu.version,
        gp=pmu.nr_gp,
        fixed=pmu.nr_fixed,
        width=pmu.gp_width,
        full_width_writes=pmu.perfctr_core if amds else pmu.fw_write,
        any_thread=silicon and not amds and pmu.version > 2 and has_any_thread(given.cpu),
        capabilities=pmu.perf_capabilities if pmu.pdcm else None,
        fixed_width=pmu.fixed_width,
        host_gp=made.hw.nr_gp,
        host_fixed=made.hw.nr_fixed,
        rdpmc_direct=not made.kvm.rdpmc_intercept,
        globals_direct=not any(one.msr == rules.GLOBAL_CTRL for one in written),
    )


def reference(given: Given, made: MachineConfig, mode: str) -> Silicon:
    """Return the reference's PMU of a guest."""
    amds = made.hw.vendor is pmupass_config.Vendor.AMD
    kinds = AMD_RULES if amds else INTEL_RULES
    pmu = kinds[asm.MODES.index(mode)](shape(given, made, mode))
    pmu.lvtpc = NMI
    if isinstance(pmu, Kvm):
        pmu.set_filter(given.filter)
        pmu.overcount = given.overcount
    if isinstance(pmu, Emulated):
        for place, event in enumerate(given.hosts):
            pmu.open(place, event)
    return pmu


def is_narrow(given: Given) -> bool:
    """Return whether the guest's counters are narrower than silicon's."""
    return any("width" in setting for setting in given.settings)


def value_for(pmu: Silicon, msr: int, value: int, *, quiet: bool) -> int:
    """Return what to write: values near the end of a wide counter are near that of a narrow one.

    A mediated guest with narrow counters reaches the wide ones, and KVM's credits cut what is
    there: it gets values that are far from either end.
    """
    index = pmu.counter_of(msr)
    if quiet and is_counter(pmu, msr):
        return far_from_the_end(pmu, msr, value)
    if index is None or pmu.shape.width == 48:
        return value
    if isinstance(pmu, Mediated):
        return value & 0x3FFFFFFF
    near = WRAP - 5000 <= value < WRAP
    return value - WRAP + (1 << pmu.width(index)) if near else value


def is_counter(pmu: Silicon, msr: int) -> bool:
    """Return whether an MSR is a counter."""
    if isinstance(pmu, amd.AmdSilicon):
        return (pmu.place(msr) or ("",))[0] == "counter"
    return pmu.counter_of(msr) is not None


def far_from_the_end(pmu: Silicon, msr: int, value: int) -> int:
    """Return a value that no sequence brings to its end; one that faults, or is cut, stays."""
    if not isinstance(pmu, amd.AmdSilicon) and 0 <= msr - rules.PERFCTR0 < pmu.shape.gp:
        return value & 0x7FFFFFFF
    if WRAP <= value < (1 << 64) - 1 and not isinstance(pmu, Mediated):
        return value
    return value & 0x3FFFFFFF


# ---- registers to read ----


def registers(pmu: Silicon) -> list[int]:
    """Return the guest's registers, counters by one name each."""
    shape = pmu.shape
    if isinstance(pmu, amd.AmdSilicon):
        firsts = (amd.K7_EVNTSEL0, amd.K7_PERFCTR0)
        found = [first + i for first in firsts for i in range(min(shape.gp, 4))]
        if shape.full_width_writes:
            found = [amd.PERF_CTL0 + i for i in range(2 * shape.gp)]
        return found + ([amd.STATUS, amd.CTL] if shape.version > 1 else [])
    found = [first + i for first in (rules.PERFCTR0, rules.EVTSEL0) for i in range(shape.gp)]
    if shape.version > 1:
        found += [rules.FIXED_CTR0 + i for i in range(shape.fixed)]
        found += [rules.FIXED_CTR_CTRL, rules.GLOBAL_STATUS, rules.GLOBAL_CTRL]
    return found


def everything(pmu: Silicon) -> list[Step]:
    """Return steps that stop all counters and read every register."""
    intel = not isinstance(pmu, amd.AmdSilicon)
    steps: list[Step] = [("wr", rules.GLOBAL_CTRL if intel else amd.CTL, 0)]
    for i in range(pmu.shape.gp):  # version 1 has nothing else
        k7 = (amd.K7_EVNTSEL0 + i) if i < 4 else amd.PERF_CTL0 + 2 * i
        steps.append(("wr", rules.EVTSEL0 + i if intel else k7, 0))
    steps += [("pmc", i, 0) for i in range(pmu.shape.gp)]
    steps += [("pmc", 0x40000000 | i, 0) for i in range(pmu.shape.fixed)]
    return [*steps, *(("rd", msr, 0) for msr in [*registers(pmu), LVTPC])]


# ---- running ----


def other_of(given: Given) -> str:
    """Return the vendor of the guest's second CPU, "" without one."""
    return "" if given.vcpus == 1 else "amd" if given.cpu.startswith("zen") else "intel"


@functools.cache
def start_up(other: str) -> int:
    """Return the instructions in front of the first step: of a guest without one, less its end."""
    given = Given("skylake-sp", vcpus=2 if other else 1)
    made = machine_config(given, "native")
    machine = Machine(dataclasses.replace(made, image=image([], other and "intel")))
    assert machine.run(1 << 40) is Stop.EXIT
    guest = Guest(reference(given, made, "native"), RATES)
    guest.run([])
    return machine.guest().instructions - guest.retired


@dataclass
class Run:
    """A machine that runs, and what the reference is to do at the same points."""

    given: Given
    mode: str
    image: bytes
    names: list[int]  # of the guest's registers
    moments: list[int]  # instructions behind which something is on the way, if nobody interferes
    stops: list[tuple[int, Callable[[Guest], None]]] = field(default_factory=list)
    exact: bool = True  # PMIs are due where they come, and nothing is filtered
    hosted: bool = False  # the host has had events
    filtered: bool = False  # there has been a filter
    seen: list[int] = field(default_factory=list)  # TSC of the last record that was seen, by pCPU

    def __post_init__(self) -> None:
        """Build the machine."""
        self.filter = self.given.filter
        self.begin = start_up(other_of(self.given))
        self.seen = [-1] * self.given.cpus
        self.look_at_exactness()
        self.machine = Machine(self.config())
        self.open_places = dict(enumerate(self.given.hosts))
        self.hosted = bool(self.given.hosts)

    def look_at_exactness(self) -> None:
        """Once perf's periods or a filter have been in it, PMIs and truth may differ."""
        self.exact = self.exact and self.mode != "emulated" and not self.filter.action
        self.filtered |= bool(self.filter.action)

    def config(self) -> MachineConfig:
        """Return the configuration in the present mode."""
        made = machine_config(dataclasses.replace(self.given, filter=rules.Filter()), self.mode)
        kvm = made.kvm
        if self.mode != "native":
            kvm = dataclasses.replace(kvm, filter=product_filter(self.filter))
        return dataclasses.replace(made, image=self.image, kvm=kvm)

    def go(self, slices: Sequence[Slice]) -> None:
        """Run to the end."""
        stop = Stop.BUDGET
        while stop is Stop.BUDGET and self.machine.guest().instructions < self.begin:
            stop = self.machine.run(1)
        for one in itertools.chain.from_iterable([each] * each.times for each in slices):
            stop = self.advance(one)
            if one.act == "migrate":
                stop = self.leave_a_fault(stop)
            if stop is not Stop.BUDGET:
                break
            at = self.machine.guest().instructions - self.begin
            self.note_switches(at)
            act = getattr(self, one.act, None)
            if act and (self.mode != "native" or one.act == "clone"):
                act(one, at)
        stop = Stop.BUDGET
        while stop is Stop.BUDGET:
            stop = self.machine.run(1 << 40)
        self.note_switches()
        info = self.machine.guest()
        assert stop is Stop.EXIT, f"{stop!r} {self.machine.invariant()} at {info.rip:#x}"
        assert info.exit_value == 0

    def note_switches(self, at: int = -1) -> None:
        """When the first vCPU's thread came in, of which nobody knows beforehand.

        What follows from it the reference says: the emulated design's events start anew. And beside
        others a vCPU may enter the guest and not come to its next instruction; so it is noted if it
        has at the instruction where the host acts now.
        """
        if self.mode == "native" or not is_shared(self.given):
            return
        found = []
        for cpu in range(self.given.cpus):
            trace, seen = self.machine.trace(cpu), self.seen[cpu]
            complete = len(trace) < TRACE or trace[0][0] <= seen
            if not complete and self.mode == "emulated":
                raise Unknown  # the second vCPU has had thousands of exits meanwhile
            for tsc, name, x, a, b, _ in trace:
                if tsc > seen and (name, x, a) == ("sched_switch", 1, 0):
                    found.append((tsc, b - self.begin, sched_in))
                elif tsc > seen and (name, x, b - self.begin) == ("kvm_entry", 0, at):
                    found.append((tsc, at, entry))
            self.seen[cpu] = trace[-1][0] if trace else 0
        found.sort(key=lambda record: record[0])
        self.stops += [(when, what) for _, when, what in found if when >= 0]

    def advance(self, one: Slice) -> Stop:
        """Run as far as a slice says."""
        stop = self.machine.run(one.blocks)
        if not one.moment:
            return stop
        begin = self.machine.guest().instructions - self.begin
        moment = next((moment for moment in self.moments if moment >= begin), begin)
        while stop is Stop.BUDGET and self.machine.guest().instructions < self.begin + moment:
            stop = self.machine.run(1)
        return stop

    def leave_a_fault(self, stop: Stop) -> Stop:
        """Run behind the access that may just have faulted, where designs differ in what does.

        It has not retired, so that its place is no number of instructions. It is the first of its
        block: a block in which nothing retires has faulted, the next one is the handler's.
        """
        if "kvm.interception=rfc2024" not in self.given.settings:
            return stop
        retired = self.machine.guest().instructions
        while stop is Stop.BUDGET and self.machine.guest().instructions == retired:
            stop = self.machine.run(1)
        return stop

    def check_secrets(self) -> None:
        """What a put leaves in hardware is nothing: before each load all registers are zero.

        Where the host has events, they may hold something of theirs, and no secret of the guest.
        """
        if self.mode != "mediated":
            return
        for cpu in range(self.given.cpus):
            self.check_secrets_on(self.machine.trace(cpu))

    def check_secrets_on(self, trace: list[tuple[int, str, int, int, int, int]]) -> None:
        """Look at a pCPU, whosever guest it had; a ring that is full from its first switch on."""
        if not self.given.takes_turns:
            assert len(trace) < TRACE, "the ring was too small"
        elif len(trace) == TRACE:
            ends = (n for n, record in enumerate(trace) if record[1] in ("pmu_load", "pmu_put"))
            trace = trace[next(ends) + 1 :]
        state: dict[int, int] = {}
        for _, name, _, msr, hardware, _ in trace:
            if name == "pmu_state":
                state[msr] = hardware
            elif name == "pmu_load":
                left = [v for v in state.values() if not self.hosted or is_secret(v)]
                assert not any(left), f"left in hardware: {state}"
                state = {}
            elif name == "pmu_put":
                state = {}

    # ---- what the host does, and notes for the reference ----

    def read(self, _: Slice, at: int) -> None:
        """KVM_GET_MSRS."""
        values = self.machine.get_msrs(self.names)
        assert len(values) == len(self.names), f"{self.names[len(values)]:#x} cannot be read"
        self.stops.append((at, functools.partial(compare, self.names, values)))

    def write(self, one: Slice, at: int) -> None:
        """KVM_SET_MSRS."""
        if one.msr in self.names:
            pmu = reference(self.given, self.config(), self.mode)
            value = value_for(pmu, one.msr, one.value, quiet=self.given.quiet)
            taken = self.machine.set_msrs([(one.msr, value)])
            self.stops.append((at, functools.partial(host_write, one.msr, value, bool(taken))))

    def replace(self, one: Slice, at: int) -> None:
        """KVM_SET_PMU_EVENT_FILTER."""
        self.filter = one.filter
        self.look_at_exactness()
        self.machine.set_pmu_event_filter(product_filter(one.filter))
        self.stops.append((at, functools.partial(host_filter, one.filter)))

    def clone(self, _: Slice, at: int) -> None:
        """The clone goes on; its original goes another way for a while, and nobody notices."""
        original, self.machine = self.machine, self.machine.clone()
        original.run(100)
        original.close()

    def move(self, one: Slice, at: int) -> None:
        """sched_setaffinity() of the thread of the first vCPU."""
        self.machine.move_vcpu(0, one.value % self.given.cpus)
        self.stops.append((at, kicked))

    def migrate(self, _: Slice, at: int) -> None:
        """To the other design, or to the same where there is no other."""
        self.check_secrets()
        others = [mode for mode in modes(self.given)[1:] if mode != self.mode]
        original, mode = self.machine, self.mode
        self.mode = others[0] if others and not is_narrow(self.given) else self.mode
        try:
            self.machine = original.migrate(self.config())
        except InputError as error:
            if "a saved register is refused" not in str(error):
                raise
            self.mode = mode
            self.stops.append((at, has_hidden_bits))
            return
        self.look_at_exactness()
        original.close()
        self.open_places = dict(enumerate(self.given.hosts))
        fresh = reference(self.given, self.config(), self.mode)
        self.stops.append((at, functools.partial(adopt, fresh)))

    def open(self, one: Slice, at: int) -> None:
        """perf_event_open() of an event of the CPU; beside a mediated VM none that counts it."""
        assert one.event
        place = self.machine.open_host_event(product_event(one.event))
        refused = self.mode == "mediated" and not one.event.exclude_guest
        assert place == (-errno.EOPNOTSUPP if refused else max(place, 0))
        if refused:
            self.stops.append((at, kicked))
            return
        self.open_places[place] = one.event
        self.hosted = True
        self.stops.append((at, functools.partial(host_opens, place, one.event)))

    def close(self, one: Slice, at: int) -> None:
        """Close a host event."""
        if self.open_places.pop(one.value, None):
            self.machine.close_host_event(one.value)
            self.stops.append((at, functools.partial(host_closes, one.value)))


def compare(names: Sequence[int], values: Sequence[int], guest: Guest) -> None:
    """What the VMM read is what the reference has."""
    for msr, found in zip(names, values, strict=True):
        expected = guest.pmu.read_msr(msr)
        assert same(expected, found), (
            f"the VMM reads {found:#x} from {msr:#x}, expected {expected} at {guest.retired}"
        )


def host_write(msr: int, value: int, taken: bool, guest: Guest) -> None:
    """The reference takes what KVM took."""
    pmu = guest.pmu
    assert isinstance(pmu, Kvm)
    assert pmu.host_writes(msr, value) == taken, f"{msr:#x} {value:#x} taken: {taken}"


def host_opens(place: int, event: HostEvent, guest: Guest) -> None:
    """Another event of the host."""
    if isinstance(guest.pmu, Emulated):
        guest.pmu.open(place, event)


def host_closes(place: int, guest: Guest) -> None:
    """One less."""
    if isinstance(guest.pmu, Emulated):
        guest.pmu.perf.close(place)


def host_filter(chosen: rules.Filter, guest: Guest) -> None:
    """Another filter."""
    assert isinstance(guest.pmu, Kvm)
    guest.pmu.set_filter(chosen)


def adopt(fresh: Silicon, guest: Guest) -> None:
    """The guest goes on on another PMU."""
    assert isinstance(fresh, Kvm)
    assert not guest.pmu.global_ctrl & ~guest.pmu.counter_bits()
    fresh.adopt(guest.pmu)
    guest.pmu = fresh


def has_hidden_bits(guest: Guest) -> None:
    """GLOBAL_CTRL was direct and holds bits that KVM_SET_MSRS refuses: the guest stays."""
    assert guest.pmu.global_ctrl & ~guest.pmu.counter_bits()


def sched_in(guest: Guest) -> None:
    """The thread is put on a CPU."""
    if isinstance(guest.pmu, Emulated):
        guest.pmu.sched_in()


def kicked(_: Guest) -> None:
    """The vCPU has left the guest."""


def is_secret(value: int) -> bool:
    """Return whether a value is one that a CPU of the guest planted, or has counted on from it."""
    return value >> 20 in (SECRET >> 20, OTHER_SECRET >> 20)


def same(expected: Value | None, found: int) -> bool:
    """Return whether a value is what the reference knows of it."""
    if isinstance(expected, AtLeast):
        return found >= expected.value
    if isinstance(expected, Between):
        return expected.low <= found <= expected.high
    if isinstance(expected, Bits):
        return not (found ^ expected.value) & ~expected.unknown
    return expected is None or found == expected


def read_left(machine: Machine, count: int) -> list[tuple[int, ...]]:
    """Return what each step left."""
    raw = machine.physical(asm.RESULTS, ENTRY * count)
    words = [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)]
    return [tuple(words[i : i + 4]) for i in range(0, len(words), 4)]


def agrees(expected: Left, found: tuple[int, ...]) -> bool:
    """Return whether a step left what the reference says."""
    value, faulted, pmis, rcx = found
    if bool(faulted) != expected.faulted or pmis != expected.pmis:
        return False
    if expected.rcx is not None and rcx != expected.rcx:
        return False
    return same(expected.value, value)


def check(example: Example, mode: str) -> None:
    """Run an example in a mode and hold it against the reference."""
    given = example.given
    made = machine_config(dataclasses.replace(given, filter=rules.Filter()), mode)
    pmu = reference(given, made, mode)
    steps = [
        (name, first, value_for(pmu, first, second, quiet=given.quiet) if name == "wr" else second)
        for name, first, second in example.steps
    ]
    whole = [*steps, *everything(pmu)]
    code = image(whole, other_of(given))
    run = Run(given, mode, code, registers(pmu), moments(example, whole, mode, made))
    try:
        run.go(example.slices)
    except Unknown:
        return
    machine = run.machine
    found = read_left(machine, len(whole))
    guest = Guest(pmu, RATES, stops=run.stops, lvtpc_exits=lvtpc_exits(made))
    try:
        expected = guest.run(whole)
    except Unknown:
        return
    for number, (step, left, seen) in enumerate(zip(whole, expected, found, strict=True)):
        assert agrees(left, seen), (
            f"{mode}, step {number} {step[0]} {step[1]:#x} {step[2]:#x}: "
            f"expected {left}, found {seen}\n{guest.pmu}"
        )
    if given.vcpus > 1:
        check_other(run)
    check_growth(expected, found)
    check_truth(machine, guest.pmu)
    check_pmis(machine, guest, exact=run.exact)
    run.check_secrets()
    machine.close()


def check_other(run: Run) -> None:
    """The second CPU has seen nothing but its own: each round as long as the others."""
    raw = run.machine.physical(OTHER, 16)
    least, most, rounds, wrong = (int.from_bytes(raw[i : i + 4], "little") for i in range(0, 16, 4))
    assert not wrong, f"{run.mode}: {wrong:#x}"
    if not rounds:
        return
    assert least <= most <= OTHER_COUNTS, (run.mode, least, most, rounds)
    if not run.filtered and (run.mode != "emulated" or not run.hosted):
        assert least == most == OTHER_COUNTS, (run.mode, least, most, rounds)


def check_growth(expected: list[Left], found: list[tuple[int, ...]]) -> None:
    """What is not known exactly grows: between two writes no read shows less than one before."""
    seen: dict[tuple[int, int], int] = {}
    for left, (value, *_) in zip(expected, found, strict=True):
        if isinstance(left.value, AtLeast | Between):
            stretch = left.value.stretch
            assert value >= seen.get(stretch, 0), f"{left}: {value:#x} is less than before"
            seen[stretch] = value


def moments(example: Example, steps: list[Step], mode: str, made: MachineConfig) -> list[int]:
    """Return when something is on the way, if the host does nothing and somebody wants to know."""
    found: list[int] = []
    if any(one.moment for one in example.slices):
        pmu = reference(example.given, made, mode)
        Guest(pmu, RATES, lvtpc_exits=lvtpc_exits(made), moments=found).run(steps)
    return found


def modes(given: Given) -> tuple[str, ...]:
    """Return the modes that there are: mediated needs PerfMonV2, and nobody who counts guests.

    The reference does not follow errata through the emulated design.
    """
    counted = any(not event.exclude_guest for event in given.hosts)
    found = asm.MODES[:2] if given.cpu in ("zen2", "zen3") or counted else asm.MODES
    return tuple(m for m in found if m != "emulated" or given.overcount == rules.Overcount())


def lvtpc_exits(made: MachineConfig) -> tuple[bool, bool]:
    """Return whether RDMSR and WRMSR of the LVTPC are KVM's: AVIC writes, and exits behind it."""
    amds = made.hw.vendor is pmupass_config.Vendor.AMD
    return not made.kvm.apicv, not (amds and made.kvm.apicv)


def check_truth(machine: Machine, pmu: Silicon) -> None:
    """The truth is the reference's, and so is what is lost, by cause: filter and contention.

    Where a VMM has left counters running, the truth ends at their last read.
    """
    counters = {counter.config: counter for counter in machine.counters()}
    running = bool(pmu.counting(0) or pmu.counting(3))
    for encoding, count in pmu.truth.items():
        if count and not running:
            assert counters[encoding].true_count == count, f"{encoding:#x}"
    for counter in counters.values():
        lost = counter.true_count - counter.counted
        causes = dict(counter.causes)
        assert sum(causes.values()) == lost, counter
        least, most = pmu.overcounted.get(counter.config, (0, 0))
        assert least * (not running) <= -causes.pop("erratum", 0) <= most, (counter, least, most)
        if counter.config & rules.THRESHOLD:
            assert causes.pop("uncredited", 0) <= 0, counter
        known = {"filtered"} | ({"contention"} if pmu.contended else set())
        assert set(causes) <= known, counter
        assert counter.filtered or not causes.get("filtered")
        if counter.config & rules.THRESHOLD:
            continue
        if not running and counter.config & pmu.event_bits in (rules.INSTRUCTIONS, pmu.branches):
            exact = {c: n for (e, c), n in pmu.lost.items() if e == counter.config and n}
            assert causes == exact, f"{counter}, expected {exact}"
        if not running and counter.config & pmu.event_bits in (rules.INSTRUCTIONS, pmu.branches):
            assert counter.true_count == pmu.truth.get(counter.config, 0), counter


def check_pmis(machine: Machine, guest: Guest, *, exact: bool) -> None:
    """As many PMIs as the guest took; where silicon counts, all that were due."""
    pmi = machine.pmi()
    assert pmi.delivered == guest.pmis
    if exact and guest.pmu.automask:
        assert (pmi.due, pmi.dropped, pmi.coalesced) == (pmi.delivered, 0, 0)
