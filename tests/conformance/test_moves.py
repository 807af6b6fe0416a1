# SPDX-License-Identifier: Apache-2.0
"""vCPUs move between pCPUs: sched_setaffinity() of their threads while their guests run.

The guest counts its own instructions while it spins, and is moved to and fro many times. What it
counts must be its own, on whatever pCPU; its time never goes back, though the other pCPU stands
idle and its clock with it; and nothing of it stays where it has been.
"""

from __future__ import annotations

import itertools
import statistics
from typing import TYPE_CHECKING

import guest_asm as asm
import pytest

from pmupass.config import HostEvent, HostTask
from pmupass.core import Machine
from pmupass.errors import InputError
from pmupass.records import Stop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pmupass.config import MachineConfig

INSTRUCTIONS, CYCLES = 0xC0, 0x3C
PRIVILEGES = asm.USR | asm.OS
SECRET = 0x5EC2E7
LOOPS = 4_000_000
UNDER_KVM = ["emulated", "mediated"]
INTERVAL, QUANTUM = 90_000, 5_000  # TSC cycles: between two moves, one pCPU ahead of another

# A secret in a counter that stands still, with an idle selector; a counter that counts the loops;
# and RDTSC, which does not exit, behind each of ROUNDS loops.
ROUNDS = 8
SOURCE = f"""
{asm.PRELUDE}
_start:	wr	IDLE_SELECTOR, {0x5EC2}
	wr	IDLE_COUNTER, {SECRET}
	wr	SELECTOR, {asm.EN | PRIVILEGES | INSTRUCTIONS}
	movl	${ROUNDS}, %edi
	xorl	%ebp, %ebp
2:	movl	${LOOPS // ROUNDS}, %ebx
1:	decl	%ebx
	jnz	1b
	rdtsc
	shlq	$32, %rdx
	orq	%rdx, %rax
	movq	%rax, RESULTS + 64(%rbp)
	addq	$8, %rbp
	decl	%edi
	jnz	2b
	wr	SELECTOR, 0
	keep_pmc 0, 0
	keep_pmc 1, 2
	rd	IDLE_SELECTOR
	keep	2
	finish
"""
# The WRMSR that enables; MOV and XOR; ROUNDS times MOV, the loop and 7 for the time and the rest of
# the round; and three before the WRMSR that disables.
EXPECTED = 1 + 2 + 2 * LOOPS + ROUNDS * (1 + 7) + 3
CPUS = {"sapphire-rapids": (asm.EVTSEL0, asm.PMC0, 1), "zen4": (0xC0010200, 0xC0010201, 2)}


def image(cpu: str) -> bytes:
    """Return the guest for a CPU."""
    selector, counter, step = CPUS[cpu]
    source = SOURCE.replace("IDLE_SELECTOR", str(selector + 2 * step))
    source = source.replace("IDLE_COUNTER", str(counter + 2 * step))
    source = source.replace("SELECTOR", str(selector))
    return asm.assemble(source)


def config(mode: str, cpu: str, cpus: int = 2, **given: object) -> MachineConfig:
    """Return its configuration."""
    return asm.config(image(cpu), mode=mode, cpu=cpu, cpus=cpus, quantum=QUANTUM, **given)


def machine(mode: str, cpu: str = "sapphire-rapids", cpus: int = 2, **given: object) -> Machine:
    """Return a machine with one vCPU and so many pCPUs."""
    return Machine(config(mode, cpu, cpus, **given))


def moved(made: Machine, where: Iterable[int], interval: int = INTERVAL) -> Machine:
    """Run to the end, moving the vCPU to one pCPU after another."""
    for number, cpu in enumerate(where, start=1):
        stop = made.run_until(1 << 40, number * interval)
        if stop is Stop.EXIT:
            return made
        assert stop is Stop.UNTIL, (stop, made.invariant())
        made.move_vcpu(0, cpu)
    stop = made.run(1 << 40)
    assert stop is Stop.EXIT, (stop, made.invariant())
    return made


def words(made: Machine, first: int, count: int) -> list[int]:
    """Return what the guest left."""
    raw = made.physical(asm.RESULTS + 8 * first, 8 * count)
    return [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)]


def to_and_fro() -> Iterable[int]:
    """1, 0, 1, 0, ..."""
    return itertools.cycle((1, 0))


def cost(made: Machine, cpu: int, name: str) -> int:
    """Return how often a pCPU was charged for a function."""
    return sum(c.count for c in made.costs(cpu) if c.stack.rsplit(";", 1)[-1] == name)


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("mode", UNDER_KVM)
@pytest.mark.parametrize("tasks", [0, 2])
def test_what_it_counts_goes_along(mode: str, cpu: str, tasks: int) -> None:
    """Instructions are exact, the secret stays, and so do the bits of the idle selector."""
    threads = tuple(HostTask(n, tasks) for n in range(2) if tasks)
    made = moved(
        machine(mode, cpu, host_tasks=threads, tick_period=20_000, slice=20_000), to_and_fro()
    )
    assert words(made, 0, 3) == [EXPECTED, SECRET, 0x5EC2]
    assert made.stats()["cpu_migrations"] >= 10
    for counter in made.counters():
        assert counter.true_count == counter.counted


