# SPDX-License-Identifier: Apache-2.0
"""Rule 37: KVM_X86_SET_MSR_FILTER takes PMU registers from a guest, in the mediated design too.

A denied access exits, however direct it was, and is #GP; or it goes to user space, which gives 0
for a read and loses a write. A filter that comes while the guest runs recomputes what is
intercepted (KVM_REQ_RECALC_INTERCEPTS). RDPMC and the x2APIC are not held against it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import guest_asm as asm
import pytest
from guest_asm import GP, run_script

from pmupass.config import MsrFilter, MsrRange
from pmupass.core import Machine
from pmupass.errors import InputError, ModelError
from pmupass.records import Stop

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NATIVE, EMULATED, MEDIATED = asm.MODES
each_vpmu = pytest.mark.parametrize("mode", [EMULATED, MEDIATED])
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)
# All counters of Skylake-SP are the guest's: counters, RDPMC and GLOBAL_* are direct.
ALL_DIRECT = "skylake-sp"
READ, WRITE = 1, 2


def filtered(
    ops: Sequence[tuple], msr_filter: MsrFilter, *, mode: str, cpu: str
) -> list[int | str]:
    """Run accesses under a filter."""
    made = asm.config(b"", mode=mode, cpu=cpu)
    kvm = dataclasses.replace(made.kvm, msr_filter=msr_filter)
    return run_script(ops, mode=mode, cpu=cpu, kvm=kvm)


def deny(*msrs: int, flags: int = READ | WRITE, user: bool = False) -> MsrFilter:
    """Return a filter that takes some MSRs."""
    return MsrFilter(False, user, tuple(MsrRange(msr, 1, flags) for msr in msrs))


@each_cpu
@each_vpmu
def test_denied_registers_fault(mode: str, cpu: str) -> None:
    """A counter, its other alias not; GLOBAL_CTRL for writes only; the counter by RDPMC."""
    ops = [
        ("wr", asm.PERFCTR0, 7),
        ("rd", asm.PMC0),
        ("wr", asm.PMC0, 9),
        ("pmc", 0),
        ("rd", asm.GLOBAL_CTRL),
        ("wr", asm.GLOBAL_CTRL, 0),
        ("wr", asm.EVTSEL0, asm.EN),
        ("rd", asm.EVTSEL0),
        ("rd", 0x834),
        ("wr", 0x834, 0x400),
    ]
    # The range of the x2APIC is in the filter and changes nothing.
    taken = (
        MsrRange(asm.PMC0, 1, READ | WRITE),
        MsrRange(asm.GLOBAL_CTRL, 1, WRITE),
        MsrRange(asm.EVTSEL0, 1, READ),
        MsrRange(0x800, 0x100, READ | WRITE),
    )
    gp, _ = {"sapphire-rapids": (8, 3), "skylake-sp": (4, 3)}[cpu]
    found = filtered(ops, MsrFilter(ranges=taken), mode=mode, cpu=cpu)
    assert found == [0, GP, GP, 7, (1 << gp) - 1, GP, 0, GP, found[8], 0]
    assert found[8] != GP


@each_cpu
@each_vpmu
def test_user_space_completes_what_is_denied(mode: str, cpu: str) -> None:
    """Reads give 0, writes are lost, nothing faults, and each instruction counts once.

    The lost write of GLOBAL_CTRL leaves GP 0 enabled: the truth does not take it for a write.
    """
    source = f"""
	{asm.PRELUDE}
_start:	wr	0x186, {asm.EN | asm.OS | 0xC0}
	.rept	10
	rd	{asm.PMC0}
	keep	0
	.endr
	wr	0x38f, 0
	nop
	nop
	wr	0x186, 0
	keep_pmc 1, 0
	finish
