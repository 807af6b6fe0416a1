# SPDX-License-Identifier: Apache-2.0
"""PEBS of a guest of the emulated vPMU (guest.pebs=1): registers, faults, PMIs, when it is off.

There are no records: an overflow of a counter with PEBS stands for one, and for a buffer that is
full. By default nothing of this is there: test_branch_records.py.

Where events go, on Ice Lake-SP: branches on the first GP counter that is free, instructions on
fixed 0 if it is free (test_contention.py). On Sapphire Rapids KVM asks for the precise distribution
for GP 0, and perf then gives branches GP 0 and nothing else.
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
PEBS = ("guest.pebs=1",)
ICX, SPR = "icelake-sp", "sapphire-rapids"
PEBS_CPUS = (ICX, SPR, "emerald-rapids", "granite-rapids")
each_cpu = pytest.mark.parametrize("cpu", PEBS_CPUS)
two_cpus = pytest.mark.parametrize("cpu", [ICX, SPR])
PERF_CAPABILITIES, MISC_ENABLE = 0x345, 0x1A0
PEBS_ENABLE, PEBS_DATA_CFG, DS_AREA = 0x3F1, 0x3F2, 0x600
FW_WRITE, TRAP_ARCH_REG_FORMAT_4 = 1 << 13, 0x4C0
PEBS_UNAVAILABLE, BTS_UNAVAILABLE = 1 << 12, 1 << 11
BUFFER_OVF = 1 << 62
BRANCHES = asm.EVENTS["branches"]
BOTH = asm.OS | asm.USR
CANONICAL = (0, 0x1000, 0x7FFF_FFFF_FFFF, 0xFFFF_8000_0000_0000, (1 << 64) - 1)
NOT_CANONICAL = (1 << 47, 1 << 63, 0xFFFF_7FFF_FFFF_FFFF)


# Registers


@each_cpu
def test_what_is_announced(cpu: str) -> None:
    """The format and its two flags; no adaptive records (bit 14). MISC_ENABLE: no BTS, still."""
    caps, misc = run_script(
        [("rd", PERF_CAPABILITIES), ("rd", MISC_ENABLE)], mode=EMULATED, cpu=cpu, settings=PEBS
    )
    assert caps == FW_WRITE | TRAP_ARCH_REG_FORMAT_4
    assert int(misc) & (PEBS_UNAVAILABLE | BTS_UNAVAILABLE) == BTS_UNAVAILABLE
    entries = asm.config(b"", mode=EMULATED, cpu=cpu, settings=PEBS).cpuid
    plain = asm.config(b"", mode=EMULATED, cpu=cpu).cpuid
    changed = [(a.regs, b.regs) for a, b in zip(entries, plain, strict=True) if a != b]
    # CPUID.1: DTES64 is ECX[2], DS is EDX[21]; nothing else changes anywhere.
    ((mine, without),) = changed
    assert [a ^ b for a, b in zip(mine, without, strict=True)] == [0, 0, 1 << 2, 1 << 21]


@two_cpus
def test_values_and_faults(cpu: str) -> None:
    """PEBS_ENABLE has the GP counters (8), not the fixed ones, which need adaptive PEBS."""
    ops: list[tuple] = [("rd", PEBS_ENABLE), ("rd", DS_AREA)]
    expected: list[int | str] = [0, 0]
    for value, taken in ((0xFF, True), (1 << 8, False), (1 << 32, False), (1 << 63, False)):
        ops.append(("wr", PEBS_ENABLE, value))
        expected.append(0 if taken else GP)
    ops.append(("rd", PEBS_ENABLE))
    expected.append(0xFF)
    for address in CANONICAL:
        ops += [("wr", DS_AREA, address), ("rd", DS_AREA)]
        expected += [0, address]
    for address in NOT_CANONICAL:
        ops += [("wr", DS_AREA, address), ("rd", DS_AREA)]
        expected += [GP, CANONICAL[-1]]
    # Without BASELINE there is no PEBS_DATA_CFG, and a selector has no adaptive bit.
    ops += [("rd", PEBS_DATA_CFG), ("wr", PEBS_DATA_CFG, 0), ("wr", asm.EVTSEL0, 1 << 34)]
    expected += [GP, GP, GP]
    # The read-only bits of MISC_ENABLE.
    ops += [("wr", MISC_ENABLE, PEBS_UNAVAILABLE | BTS_UNAVAILABLE), ("wr", MISC_ENABLE, 0)]
    ops += [("wr", MISC_ENABLE, BTS_UNAVAILABLE)]
    expected += [GP, GP, 0]
    assert run_script(ops, mode=EMULATED, cpu=cpu, settings=PEBS) == expected


@two_cpus
def test_fewer_counters_have_fewer_bits(cpu: str) -> None:
    settings = (*PEBS, "guest.gp_counters=2")
    ops = [("wr", PEBS_ENABLE, 3), ("wr", PEBS_ENABLE, 4)]
    assert run_script(ops, mode=EMULATED, cpu=cpu, settings=settings) == [0, GP]


def test_accesses_exit_and_are_the_pmus() -> None:
    """Five accesses, five exits, among the others of the table of accesses."""
    ops = [("wr", PEBS_ENABLE, 1), ("rd", PEBS_ENABLE), ("wr", DS_AREA, 8), ("rd", DS_AREA)]
    found = []
    for settings in ((), PEBS):
        ran = asm.run(asm.script([*ops, ("rd", 0x38E)]), mode=EMULATED, cpu=ICX, settings=settings)
        found.append({a.kind: a.intercepted for a in ran.machine.accesses()})
    assert found[1].get("other", 0) == found[0].get("other", 0) + 4


def vmm(**given: object) -> Machine:
    """Return a machine whose guest has run to its end."""
    return asm.run(
        asm.script([("spin", 3)]), mode=EMULATED, cpu=ICX, settings=PEBS, **given
    ).machine


def test_what_a_vmm_sees() -> None:
    """Host-initiated: the same rules; PERF_CAPABILITIES is what it was, once the vCPU has run."""
    machine = vmm()
    assert machine.get_msrs([PEBS_ENABLE, DS_AREA, PERF_CAPABILITIES]) == [0, 0, FW_WRITE | 0x4C0]
    assert machine.set_msrs([(PEBS_ENABLE, 0xFF), (DS_AREA, 0x1000)]) == 2
    assert machine.set_msrs([(PEBS_ENABLE, 1 << 32)]) == 0
    assert machine.set_msrs([(DS_AREA, 1 << 47)]) == 0
    assert machine.get_msrs([PEBS_ENABLE, DS_AREA]) == [0xFF, 0x1000]
    assert machine.set_msrs([(PERF_CAPABILITIES, FW_WRITE)]) == 0
    listed = machine.msr_index_list()
    assert {PEBS_ENABLE, DS_AREA} <= set(listed)
    # Listed for the host's sake, absent in the guest: it reads 0 and takes a 0.
    assert PEBS_DATA_CFG in listed
    assert machine.get_msrs([PEBS_DATA_CFG]) == [0]
    assert machine.set_msrs([(PEBS_DATA_CFG, 1)]) == 0


def test_the_list_is_the_hosts() -> None:
    """It does not depend on what the guest has."""
    with_pebs = asm.config(b"", mode=EMULATED, cpu=ICX, settings=PEBS).kvm.msrs_to_save
    assert with_pebs == asm.config(b"", mode=EMULATED, cpu=ICX).kvm.msrs_to_save
    assert PEBS_ENABLE in with_pebs


# Events: a counter of branches on GP n, its value just before a wrap, a loop, what is left behind.


def count(
    n: int, branches: int, *, value: int = 0, enable: int, event: int = BRANCHES, flags: int = 0
) -> list[tuple]:
    """Return accesses: a counter that counts while a loop makes that many branches.

    ``enable`` is PEBS_ENABLE. GLOBAL_CTRL enables it alone. Its value is read once it is off again.
    Behind the write that enables there are the script's own branches: see ``counted``.
    """
    return [
        ("wr", 0x38F, 0),
        ("wr", asm.PMC0 + n, value),
        ("wr", asm.EVTSEL0 + n, event | BOTH | asm.EN | flags),
        ("wr", PEBS_ENABLE, enable),
        ("wr", 0x38F, 1 << n),
        ("spin", branches),
        ("wr", 0x38F, 0),
        ("rd", asm.PMC0 + n),
        ("rd", asm.GLOBAL_STATUS),
    ]


# Branches of the script beside the loop's: behind the WRMSR that enables, jmp done and jb next;
# around the loop, jmp *handlers and jb next; before the WRMSR that disables, jmp *handlers.
AROUND = 2 + 2 + 1


@two_cpus
@pytest.mark.parametrize("enable", [0, 1])
def test_a_counter_at_home_counts(cpu: str, enable: int) -> None:
    """GP 0 with its event on GP 0: PEBS makes no difference to the count."""
    *_, value, status = run_script(
        count(0, 100, enable=enable), mode=EMULATED, cpu=cpu, settings=PEBS
    )
    assert value == 100 + AROUND
    assert status == 0


def stats(ran: asm.Ran) -> dict[str, int]:
    """Return the statistics of PEBS."""
    return {k: v for k, v in ran.machine.stats().items() if k.startswith("pebs_")}


@pytest.mark.parametrize(("enable", "counted"), [(0, 100 + AROUND), (2, 0)])
def test_a_cross_mapped_counter_stands_still(enable: int, counted: int) -> None:
    """GP 1 alone: its event is on GP 0. With PEBS it does not count, and the guest is not told."""
    ops = count(1, 100, enable=enable)
    ran = asm.run(asm.script(ops), mode=EMULATED, cpu=ICX, settings=PEBS)
    *_, value, status = asm.script_results(ran, len(ops))
    assert (value, status) == (counted, 0)
    counter = ran.counters()[BRANCHES | BOTH]
    assert counter.true_count == 100 + AROUND
    assert counter.causes == ({"pebs-off": counter.true_count} if enable else {})
    found = stats(ran)
    assert found["pebs_on_cycles"] == found["pebs_off_host_cycles"] == 0
    assert (found["pebs_off_cross_mapped_cycles"] > 100) == bool(enable)


def test_instructions_live_on_the_fixed_counter() -> None:
    """So PEBS of instructions on a GP counter is off, on every CPU, if fixed 0 is free."""
    ops = count(0, 100, enable=1, event=asm.EVENTS["instructions"])
    for cpu in PEBS_CPUS:
        *_, value, _status = run_script(ops, mode=EMULATED, cpu=cpu, settings=PEBS)
        # The WRMSR that enables is KVM's to credit.
        assert value == 1
        # A CPU-pinned event of the host on fixed 0 sends it to GP 0.
        ran = asm.run(
            asm.script(ops), mode=EMULATED, cpu=cpu, settings=PEBS, host_perf=("instructions:DH",)
        )
        value = int(asm.script_results(ran, len(ops))[-2])
        # :ppp instructions have no other counter than fixed 0: the event is never there.
        assert (value > 200) == (cpu != SPR)


@two_cpus
def test_an_overflow_sets_the_buffers_bit(cpu: str) -> None:
    """BUFFER_OVF, not the counter's bit; a second overflow changes nothing; OVF_CTRL clears it."""
    value = asm.WIDTH - 49
    again = count(0, 100, value=value, enable=1)
    ops = [*again, *again, ("wr", asm.OVF_CTRL, BUFFER_OVF), ("rd", asm.GLOBAL_STATUS)]
    ran = asm.run(asm.script(ops), mode=EMULATED, cpu=cpu, settings=PEBS)
    results = asm.script_results(ran, len(ops))
    for first in (0, len(again)):
        # 50 events to the wrap.
        assert results[first + 7] == 100 + AROUND - 50
        assert results[first + 8] == BUFFER_OVF
    assert results[-1] == 0
    found = stats(ran)
    assert (found["pebs_records"], found["pebs_missed"], found["pebs_emulated"]) == (2, 0, 0)
    assert found["pebs_on_cycles"] > 100
    assert ran.machine.stats()["host_pmis"] == 2