@pytest.mark.parametrize("mode", UNDER_KVM)
def test_time_never_goes_back(mode: str) -> None:
    """The guest's RDTSCs rise, and so does what the host says, though the other pCPU stood idle."""
    made, before = machine(mode), 0
    for number, cpu in enumerate(to_and_fro(), start=1):
        stop = made.run_until(1 << 40, number * INTERVAL)
        if stop is Stop.EXIT:
            break
        assert stop is Stop.UNTIL
        made.move_vcpu(0, cpu)
        now = made.guest().tsc_cycles
        assert now > before
        before = now
    times = words(made, 8, ROUNDS)
    assert times == sorted(set(times))
    # And it takes as much time as it has cycles, at least.
    timing = config(mode, "sapphire-rapids").timing
    cycles = made.guest().core_cycles * timing["ref_num"] // timing["ref_den"]
    assert made.guest().tsc_cycles >= cycles


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("mode", UNDER_KVM)
def test_what_a_move_costs(mode: str, cpu: str) -> None:
    """The stopper on the pCPU that it leaves; a VMCS is cleared there for the one that loads it."""
    made = moved(machine(mode, cpu), (1, 0, 1))
    has_vmcs = cpu == "sapphire-rapids"
    assert made.stats()["cpu_migrations"] == 3
    for left, arrived, pcpu in ((2, 1, 0), (1, 2, 1)):
        assert cost(made, pcpu, "migration_cpu_stop") == left
        assert cost(made, pcpu, "loaded_vmcs_clear") == arrived * has_vmcs
        assert cost(made, pcpu, "__loaded_vmcs_clear") == left * has_vmcs
    # Each move is an exit, beside those of the accesses.
    name = "EXTERNAL_INTERRUPT" if has_vmcs else "interrupt"
    assert {e.reason: e.count for e in made.exits()}[name] == 3


def test_a_move_to_where_it_is_does_nothing() -> None:
    """Not even a kick."""
    unmoved, same = moved(machine("mediated"), ()), moved(machine("mediated"), (0, 0))
    assert asm.readout(same) == asm.readout(unmoved)


@pytest.mark.parametrize("cpu", CPUS)
def test_nothing_stays_behind(cpu: str) -> None:
    """Mediated: whenever the guest's PMU is loaded, the pCPU's registers are all zero before.

    Each pCPU has had the secret and the idle selector before, from the second load on.
    """
    made = moved(machine("mediated", cpu, trace_records=1 << 14), to_and_fro())
    for pcpu in range(2):
        trace = made.trace(pcpu)
        loads = [number for number, record in enumerate(trace) if record[1] == "pmu_load"]
        assert len(loads) > 4
        state = [r for r in trace if r[1] == "pmu_state" and r[2] == 0]
        assert len(state) > 4 * len(loads)
        assert not any(hardware for *_, hardware, _ in state)
        # It is the guest's next to it that is not.
        assert any(guest == SECRET for *_, guest in state)


@pytest.mark.parametrize("mode", UNDER_KVM)
def test_the_host_sees_nothing_of_the_guest(mode: str) -> None:
    """A host event without guests, of user code that nobody there executes, counts nothing."""
    user = HostEvent(INSTRUCTIONS | asm.USR, exclude_guest=True)
    made = moved(machine(mode, host_events=(user,)), to_and_fro())
    (event,) = made.host_events()
    assert (event.count, event.true_host, event.true_guest) == (0, 0, 0)
    assert words(made, 0, 1) == [EXPECTED]


@pytest.mark.parametrize("mode", UNDER_KVM)
def test_a_pmi_under_way_comes_along(mode: str) -> None:
    """Moved between overflow and PMI, wherever in the skid: it is delivered, once."""
    source = f"""
    {asm.PRELUDE}
_start:	kernel_setup
	gate	2, on_pmi
	wr	0x834, 0x400
	wr	{asm.PMC0}, {(1 << 48) - 3000}
	wr	{asm.EVTSEL0}, {asm.EN | asm.INT | PRIVILEGES | INSTRUCTIONS}
	movl	$4000, %ebx
1:	decl	%ebx
	jnz	1b
	wr	{asm.EVTSEL0}, 0
	finish
on_pmi:	incq	RESULTS
	iretq
"""
    made = Machine(
        asm.config(
            asm.assemble(source),
            mode=mode,
            cpu="sapphire-rapids",
            cpus=2,
            skid_cycles=500,
        )
    )
    found = set()
    start = made
    while start.guest().instructions < 2_000:
        assert start.run(1) is Stop.BUDGET
    for blocks in range(60):
        made = start.clone()
        for _ in range(20 * blocks):
            made.run(1)
        made.move_vcpu(0, 1)
        made = moved(made, ())
        assert words(made, 0, 1) == [1]
        pmi = made.pmi()
        assert (pmi.due, pmi.delivered, pmi.dropped) == (1, 1, 0)
        found.add(pmi.instructions_p50)
    assert len(found) > 1


