# SPDX-License-Identifier: Apache-2.0
"""A host thread that computes takes turns with a vCPU: slices, ticks, what the guest's PMU sees.

The guest counts its own instructions and cycles while it spins for a time that covers several
slices. The thread computes in user mode and never sleeps, so each of the two runs for a slice,
which ends at the first tick behind it.
"""

from __future__ import annotations

import guest_asm as asm
import pytest

from pmupass.config import HostEvent, HostTask
from pmupass.core import Machine
from pmupass.records import Stop

INSTRUCTIONS, CYCLES = 0xC0, 0x3C
PRIVILEGES = asm.USR | asm.OS
TICK, SLICE = 100_000, 200_000  # TSC cycles
LOOPS = 4_000_000

# RDTSC is not intercepted; the guest spins LOOPS times DEC and JNZ with both counters on.
SOURCE = f"""
{asm.PRELUDE}
_start:	wr	{asm.EVTSEL0}, {asm.EN | PRIVILEGES | INSTRUCTIONS}
	wr	{asm.EVTSEL0 + 1}, {asm.EN | PRIVILEGES | CYCLES}
	wr	{asm.GLOBAL_CTRL}, 3
	movl	${LOOPS}, %ebx
1:	decl	%ebx
	jnz	1b
	counting_off
	keep_pmc 0, 0
	keep_pmc 1, 1
	finish
"""
# GP counters are globally enabled from the start, so the selector's WRMSR is the first to count;
# then two times four for the next WRMSRs, MOV, the loop, and three before the WRMSR that disables.
EXPECTED = 1 + 4 + 4 + 1 + 2 * LOOPS + 3
UNDER_KVM = ["emulated", "mediated"]


def machine(mode: str, tasks: tuple[HostTask, ...], **given: object) -> Machine:
    """Return a machine whose host has these threads."""
    return Machine(
        asm.config(
            asm.assemble(SOURCE),
            mode=mode,
            cpu="sapphire-rapids",
            host_tasks=tasks,
            tick_period=TICK,
            slice=SLICE,
            **given,
        )
    )


def to_end(made: Machine, blocks: int = 1 << 40) -> Machine:
    """Run to the guest's exit."""
    while (stop := made.run(blocks)) is Stop.BUDGET:
        pass
    assert stop is Stop.EXIT, (stop, made.invariant())
    return made


def results(made: Machine) -> list[int]:
    """Return the two counts that the guest read."""
    raw = made.physical(asm.RESULTS, 16)
    return [int.from_bytes(raw[i : i + 8], "little") for i in (0, 8)]


@pytest.mark.parametrize("mode", UNDER_KVM)
@pytest.mark.parametrize("number", [1, 3])
def test_each_has_its_slices_and_the_guest_counts_its_own(mode: str, number: int) -> None:
    """Nothing of the threads is in the guest's counters, and they take turns with it."""
    alone, shared = to_end(machine(mode, ())), to_end(machine(mode, (HostTask(0, number),)))
    assert results(shared)[0] == results(alone)[0] == EXPECTED
    # Cycles do not run while the vCPU is not in the guest.
    assert results(shared)[1] == results(alone)[1]
    for counter in shared.counters():
        assert counter.true_count == counter.counted
    # The guest needs n whole slices and a rest; each is followed by a slice of every thread. A
    # slice ends at a tick, at most TICK behind its length.
    needed = alone.guest().tsc_cycles
    slices = needed // (SLICE + TICK)
    assert slices >= 1
    assert shared.guest().tsc_cycles >= needed + slices * number * SLICE


@pytest.mark.parametrize("mode", UNDER_KVM)
def test_the_host_sees_what_the_threads_do(mode: str) -> None:
    """An event that excludes guests counts the thread's cycles at user privilege, exactly."""
    user = HostEvent(CYCLES | asm.USR, exclude_guest=True)
    made = machine(mode, (HostTask(0, 1),), host_events=(user,))
    (event,) = to_end(made).host_events()
    computed = next(c.cycles for c in made.costs() if c.stack == "host_task")
    assert event.count == event.true_host == computed
    assert event.true_guest == 0