def test_without_pebs_it_is_the_counters_bit() -> None:
    ops = count(0, 100, value=asm.WIDTH - 49, enable=0)
    *_, status = run_script(ops, mode=EMULATED, cpu=ICX, settings=PEBS)
    assert status == 1


# A guest that takes its PMIs by NMI and counts them; it never clears BUFFER_OVF unless told to.
PMIS = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	gate	2, nmi
	xorl	%r12d, %r12d
	wr	0x834, 0x400
	wr	{PEBS_ENABLE}, 1
	wr	{asm.EVTSEL0}, {BRANCHES | BOTH | asm.EN}
	movl	$4, %r13d
again:	wr	0x38f, 0
	wr	{asm.PMC0}, {asm.WIDTH - 49}
	wr	0x38f, 1
	movl	$1000, %eax
1:	decl	%eax
	jnz	1b
	decl	%r13d
	jnz	again
	wr	0x38f, 0
	rd	0x38e
	keep	1
	keep	0, %r12
	finish
nmi:	incl	%r12d
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	CLEAR
	wr	0x834, 0x400
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq
"""


@two_cpus
@pytest.mark.parametrize("clears", [True, False])
def test_one_pmi_until_the_bit_is_cleared(cpu: str, clears: bool) -> None:
    """Four overflows without INT: four PMIs if the handler clears BUFFER_OVF, else one."""
    clear = f"wr {asm.OVF_CTRL}, {BUFFER_OVF}" if clears else ""
    ran = asm.run(PMIS.replace("CLEAR", clear), mode=EMULATED, cpu=cpu, settings=PEBS)
    assert ran.result(0) == (4 if clears else 1)
    assert ran.result(1) == (0 if clears else BUFFER_OVF)
    assert stats(ran)["pebs_records"] == 4
    pmi = ran.machine.pmi()
    assert pmi.due == pmi.delivered == ran.result(0)


def test_an_emulated_instruction_has_no_record() -> None:
    """CPUID exits and is credited; on a PEBS counter that wraps by it nothing is told."""
    # Instructions of a guest whose fixed 0 the host has, so that the event is at home on GP 0.
    source = f"""
	{asm.PRELUDE}
