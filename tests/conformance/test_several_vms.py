# SPDX-License-Identifier: Apache-2.0
"""Several VMs on one host, some with a vPMU and some without.

What a guest counts and leaves in memory does not depend on who is beside it, on the same pCPU or on
another one, so a guest that is alone is the reference. The host sees all of them; perf is asked for
each mediated VM, until it is gone (rule 38 and the rules of KVM_CREATE_VCPU).
"""

from __future__ import annotations

import dataclasses
import errno
import functools
from typing import TYPE_CHECKING, Any

import guest_asm as asm
import pytest

from pmupass.config import (
    Filter,
    FilterAction,
    FilterEntry,
    HostEvent,
    HostTask,
    HostThread,
    Mode,
    Vm,
)
from pmupass.core import Machine, VmRefusedError
from pmupass.errors import InputError, ModelError
from pmupass.options import Options
from pmupass.plan import Plan
from pmupass.records import Stop

if TYPE_CHECKING:
    from pmupass.config import MachineConfig

UNLIMITED = 1 << 50
NATIVE, EMULATED, MEDIATED = asm.MODES
WORK, LONG = 300_000, 20_000_000
EVENTS = "instructions:u,instructions:k,branches:u,branches:k"
ALONE = (
    "guest.hz=0",
    "guest.phase_us=0",
    "guest.chunk=10000",
    "guest.kernel=256",
    "guest.memory_mb=32",
)
NO_VPMU = ("kvm.cap_pmu_disable=1", "guest.pmu=idle")
VIRTUAL = [
    (EMULATED, "sapphire-rapids"),
    (MEDIATED, "sapphire-rapids"),
    (MEDIATED, "skylake-sp"),
    (EMULATED, "zen2"),
    (MEDIATED, "zen4"),
]
each_kind = pytest.mark.parametrize(("mode", "cpu"), VIRTUAL)
some_kinds = pytest.mark.parametrize(
    ("mode", "cpu"), [(EMULATED, "sapphire-rapids"), (MEDIATED, "skylake-sp"), (MEDIATED, "zen4")]
)
# Turns of 100 us at 2 GHz, so that short guests take many.
SHORT_TURNS: dict[str, Any] = {"slice": 200_000, "tick_period": 200_000}
INSTRUCTIONS = 0xC0 | asm.USR | asm.OS


def perf_stat(mode: str, cpu: str, *settings: str, work: int = WORK) -> MachineConfig:
    """Return a guest that counts its instructions and branches while it does so much work."""
    busy = "guest.pmu=idle" not in settings
    options = Options(
        "perf-stat",
        cpu=cpu,
        host=False,
        events=EVENTS if busy else None,
        settings=(*ALONE, *asm.NO_ERRATA.get(cpu, ()), *settings),
    )
    return Plan(options).config(Mode[mode.upper()], work=work, perf=busy)


def guest(mode: str, cpu: str, source: str, *settings: str, **changes: Any) -> MachineConfig:
    """Return a guest of a test's own."""
    return asm.config(asm.assemble(source), mode=mode, cpu=cpu, settings=settings, **changes)


def as_vm(made: MachineConfig) -> Vm:
    """Return what a further VM has of its own."""
    return Vm(**{field.name: getattr(made, field.name) for field in dataclasses.fields(Vm)})


def beside(first: MachineConfig, *others: MachineConfig, **host: Any) -> MachineConfig:
    """Return a host with the first VM and others; without ``cpus`` all on one pCPU."""
    vms = tuple(as_vm(other) for other in others)
    return dataclasses.replace(first, **{"cpus": 1, "vms": vms, **host})


def to_end(machine: Machine, blocks: int = UNLIMITED, end: Stop = Stop.EXIT) -> Machine:
    """Return the machine after its first VM has ended."""
    while (stop := machine.run(blocks)) is Stop.BUDGET:
        pass
    assert stop is end, machine.invariant()
    return machine


def counts(machine: Machine, n: int) -> dict[int, tuple[int, int]]:
    """Return true and counted of a CPU's events."""
    return {c.config: (c.true_count, c.counted) for c in machine.counters(n)}


