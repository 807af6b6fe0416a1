# SPDX-License-Identifier: Apache-2.0
"""A guest is saved in one design and restored in another in mid-measurement, and nothing is lost.

Numbers in brackets are those of docs/model.md's list.
"""

from __future__ import annotations

import dataclasses
import itertools

import guest_asm as asm
import pytest
from test_clone import blocks_of, config, to_end
from test_kvm_msrs import BEFORE, BEHIND, LOOP, TURNS, finish, word

from pmupass.config import HostTask, MachineConfig, Mode
from pmupass.core import Machine, VmRefusedError
from pmupass.errors import InputError
from pmupass.records import Stop

OTHER = {"emulated": "mediated", "mediated": "emulated"}
each_way = pytest.mark.parametrize("mode", ["emulated", "mediated"])
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)


def loop(mode: str, cpu: str, **given: object) -> MachineConfig:
    """Return the guest whose turns are three instructions and one branch each."""
    return asm.config(asm.assemble(LOOP), mode=mode, cpu=cpu, **given)  # type: ignore[arg-type]


@each_way
@each_cpu
def test_exact_counters_survive(mode: str, cpu: str) -> None:
    """[47] Back and forth between the designs, forty times: no count more or less."""
    machine = Machine(loop(mode, cpu))
    moves = 0
    while word(machine, 0) < TURNS:
        machine.run(500)
        mode = OTHER[mode]
        machine = machine.migrate(loop(mode, cpu))
        moves += 1
        turns = word(machine, 0)
        if 0 < turns < TURNS:
            values = machine.get_msrs([asm.FIXED_CTR0, asm.PERFCTR0])
            assert values == [BEFORE + 3 * turns, turns]
    assert moves > TURNS // 500
    finish(machine)
    assert [word(machine, 1), word(machine, 2)] == [BEFORE + 3 * TURNS + BEHIND, TURNS]
    counters = {c.config & 0xFFFF: c for c in machine.counters()}
    assert counters[0xC0].true_count == counters[0xC0].counted == BEFORE + 3 * TURNS + BEHIND
    assert counters[0xC4].true_count == counters[0xC4].counted == TURNS
    assert machine.silent_errors() == []


@each_way
@pytest.mark.parametrize("tasks", [(), (HostTask(0, 1),)])
def test_an_exit_that_is_open_across_a_move(mode: str, tasks: tuple[HostTask, ...]) -> None:
    """The exit that ends the guest's stay has the host's work for it, before and behind, no more.

    It is the only one of its reason (without ticks), so all of its work is done from the kick on.
    Between the exits there is what no exit pays for: what is done ahead of the first entry, and
    the thread's computing.
    """
    machine = Machine(loop(mode, "sapphire-rapids", host_tasks=tasks))
    machine.run(3000)
    before = host_cycles(machine.clone())
    machine = machine.migrate(loop(OTHER[mode], "sapphire-rapids", host_tasks=tasks))
    finish(machine)
    exits = {e.reason: e.cycles for e in machine.exits()}
    if not tasks:
        assert 0 < exits["EXTERNAL_INTERRUPT"] <= host_cycles(machine) - before
    assert sum(exits.values()) <= host_cycles(machine)


def host_cycles(machine: Machine) -> int:
    """Return the host's work so far, without what threads compute."""
    return sum(c.cycles for c in machine.costs() if c.stack != "host_task")


@each_way
@pytest.mark.parametrize(
    ("cpu", "selector", "branches", "counters"),
    [
        ("sapphire-rapids", asm.EVTSEL0, 0xC4, 4),
        ("zen4", 0xC0010200, 0xC2, 4),
        ("zen4", 0xC0010200, 0xC2, 2),
    ],
)
def test_a_guest_with_fewer_counters_moves(
    mode: str, cpu: str, selector: int, branches: int, counters: int
) -> None:
    """KVM lists the registers of all counters that the host has; a VMM saves those of the guest."""
    source = f"""
{asm.PRELUDE}
_start:	wr {selector}, {asm.EN | asm.OS | branches}
	movl	${TURNS}, %ecx
1:	incq	RESULTS
	decl	%ecx
	jnz	1b
	wr {selector}, 0
	rd {asm.PERFCTR0 if selector == asm.EVTSEL0 else selector + 1}
	keep 1
	finish
"""
    settings = (f"guest.gp_counters={counters}", "cpu.overcount_entry_branches=0")
    made = {m: asm.config(asm.assemble(source), mode=m, cpu=cpu, settings=settings) for m in OTHER}
    machine = Machine(made[mode])
    machine.run(3000)
    assert 0 < word(machine, 0) < TURNS
    machine = machine.migrate(made[OTHER[mode]])
    finish(machine)
    assert word(machine, 1) == TURNS