_start:	wr	0x38f, 0
	wr	{PEBS_ENABLE}, 1
	wr	{asm.EVTSEL0}, {asm.EVENTS["instructions"] | BOTH | asm.EN | asm.INT}
	wr	{asm.PMC0}, {asm.WIDTH - 2}
	wr	0x38f, 1
	xorl	%eax, %eax
	cpuid
	wr	0x38f, 0
	rd	0x38e
	keep	0
	finish
"""
    # The WRMSR that enables is credited, the XOR runs, the CPUID is credited and wraps: 3 of 3.
    ran = asm.run(source, mode=EMULATED, cpu=ICX, settings=PEBS, host_perf=("instructions:DH",))
    assert ran.result(0) == 0
    found = stats(ran)
    assert (found["pebs_records"], found["pebs_emulated"]) == (0, 1)
    assert ran.machine.pmi().delivered == 0


# Host events that are precise


@two_cpus
@pytest.mark.parametrize(
    ("host", "on"),
    [("cache-misses:pD", False), ("cache-misses:D", True), ("cache-misses:p", False)],
)
def test_the_hosts_pebs_goes_first(cpu: str, host: str, on: bool) -> None:
    """A precise event of the host, flexible or pinned, turns the guest's PEBS off."""
    ops = count(0, 100, value=asm.WIDTH - 49, enable=1)
    ran = asm.run(asm.script(ops), mode=EMULATED, cpu=cpu, settings=PEBS, host_perf=(host,))
    *_, value, status = asm.script_results(ran, len(ops))
    counter = ran.counters()[BRANCHES | BOTH]
    found = stats(ran)
    if not on:
        assert (value, status) == (asm.WIDTH - 49, 0)
        assert counter.causes == {"pebs-off": 100 + AROUND}
        assert (found["pebs_records"], found["pebs_missed"]) == (0, 1)
        assert found["pebs_off_host_cycles"] > 100
        assert found["pebs_on_cycles"] == 0
        return
    assert found["pebs_off_host_cycles"] == 0
    # GP 0 is the host's on Ice Lake-SP, for it was first; the precise distribution moves it away.
    at_home = cpu == SPR
    assert status == (BUFFER_OVF if at_home else 0)
    assert (found["pebs_off_cross_mapped_cycles"] > 0) == (not at_home)


