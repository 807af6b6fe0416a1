# SPDX-License-Identifier: Apache-2.0
"""Built-in guests with several CPUs: each does and counts what the CPU of a guest with one does.

With a fixed amount of work, no tick and no phases nothing in the measured part depends on time, so
what a CPU retires from enabling its events to disabling them is the same on each CPU, however many
there are, whoever runs beside it and however long it has to wait for a pCPU. A guest with one CPU
on the bare machine is the reference.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import pytest

import pmupass
from pmupass.config import Cpuid, Mode, PmuEventFilter
from pmupass.core import Machine
from pmupass.machine import Session
from pmupass.options import Options
from pmupass.plan import Plan
from pmupass.records import Stop
from pmupass.results import encode

if TYPE_CHECKING:
    from pmupass.config import MachineConfig

UNLIMITED = 1 << 50
WORK = 300_000
LONG = 40_000_000  # some 15 million TSC cycles, three time slices of the host
EVENTS = "instructions:u,instructions:k,branches:u,branches:k"
ALONE = ("guest.hz=0", "guest.phase_us=0", "guest.chunk=10000", "guest.kernel=256")
ALL = (
    ("native", "sapphire-rapids"),
    ("emulated", "sapphire-rapids"),
    ("mediated", "sapphire-rapids"),
    ("native", "zen4"),
    ("emulated", "zen2"),
    ("mediated", "zen4"),
)
VIRTUAL = [(mode, cpu) for mode, cpu in ALL if mode != "native"]
OVERCOUNT = "cpu.overcount_entry_branches=0"  # the erratum of AMD's CPUs: a branch a VM-entry


def config(
    mode: str,
    cpu: str,
    cpus: int,
    *settings: str,
    work: int = WORK,
) -> MachineConfig:
    """Return a guest of so many CPUs with so much work for each."""
    amd = (OVERCOUNT,) if cpu.startswith("zen") else ()
    options = Options(
        "perf-stat",
        cpu=cpu,
        host=False,
        events=EVENTS,
        settings=(*ALONE, *amd, f"guest.cpus={cpus}", *settings),
    )
    return Plan(options).config(Mode[mode.upper()], work=work, perf=True)


def ran(made: MachineConfig) -> Machine:
    """Return the machine after its guest has exited with 0."""
    machine = Machine(made)
    assert machine.run(UNLIMITED) is Stop.EXIT, machine.invariant()
    assert machine.guest().exit_value == 0, machine.serial()
    return machine


def counts(machine: Machine, n: int) -> dict[int, tuple[int, int]]:
    """Return true and counted of a CPU's events."""
    return {c.config: (c.true_count, c.counted) for c in machine.counters(n)}


@functools.cache
def alone(cpu: str, work: int = WORK) -> dict[int, tuple[int, int]]:
    """Return what a guest with one CPU counts on the bare machine."""
    found = counts(ran(config("native", cpu, 1, work=work)), 0)
    # guest.kernel=256 of 1024: user code does three quarters of the work, and a little of its own.
    user, _ = found[0xC0 | 1 << 16]
    assert work * 3 // 4 < user < work
    assert all(true == counted for true, counted in found.values())
    return found


# ---- what each CPU counts ----


@pytest.mark.parametrize(("mode", "cpu"), ALL)
def test_each_counts_what_one_alone_does(mode: str, cpu: str) -> None:
    """Four CPUs, each with a pCPU: instructions and branches of user and kernel, each exact."""
    machine = ran(config(mode, cpu, 4))
    assert machine.guests == 4
    for n in range(4):
        assert counts(machine, n) == alone(cpu), f"CPU {n}"
        report = machine.report(n=n)
        assert report is not None
        assert report.work == WORK
        assert {e.config: e.value for e in report.events} == {
            key: counted for key, (_, counted) in alone(cpu).items()
        }


