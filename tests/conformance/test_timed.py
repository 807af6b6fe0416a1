# SPDX-License-Identifier: Apache-2.0
"""What host and VMM do at a time: runs that stop there, and event filters that come then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import guest_asm as asm
import msgspec
import pytest

from pmupass import run
from pmupass.config import Filter, FilterAction, FilterEntry
from pmupass.core import Machine
from pmupass.machine import Session
from pmupass.options import FilterChange, Options
from pmupass.records import Stop

if TYPE_CHECKING:
    from pathlib import Path

    from pmupass.config import MachineConfig

each_mode = pytest.mark.parametrize("mode", asm.MODES)
each_vpmu = pytest.mark.parametrize("mode", ["emulated", "mediated"])
UNLIMITED = 1 << 50

# Counts branches: a turn is 2 instructions, of which the second is one.
COUNTING = f"""
{asm.PRELUDE}
_start:
	wr {asm.EVTSEL0}, {asm.EN | asm.OS | asm.USR | asm.EVENTS["branches"]}
	wr {asm.GLOBAL_CTRL}, 1
	movl	$5000000, %ecx
1:	decl	%ecx
	jnz	1b
	rd {asm.PERFCTR0}
	keep 1
	finish
"""
SLEEPING = f"""
{asm.PRELUDE}
_start:
	sti
	hlt
	finish
"""


def config(source: str, mode: str, **given: object) -> MachineConfig:
    """Return a machine of Sapphire Rapids with a trace."""
    given_ = {"cpu": "sapphire-rapids", "trace_records": 1 << 12, **given}
    return asm.config(asm.assemble(source), mode=mode, **given_)  # type: ignore[arg-type]


@each_mode
@pytest.mark.parametrize("blocks", [UNLIMITED, 1000])
def test_a_run_stops_at_its_time_and_that_shows_nowhere(mode: str, blocks: int) -> None:
    """Behind the first instruction that ends at the time: none of the loop takes ten cycles."""
    made = config(COUNTING, mode)
    whole = Machine(made)
    assert whole.run(UNLIMITED) is Stop.EXIT
    machine = Machine(made)
    for tsc in (150_000, 150_001, 400_000, 400_300):
        while (stop := machine.run_until(blocks, tsc)) is Stop.BUDGET:
            pass
        assert stop is Stop.UNTIL
        assert tsc <= machine.clone().guest().tsc_cycles < tsc + 10
        # It is that time already.
        assert machine.run_until(blocks, tsc) is Stop.UNTIL
    # One that never comes is no limit.
    while (stop := machine.run_until(blocks, 1 << 60)) is Stop.BUDGET:
        pass
    assert stop is Stop.EXIT
    assert asm.readout(machine) == asm.readout(whole)


@each_mode
def test_a_time_limit_ends_a_run_that_goes_to_a_time(mode: str) -> None:
    """Before the time, or at the same: the run is over, and stays so."""
    for until in (300_000, 200_000):
        machine = Machine(config(COUNTING, mode, time_limit=200_000))
        assert machine.run_until(UNLIMITED, 100_000) is Stop.UNTIL
        assert machine.run_until(UNLIMITED, until) is Stop.TIME
        assert machine.run(UNLIMITED) is Stop.TIME
        assert 200_000 <= machine.guest().tsc_cycles < 200_010


@each_mode
def test_nobody_waits_for_a_time_in_a_guest_that_nothing_wakes(mode: str) -> None:
    """HLT with interrupts on and no timer."""
    machine = Machine(config(SLEEPING, mode))
    assert machine.run_until(UNLIMITED, 1_000_000) is Stop.HALTED
    assert machine.guest().tsc_cycles < 100_000


@each_mode
def test_a_sleeping_guest_sleeps_on(mode: str) -> None:
    """A timer in 500,000 cycles, a stop at 300,000: exactly then, and then at the timer."""
    source = f"""
{asm.PRELUDE}
_start:	kernel_setup 1
	gate	0x40, timer
	wr	0x83e, 0xb
	wr	0x832, 0x40
	wr	0x838, 500000
	sti
	hlt