"""
    made = asm.config(b"", mode=mode, cpu=cpu)
    kvm = dataclasses.replace(made.kvm, msr_filter=deny(asm.PMC0, asm.GLOBAL_CTRL, user=True))
    ran = asm.run(source, mode=mode, cpu=cpu, kvm=kvm)
    # WRMSR; 10 times MOV, RDMSR, SHL, OR, MOV; 4 of the lost write, 2 NOPs, 3 before the last
    # WRMSR.
    assert ran.results(2) == [0, 1 + 10 * 5 + 4 + 2 + 3]
    (counter,) = ran.counters().values()
    assert counter.true_count == counter.counted == 60
    assert not counter.causes
    assert ran.machine.stats()["msr_filter_denied"] == 11


@each_vpmu
def test_the_first_range_decides_and_then_the_default(mode: str) -> None:
    """PERFEVTSEL0-3: the first range has 0 and 1 for reads and allows 1, the second allows all."""
    selectors = range(asm.EVTSEL0, asm.EVTSEL0 + 4)
    ranges = (
        MsrRange(asm.EVTSEL0, 2, READ, frozenset({asm.EVTSEL0 + 1})),
        MsrRange(asm.EVTSEL0, 3, READ | WRITE, frozenset(selectors[:3])),
    )
    ops = [("rd", msr) for msr in selectors] + [("wr", msr, 0) for msr in selectors]
    for default_deny in (False, True):
        chosen = MsrFilter(default_deny, False, (*ranges, *BOOT) if default_deny else ranges)
        found = filtered(ops, chosen, mode=mode, cpu=ALL_DIRECT)
        last = GP if default_deny else 0
        assert found == [GP, 0, 0, last, 0, 0, 0, last]


# What the script's own start needs: APIC base, EFER, STAR, LSTAR, FMASK.
BOOT = tuple(
    MsrRange(msr, 1, READ | WRITE, frozenset({msr}))
    for msr in (0x1B, 0xC0000080, 0xC0000081, 0xC0000082, 0xC0000084)
)


def test_direct_accesses_exit_and_nothing_else_does() -> None:
    """Of ten RDMSRs each of two counters those of the denied one exit."""
    source = f"""
	{asm.PRELUDE}
_start:	.rept	10
	rd	{asm.PMC0}
	rd	{asm.PMC0 + 1}
	.endr
	finish
"""
    made = asm.config(b"", mode=MEDIATED, cpu=ALL_DIRECT)
    kvm = dataclasses.replace(made.kvm, msr_filter=deny(asm.PMC0, user=True))
    ran = asm.run(source, mode=MEDIATED, cpu=ALL_DIRECT, kvm=kvm)
    assert ran.exits()["MSR_READ"] == 10


LOOP = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	gate	13, general_protection
	xorl	%r8d, %r8d
	xorl	%r15d, %r15d
	wr	{asm.PMC0}, 3
1:	rd	{asm.PMC0}
	incl	%r8d
	keep	0, %r8
	keep	1, %r15
	cmpl	$100000, %r8d
	jb	1b
	finish
general_protection:
	incl	%r15d
	addq	$2, 8(%rsp)
	addq	$8, %rsp
	iretq
"""


def state(machine: Machine) -> tuple[int, int]:
    """Return how many reads the guest has done and how many of them faulted."""
    raw = machine.physical(asm.RESULTS, 16)
    return int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")


@each_cpu
@each_vpmu
def test_a_filter_that_comes_and_goes_while_the_guest_runs(mode: str, cpu: str) -> None:
    """From the ioctl on no read gets through; with the filter gone, all do again."""
    machine = Machine(asm.config(asm.assemble(LOOP), mode=mode, cpu=cpu))
    assert machine.run(3000) is Stop.BUDGET
    reads, faults = state(machine)
    assert reads > 100
    assert faults == 0
    exits = {e.reason: e.count for e in machine.exits()}
    machine.set_msr_filter(deny(asm.PMC0))
    assert machine.run(3000) is Stop.BUDGET
    more, faults = state(machine)
    # The guest may have been between a read and its count.
    assert faults in (more - reads, more - reads + 1)
    assert more > reads + 100
    # A vCPU in guest mode was kicked.
    after = {e.reason: e.count for e in machine.exits()}
    assert after.get("EXTERNAL_INTERRUPT", 0) - exits.get("EXTERNAL_INTERRUPT", 0) in (0, 1)
    if mode == MEDIATED:
        assert after["EXTERNAL_INTERRUPT"] == 1
        assert exits.get("MSR_READ", 0) < 10 < after["MSR_READ"]
    machine.set_msr_filter(MsrFilter())
    assert machine.run(3000) is Stop.BUDGET
    again, last = state(machine)
    assert again > more + 100
    assert last - faults in (0, 1)