@pytest.mark.parametrize(("mode", "cpu"), VIRTUAL)
@pytest.mark.parametrize(("vcpus", "pcpus"), [(4, 1), (3, 2)])
def test_vcpus_that_take_turns(mode: str, cpu: str, vcpus: int, pcpus: int) -> None:
    """On one PMU or two, for several slices each: what a vCPU counts is its own, each exact."""
    machine = ran(config(mode, cpu, vcpus, f"host.cpus={pcpus}", work=LONG))
    assert (machine.guests, machine.cpus) == (vcpus, pcpus)
    for n in range(vcpus):
        assert counts(machine, n) == alone(cpu, LONG), f"CPU {n}"


@pytest.mark.parametrize(("mode", "cpu"), VIRTUAL)
def test_a_filter_is_that_of_all_vcpus(mode: str, cpu: str) -> None:
    """It denies branches from the middle of the work on: each vCPU loses some, and nothing else.

    The guests have no tick, so nothing of theirs looks at a filter that KVM did not tell them of.
    """
    branches = 0xC2 if cpu.startswith("zen") else 0xC4
    machine = Machine(config(mode, cpu, 3, work=LONG))
    assert machine.run_until(UNLIMITED, 8_000_000) is Stop.UNTIL
    machine.set_pmu_event_filter(PmuEventFilter(action=1, events=(branches,)))
    assert machine.run(UNLIMITED) is Stop.EXIT
    for n in range(3):
        for counter in machine.counters(n):
            true, _ = alone(cpu, LONG)[counter.config]
            assert counter.true_count == true
            lost = true - counter.counted
            assert counter.causes == ({"filtered": lost} if lost else {})
            assert (lost > 0) == (counter.config & 0xFFFF == branches), f"CPU {n}"


@pytest.mark.parametrize(("mode", "cpu"), VIRTUAL)
def test_the_time_of_turns(mode: str, cpu: str) -> None:
    """Four vCPUs on one pCPU: they run one after the other, and so do the counters behind events.

    An event is enabled while its vCPU waits, but no counter stands behind it then. Three slices of
    a vCPU have two waits between them, each for the slices of three others, as long as these are
    not done; two of the three at least are not for most of the time.
    """
    machine = ran(config(mode, cpu, 4, "host.cpus=1", work=LONG))
    timing = Plan(Options("perf-stat", cpu=cpu)).cpu.timing
    cycles = sum(machine.guest(n).core_cycles for n in range(4))
    assert machine.guest().tsc_cycles >= cycles * timing["ref_num"] // timing["ref_den"]
    counters = [machine.counters(n)[0] for n in range(4)]
    assert sum(c.true_running_cycles for c in counters) <= machine.guest().tsc_cycles
    assert all(2 * c.true_running_cycles < c.enabled_cycles for c in counters)


@pytest.mark.parametrize("cpu", ["sapphire-rapids", "zen4"])
def test_nothing_of_a_vcpu_is_left_for_the_next(cpu: str) -> None:
    """Before each load every counter, selector and status of the pCPU is zero."""
    made = config("mediated", cpu, 4, "host.cpus=1", work=LONG)
    machine = ran(dataclasses.replace(made, trace_records=1 << 16))
    trace = machine.trace()
    assert len(trace) < 1 << 16
    loads, values, left = 0, 0, 0
    for _, name, _, _, hardware, guest in trace:
        if name == "pmu_state":
            left |= hardware
            values |= guest
        elif name in ("pmu_load", "pmu_put"):
            assert name == "pmu_put" or not left
            loads += name == "pmu_load"
            left = 0
    assert values, "the guests have something in their registers"
    assert loads == sum(machine.switch(n).loads for n in range(4)) > 4 * 3


def test_each_samples_for_itself() -> None:
    """A fixed period of p: count / p samples on each CPU, by a PMI each."""
    period = 20_000
    options = Options(
        "perf-record",
        host=False,
        events="instructions:u",
        period=period,
        settings=(*ALONE, "guest.cpus=3"),
    )
    for mode in Mode:
        machine = ran(Plan(options).config(mode, work=WORK, perf=True))
        for n in range(3):
            report, (counter,) = machine.report(n=n), machine.counters(n)
            assert report is not None
            samples = counter.true_count // period
            assert samples >= WORK * 3 // 4 // period
            assert report.pmis == report.events[0].samples == samples == machine.pmi(n).delivered
        assert machine.pmi(0, 3).delivered == sum(machine.pmi(n).delivered for n in range(3))