# A guest that counts branches with PEBS on GP 0, reads and never stops.
LOOP = f"""
	{asm.PRELUDE}
_start:	wr	{PEBS_ENABLE}, 1
	wr	{asm.EVTSEL0}, {BRANCHES | BOTH | asm.EN}
	wr	0x38f, 1
1:	pmc	0
	keep	0
	.rept	200
	nop
	.endr
	xorl	%eax, %eax
	cpuid
	jmp	1b
"""


def test_availability_over_time() -> None:
    """On, off while a host's precise event is open, on again; the book has times and loss."""
    machine = Machine(asm.config(asm.assemble(LOOP), mode=EMULATED, cpu=ICX, settings=PEBS))

    def go() -> tuple[int, dict[str, int]]:
        machine.run(4000)
        value = int.from_bytes(machine.physical(asm.RESULTS, 8), "little")
        return value, machine.stats()

    first, before = go()
    assert first > 100
    assert before["pebs_on_cycles"] > 0
    assert before["pebs_off_host_cycles"] == 0
    place = machine.open_host_event(
        HostEvent(asm.EVENTS["llc-misses"] | BOTH, precise_ip=1, exclude_guest=True)
    )
    second, during = go()
    third, after = go()
    # The last read before the opening may not have been stored: two branches a round.
    assert first <= second <= first + 2
    assert third == second
    assert after["pebs_on_cycles"] == during["pebs_on_cycles"]
    assert after["pebs_off_host_cycles"] > during["pebs_off_host_cycles"] > 0
    machine.close_host_event(place)
    fourth, end = go()
    assert fourth > third + 100
    assert end["pebs_on_cycles"] > after["pebs_on_cycles"]
    (counter,) = machine.counters()
    assert set(counter.causes) == {"pebs-off"}
    assert counter.causes["pebs-off"] == counter.true_count - counter.counted > 100
    assert machine.silent_errors()[0].cause == "pebs-off"


