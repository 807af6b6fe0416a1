# SPDX-License-Identifier: Apache-2.0
"""The legacy LBR of a guest of the emulated vPMU (guest.lbr=1): registers, exits, who has the LBR.

Branches are not recorded: registers hold what was written. By default nothing of this is there:
test_branch_records.py.
"""

from __future__ import annotations

import guest_asm as asm
import pytest
from guest_asm import GP, run_script

import pmupass
from pmupass.config import HostEvent
from pmupass.core import Machine, VmRefusedError
from pmupass.errors import UsageError

EMULATED = "emulated"
LBR = ("guest.lbr=1",)
CPU = "icelake-sp"
LBR_CPUS = ("skylake-sp", "cascadelake-sp", "icelake-sp")
each_cpu = pytest.mark.parametrize("cpu", LBR_CPUS)
PERF_CAPABILITIES, DEBUGCTL = 0x345, 0x1D9
SELECT, TOS, FROM, TO, INFO = 0x1C8, 0x1C9, 0x680, 0x6C0, 0xDC0
DEPTH, FORMAT_INFO = 32, 5
FW_WRITE = 1 << 13
ALL = (SELECT, TOS, *(first + i for first in (FROM, TO, INFO) for i in range(DEPTH)))
LBR_ON, BTF, FREEZE_LBRS, FREEZE_PERFMON = 1 << 0, 1 << 1, 1 << 11, 1 << 12


@each_cpu
def test_what_is_announced(cpu: str) -> None:
    """The host's format and nothing else; PEBS is another setting."""
    (caps,) = run_script([("rd", PERF_CAPABILITIES)], mode=EMULATED, cpu=cpu, settings=LBR)
    assert caps == FW_WRITE | FORMAT_INFO
    (caps,) = run_script(
        [("rd", PERF_CAPABILITIES)], mode=EMULATED, cpu=CPU, settings=(*LBR, "guest.pebs=1")
    )
    assert caps == FW_WRITE | FORMAT_INFO | 0x4C0


@each_cpu
def test_registers_hold_what_was_written(cpu: str) -> None:
    """All 98 of them, and none beyond the depth; FROM and TO are addresses."""
    values = {msr: (i * 0x1111) & 0x3FF if msr != TOS else 31 for i, msr in enumerate(ALL)}
    ops = [("rd", msr) for msr in ALL] + [("wr", msr, values[msr]) for msr in ALL]
    ops += [("rd", msr) for msr in ALL]
    expected: list[int | str] = [0] * 2 * len(ALL)
    expected += [values[msr] for msr in ALL]
    # TO + DEPTH is TSC_DEADLINE.
    for beyond in (FROM - 1, FROM + DEPTH, TO - 1, INFO - 1, INFO + DEPTH, SELECT - 1):
        ops += [("rd", beyond), ("wr", beyond, 0)]
        expected += [GP, GP]
    for msr, value in ((FROM, 1 << 47), (TO, 1 << 63), (SELECT, 1 << 10), (TOS, 32)):
        ops += [("wr", msr, value), ("rd", msr)]
        expected += [GP, values[msr]]
    ops += [("wr", FROM, (1 << 64) - 1), ("rd", FROM), ("wr", INFO, 1 << 63), ("rd", INFO)]
    expected += [0, (1 << 64) - 1, 0, 1 << 63]
    assert run_script(ops, mode=EMULATED, cpu=cpu, settings=LBR) == expected


def exits(ops: list[tuple], **given: object) -> tuple[int, int]:
    """Return how many RDMSR and WRMSR exits the accesses make."""
    counts = []
    for some in ([("pce", 0)], ops):
        found = asm.run(asm.script(some), mode=EMULATED, cpu=CPU, settings=LBR, **given).exits()
        counts.append((found.get("MSR_READ", 0), found.get("MSR_WRITE", 0)))
    (base_read, base_write), (read, write) = counts
    return read - base_read, write - base_write


def test_the_first_access_exits_and_the_others_do_not() -> None:
    """It makes the event; from the next entry on the registers are the guest's."""
    assert exits([("rd", TOS)]) == (1, 0)
    assert exits([("wr", FROM, 8)] + [("rd", msr) for msr in ALL]) == (0, 1)
    assert exits([("rd", TOS)] + [("wr", msr, 8) for msr in ALL]) == (1, 0)
    # DEBUGCTL.LBR makes the event, too; DEBUGCTL itself always exits.
    assert exits([("wr", DEBUGCTL, 1), ("rd", FROM), ("rd", DEBUGCTL)]) == (1, 1)


def test_accesses_are_the_pmus() -> None:
    """One that exits and three direct ones; without an LBR none of them is an access of the PMU."""
    ops = [("rd", TOS), ("rd", FROM), ("wr", FROM, 8), ("rd", INFO)]
    found = []
    for settings in ((), LBR):
        ran = asm.run(asm.script(ops), mode=EMULATED, cpu=CPU, settings=settings)
        others = [a for a in ran.machine.accesses() if a.kind == "other"]
        found.append((sum(a.intercepted for a in others), sum(a.direct for a in others)))
    assert found[1] == (found[0][0] + 1, found[0][1] + 3)