# ---- starting ----


@pytest.mark.parametrize("mode", ["native", "emulated", "mediated"])
def test_a_cpu_that_nobody_starts_stays_asleep(mode: str) -> None:
    """A guest that is told of two of three CPUs: the third executes nothing and reports nothing."""
    made = config(mode, "sapphire-rapids", 2)
    machine = ran(dataclasses.replace(made, vcpus=3, cpus=3))
    assert machine.guests == 3
    assert counts(machine, 1) == alone("sapphire-rapids")
    assert machine.report(n=1) is not None
    assert machine.guest(2).instructions == 0
    assert machine.guest(2).core_cycles == 0
    assert machine.report(n=2) is None
    assert machine.counters(2) == []


@pytest.mark.parametrize("mode", ["native", "emulated", "mediated"])
def test_they_begin_together(mode: str) -> None:
    """All wait for one time of the TSC: none begins more than a look or two at it later."""
    machine = ran(config(mode, "sapphire-rapids", 8))
    begins = [report.tsc_begin for n in range(8) if (report := machine.report(n=n))]
    assert len(begins) == 8
    assert max(begins) - min(begins) < 1000


def test_a_guest_that_is_told_of_more_cpus_than_there_are_waits_for_ever() -> None:
    """INIT and SIPI reach nobody, so nobody answers, and the guest's CPU sleeps on."""
    made = dataclasses.replace(config("native", "sapphire-rapids", 2), vcpus=1, cpus=1)
    assert Machine(made).run(UNLIMITED) is Stop.HALTED


@pytest.mark.parametrize("word", ["cpus=0", "cpus=9"])
def test_how_many_there_may_be(word: str) -> None:
    made = config("native", "sapphire-rapids", 1)
    machine = Machine(dataclasses.replace(made, cmdline=f"{made.cmdline} {word}"))
    assert machine.run(UNLIMITED) is Stop.EXIT
    assert machine.guest().exit_value == 1
    assert "settings: cpus is 1 to 8" in machine.serial()


def test_one_of_those_that_die_speaks() -> None:
    """No PMU behind a CPUID that announces one: #GP on all CPUs at once, and one line of text."""
    machine = Machine(config("mediated", "zen4", 4, "kvm.irqchip=userspace"))
    assert machine.run(UNLIMITED) is Stop.EXIT
    assert machine.guest().exit_value == 1
    (line,) = machine.serial().splitlines()
    assert line.startswith("perf-stat: unexpected exception 13, error 0x0, rip ")


@pytest.mark.parametrize("mode", ["native", "emulated", "mediated"])
def test_without_x2apic(mode: str) -> None:
    """The same by the ICR of the memory-mapped page, where CPUID announces no x2APIC."""
    made = config(mode, "sapphire-rapids", 3)
    a, b, c, d = next(entry.regs for entry in made.cpuid if entry.leaf == 1)
    leaf_1 = Cpuid(1, None, (a, b, c & ~(1 << 21), d))
    made = dataclasses.replace(
        made, cpuid=tuple(leaf_1 if entry.leaf == 1 else entry for entry in made.cpuid)
    )
    machine = ran(made)
    for n in range(3):
        assert counts(machine, n) == alone("sapphire-rapids"), f"CPU {n}"


# ---- documents ----


