# SPDX-License-Identifier: Apache-2.0
"""A sequence on a machine of the product and in the reference, and what must hold after it."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import amd
import guest_asm as asm
import rules
from drawing import PROFILES, Given
from emulated import Emulated
from program import ENTRY, LVTPC, NMI, Guest, Left, Step, image
from rules import AtLeast, Bits, Kvm, Mediated, Shape, Silicon, Value

from pmupass import config as pmupass_config, cpus
from pmupass.config import FilterAction, MachineConfig
from pmupass.core import Machine
from pmupass.profiles.model import WorkProfile
from pmupass.records import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drawing_sequences import Example, Slice

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
        trace_records=TRACE if mode == "mediated" else 0,
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
    return Shape(
        version=pmu.version,
        gp=pmu.nr_gp,
        fixed=pmu.nr_fixed,
        width=pmu.gp_width,
        full_width_writes=pmu.perfctr_core if amds else pmu.fw_write,
        any_thread=silicon and not amds and pmu.version > 2 and has_any_thread(given.cpu),
        capabilities=pmu.perf_capabilities if pmu.pdcm else None,
    )


def reference(given: Given, made: MachineConfig, mode: str) -> Silicon:
    """Return the reference's PMU of a guest."""
    amds = made.hw.vendor is pmupass_config.Vendor.AMD
    kinds = AMD_RULES if amds else INTEL_RULES
    pmu = kinds[asm.MODES.index(mode)](shape(given, made, mode))
    pmu.lvtpc = NMI
    if isinstance(pmu, Kvm):
        pmu.set_filter(given.filter)
    return pmu


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


@functools.cache
def start_up() -> int:
    """Return the instructions in front of the first step: of a guest without one, less its end."""
    made = machine_config(Given("skylake-sp"), "native")
    machine = Machine(dataclasses.replace(made, image=image([])))
    assert machine.run(1 << 40) is Stop.EXIT
    guest = Guest(reference(Given("skylake-sp"), made, "native"), RATES)
    guest.run([])
    return machine.guest().instructions - guest.retired


@dataclass
class Run:
    """A machine that runs, and what the reference is to do at the same points."""

    given: Given
    mode: str
    image: bytes
    names: list[int]  # of the guest's registers
    stops: list[tuple[int, Callable[[Guest], None]]] = field(default_factory=list)
    exact: bool = True  # PMIs are due where they come, and nothing is filtered

    def __post_init__(self) -> None:
        """Build the machine."""
        self.filter = self.given.filter
        self.look_at_exactness()
        self.machine = Machine(self.config())

    def look_at_exactness(self) -> None:
        """Once perf's periods or a filter have been in it, PMIs and truth may differ."""
        self.exact = self.exact and self.mode != "emulated" and not self.filter.action

    def config(self) -> MachineConfig:
        """Return the configuration in the present mode."""
        made = machine_config(dataclasses.replace(self.given, filter=rules.Filter()), self.mode)
        kvm = made.kvm
        if self.mode != "native":
            kvm = dataclasses.replace(kvm, filter=product_filter(self.filter))
        return dataclasses.replace(made, image=self.image, kvm=kvm)

    def go(self, slices: Sequence[Slice]) -> None:
        """Run to the end."""
        for one in slices:
            if self.machine.run(one.blocks) is not Stop.BUDGET:
                break
            at = self.machine.guest().instructions - start_up()
            act = getattr(self, one.act, None)
            if act and at >= 0 and (self.mode != "native" or one.act == "clone"):
                act(one, at)
        stop = Stop.BUDGET
        while stop is Stop.BUDGET:
            stop = self.machine.run(1 << 40)
        info = self.machine.guest()
        assert stop is Stop.EXIT, f"{stop!r} {self.machine.invariant()} at {info.rip:#x}"
        assert info.exit_value == 0

    # ---- what the host does, and notes for the reference ----

    def read(self, _: Slice, at: int) -> None:
        """KVM_GET_MSRS."""
        values = self.machine.get_msrs(self.names)
        assert len(values) == len(self.names), f"{self.names[len(values)]:#x} cannot be read"
        self.stops.append((at, functools.partial(compare, self.names, values)))

    def write(self, one: Slice, at: int) -> None:
        """KVM_SET_MSRS."""
        if one.msr in self.names:
            taken = self.machine.set_msrs([(one.msr, one.value)])
            self.stops.append((at, functools.partial(host_write, one, bool(taken))))

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

    def migrate(self, _: Slice, at: int) -> None:
        """To the other design, or to the same where there is no other."""
        check_secrets(self.machine, self.mode)
        others = [mode for mode in modes(self.given)[1:] if mode != self.mode]
        self.mode = others[0] if others else self.mode
        self.look_at_exactness()
        original = self.machine
        self.machine = original.migrate(self.config())
        original.close()
        fresh = reference(self.given, self.config(), self.mode)
        self.stops.append((at, functools.partial(move, fresh)))