def test_debugctl() -> None:
    """LBR and FREEZE_LBRS_ON_PMI are kept; BTF is dropped; freezing of counters is #GP."""
    ops = [
        ("rd", DEBUGCTL),
        ("wr", DEBUGCTL, LBR_ON | FREEZE_LBRS),
        ("rd", DEBUGCTL),
        ("wr", DEBUGCTL, FREEZE_PERFMON | LBR_ON),
        ("rd", DEBUGCTL),
        ("wr", DEBUGCTL, BTF | LBR_ON),
        ("rd", DEBUGCTL),
        ("wr", DEBUGCTL, 0),
        ("rd", DEBUGCTL),
    ]
    expected = [0, 0, LBR_ON | FREEZE_LBRS, GP, LBR_ON | FREEZE_LBRS, 0, LBR_ON, 0, 0]
    assert run_script(ops, mode=EMULATED, cpu=CPU, settings=LBR) == expected


# A counter of branches that overflows once; its PMI is an NMI.
PMI = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	gate	2, nmi
	wr	0x834, 0x400
	wr	{DEBUGCTL}, DEBUGCTL_VALUE
	wr	{asm.EVTSEL0}, {asm.EVENTS["branches"] | asm.OS | asm.INT | asm.EN}
	wr	{asm.PMC0}, {asm.WIDTH - 49}
	wr	0x38f, 1
	movl	$1000, %eax
1:	decl	%eax
	jnz	1b
	rd	{DEBUGCTL}
	keep	0
	finish
nmi:	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	wr	0x38f, 0
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq
"""


@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("freeze", [0, FREEZE_LBRS])
def test_a_pmi_freezes_the_lbr(version: int, freeze: int) -> None:
    """KVM clears DEBUGCTL.LBR for versions 2 and 3; from 4 on it would be a status bit."""
    ran = asm.run(
        PMI.replace("DEBUGCTL_VALUE", str(LBR_ON | freeze)),
        mode=EMULATED,
        cpu=CPU,
        settings=(*LBR, f"guest.pmu_version={version}"),
    )
    assert ran.machine.pmi().delivered == 1
    frozen = freeze and version < 4
    assert ran.result(0) == (freeze if frozen else freeze | LBR_ON)


# The host's users of the LBR


def stats(machine: Machine) -> dict[str, int]:
    """Return the statistics of the LBR."""
    return {k: v for k, v in machine.stats().items() if k.startswith("lbr_")}


@pytest.mark.parametrize(
    ("host", "stolen"),
    [
        ("cycles/branch_type=any/D", True),
        ("cycles/branch_type=any/DH", True),
        ("cycles/branch_type=any/", False),
        ("cycles:D", False),
    ],
)
def test_a_pinned_user_of_the_host_has_it(host: str, stolen: bool) -> None:
    """Reads are 0, writes are dropped without a fault, all exit, and KVM warns at each entry."""
    ops = [("wr", FROM, 0x1234), ("rd", FROM), ("wr", TOS, 5), ("rd", TOS), ("wr", TO, 1 << 63)]
    ran = asm.run(asm.script(ops), mode=EMULATED, cpu=CPU, settings=LBR, host_perf=(host,))
    results = asm.script_results(ran, len(ops))
    found = stats(ran.machine)
    assert found["lbr_events_created"] == 1
    if stolen:
        assert results == [0, 0, 0, 0, 0]
        assert found["lbr_active_cycles"] == 0
        assert found["lbr_stolen_cycles"] > 100
        assert found["lbr_warnings"] >= len(ops)
    else:
        assert results == [0, 0x1234, 0, 5, GP]
        assert found["lbr_active_cycles"] > 100
        assert (found["lbr_stolen_cycles"], found["lbr_warnings"]) == (0, 0)
    assert exits(ops, host_perf=(host,)) == ((2, 3) if stolen else (0, 1))


# Reads FROM and keeps it, for ever; sometimes an exit, sometimes a sleep.
LOOP = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	gate	0x20, timer
	wr	{FROM}, 0x1234
	wr	0x832, 0x20
	sti
1:	rd	{FROM}
	keep	0
	wr	0x838, 5000
	SLEEP
	xorl	%eax, %eax
	cpuid
	jmp	1b
timer:	wr	0x80b, 0
	iretq
"""


def go(machine: Machine) -> tuple[int, dict[str, int]]:
    """Run on; return what the guest last read, and the statistics."""
    machine.run(2000)
    return int.from_bytes(machine.physical(asm.RESULTS, 8), "little"), stats(machine)


def machine_of(source: str) -> Machine:
    """Return a machine that is ready to run."""
    return Machine(asm.config(asm.assemble(source), mode=EMULATED, cpu=CPU, settings=LBR))