@each_way
def test_the_registers_are_the_same(mode: str) -> None:
    """[47] All that KVM_GET_MSR_INDEX_LIST names, but for the TSC, which goes on."""
    machine = Machine(loop(mode, "sapphire-rapids"))
    machine.run(3000)
    values = [
        (asm.GLOBAL_STATUS, 1 << 62 | 2),
        (asm.EVTSEL0 + 3, asm.USR | 0xC5),
        (asm.PERFCTR0 + 3, 12345),
        (asm.FIXED_CTR0 + 2, 54321),
        (0x1A0, 0x801),
        (0xC0000103, 99),
    ]
    assert machine.set_msrs(values) == len(values)
    names = [i for i in machine.msr_index_list() if i != 0x10]
    moved = machine.migrate(loop(OTHER[mode], "sapphire-rapids"))
    assert moved.get_msrs(names) == machine.get_msrs(names)
    before, after = machine.get_msrs([0x10])[0], moved.get_msrs([0x10])[0]
    assert abs(after - before) < 200_000  # the work of either host since then


@pytest.mark.parametrize(
    ("mode", "cpu"),
    [("emulated", "sapphire-rapids"), ("mediated", "skylake-sp"), ("emulated", "zen4")],
)
def test_a_sampling_guest_moves(mode: str, cpu: str) -> None:
    """perf record in the guest, with PMIs and ticks: each overflow arrives, wherever it is cut.

    The events multiplex, so periods, statuses and interrupts are under way at any time.
    """
    both = {name: config(name, cpu) for name in OTHER}
    total = min(blocks_of(made) for made in both.values())
    machine = Machine(both[mode])
    for _ in range(12):
        assert machine.run(total // 16) is Stop.BUDGET
        mode = OTHER[mode]
        machine = machine.migrate(both[mode])
    read = to_end(machine)
    assert read["guest"].exit_value == 0
    native = to_end(Machine(config("native", cpu)))
    for counter in read["counters"]:
        lost = counter.true_count - counter.counted
        assert lost == 0
        # An overflow late by perf's rounding of a period is no count; nothing else happens here.
        assert counter.causes == {}, counter
    # One may be on its way at the end; what KVM dropped may have been one that was not due.
    pmi = read["pmi"]
    assert pmi.due > 20
    assert pmi.delivered <= pmi.due <= pmi.delivered + pmi.dropped + 1
    assert {c.config for c in read["counters"]} == {c.config for c in native["counters"]}


OVERFLOW = f"""
{asm.PRELUDE}
_start:
	kernel_setup
	gate	32, handler
	wr	0x834, 32
	wr {asm.GLOBAL_CTRL}, 0
	wr {asm.PMC0}, {asm.WIDTH - 999}
	wr {asm.EVTSEL0}, {asm.EN | asm.OS | asm.INT | asm.EVENTS["branches"]}
	sti
	wr {asm.GLOBAL_CTRL}, 1
	movl	$5000, %ecx
1:	incq	RESULTS
	decl	%ecx
	jnz	1b
	counting_off
	rd {asm.PERFCTR0}
	keep 2
	finish
handler:
	incq	RESULTS + 8
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	rd {asm.GLOBAL_STATUS}
	keep 3
	movq	RESULTS, %rax
	keep 4
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq
"""


@each_way
@each_cpu
def test_one_pmi_at_whatever_point(mode: str, cpu: str) -> None:
    """An overflow comes at the 1000th turn, once, wherever around it the guest is moved."""
    image = asm.assemble(OVERFLOW)
    make = {m: asm.config(image, mode=m, cpu=cpu) for m in OTHER}
    machine = Machine(make[mode])
    while word(machine, 0) < 985:
        machine.run(1)
    for _ in range(60):
        moved = machine.migrate(make[OTHER[mode]])
        finish(moved)
        assert word(moved, 1) == 1
        assert word(moved, 3) == 1
        assert word(moved, 4) >= 1000
        # From 1000 below zero: JNZ at each of 5000 turns, and the handler's IRET.
        assert word(moved, 2) == 5001 - 1000
        pmi = moved.pmi()
        assert (pmi.due, pmi.delivered, pmi.dropped) == (1, 1, 0)
        machine.run(1)


@each_cpu
def test_what_contention_took_is_known(cpu: str) -> None:
    """Emulated without a counter for the guest, then mediated: lost is what was counted before."""
    nr_gp = min(asm._plan(cpu, (), ()).cpu.pmu.nr_gp, 8)
    # The host's pinned events take every counter that can count branches.
    crowded = loop("emulated", cpu, host_perf=("branches:D",) * nr_gp)
    machine = Machine(crowded)
    machine.run(5000)
    turns = word(machine, 0)
    assert 0 < turns < TURNS
    machine = machine.migrate(loop("mediated", cpu))
    finish(machine)
    assert word(machine, 2) == TURNS - turns
    counters = {c.config & 0xFFFF: c for c in machine.counters()}
    assert counters[0xC4].causes == {"contention": turns}
    assert counters[0xC0].causes == {}


@each_way
def test_a_saved_guest_is_restored_as_often_as_wanted(mode: str) -> None:
    """The saved state is no machine: it stays as it is, and the source goes on undisturbed."""
    made = loop(mode, "sapphire-rapids")
    expected = to_end(Machine(made))
    machine = Machine(made)
    machine.run(4000)
    saved = machine.save()
    assert to_end(machine) == expected
    found = [to_end(Machine.restore(made, saved)) for _ in range(3)]
    assert found[0] == found[1] == found[2]
    for counter, other in zip(found[0]["counters"], expected["counters"], strict=True):
        assert counter.true_count == counter.counted == other.true_count == other.counted
    exits = [{e.reason: e.count for e in read["exits"]} for read in (expected, found[0])]
    exits[0]["EXTERNAL_INTERRUPT"] = exits[0].get("EXTERNAL_INTERRUPT", 0) + 1
    assert exits[0] == exits[1]


def test_work_goes_on_where_it_was() -> None:
    """Positions of work profiles move with the guest: no event of theirs is twice or never."""
    made = {m: config(m, "sapphire-rapids", workload="perf-stat") for m in OTHER}
    plain = to_end(Machine(made["mediated"]))
    total = blocks_of(made["mediated"])
    machine = Machine(made["mediated"])
    for mode in itertools.islice(itertools.cycle(OTHER), 6):
        machine.run(total // 8)
        machine = machine.migrate(made[mode])
    read = to_end(machine)
    for counter in read["counters"]:
        assert counter.true_count == counter.counted
    assert read["guest"].exit_value == plain["guest"].exit_value == 0


# ---- refusals


def test_refusals() -> None:
    made = loop("mediated", "sapphire-rapids")
    machine = Machine(made)
    machine.run(100)
    saved = machine.save()
    native = loop("native", "sapphire-rapids")
    with pytest.raises(InputError, match="native machine has no VMM that could restore"):
        Machine.restore(native, saved)
    with pytest.raises(InputError, match="native machine has no KVM"):
        Machine(native).save()
    for other, why in (
        (loop("mediated", "skylake-sp"), "another CPU"),
        (loop("mediated", "sapphire-rapids", settings=("guest.gp_counters=4",)), "another CPUID"),
        (dataclasses.replace(made, memory=8 << 20), "another amount of memory"),
    ):
        with pytest.raises(InputError, match=why):
            Machine.restore(other, saved)
    busy = loop("mediated", "sapphire-rapids", host_perf=("cycles:D",))
    assert busy.mode is Mode.MEDIATED
    with pytest.raises(VmRefusedError):
        Machine.restore(busy, saved)
    finish(machine)
    machine.counters()
    with pytest.raises(InputError, match="read out"):
        machine.save()