def test_a_plain_guest_and_a_precise_host() -> None:
    """The host's precise event counts no guest, whatever it excludes; the guest's count."""
    ops = count(0, 100, enable=0)
    del ops[3]
    for host in ("branches:pGH", "branches:pH"):
        ran = asm.run(asm.script(ops), mode=EMULATED, cpu=ICX, host_perf=(host,))
        assert asm.script_results(ran, len(ops))[-2] == 100 + AROUND
        (event,) = ran.machine.host_events()
        assert event.state == "active"
        # Branches of the host are not modelled: what it could have counted is the guest's.
        assert event.count == 0


def test_slices_of_the_budget_show_nowhere() -> None:
    """The books of time are closed by VM-exits, which a budget does not make."""
    found = []
    for blocks in (6000, 7):
        made = asm.config(asm.assemble(LOOP), mode=EMULATED, cpu=ICX, settings=PEBS)
        machine = Machine(made)
        left = 6000
        while left:
            step = min(left, blocks)
            machine.run(step)
            left -= step
        found.append(asm.readout(machine))
    assert found[0] == found[1]
    assert found[0]["stats"]["pebs_on_cycles"] > 0


# Where it is not offered


@pytest.mark.parametrize(
    ("cpu", "more", "words"),
    [
        ("skylake-sp", (), "skylake-sp cannot write PEBS records through EPT"),
        ("sierra-forest", (), "sierra-forest cannot write PEBS records"),
        (ICX, ("guest.pmu_version=1",), "version 1, not 2"),
        (ICX, ("guest.pmu_version=0",), "guest.pebs=1 means nothing then"),
        (ICX, ("guest.pdcm=0",), "guest.pdcm=0 has none"),
        ("zen4", (), "zen4 is an AMD CPU"),
    ],
)
def test_refusals(cpu: str, more: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        asm.config(b"", mode=EMULATED, cpu=cpu, settings=(*PEBS, *more))


@pytest.mark.parametrize("mode", ["native", "mediated"])
def test_other_modes_refuse(mode: str) -> None:
    with pytest.raises(VmRefusedError, match=r"guest\.pebs=1"):
        pmupass.run("perf-stat", cpu=ICX, mode=mode, time="1ms", settings=("guest.pebs=1",))


def test_a_guest_can_be_saved_and_restored() -> None:
    """PEBS_ENABLE and DS_AREA go along, and the counter goes on with PEBS."""
    ops = [("wr", DS_AREA, 0x1000), *count(0, 100, enable=1)]
    made = asm.config(asm.assemble(asm.script(ops)), mode=EMULATED, cpu=ICX, settings=PEBS)
    machine = Machine(made)
    machine.run(60)
    moved = machine.migrate(made)
    assert moved.get_msrs([DS_AREA, PERF_CAPABILITIES]) == [0x1000, FW_WRITE | 0x4C0]
    moved.run(1 << 40)
    assert moved.physical(asm.RESULTS, 16 * len(ops))[16 * 8 :][:8] == (100 + AROUND).to_bytes(
        8, "little"
    )