@each_vpmu
def test_a_clone_has_the_filter_of_its_own(mode: str) -> None:
    """Taken from the one it stays with the other: nothing is shared."""
    made = asm.config(asm.assemble(LOOP), mode=mode, cpu=ALL_DIRECT)
    kvm = dataclasses.replace(made.kvm, msr_filter=deny(asm.PMC0))
    machine = Machine(dataclasses.replace(made, kvm=kvm))
    assert machine.run(3000) is Stop.BUDGET
    before, faults = state(machine)
    clone = machine.clone()
    machine.set_msr_filter(MsrFilter())
    machine.close()
    assert clone.run(3000) is Stop.BUDGET
    reads, more_faults = state(clone)
    assert reads > before + 100
    assert more_faults - faults in (reads - before - 1, reads - before, reads - before + 1)


BAD = {
    "empty and deny": MsrFilter(default_deny=True),
    "no kind of access": MsrFilter(ranges=(MsrRange(0xC1, 1, 0),)),
    "unknown flag": MsrFilter(ranges=(MsrRange(0xC1, 1, 4),)),
    "too long": MsrFilter(ranges=(MsrRange(0, 0x600 * 8 + 1, 3),)),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_filters_that_kvm_does_not_take(bad: MsrFilter) -> None:
    """-EINVAL, and the filter of before stays."""
    machine = Machine(asm.config(asm.assemble(LOOP), mode=MEDIATED, cpu=ALL_DIRECT))
    machine.set_msr_filter(deny(asm.PMC0))
    with pytest.raises(InputError, match="EINVAL"):
        machine.set_msr_filter(bad)
    assert machine.run(3000) is Stop.BUDGET
    reads, faults = state(machine)
    assert reads > 100
    assert faults >= reads
    made = asm.config(b"", mode=MEDIATED, cpu=ALL_DIRECT)
    kvm = dataclasses.replace(made.kvm, msr_filter=bad)
    with pytest.raises(ModelError, match="KVM_X86_SET_MSR_FILTER: -EINVAL"):
        asm.run(LOOP, mode=MEDIATED, cpu=ALL_DIRECT, kvm=kvm)


def test_the_longest_range_and_empty_ones_are_taken() -> None:
    """0x600 bytes of bitmap; a range of no MSRs is none; an empty filter allows everything."""
    machine = Machine(asm.config(asm.assemble(LOOP), mode=MEDIATED, cpu=ALL_DIRECT))
    machine.set_msr_filter(MsrFilter(ranges=(MsrRange(0, 0x600 * 8, 1), MsrRange(0, 0, 0))))
    machine.set_msr_filter(MsrFilter())
    assert machine.run(3000) is Stop.BUDGET
    assert state(machine)[1] == 0


def test_a_bare_machine_has_no_filter() -> None:
    machine = Machine(asm.config(asm.assemble(LOOP), mode=NATIVE, cpu=ALL_DIRECT))
    with pytest.raises(InputError):
        machine.set_msr_filter(MsrFilter())


@each_vpmu
def test_a_filter_file(mode: str, tmp_path: Path) -> None:
    """As a user gives it: the guest's perf has no FIXED_CTR_CTRL, and dies of it."""
    path = tmp_path / "msrs.toml"
    path.write_text('[[range]]\nbase = 0x38d\naccess = "w"\n', "utf-8")
    ops = [("wr", 0x38D, 1), ("rd", 0x38D)]
    settings = (f"kvm.msr_filter={path}",)
    assert run_script(ops, mode=mode, cpu=ALL_DIRECT, settings=settings) == [GP, 0]
