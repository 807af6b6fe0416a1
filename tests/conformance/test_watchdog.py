# SPDX-License-Identifier: Apache-2.0
"""The host's hard lockup detector: what each of its forms takes from a guest.

The guest spins for about 8 million cycles; the threshold is set to 500,000 TSC cycles, so that its
timer, event and NMI come often. The timer has two fifths of it.
"""

from __future__ import annotations

import guest_asm as asm
import pytest

from pmupass.config import Watchdog
from pmupass.core import Machine, VmRefusedError
from pmupass.records import Stop

THRESH = 500_000
TIMER = THRESH * 2 // 5
CYCLES = 0x3C
SOURCE = f"""
{asm.PRELUDE}
_start:	movl	$8000000, %ebx
1:	decl	%ebx
	jnz	1b
	finish
"""


def ran(kind: Watchdog, mode: str = "emulated") -> Machine:
    """Return a machine whose guest has come to its end."""
    made = Machine(
        asm.config(
            asm.assemble(SOURCE),
            mode=mode,
            cpu="sapphire-rapids",
            watchdog=kind,
            watchdog_thresh=THRESH,
            watchdog_event=CYCLES | asm.USR | asm.OS,
        )
    )
    assert made.run(1 << 40) is Stop.EXIT
    return made


def exits(machine: Machine) -> dict[str, int]:
    return {e.reason: e.count for e in machine.exits()}


def calls(machine: Machine, function: str) -> int:
    return sum(c.count for c in machine.costs() if c.stack.split(";")[-1] == function)


def test_none_takes_nothing() -> None:
    machine = ran(Watchdog.NONE)
    assert "EXTERNAL_INTERRUPT" not in exits(machine)
    assert "EXCEPTION_NMI" not in exits(machine)


@pytest.mark.parametrize("mode", ["emulated", "mediated"])
def test_buddy_is_a_timer(mode: str) -> None:
    """An exit each two fifths of the threshold, and no counter: a mediated VM may have it."""
    machine = ran(Watchdog.BUDDY, mode)
    found = exits(machine)
    # The guest itself exits at its end alone, so that the timer always finds it running.
    assert found["EXTERNAL_INTERRUPT"] == calls(machine, "watchdog_timer_fn") > 10
    assert "EXCEPTION_NMI" not in found
    assert machine.stats()["host_pmis"] == 0


@pytest.mark.parametrize("mode", ["emulated", "mediated"])
def test_hpet_is_an_nmi_without_a_counter(mode: str) -> None:
    """Two NMIs for five timers; one that is due with a timer ends the same stay in the guest."""
    machine = ran(Watchdog.HPET, mode)
    found = exits(machine)
    nmis, timers = (
        calls(machine, name) for name in ("hardlockup_detector_nmi_handler", "watchdog_timer_fn")
    )
    assert found["EXCEPTION_NMI"] == nmis > 4
    assert nmis == timers * 2 // 5
    # Each second NMI falls on a fifth timer.
    assert found["EXTERNAL_INTERRUPT"] == timers - nmis // 2
    assert machine.stats()["host_pmis"] == 0


def test_perf_is_a_pinned_event_and_a_timer() -> None:
    """It counts cycles of guest and host alike, so a PMI comes each THRESH cycles."""
    machine = ran(Watchdog.PERF)
    pmis = machine.stats()["host_pmis"]
    assert exits(machine)["EXCEPTION_NMI"] == pmis == calls(machine, "watchdog_overflow_callback")
    assert pmis > 4
    assert machine.stats()["perf_throttles"] == 0


def test_perf_excludes_a_mediated_vm() -> None:
    with pytest.raises(VmRefusedError):
        ran(Watchdog.PERF, "mediated")


def test_perf_takes_a_counter() -> None:
    """Nine counters count cycles here, eight GP ones and a fixed one; the guest wants all."""
    program = "\n".join(
        f"\twr\t{asm.EVTSEL0 + i}, {asm.EN | asm.USR | asm.OS | CYCLES}" for i in range(8)
    )
    source = f"""
{asm.PRELUDE}
_start:	wr	0x38d, 0x30
{program}
	wr	{asm.GLOBAL_CTRL}, {2 << asm.FIXED | 0xFF}
	movl	$100000, %ebx
1:	decl	%ebx
	jnz	1b
	counting_off
	finish
"""
    dead = []
    for kind in (Watchdog.NONE, Watchdog.PERF):
        machine = Machine(
            asm.config(
                asm.assemble(source),
                mode="emulated",
                cpu="sapphire-rapids",
                watchdog=kind,
                watchdog_event=CYCLES | asm.USR | asm.OS,
            )
        )
        assert machine.run(1 << 40) is Stop.EXIT
        dead.append(sum("contention" in counter.causes for counter in machine.counters()))
    assert dead == [0, 1]