timer:	finish
syscall_entry: ud2
"""
    made = config(source, mode)
    whole = Machine(made)
    assert whole.run(UNLIMITED) is Stop.EXIT
    machine = Machine(made)
    assert machine.run_until(UNLIMITED, 300_000) is Stop.UNTIL
    assert machine.clone().guest().tsc_cycles == 300_000
    assert machine.run(UNLIMITED) is Stop.EXIT
    assert asm.readout(machine) == asm.readout(whole)


# ---- event filters


DENY = Filter(FilterAction.DENY, 0, (FilterEntry(select=0xC4, mask=0xFF, match=0, exclude=False),))


def counted_by_then(mode: str, tsc: int) -> int:
    """Return the branches that the guest of COUNTING has made by a time."""
    machine = Machine(config(COUNTING, mode))
    assert machine.run_until(UNLIMITED, tsc) is Stop.UNTIL
    (counter,) = machine.counters()
    return counter.true_count


@each_vpmu
def test_what_a_filter_denies_it_denies_from_its_time_on(mode: str) -> None:
    """The guest reads what was true at the time, and loses the rest to the filter."""
    machine = Machine(config(COUNTING, mode))
    assert machine.run_until(UNLIMITED, 700_000) is Stop.UNTIL
    machine.set_pmu_event_filter(DENY)
    assert machine.run(UNLIMITED) is Stop.EXIT
    (counter,) = machine.counters()
    by_then = counted_by_then(mode, 700_000)
    assert 0 < by_then < 4_900_000
    assert counter.counted == by_then
    assert counter.causes == {"filtered": counter.true_count - by_then}


@pytest.fixture
def filters(tmp_path: Path) -> dict[str, Path]:
    """Return filters by name: one that denies branches, one that denies nothing."""
    texts = {"deny": 'action = "deny"\nevents = ["branches"]\n', "all": 'action = "deny"\n'}
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    return {name: tmp_path / f"{name}.toml" for name in texts}


@each_vpmu
@pytest.mark.parametrize("cpu", ["sapphire-rapids", "zen4"])
def test_filters_of_an_experiment_come_at_their_times(
    mode: str, cpu: str, filters: dict[str, Path]
) -> None:
    """Denied from the 1st to the 2nd of four milliseconds of even work: about a quarter is lost.

    Into whatever budgets the run is cut, the documents are the same.
    """
    options = Options(
        "perf-stat",
        cpu=cpu,
        events="branches",
        time_ns=4_000_000,
        filter_changes=(
            FilterChange(filters["deny"], 1_000_000),
            FilterChange(filters["all"], 2_000_000),
        ),
        settings=("guest.chunk=3000",),
        host=False,
    )
    documents = [Session(options, blocks=blocks).run(mode) for blocks in (1 << 40, 97)]
    counter = documents[0].counters[0]
    assert set(counter.causes) <= {"filtered", "erratum"}
    assert counter.causes["filtered"] / counter.true == pytest.approx(0.25, abs=0.02)
    assert documents[0].settings["filter_changes"] == [
        f"{filters['deny']}@1000000ns",
        f"{filters['all']}@2000000ns",
    ]
    assert msgspec.json.encode(documents[1]) == msgspec.json.encode(documents[0])


@each_mode
def test_a_filter_that_comes_too_late_shows_nowhere(mode: str, filters: dict[str, Path]) -> None:
    """A guest that has ended by then, and a bare machine, are as without it."""
    without = run("perf-stat", mode=mode, time="1ms")
    at = "1us" if mode == "native" else "1s"
    late = run("perf-stat", mode=mode, time="1ms", filter=[f"{filters['deny']}@{at}"])
    assert late.settings.pop("filter_changes")
    assert msgspec.json.encode(late) == msgspec.json.encode(without)