def pinned() -> HostEvent:
    """Return a CPU-pinned event of the host with a branch stack."""
    return HostEvent(
        asm.EVENTS["cycles"] | asm.OS | asm.USR, pinned=True, exclude_guest=True, branch_stack=True
    )


def test_availability_over_time() -> None:
    """Its own, stolen, and not given back when the host is done: a pinned event stays in error."""
    machine = machine_of(LOOP.replace("SLEEP", ""))
    value, before = go(machine)
    assert value == 0x1234
    assert before["lbr_active_cycles"] > before["lbr_stolen_cycles"] == before["lbr_warnings"] == 0
    place = machine.open_host_event(pinned())
    value, during = go(machine)
    assert value == 0
    assert during["lbr_stolen_cycles"] > 0
    assert during["lbr_warnings"] > 0
    machine.close_host_event(place)
    value, after = go(machine)
    assert value == 0
    # What was under way when the host came was booked then.
    assert after["lbr_active_cycles"] == during["lbr_active_cycles"]
    assert after["lbr_stolen_cycles"] > during["lbr_stolen_cycles"]
    assert after["lbr_events_created"] == 1


def test_it_comes_back_after_a_sleep() -> None:
    """A guest that sleeps loses the event, and what registers held; the next access makes one."""
    machine = machine_of(LOOP.replace("SLEEP", "hlt"))
    value, before = go(machine)
    # FROM is 0 again from the first sleep on.
    assert value == 0
    assert before["lbr_events_created"] > 5
    place = machine.open_host_event(pinned())
    _, during = go(machine)
    assert during["lbr_stolen_cycles"] > 0
    machine.close_host_event(place)
    _, after = go(machine)
    assert after["lbr_active_cycles"] > during["lbr_active_cycles"]


def test_debugctl_keeps_it_through_a_sleep() -> None:
    machine = machine_of(
        LOOP.replace("SLEEP", "hlt").replace("sti\n", f"wr {DEBUGCTL}, 1\n	sti\n", 1)
    )
    value, found = go(machine)
    assert value == 0x1234
    assert found["lbr_events_created"] == 1


def test_the_msr_filter_holds_for_it() -> None:
    """A register that the VMM denies exits and is #GP, though the event is active."""
    from pmupass.config import MsrFilter, MsrRange

    machine = machine_of(LOOP.replace("SLEEP", ""))
    assert go(machine)[0] == 0x1234
    machine.set_msr_filter(MsrFilter(ranges=(MsrRange(base=FROM, nmsrs=1, flags=1),)))
    before = {e.reason: e.count for e in machine.exits()}
    machine.run(2000)
    # #GP without a handler: the guest is gone, behind one more RDMSR that exited.
    after = {e.reason: e.count for e in machine.exits()}
    assert after["MSR_READ"] == before.get("MSR_READ", 0) + 1


def test_a_clone_goes_on_alike() -> None:
    """Two machines with an LBR event each; what happens to one does not happen to the other."""
    machine = machine_of(LOOP.replace("SLEEP", ""))
    go(machine)
    twin = machine.clone()
    assert go(twin) == go(machine)
    twin.open_host_event(pinned())
    assert go(twin)[0] == 0
    assert go(machine)[0] == 0x1234


# Where it is not offered


@pytest.mark.parametrize(
    ("cpu", "more", "words"),
    [
        ("sapphire-rapids", (), "sapphire-rapids has an architectural LBR alone"),
        ("sierra-forest", (), "sierra-forest has an architectural LBR alone"),
        (CPU, ("guest.pmu_version=1",), "version 1, not 2"),
        (CPU, ("guest.pdcm=0",), "guest.pdcm=0 has none"),
        ("zen4", (), "zen4 is an AMD CPU"),
    ],
)
def test_refusals(cpu: str, more: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        asm.config(b"", mode=EMULATED, cpu=cpu, settings=(*LBR, *more))


@pytest.mark.parametrize("mode", ["native", "mediated"])
def test_other_modes_refuse(mode: str) -> None:
    with pytest.raises(VmRefusedError, match=r"guest\.lbr=1"):
        pmupass.run("perf-stat", cpu=CPU, mode=mode, time="1ms", settings=LBR)


def test_a_vmm_finds_neither_in_the_list() -> None:
    """KVM lists neither DEBUGCTL nor the LBR's registers: a restored guest finds them 0."""
    machine = machine_of(LOOP.replace("SLEEP", ""))
    assert go(machine)[0] == 0x1234
    assert not {DEBUGCTL, *ALL} & set(machine.msr_index_list())
    # A VMM that knows them can read and write them.
    assert machine.get_msrs([FROM, TOS]) == [0x1234, 0]
    assert machine.set_msrs([(FROM, 0x77), (FROM, 1 << 47)]) == 1
    made = asm.config(b"", mode=EMULATED, cpu=CPU, settings=LBR)
    moved = machine.migrate(made)
    assert moved.get_msrs([FROM, DEBUGCTL]) == [0, 0]