def test_a_guest_that_the_host_counts_and_one_that_it_cannot() -> None:
    """Host-wide instructions: emulated they are all there; mediated the event is not allowed."""
    both = HostEvent(INSTRUCTIONS | PRIVILEGES)
    made = to_end(machine("emulated", (), host_events=(both,)))
    (event,) = made.host_events()
    assert event.true_guest is not None
    assert event.true_host is not None
    assert event.true_guest >= EXPECTED
    # While perf schedules, its PMU is off: a part of the host's own instructions (one a cycle).
    assert 0 <= event.true_guest + event.true_host - event.count <= lost_while_scheduling(made)
    made = machine("mediated", ())
    assert made.open_host_event(both) == -95  # EOPNOTSUPP
    assert made.run(10) is Stop.BUDGET


@pytest.mark.parametrize("mode", UNDER_KVM)
def test_what_a_mediated_guest_hides(mode: str) -> None:
    """Host instructions from load to put are lost to an event of the host, and nothing else is."""
    host_only = HostEvent(CYCLES | PRIVILEGES, exclude_guest=True)
    made = to_end(machine(mode, (HostTask(0, 1),), host_events=(host_only,)))
    (event,) = made.host_events()
    assert event.true_host is not None
    lost = event.true_host - event.count
    if mode == "emulated":
        assert 0 <= lost <= made.switch().host_blind_cycles + lost_while_scheduling(made)
    else:
        assert lost >= made.switch().host_blind_cycles > 0


def lost_while_scheduling(made: Machine) -> int:
    """Return the cycles of perf's own functions, in which it stops the PMU."""
    return sum(c.cycles for c in made.costs())


@pytest.mark.parametrize("mode", UNDER_KVM)
def test_a_thread_that_sleeps_leaves_the_cpu(mode: str) -> None:
    """It computes 50,000 cycles and sleeps 450,000: a tenth of the time is its own, no more."""
    made = to_end(machine(mode, (HostTask(0, 1, burst=50_000, pause=450_000),)))
    computed = next(c.cycles for c in made.costs() if c.stack == "host_task")
    time = made.guest().tsc_cycles
    # In core cycles, of which the CPU has 1.5 to a TSC cycle; a period is at least 500,000 long.
    assert 50_000 < computed <= (time // 500_000 + 1) * 75_001


@pytest.mark.parametrize("mode", UNDER_KVM)
def test_slices_of_the_budget_do_not_show(mode: str) -> None:
    """Seven blocks at a time, and a clone in the middle."""
    tasks = (HostTask(0, 2, burst=30_000, pause=200_000), HostTask(0, 1))
    whole = asm.readout(to_end(machine(mode, tasks, trace_records=1 << 10)))
    small = to_end(machine(mode, tasks, trace_records=1 << 10), blocks=997)
    assert asm.readout(small) == whole
    cloned = machine(mode, tasks, trace_records=1 << 10)
    for _ in range(5):
        assert cloned.run(50_000) is Stop.BUDGET
        cloned = cloned.clone()
    assert asm.readout(to_end(cloned)) == whole


@pytest.mark.parametrize("mode", UNDER_KVM)
@pytest.mark.parametrize(
    "tasks",
    [
        (HostTask(0, 2, burst=30_000, pause=200_000), HostTask(0, 1)),
        (HostTask(0, 1, burst=30_001, pause=20_000),),
    ],
)
def test_a_thread_whose_run_is_cut_at_times_is_no_later(
    mode: str, tasks: tuple[HostTask, ...]
) -> None:
    """A burst in pieces is as long as a whole one, to the cycle; 1.5 make a cycle of the TSC."""
    whole = asm.readout(to_end(machine(mode, tasks, trace_records=1 << 10)))
    cut = machine(mode, tasks, trace_records=1 << 10)
    tsc = 1000
    while (stop := cut.run_until(1 << 40, tsc)) is Stop.UNTIL:
        tsc += 1237
    assert stop is Stop.EXIT
    assert asm.readout(cut) == whole