def compare(names: Sequence[int], values: Sequence[int], guest: Guest) -> None:
    """What the VMM read is what the reference has."""
    for msr, found in zip(names, values, strict=True):
        expected = guest.pmu.read_msr(msr)
        assert same(expected, found), (
            f"the VMM reads {found:#x} from {msr:#x}, expected {expected} at {guest.retired}"
        )


def host_write(one: Slice, taken: bool, guest: Guest) -> None:
    """The reference takes what KVM took."""
    pmu = guest.pmu
    assert isinstance(pmu, Kvm)
    assert pmu.host_writes(one.msr, one.value) == taken, f"{one} taken: {taken}"


def host_filter(chosen: rules.Filter, guest: Guest) -> None:
    """Another filter."""
    assert isinstance(guest.pmu, Kvm)
    guest.pmu.set_filter(chosen)


def move(fresh: Silicon, guest: Guest) -> None:
    """The guest goes on on another PMU."""
    assert isinstance(fresh, Kvm)
    fresh.adopt(guest.pmu)
    guest.pmu = fresh


def same(expected: Value | None, found: int) -> bool:
    """Return whether a value is what the reference knows of it."""
    if isinstance(expected, AtLeast):
        return found >= expected.value
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
    whole = [*example.steps, *everything(pmu)]
    run = Run(given, mode, image(whole), registers(pmu))
    run.go(example.slices)
    machine = run.machine
    found = read_left(machine, len(whole))
    guest = Guest(pmu, RATES, stops=run.stops, lvtpc_exits=lvtpc_exits(made))
    expected = guest.run(whole)
    for number, (step, left, seen) in enumerate(zip(whole, expected, found, strict=True)):
        assert agrees(left, seen), (
            f"{mode}, step {number} {step[0]} {step[1]:#x} {step[2]:#x}: "
            f"expected {left}, found {seen}\n{guest.pmu}"
        )
    check_truth(machine, guest.pmu)
    check_pmis(machine, guest, exact=run.exact)
    check_secrets(machine, run.mode)
    machine.close()


def modes(given: Given) -> tuple[str, ...]:
    """Return the modes that there are: mediated needs PerfMonV2."""
    return asm.MODES[:2] if given.cpu in ("zen2", "zen3") else asm.MODES


def lvtpc_exits(made: MachineConfig) -> tuple[bool, bool]:
    """Return whether RDMSR and WRMSR of the LVTPC are KVM's: AVIC writes, and exits behind it."""
    amds = made.hw.vendor is pmupass_config.Vendor.AMD
    return not made.kvm.apicv, not (amds and made.kvm.apicv)


def check_truth(machine: Machine, pmu: Silicon) -> None:
    """The truth is the reference's; what is lost has a cause, and that is the filter.

    Where a VMM has left counters running, the truth ends at their last read.
    """
    counters = {counter.config: counter for counter in machine.counters()}
    running = bool(pmu.counting(0) or pmu.counting(3))
    for encoding, count in pmu.truth.items():
        if count and not running:
            assert counters[encoding].true_count == count, f"{encoding:#x}"
    for counter in counters.values():
        lost = counter.true_count - counter.counted
        assert sum(counter.causes.values()) == lost, counter
        assert set(counter.causes) <= {"filtered"}, counter
        assert counter.filtered or not lost
        if not running and counter.config & pmu.event_bits in (rules.INSTRUCTIONS, pmu.branches):
            assert counter.true_count == pmu.truth.get(counter.config, 0), counter


def check_pmis(machine: Machine, guest: Guest, *, exact: bool) -> None:
    """As many PMIs as the guest took; where silicon counts, all that were due."""
    pmi = machine.pmi()
    assert pmi.delivered == guest.pmis
    if exact and guest.pmu.automask:
        assert (pmi.due, pmi.dropped, pmi.coalesced) == (pmi.delivered, 0, 0)


def check_secrets(machine: Machine, mode: str) -> None:
    """What a put leaves in hardware is nothing: before each load all registers are zero."""
    if mode != "mediated":
        return
    trace = machine.trace()
    assert len(trace) < TRACE, "the ring was too small"
    state: dict[int, int] = {}
    for _, name, _, msr, hardware, _ in trace:
        if name == "pmu_state":
            state[msr] = hardware
        elif name == "pmu_load":
            assert not any(state.values()), f"left in hardware: {state}"
            state = {}
        elif name == "pmu_put":
            state = {}