def assert_but_for_an_interrupt(
    found: dict[int, tuple[int, int]], expected: dict[int, tuple[int, int]]
) -> None:
    """The second CPU tells the first one of its end, maybe while that one counts: in the kernel.

    Its handler has some fifty instructions, and is counted as what it is.
    """
    assert found.keys() == expected.keys()
    for config, (true, counted) in found.items():
        assert true == counted
        assert 0 <= true - expected[config][0] <= (60 if config & asm.OS else 0)


@functools.cache
def alone(cpu: str, work: int = WORK) -> dict[int, tuple[int, int]]:
    """Return what such a guest counts on the bare machine."""
    found = counts(to_end(Machine(perf_stat(NATIVE, cpu, work=work))), 0)
    user, counted = found[0xC0 | asm.USR]
    assert work * 3 // 4 < user == counted < work
    return found


def words(machine: Machine, vm: int, count: int, first: int = 0) -> list[int]:
    """Return words that the guest of a VM left."""
    raw = machine.physical(asm.RESULTS + 8 * first, 8 * count, vm=vm)
    return [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)]


def everything(machine: Machine) -> list[Any]:
    """Return all that can be read of a machine and its VMs."""
    of_all: list[Any] = [machine.host_events(), machine.stats(), machine.invariant()]
    for n in range(machine.cpus):
        of_all += [machine.costs(n), machine.trace(n)]
    for vm in range(machine.vms):
        of_all.append(machine.serial(vm))
        for k, n in enumerate(machine.guests_of(vm)):
            parts = ("guest", "counters", "silent_errors", "pmi", "exits", "accesses", "switch")
            of_all += [getattr(machine, part)(n) for part in parts]
            of_all.append(machine.report(vm, k))
    return of_all


# ---- what a guest counts ----