def document(mode: str, *settings: str, blocks: int | None = None) -> Any:
    """Return the result of perf-record on some CPUs with a tick."""
    options = Options(
        "perf-record",
        host=False,
        time_ns=300_000,
        settings=("guest.hz=10000", "guest.chunk=3000", *settings),
    )
    return Session(options, blocks=blocks).run(mode)


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("native", ("guest.cpus=3",)),
        ("emulated", ("guest.cpus=3",)),
        ("mediated", ("guest.cpus=3",)),
        ("mediated", ("guest.cpus=3", "host.cpus=2")),
        ("emulated", ("guest.cpus=2", "host.cpus=1")),
    ],
)
def test_slices_do_not_show(mode: str, settings: tuple[str, ...]) -> None:
    """The same bytes, into whatever budgets the run is cut."""
    whole = encode(document(mode, *settings))
    assert b'"vcpus"' in whole
    for blocks in (3, 101):
        assert encode(document(mode, *settings, blocks=blocks)) == whole


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("native", ()),
        ("emulated", ("host.cpus=2", "host.tasks=1")),
        ("mediated", ("host.cpus=1",)),
    ],
)
def test_budgets_show_in_no_trace(mode: str, settings: tuple[str, ...]) -> None:
    """1, 11 and unlimited blocks: the traces of all pCPUs, with their times."""
    options = Options(
        "perf-record",
        host=False,
        settings=("guest.hz=10000", "guest.chunk=3000", "guest.cpus=3", *settings),
    )
    made = Plan(options).config(Mode[mode.upper()], work=100_000, perf=True)
    made = dataclasses.replace(made, trace_records=1 << 15)
    traces = []
    for blocks in (UNLIMITED, 1, 11):
        machine = Machine(made)
        while (stop := machine.run(blocks)) is Stop.BUDGET:
            pass
        assert stop is Stop.EXIT
        traces.append([machine.trace(n) for n in range(machine.cpus)])
    assert all(len(trace) > 50 for trace in traces[0])
    assert traces[1] == traces[0]
    assert traces[2] == traces[0]


@pytest.mark.parametrize("mode", ["native", "emulated", "mediated"])
def test_a_document_is_the_sum_of_its_cpus(mode: str) -> None:
    result = document(mode, "guest.cpus=3")
    vcpus = result.vcpus
    assert len(vcpus) == 3
    for part in ("instructions", "emulated", "core_cycles"):
        assert getattr(result.guest, part) == sum(getattr(v, part) for v in vcpus)
    reports = [v.report for v in vcpus]
    for part in ("work", "ticks", "pmis", "pmis_empty", "rotations", "reads", "exits"):
        assert getattr(result.guest.report, part) == sum(getattr(r, part) for r in reports)
    assert result.guest.report.tsc_begin == min(r.tsc_begin for r in reports)
    assert result.guest.report.tsc_end == max(r.tsc_end for r in reports)
    assert [c.event for c in result.counters] == [c.event for c in vcpus[0].counters]
    for i, counter in enumerate(result.counters):
        for part in ("true", "counted", "lost", "reads", "overflows", "scaled", "enabled_cycles"):
            assert getattr(counter, part) == sum(getattr(v.counters[i], part) for v in vcpus)
    for part in ("due", "delivered", "coalesced", "masked", "dropped"):
        assert getattr(result.pmi, part) == sum(getattr(v.pmi, part) for v in vcpus)
    assert result.exit_count == sum(v.exits for v in vcpus)
    assert result.pmi.latency_cycles.max == max(v.pmi.latency_cycles.max for v in vcpus)


def test_one_cpu_has_no_list_of_cpus() -> None:
    assert b'"vcpus"' not in encode(document("mediated"))


def test_the_table_says_how_many(capsys: pytest.CaptureFixture[str]) -> None:
    from pmupass.cli import main

    main(["run", "perf-stat", "--time=200us", "--set=guest.cpus=2", "--set=host.cpus=1"])
    assert "mediated on sapphire-rapids, 2 vCPUs on 1 pCPU, seed 1" in capsys.readouterr().out
    main(["run", "perf-stat", "--time=200us", "--set=guest.cpus=2", "--mode=native"])
    assert "native on sapphire-rapids, 2 CPUs, seed 1" in capsys.readouterr().out


@pytest.mark.parametrize("workload", ["self-monitor", "exit-storm"])
def test_the_other_workloads(workload: str) -> None:
    """Each CPU takes a step behind each piece of work."""
    result = pmupass.run(
        workload, time="100us", settings={"guest.cpus": 2, "guest.chunk": 20_000, "guest.hz": 0}
    )
    for vcpu in result.vcpus:
        steps = -(-vcpu.report.work // 20_000)
        reads = len(vcpu.report.events) * steps
        assert (vcpu.report.reads, vcpu.report.exits) == (
            (reads, 0) if workload == "self-monitor" else (0, steps)
        )
