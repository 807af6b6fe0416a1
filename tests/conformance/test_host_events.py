# SPDX-License-Identifier: Apache-2.0
"""Perf events of the host that come and go while the guest runs.

Emulated: a CPU-pinned one takes a counter from the guest, which is not told; the guest's event
stays in error when it is gone again, until KVM reprograms the counter. Mediated: one that counts
guests is -EOPNOTSUPP; one that does not is opened, sees the host alone, and leaves the guest's
counters alone (rules 38 to 40).
"""

from __future__ import annotations

import errno

import guest_asm as asm
import pytest

from pmupass.config import HostEvent
from pmupass.core import Machine
from pmupass.errors import InputError
from pmupass.records import Stop

NATIVE, EMULATED, MEDIATED = asm.MODES
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)
BOTH = asm.OS | asm.USR
REF_CYCLES = asm.EVENTS["ref-cycles"]

# Reference cycles on fixed 2, which is the only counter perf has for them; a loop that reads it and
# leaves what it read and the number of its rounds, with 200 NOPs and a CPUID in each.
LOOP = f"""
	{asm.PRELUDE}
_start:	wr	0x38d, 0x300
	wr	0x30b, 0
	wr	0x38f, {4 << asm.FIXED}
	xorl	%r8d, %r8d
1:	pmc	0x40000002
	keep	0
	.rept	200
	nop
	.endr
	xorl	%eax, %eax
	xorl	%ecx, %ecx
	cpuid
	incl	%r8d
	keep	1, %r8
	cmpl	$200000, %r8d
	jb	1b
	finish
"""


def machine_of(mode: str, cpu: str, source: str = LOOP, **given: object) -> Machine:
    """Return a machine that is ready to run."""
    return Machine(asm.config(asm.assemble(source), mode=mode, cpu=cpu, **given))


def go(machine: Machine, blocks: int = 4000) -> tuple[int, int]:
    """Run on; return the counter as the guest last read it, and its rounds."""
    assert machine.run(blocks) is Stop.BUDGET
    raw = machine.physical(asm.RESULTS, 16)
    return int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")


def pinned(config: int, **attributes: bool) -> HostEvent:
    """Return a CPU-pinned event of the host."""
    return HostEvent(config | BOTH, pinned=True, **attributes)


@each_cpu
def test_the_host_takes_a_counter_and_gives_it_back(cpu: str) -> None:
    """Counts stand still from the opening on, and after the closing too: nobody reprograms.

    The guest's counter reads what it read before; what is lost, is lost to contention.
    """
    machine = machine_of(EMULATED, cpu)
    before, rounds = go(machine)
    assert before > rounds > 100
    place = machine.open_host_event(pinned(REF_CYCLES))
    assert place == 0
    dead, more = go(machine)
    later, even_more = go(machine)
    assert more > rounds + 100
    assert dead == later
    # Of the guest's reads the last one before the opening may not have been stored.
    assert before <= dead < before + (before // rounds) * 2
    (host,) = machine.host_events()
    assert host.state == "active"
    machine.close_host_event(place)
    still, last = go(machine)
    assert last > even_more + 100
    assert still == dead
    (host,) = machine.host_events()
    assert host.state == "off"
    assert host.count > 0
    assert host.time_running == host.time_enabled > 0
    (counter,) = machine.counters()
    assert counter.causes == {"contention": counter.true_count - counter.counted}
    assert counter.causes["contention"] > dead
    (error,) = machine.silent_errors()
    assert error.cause == "contention"


# As above, but the guest switches its counter off and on each round.
TOGGLE = LOOP.replace(
    "	cpuid\n", f"	cpuid\n	wr 0x38f, 0\n	wr 0x38f, {4 << asm.FIXED}\n"
)


@each_cpu
def test_a_guest_that_toggles_gets_its_event_back(cpu: str) -> None:
    """KVM enables the event with each reprogramming, and that is what takes it out of its error."""
    machine = machine_of(EMULATED, cpu, TOGGLE)
    go(machine)
    place = machine.open_host_event(pinned(REF_CYCLES))
    dead, _ = go(machine)
    assert go(machine)[0] == dead
    machine.close_host_event(place)
    assert go(machine)[0] > dead + 1000


@each_cpu
def test_a_flexible_one_gives_way(cpu: str) -> None:
    """KVM's event is pinned: the host's waits, the guest loses nothing."""
    machine = machine_of(EMULATED, cpu)
    before, _ = go(machine)
    machine.open_host_event(HostEvent(REF_CYCLES | BOTH))
    assert go(machine)[0] > before + 1000
    (host,) = machine.host_events()
    assert (host.state, host.count, host.time_running) == ("inactive", 0, 0)
    assert host.time_enabled > 0
    (counter,) = machine.counters()
    assert not counter.causes


@each_cpu
@pytest.mark.parametrize(
    "attributes", [{}, {"exclude_host": True}], ids=["host-and-guest", "guest-only"]
)
def test_what_counts_guests_is_refused_beside_a_mediated_vm(
    cpu: str, attributes: dict[str, bool]
) -> None:
    """Rule 38: -EOPNOTSUPP, pinned or not; the guest does not notice."""
    machine = machine_of(MEDIATED, cpu)
    before, _ = go(machine)
    event = HostEvent(asm.EVENTS["cycles"] | BOTH, **attributes)
    assert machine.open_host_event(event) == -errno.EOPNOTSUPP
    assert machine.host_events() == []
    assert go(machine)[0] > before
    (counter,) = machine.counters()
    assert not counter.causes


@each_cpu
def test_what_leaves_guests_out_counts_the_host_alone(cpu: str) -> None:
    """Rules 39 and 40: opened in the middle, on the same counter that the guest has.

    Its enabled time is that of the host: no guest time in it. So its reference cycles, which are
    TSC cycles here, are no more than that time; a guest cycle among them would show, for in each
    round the guest has its own.
    """
    machine = machine_of(MEDIATED, cpu)
    start, _ = go(machine)
    opened = machine.guest().tsc_cycles
    place = machine.open_host_event(pinned(REF_CYCLES, exclude_guest=True))
    assert place == 0
    after, _ = go(machine)
    guest_cycles = after - start
    assert guest_cycles > 10_000
    (host,) = machine.host_events()
    assert host.time_enabled == host.time_running > 0
    passed = machine.guest().tsc_cycles - opened
    assert host.time_enabled < passed - guest_cycles * 9 // 10
    assert 0 < host.count <= host.time_running
    machine.close_host_event(place)
    (counter,) = machine.counters()
    assert not counter.causes
    assert counter.true_count == counter.counted


def test_places_and_mistakes() -> None:
    machine = machine_of(MEDIATED, "sapphire-rapids", host_perf=("instructions:H",))
    event = pinned(asm.EVENTS["cycles"], exclude_guest=True)
    assert machine.open_host_event(event) == 1
    machine.close_host_event(0)
    for place in (0, 2):
        with pytest.raises(InputError, match="no open host event"):
            machine.close_host_event(place)
    assert [e.state for e in machine.host_events()] == ["off", "active"]
    bare = machine_of(NATIVE, "sapphire-rapids")
    with pytest.raises(InputError):
        bare.open_host_event(event)
    # There is an end to them.
    places = [machine.open_host_event(event) for _ in range(70)]
    assert places[:62] == list(range(2, 64))
    assert set(places[62:]) == {-errno.EINVAL}