@each_kind
@pytest.mark.parametrize("pcpus", [1, 2])
def test_counts_are_exact_beside_others(mode: str, cpu: str, pcpus: int) -> None:
    """One that counts, two vCPUs that count, one without a vPMU: each VM's counts are its own.

    The second VM does less work and ends before the first, by several turns on one pCPU.
    """
    machine = Machine(
        beside(
            perf_stat(mode, cpu, work=LONG),
            perf_stat(mode, cpu, "guest.cpus=2", work=LONG // 8),
            perf_stat(mode, cpu, *NO_VPMU, work=LONG // 2),
            cpus=pcpus,
            **SHORT_TURNS,
        )
    )
    assert [list(machine.guests_of(vm)) for vm in range(machine.vms)] == [[0], [1, 2], [3]]
    to_end(machine)
    assert counts(machine, 0) == alone(cpu, LONG)
    for n in (1, 2):
        assert machine.guest(n).stop is Stop.EXIT
        assert_but_for_an_interrupt(counts(machine, n), alone(cpu, LONG // 8))
        report = machine.report(1, n - 1)
        assert report is not None
        assert {e.config: e.value for e in report.events} == {
            key: counted for key, (_, counted) in counts(machine, n).items()
        }
    assert machine.counters(3) == []
    assert machine.switch(3).loads == 0
    assert (machine.switch(0).loads > 10) == (mode == MEDIATED)
    without = machine.report(2)
    assert without is not None
    assert without.work == LONG // 2
    assert machine.guest(1).tsc_cycles < machine.guest(0).tsc_cycles


@each_kind
def test_a_filter_is_one_vms(mode: str, cpu: str) -> None:
    """Branches are denied to the second VM; the first counts them beside it."""
    branches = 0xC2 if cpu.startswith("zen") else 0xC4
    denied = Filter(
        action=FilterAction.DENY,
        entries=(FilterEntry(branches, 0xFF, 0),),
    )
    second = perf_stat(mode, cpu)
    second = dataclasses.replace(second, kvm=dataclasses.replace(second.kvm, filter=denied))
    machine = to_end(Machine(beside(perf_stat(mode, cpu, work=LONG), second, **SHORT_TURNS)))
    assert counts(machine, 0) == alone(cpu, LONG)
    for counter in machine.counters(1):
        true, _ = alone(cpu)[counter.config]
        assert counter.true_count == true
        assert counter.filtered == (counter.config & 0xFFFF == branches)
        assert counter.counted == (0 if counter.filtered else true)


# ---- isolation ----

# A routine at one address in every VM returns a number that the guest writes into its code, ROUNDS
# times a new one; the sum is that of SEED, SEED + 1, ... in 32 bits each.
ROUNDS = 250_000
REWRITES = f"""
	{asm.PRELUDE}
	.macro	rewrites seed
_start:	movl	$\\seed, %ebx
	movl	${ROUNDS}, %esi
	xorl	%edi, %edi
1:	movl	%ebx, number + 1
	call	number
	addq	%rax, %rdi
	incl	%ebx
	decl	%esi
	jnz	1b
	keep	0, %rdi
	finish
	.balign	64
number:	movl	$0, %eax
	ret
	.endm
"""


@some_kinds
def test_memory_and_decoded_code_are_each_vms_own(mode: str, cpu: str) -> None:
    """Self-modifying code at the same addresses of three VMs, which take many turns on one pCPU."""
    seeds = (3, 1 << 20, 0x40000000)
    made = [guest(mode, cpu, f"{REWRITES}\n	rewrites {seed}\n") for seed in seeds]
    machine = Machine(beside(*made, guest(mode, cpu, STAYS), **SHORT_TURNS))
    to_end(machine)
    machine_of_last = Machine(beside(made[2], made[0], made[1], **SHORT_TURNS))
    to_end(machine_of_last)
    # The sum of seed + i for i from 0 on.
    expected = [ROUNDS * seed + ROUNDS * (ROUNDS - 1) // 2 for seed in seeds]
    assert words(machine, 0, 1) == expected[:1]
    assert words(machine_of_last, 0, 1) == expected[2:]
    ended = [vm for vm in (1, 2) if machine.guest(vm).stop is Stop.EXIT]
    for vm in ended:
        assert words(machine, vm, 1) == [expected[vm]]
    assert words(machine, 3, 1)[0] > 0
    assert machine.guest(1).instructions > ROUNDS


# It counts its rounds and never ends.
STAYS = f"""
	{asm.PRELUDE}
_start:	xorl	%r8d, %r8d
1:	incq	%r8
	keep	0, %r8
	.rept	50
	nop
	.endr
	jmp	1b
"""


def registers(cpu: str) -> tuple[list[int], list[int]]:
    """Return counters and selectors of the guests."""
    if cpu.startswith("zen"):
        return [0xC0010201 + 2 * i for i in range(6)], [0xC0010200 + 2 * i for i in range(6)]
    gp = 8 if cpu == "sapphire-rapids" else 4
    counters = [asm.PERFCTR0 + i for i in range(gp)] + [asm.FIXED_CTR0 + i for i in range(3)]
    return counters, [asm.EVTSEL0 + i for i in range(gp)]


# It prints a letter, sends NMIs to all but itself and to APIC ID 1, which it has not, and exits
# with the letter.
SHOUTS = f"""
	{asm.PRELUDE}
	.macro	shouts letter
_start:	rd	0x1b
	orl	$0xc00, %eax
	xorl	%edx, %edx
	wrmsr
	movw	$0x3f8, %dx
	movb	$\\letter, %al
	outb	%al, %dx
	movl	$1000, %r8d
1:	wr	0x830, 0xc4400
	wr	0x830, (1 << 32) | 0x4400
	decl	%r8d
	jnz	1b
	movl	$\\letter, %eax
	outl	%eax, $0xf4
	.endm
"""


@pytest.mark.parametrize("mode", [EMULATED, MEDIATED])
@pytest.mark.parametrize("pcpus", [1, 3])
def test_devices_and_interrupts_are_each_vms_own(mode: str, pcpus: int) -> None:
    """Serial ports, exit values, IPIs: an NMI would shut a guest down that has no IDT."""
    cpu = "sapphire-rapids"
    shouts = [guest(mode, cpu, f"{SHOUTS}\n	shouts {ord(letter)}\n") for letter in "ab"]
    machine = Machine(beside(guest(mode, cpu, STAYS), *shouts, cpus=pcpus, **SHORT_TURNS))
    assert machine.run_until(UNLIMITED, 60_000_000) is Stop.UNTIL
    assert [machine.guest(n).stop for n in range(3)] == [Stop.BUDGET, Stop.EXIT, Stop.EXIT]
    assert [machine.serial(vm) for vm in range(3)] == ["", "a", "b"]
    assert [machine.guest(n).exit_value for n in range(3)] == [0, ord("a"), ord("b")]
    assert machine.stats()["ignored_ipis"] == 2 * 2 * 1000


SECRET, OFF = 0x5EC2E7, 0xC0 | asm.OS


def plants(cpu: str) -> str:
    """Return a guest that keeps a number in each counter and selector, and looks at them."""
    counters, selectors = registers(cpu)
    write = "\n".join(f"	wr {msr}, {SECRET + i}" for i, msr in enumerate(counters))
    write += "\n".join(["", *(f"	wr {msr}, {OFF}" for msr in selectors)])
    look = "\n".join(
        f"	rd {msr}\n	subq ${SECRET + i}, %rax\n	orq %rax, %r9"
        for i, msr in enumerate(counters)
    )
    look += "\n".join(
        [
            "",
            *(f"	rd {msr}\n	subq ${OFF}, %rax\n	orq %rax, %r9" for msr in selectors),
        ]
    )
    return f"{asm.PRELUDE}\n_start:	xorl %r9d, %r9d\n	movl $100, %r8d\n{write}\n{look_loop(look)}"


def looks(cpu: str) -> str:
    """Return a guest that never writes its PMU, and looks whether something is there."""
    counters, selectors = registers(cpu)
    look = "\n".join(f"	rd {msr}\n	orq %rax, %r9" for msr in (*counters, *selectors))
    return f"{asm.PRELUDE}\n_start:	xorl %r9d, %r9d\n	movl $4000, %r8d\n{look_loop(look)}"


def look_loop(look: str) -> str:
    """Return a loop of looks; what they found is the first word, the rounds to go the second."""
    return f"1:\n{look}\n	keep 0, %r9\n	decl %r8d\n	keep 1, %r8\n	jnz 1b\n	finish\n"


@each_kind
def test_secrets_in_counters_stay_with_their_vm(mode: str, cpu: str) -> None:
    """One VM has numbers in all its registers; another, with the same PMU, finds nothing.

    Both look at each register many times in each turn of theirs. Mediated, the pCPU's registers are
    looked at by the trace, before each load of either: there is nothing left in them.
    """
    other = guest(mode, cpu, looks(cpu))
    first = guest(mode, cpu, plants(cpu), trace_records=1 << 19)
    machine = to_end(
        Machine(beside(first, other, guest(mode, cpu, STAYS, *NO_VPMU), **SHORT_TURNS))
    )
    assert words(machine, 0, 2) == [0, 0], "the first VM finds all that it has written"
    found, rounds = words(machine, 1, 2)
    assert found == 0
    assert 0 < rounds < 3950, "the second one has had turns"
    assert words(machine, 2, 1)[0] > 0
    if mode == EMULATED:
        return
    trace = machine.trace()
    assert len(trace) < 1 << 19
    loads = [words for _, name, put, *words in trace if name == "pmu_state" and not put]
    assert any(guest_value == SECRET for _, _, guest_value in loads)
    assert not any(hardware for _, hardware, _ in loads)


# ---- the host's events ----


def retired(machine: Machine) -> int:
    """Return what all guests retired, without what KVM completed for them."""
    infos = [machine.guest(n) for n in range(machine.guests)]
    return sum(info.instructions - info.emulated for info in infos)


def of_host(**attributes: bool) -> HostEvent:
    """Return an event of the host that counts instructions."""
    return HostEvent(INSTRUCTIONS, **attributes)


@pytest.mark.parametrize("cpu", ["sapphire-rapids", "zen2"])
@pytest.mark.parametrize("pcpus", [1, 3])
def test_the_host_sees_all_guests(cpu: str, pcpus: int) -> None:
    """Emulated: the truth is the sum of the VMs and the host, and guests are counted whole.

    All events fit on the counters beside the guest's. Of the host's own part a little is lost while
    host perf moves events, for which it stops the PMU; each event's truth begins with its opening.
    """
    events = (of_host(), of_host(exclude_host=True), of_host(exclude_guest=True))
    machine = Machine(
        beside(
            perf_stat(EMULATED, cpu, work=LONG),
            guest(EMULATED, cpu, STAYS),
            guest(EMULATED, cpu, STAYS, *NO_VPMU),
            cpus=pcpus,
            host_events=events[:2] if cpu == "zen2" else events,
            **SHORT_TURNS,
        )
    )
    to_end(machine)
    both, guests, *host = machine.host_events()
    assert both.true_guest == guests.true_guest == retired(machine)
    assert machine.guest(1).instructions > 1000
    assert machine.guest(2).instructions > 1000
    assert guests.true_host == 0 < both.true_host
    assert guests.count == guests.true_guest
    assert both.true_host * 3 // 4 < both.count - both.true_guest <= both.true_host
    if host:
        assert host[0].true_guest == 0
        assert 0 < host[0].count <= host[0].true_host < both.true_host


def test_what_excludes_guests_sees_the_host_beside_both_kinds_of_vms() -> None:
    """Mediated: no guest's part, and what the host did while a guest owned the PMU is lost."""
    cpu = "sapphire-rapids"
    machine = Machine(
        beside(
            perf_stat(MEDIATED, cpu, work=LONG),
            guest(MEDIATED, cpu, STAYS, *NO_VPMU),
            host_events=(of_host(exclude_guest=True),),
            **SHORT_TURNS,
        )
    )
    (event,) = to_end(machine).host_events()
    assert event.true_guest == 0
    assert 0 < event.count < event.true_host


@pytest.mark.parametrize("mode", [EMULATED, MEDIATED])
@pytest.mark.parametrize("pcpus", [1, 2])
def test_events_of_a_vcpus_thread_stay_behind_it(mode: str, pcpus: int) -> None:
    """The thread of the second VM ends: its event keeps its count and can be read and closed.

    vCPUs are numbered over all VMs. There is no thread to open another one for (-ESRCH), and none
    that could move.
    """
    cpu = "sapphire-rapids"
    made = beside(guest(mode, cpu, STAYS), guest(mode, cpu, EXITS_SOON), cpus=pcpus, **SHORT_TURNS)
    machine = Machine(made)
    event = of_host(exclude_guest=True)
    event = dataclasses.replace(event, thread_kind=HostThread.VCPU, thread=1)
    assert machine.open_host_event(event) == 0
    assert machine.run_until(UNLIMITED, 5_000_000) is Stop.UNTIL
    assert machine.guest(1).stop is Stop.EXIT
    (before,) = machine.host_events()
    assert before.count > 0
    assert machine.open_host_event(event) == -errno.ESRCH
    machine.move_vcpu(1, pcpus - 1)
    assert machine.run_until(UNLIMITED, 10_000_000) is Stop.UNTIL
    assert machine.clone().host_events() == machine.host_events() == [before]
    machine.close_host_event(0)
    assert machine.host_events()[0].count == before.count


# ---- what perf is told of VMs ----


def refused(made: MachineConfig) -> bool:
    """Return whether KVM_CREATE_VCPU is -EBUSY."""
    try:
        Machine(made)
    except VmRefusedError:
        return True
    return False


@pytest.mark.parametrize("cpu", ["sapphire-rapids", "zen4"])
def test_which_vms_perf_is_asked_for(cpu: str) -> None:
    """For those whose PMU is on, of a mediated KVM: whatever CPUID says, whichever VM it is."""
    off = guest(MEDIATED, cpu, STAYS, *NO_VPMU)
    on = guest(MEDIATED, cpu, STAYS)
    emulated = guest(EMULATED, cpu, STAYS)
    counts_guests: dict[str, Any] = {"host_events": (of_host(),)}
    assert not refused(beside(off, off, **counts_guests))
    assert refused(beside(off, on, **counts_guests))
    assert refused(beside(on, off, **counts_guests))
    if cpu == "sapphire-rapids":
        hidden = guest(MEDIATED, cpu, STAYS, "guest.pmu_version=0")
        assert hidden.guest.version == 0
        assert refused(dataclasses.replace(hidden, **counts_guests))
        assert refused(beside(off, off, hidden, **counts_guests))
    assert not refused(beside(off, on, host_events=(of_host(exclude_guest=True),)))
    assert not refused(beside(emulated, emulated, **counts_guests))


EXITS_SOON = f"""
	{asm.PRELUDE}
_start:	movl	$1000, %r8d
1:	decl	%r8d
	jnz	1b
	finish
"""


def open_event(machine: Machine) -> int:
    """Return what perf_event_open() of an event of host and guests gives."""
    return machine.open_host_event(of_host())


@pytest.mark.parametrize("cpu", ["sapphire-rapids", "zen4"])
def test_the_last_mediated_vm_that_ends_gives_perf_its_events_back(cpu: str) -> None:
    """Until then -EOPNOTSUPP; then an event is opened, and counts the guest without a vPMU."""
    made = beside(
        guest(MEDIATED, cpu, STAYS, *NO_VPMU),
        guest(MEDIATED, cpu, EXITS_SOON),
        guest(MEDIATED, cpu, EXITS_SOON.replace("$1000", "$2000000"), "guest.cpus=1"),
        **SHORT_TURNS,
    )
    machine = Machine(made)
    assert open_event(machine) == -errno.EOPNOTSUPP
    assert machine.run_until(UNLIMITED, 1_000_000) is Stop.UNTIL
    assert [machine.guest(n).stop for n in range(3)] == [Stop.BUDGET, Stop.EXIT, Stop.BUDGET]
    assert open_event(machine) == -errno.EOPNOTSUPP
    assert machine.run_until(UNLIMITED, 20_000_000) is Stop.UNTIL
    assert machine.guest(2).stop is Stop.EXIT
    before = retired(machine)
    assert open_event(machine) == 0
    assert machine.run_until(UNLIMITED, 30_000_000) is Stop.UNTIL
    (event,) = machine.host_events()
    assert event.true_guest == retired(machine) - before > 1000
    assert event.count == event.true_guest + event.true_host


# ---- their end ----

# Three vCPUs: the first starts the others and exits; the second spins, the third sleeps for good.
STARTS_TWO = f"""
	{asm.PRELUDE}
	.set	X2APIC, 0x800
_start:	rd	0x1b
	orl	$0xc00, %eax
	movl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
	movl	$ap_end - ap, %ecx
	leaq	ap, %rsi
	movl	$0x8000, %edi
	rep movsb
	.irp	cpu, 1, 2
	wr	0x830, (\\cpu << 32) | 0x4500
	wr	0x830, (\\cpu << 32) | 0x4608
	.endr
	movl	$3000000, %r8d
1:	decl	%r8d
	jnz	1b
	finish
	.code16
ap:	movl	$1, %eax
	cpuid
	shrl	$24, %ebx
	cmpl	$1, %ebx
	jne	2f
1:	incl	%edi
	jmp	1b
2:	cli
	hlt
	jmp	2b
ap_end:
	.code64
"""


@pytest.mark.parametrize("mode", [EMULATED, MEDIATED])
@pytest.mark.parametrize("pcpus", [1, 4])
def test_a_vm_ends_with_all_its_vcpus(mode: str, pcpus: int) -> None:
    """Where they are: in the guest on another pCPU, in a queue, asleep. The first VM goes on."""
    cpu = "sapphire-rapids"
    other = dataclasses.replace(guest(mode, cpu, STARTS_TWO), vcpus=3)
    machine = Machine(beside(guest(mode, cpu, STAYS), other, cpus=pcpus, **SHORT_TURNS))
    assert machine.run_until(UNLIMITED, 1_000_000) is Stop.UNTIL
    assert machine.run_until(UNLIMITED, 40_000_000) is Stop.UNTIL
    done = [machine.guest(n) for n in (1, 2, 3)]
    assert [info.stop for info in done] == [Stop.EXIT] * 3
    assert done[1].instructions > 100_000, "the second one was spinning"
    assert 5 < done[2].instructions < 20
    assert done[0].tsc_cycles == done[1].tsc_cycles == done[2].tsc_cycles < 40_000_000
    rounds = words(machine, 0, 1)[0]
    assert machine.run_until(UNLIMITED, 50_000_000) is Stop.UNTIL
    assert [machine.guest(n) for n in (1, 2, 3)] == done
    # On one pCPU there is nobody left to take turns with.
    assert words(machine, 0, 1)[0] - rounds > 10_000_000 // 60


@pytest.mark.parametrize("cpu", ["skylake-sp", "zen2"])
def test_the_perf_events_of_a_vm_go_with_it(cpu: str) -> None:
    """Emulated: all that KVM has made for the second VM is released; the first one has none.

    One ends with a counter on, one with the LBR: their events are there until the end.
    """
    on = "wr 0xc0010200, 0x4300c0" if cpu == "zen2" else "wr 0x186, 0x4300c0\n	wr 0x38f, 1"
    leaves = guest(EMULATED, cpu, f"{asm.PRELUDE}\n_start:	{on}\n	finish\n")
    others = [(perf_stat(EMULATED, cpu), 4), (leaves, 1)]
    if cpu != "zen2":
        lbr = f"{asm.PRELUDE}\n_start:	wr 0x1d9, 1\n	finish\n"
        others.append((guest(EMULATED, cpu, lbr, "guest.lbr=1"), 1))
    for other, number in others:
        machine = Machine(beside(guest(EMULATED, cpu, STAYS), other))
        assert machine.run_until(UNLIMITED, 60_000_000) is Stop.UNTIL
        assert machine.guest(1).stop is Stop.EXIT
        stats = machine.stats()
        assert stats["perf_events_created"] == stats["perf_events_released"] >= number


def test_a_vm_that_is_gone_takes_no_time() -> None:
    """An idle pCPU, and no tick on the other one: as if the VM had never been there."""
    cpu = "sapphire-rapids"
    first = guest(EMULATED, cpu, EXITS_SOON.replace("$1000", "$4000000"))
    with_other = to_end(Machine(beside(first, guest(EMULATED, cpu, EXITS_SOON), cpus=2)))
    without = to_end(Machine(first))
    assert with_other.guest(0) == without.guest(0)
    assert with_other.exits(0) == without.exits(0)


TRIPLE_FAULT = f"{asm.PRELUDE}\n_start:	pushq $0\n	pushq $0\n	lidt (%rsp)\n	ud2\n"


@pytest.mark.parametrize("mode", [EMULATED, MEDIATED])
def test_a_triple_fault_is_its_own_vms(mode: str) -> None:
    cpu = "sapphire-rapids"
    first = perf_stat(mode, cpu, work=LONG)
    machine = to_end(Machine(beside(first, guest(mode, cpu, TRIPLE_FAULT), **SHORT_TURNS)))
    assert machine.guest(1).stop is Stop.SHUTDOWN
    assert machine.guest(0).stop is Stop.EXIT
    assert counts(machine, 0) == alone(cpu, LONG)


def test_what_the_guest_cpu_does_not_have_ends_the_run() -> None:
    """Whoever needs it: a result would be none. VZEROUPPER."""
    cpu = "sapphire-rapids"
    source = f"{asm.PRELUDE}\n_start:	vzeroupper\n	finish\n"
    made = beside(guest(EMULATED, cpu, STAYS), guest(EMULATED, cpu, source), cpus=2)
    machine = to_end(Machine(made), end=Stop.UNIMPLEMENTED)
    assert machine.guest(0).bytes == b""
    assert machine.guest(1).bytes.startswith(b"\xc5\xf8\x77")


@pytest.mark.parametrize("pcpus", [1, 2])
def test_a_first_vm_that_sleeps_for_good_ends_the_run(pcpus: int) -> None:
    """Whoever else would go on, another VM or the host; in any slices at the same time."""
    cpu = "sapphire-rapids"
    halts = guest(EMULATED, cpu, f"{asm.PRELUDE}\n_start:	cli\n	hlt\n")
    tasks = tuple(HostTask(cpu=n) for n in range(pcpus))
    for made in (
        beside(halts, guest(EMULATED, cpu, STAYS), cpus=pcpus),
        beside(halts, cpus=pcpus, host_tasks=tasks),
        beside(halts, cpus=pcpus, host_tasks=tasks[-1:]),
    ):
        ends = []
        for blocks in (1 << 20, 1):
            machine = to_end(Machine(made), blocks, Stop.HALTED)
            ends.append([machine.guest(n).tsc_cycles for n in range(machine.guests)])
        assert ends[0] == ends[1]


def test_a_first_vm_that_waits_for_a_limit_has_others_go_on_until_then() -> None:
    """HLT with interrupts on, and nothing that could come: the others run up to the limit."""
    cpu = "sapphire-rapids"
    waits = guest(EMULATED, cpu, f"{asm.PRELUDE}\n_start:	sti\n	hlt\n", time_limit=5_000_000)
    machine = to_end(Machine(beside(waits, guest(EMULATED, cpu, STAYS))), end=Stop.TIME)
    assert machine.guest(0).tsc_cycles >= 5_000_000
    assert machine.guest(1).core_cycles > 4_000_000


# ---- runs ----


def a_bit_of_all(mode: str, cpu: str, pcpus: int) -> MachineConfig:
    """Return VMs that sample, multiplex, tick, end, spin and are without a vPMU."""
    options = Options(
        "perf-record",
        cpu=cpu,
        host=False,
        settings=("guest.hz=10000", "guest.chunk=3000", "guest.memory_mb=32", "guest.cpus=2"),
    )
    sampling = Plan(options).config(Mode[mode.upper()], work=150_000, perf=True)
    return beside(
        dataclasses.replace(sampling, trace_records=1 << 15),
        perf_stat(mode, cpu, work=50_000),
        guest(mode, cpu, STAYS, *NO_VPMU),
        cpus=pcpus,
        host_events=(of_host(exclude_guest=mode == MEDIATED),),
        **SHORT_TURNS,
    )


@some_kinds
@pytest.mark.parametrize("pcpus", [1, 2])
def test_budgets_show_nowhere(mode: str, cpu: str, pcpus: int) -> None:
    made = a_bit_of_all(mode, cpu, pcpus)
    whole = everything(to_end(Machine(made)))
    for blocks in (1, 37):
        assert everything(to_end(Machine(made), blocks)) == whole


@some_kinds
def test_a_clone_goes_on_alike(mode: str, cpu: str) -> None:
    """Before the second VM has ended and behind that; neither notices the other."""
    made = a_bit_of_all(mode, cpu, 1)
    whole = everything(to_end(Machine(made)))
    machine, blocks = Machine(made), 0
    while machine.run(512) is Stop.BUDGET:
        blocks += 1
    machine = Machine(made)
    ended = []
    for share in (0, 1, 1, 1, 1):
        assert machine.run(64 + 512 * share * (blocks // 7)) is Stop.BUDGET
        ended.append(machine.guest(2).stop)
        clone = machine.clone()
        assert everything(to_end(clone.clone())) == whole
        machine, original = clone, machine
        assert everything(to_end(original)) == whole
    assert (ended[0], ended[-1]) == (Stop.BUDGET, Stop.EXIT)


def test_what_a_machine_of_several_vms_cannot() -> None:
    cpu = "sapphire-rapids"
    made = beside(perf_stat(MEDIATED, cpu), perf_stat(MEDIATED, cpu))
    machine = Machine(made)
    with pytest.raises(InputError, match="the guest cannot be saved: several VMs are on the"):
        machine.save()
    saved = Machine(perf_stat(MEDIATED, cpu)).save()
    with pytest.raises(InputError, match="the guest cannot be restored: several VMs are to be on"):
        Machine.restore(made, saved)
    with pytest.raises(ModelError, match="too many vCPUs in all VMs together"):
        Machine(beside(made, perf_stat(MEDIATED, cpu, "guest.cpus=8")))
    with pytest.raises(ModelError, match="VMs on a bare machine"):
        Machine(beside(perf_stat(NATIVE, cpu), perf_stat(NATIVE, cpu)))