@pytest.mark.parametrize("mode", UNDER_KVM)
def test_slices_and_clones_do_not_show(mode: str) -> None:
    """Moves at fixed times, in runs of few blocks and between clones."""
    threads = (HostTask(1, 1, burst=30_000, pause=50_000),)
    given = {"host_tasks": threads, "tick_period": 20_000, "slice": 20_000}

    def everything(made: Machine) -> list[object]:
        return [asm.readout(made), made.costs(1), made.trace(1)]

    whole = everything(moved(machine(mode, trace_records=1 << 12, **given), to_and_fro()))
    made = machine(mode, trace_records=1 << 12, **given)
    for number, cpu in enumerate(to_and_fro(), start=1):
        while (stop := made.run_until(300, number * INTERVAL)) is Stop.BUDGET:
            pass
        if stop is Stop.EXIT:
            break
        assert stop is Stop.UNTIL
        made = made.clone()
        made.move_vcpu(0, cpu)
        made = made.clone()
    assert everything(made) == whole


@pytest.mark.parametrize("mode", UNDER_KVM)
def test_a_saved_guest_is_restored_where_it_was(mode: str) -> None:
    """Its time goes on from that of its pCPU; that of pCPU 0 has stood since it left."""
    made = machine(mode)
    assert made.run_until(1 << 40, INTERVAL) is Stop.UNTIL
    made.move_vcpu(0, 1)
    assert made.run_until(1 << 40, 5 * INTERVAL) is Stop.UNTIL
    for _ in range(2):  # in its new place, and on the way back
        before = made.guest().tsc_cycles
        other = made.migrate(config(mode, "sapphire-rapids"))
        assert other.guest().tsc_cycles >= before
        ended = moved(other, ())
        times = words(ended, 8, ROUNDS)
        assert times == sorted(set(times))
        assert words(ended, 0, 3) == [EXPECTED, SECRET, 0x5EC2]
        made.move_vcpu(0, 0)


def test_a_sleeping_vcpu_moves() -> None:
    """It halts, is moved in its sleep, and its timer wakes it on the other pCPU."""
    source = f"""
    {asm.PRELUDE}
_start:	kernel_setup
	gate	0x40, on_timer
	wr	0x832, 0x40
	wr	0x83e, 0xb
	wr	0x838, 200000
	sti
	hlt
	finish
on_timer:	incq	RESULTS
	wr	0x80b, 0
	iretq
"""
    made = Machine(asm.config(asm.assemble(source), mode="mediated", cpu="sapphire-rapids", cpus=2))
    assert made.run_until(1 << 40, 100_000) is Stop.UNTIL
    made.move_vcpu(0, 1)
    assert made.run(1 << 40) is Stop.EXIT
    assert words(made, 0, 1) == [1]
    assert cost(made, 1, "kvm_vcpu_block") == 1
    # Nobody had to stop it.
    assert cost(made, 0, "migration_cpu_stop") == 0


def test_refusals() -> None:
    """A bare machine, numbers that are not there, a machine that is over."""
    with pytest.raises(InputError, match="native machine"):
        Machine(asm.config(image("zen4"), mode="native", cpu="zen4")).move_vcpu(0, 0)
    made = machine("mediated")
    for vcpu, cpu in ((1, 0), (0, 2)):
        with pytest.raises(InputError, match=r"no vCPU .* no pCPU"):
            made.move_vcpu(vcpu, cpu)
    made.move_vcpu(0, 1)
    moved(made, ()).counters()
    with pytest.raises(InputError, match="read out"):
        made.move_vcpu(0, 0)


@pytest.mark.parametrize("mode", UNDER_KVM)
def test_who_is_moved_again_and_again_does_not_starve(mode: str) -> None:
    """Moved more often than its turn comes, among threads that never sleep: it keeps its share.

    That is a third. A slice may be twice as long, for it ends at a tick. How the times of moves and
    ticks fall together moves that up and down, so it is the median of several intervals.
    """
    threads = tuple(HostTask(n, 2) for n in range(2))
    alone = moved(machine(mode), ()).guest().tsc_cycles
    found = []
    for interval in (14_000, 14_500, 14_900, 15_000, 15_100, 15_500, 16_000):
        made = machine(mode, host_tasks=threads, tick_period=20_000, slice=20_000)
        ended = moved(made, to_and_fro(), interval)
        assert words(ended, 0, 1) == [EXPECTED]
        found.append(ended.guest().tsc_cycles)
    assert statistics.median(found) < 6 * alone
