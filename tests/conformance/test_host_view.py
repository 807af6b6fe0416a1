# SPDX-License-Identifier: Apache-2.0
"""What the host's perf shows of guests: counts and samples of both sides, groups, -F, threads.

The oracles: an event of both sides is the sum of one that counts guests and one that does not; what
guests did is what their CPUs retired; a thread's part is what its own vCPU retired.
"""

from __future__ import annotations

import dataclasses
import errno
from typing import TYPE_CHECKING

import pytest
from msgspec import UNSET

import pmupass
from pmupass import cpus, host_perf
from pmupass.config import HostEvent, HostTask, HostThread, Mode
from pmupass.core import Machine
from pmupass.errors import UsageError
from pmupass.machine import Session
from pmupass.options import Options
from pmupass.plan import Plan
from pmupass.records import Stop

if TYPE_CHECKING:
    from pmupass import results
    from pmupass.results import Result

CPUS = ["sapphire-rapids", "skylake-sp", "zen2", "zen4"]
UNDER_KVM = ["emulated", "mediated"]
INSTRUCTIONS = 0x300C0  # with USR and OS


def run(
    mode: str, *host: str, ms: int = 4, cpu: str = "sapphire-rapids", **given: object
) -> Result:
    """Run perf-stat for some milliseconds beside these sessions of the host."""
    options = Options(
        "perf-stat",
        cpu=cpu,
        time_ns=ms * 1_000_000,
        host_perf=host,
        host=False,
        **given,  # type: ignore[arg-type]
    )
    return Session(options).run(mode)


def retired(result: Result) -> int:
    """Return the instructions that the guest's CPUs retired, those that KVM completed left out."""
    return result.guest.instructions - result.guest.emulated


# ---- whose counts they are ----


def machine(
    mode: str, *host: str, cpu: str = "sapphire-rapids", work: int, **given: object
) -> Machine:
    """Return a machine whose guest works through so many instructions."""
    options = Options("perf-stat", cpu=cpu, host_perf=host, **given)  # type: ignore[arg-type]
    return Machine(Plan(options).config(Mode[mode.upper()], work=work))


def known(value: int | None) -> int:
    """Return what is known."""
    assert value is not None
    return value


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("name", ["instructions", "branches", "cycles"])
def test_both_sides_are_the_sum_of_each(name: str, cpu: str) -> None:
    """Of three events that stay on their counters, between two readings.

    Perf stops the PMU for all of them at once, so all three miss the same. It does so in host code
    alone, so of guests they miss nothing.
    """
    host = ",".join(f"{name}:{modifiers}" for modifiers in ("D", "DG", "DH"))
    made = machine("emulated", host, cpu=cpu, work=10_000_000)
    begin = made.host_events()
    while made.run(1 << 40) is Stop.BUDGET:
        pass
    end = made.host_events()

    def grown(what: str) -> list[int]:
        return [
            known(getattr(e, what)) - known(getattr(b, what))
            for b, e in zip(begin, end, strict=True)
        ]

    both, guest, hosts = grown("count")
    assert both == guest + hosts
    true = grown("true_guest")[0]
    assert grown("guest_count") == [true, guest, 0]
    assert grown("true_guest") == [true, true, 0]
    assert grown("excluded_guest") == [0, 0, true]
    # What an erratum adds at VM-entries is counted, and nobody did it.
    by_erratum = cpus.load(cpu).overcount.entry_branches if name == "branches" else 0
    assert guest - true == by_erratum * sum(e.count for e in made.exits())
    true_host = grown("true_host")[0]
    assert grown("true_host") == [true_host, 0, true_host]
    assert hosts <= true_host
    # Host code is counted at one rate, and of its events there are cycles and instructions alone.
    assert (hosts > 0) == (name != "branches")
    assert guest > 100_000


@pytest.mark.parametrize(
    ("mode", "cpu"),
    [*(("emulated", cpu) for cpu in CPUS), ("mediated", "sapphire-rapids"), ("mediated", "zen4")],
)
def test_what_guests_did_is_what_their_cpus_retired(mode: str, cpu: str) -> None:
    """To the instruction, from the first to the last; a mediated guest's are none of the host's."""
    result = run(mode, "instructions:H", cpu=cpu)
    (host,) = result.host_events
    assert host.excluded_guest == retired(result)
    assert (host.true_guest, host.guest_count, host.guest_samples) == (0, 0, 0)


def test_what_emulated_still_sees_and_mediated_no_longer_sees() -> None:
    """A session that starts beside the VM: perf falls back to :H where the VM is mediated."""
    found = {mode: run(mode, "-c 500000 instructions@0ms") for mode in UNDER_KVM}
    (seen,), (blind,) = (found[mode].host_events for mode in UNDER_KVM)
    assert (seen.event, blind.event) == ("instructions", "instructions:H")
    assert seen.guest_count == seen.true_guest == retired(found["emulated"])
    assert blind.excluded_guest == retired(found["mediated"])
    assert (blind.guest_count, blind.guest_samples) == (0, 0)
    assert isinstance(seen.guest_samples, int)
    assert seen.guest_samples > 10
    rows = {
        d.what: d.values
        for d in pmupass.diff_modes(
            "perf-stat",
            modes=UNDER_KVM,
            time="4ms",
            host_perf=["-c 500000 instructions@0ms"],
            host=False,
        ).differences
        if d.kind == "host-visibility"
    }
    name = "host event instructions"
    assert rows[name] == {mode: found[mode].host_events[0].count for mode in UNDER_KVM}
    assert rows[f"{name}: of guests (perf kvm --guest)"] == {
        "emulated": seen.guest_count,
        "mediated": 0,
    }
    assert rows[f"{name}: samples of guests (perf kvm --guest)"] == {
        "emulated": seen.guest_samples,
        "mediated": 0,
    }
    assert rows[f"{name}: samples"] == {"emulated": seen.samples, "mediated": blind.samples}


# ---- whose samples they are ----


@pytest.mark.parametrize("cpu", CPUS)
def test_samples_of_a_guest_that_never_leaves(cpu: str) -> None:
    """Each period that is over is a sample, and nearly all of them interrupt the guest.

    The host's ticks and the guest's own exits are some dozens; a PMI that an exit overtakes is one
    of the host's, and there are no more of those than exits.
    """
    result = run("emulated", "-c 400000 instructions:G", cpu=cpu, ms=6)
    (event,) = result.host_events
    assert isinstance(event.samples, int)
    assert isinstance(event.guest_samples, int)
    # With 100 between two ticks of the host it would be throttled.
    assert event.samples == event.count // 400_000
    assert 40 < event.samples < 100
    late = event.samples - event.guest_samples
    assert 0 <= late <= sum(e.count for e in result.exits) // 4


def test_a_sample_of_what_leaves_guests_out_is_never_the_guests() -> None:
    """Nor if its overflow, behind the exit for another event, is served with that one's."""
    both, host = run("emulated", "-F max cycles@0ms", "-F max cycles:H@0ms").host_events
    assert isinstance(both.guest_samples, int)
    assert both.guest_samples > 50
    assert isinstance(host.samples, int)
    assert host.samples > 50
    assert host.guest_samples == 0


@pytest.mark.parametrize("mode", UNDER_KVM)
@pytest.mark.parametrize("host", ["-c 2000 cycles:H", "-F 20000 cycles:H@0ms"])
def test_an_overflow_in_host_code_interrupts_the_host(mode: str, host: str) -> None:
    """Never the guest that is entered next, emulated or mediated.

    What was still under way at the load of a mediated guest reached it as a PMI of its own.
    """
    result, alone = run(mode, host), run(mode)
    (event,) = result.host_events
    assert isinstance(event.samples, int)
    assert event.samples > 5
    assert event.guest_samples == 0
    assert result.pmi.due == result.pmi.delivered == alone.pmi.delivered == 0
    assert [c.counted for c in result.counters if c.event == "instructions"] == [
        c.true for c in result.counters if c.event == "instructions"
    ]


# ---- groups ----


def agent(leave: int) -> str:
    """Return pinned events that leave this many of the eight GP counters."""
    return ",".join(["branches:D"] * (8 - leave))


def test_a_group_is_on_as_a_whole_or_not_at_all() -> None:
    """Three events for GP counters, of which two are left: as a group they never count."""
    events = "branches,branch-misses,branches:u"
    idle = ("guest.pmu=idle",)
    *_, a, b, c = run("emulated", agent(2), f"{{{events}}}", settings=idle).host_events
    for event in (a, b, c):
        assert (event.state, event.count, event.time_running) == ("inactive", 0, 0)
        assert event.time_enabled > 0
    alone = run("emulated", agent(2), events, settings=idle).host_events[-3:]
    # Each has two thirds of the turns, in four intervals of which the last is cut.
    assert all(event.time_running for event in alone)
    assert sum(e.time_running / e.time_enabled for e in alone) == pytest.approx(2, abs=0.1)
    whole = run("emulated", agent(3), f"{{{events}}}", settings=idle).host_events[-3:]
    assert all(e.time_running == e.time_enabled > 0 for e in whole)
    assert [e.group_leader for e in whole] == [5, 5, 5]
    assert alone[0].group_leader is pmupass.results.UNSET


def test_two_groups_take_turns_as_wholes() -> None:
    """Their members have the same times, and each interval belongs to one of the groups."""
    groups = "{branches,branch-misses,branches:u},{branches:k,branch-misses:u}"
    found = run("emulated", agent(3), groups, ms=12, settings=("guest.pmu=idle",)).host_events[-5:]
    first, second = found[:3], found[3:]
    for group in (first, second):
        assert len({(e.time_enabled, e.time_running) for e in group}) == 1
        assert group[0].time_running / group[0].time_enabled == pytest.approx(0.5, abs=0.1)
    assert first[0].time_running + second[0].time_running <= first[0].time_enabled * 1.001


def test_a_pinned_group_without_counters_is_in_error() -> None:
    """Its leader is; the others are where they were, and nothing of it counts."""
    group = "{branches,branch-misses,branches:u}:D"
    *_, a, b, c = run("emulated", agent(2), group, settings=("guest.pmu=idle",)).host_events
    assert [e.event for e in (a, b, c)] == ["branches:D", "branch-misses", "branches:u"]
    assert (a.state, b.state, c.state) == ("error", "inactive", "inactive")
    assert a.count == b.count == c.count == 0


def test_a_group_whose_leader_is_refused_is_refused() -> None:
    """Beside a mediated VM: cycles:G is -EOPNOTSUPP, and nobody is left to lead."""
    led, alone = run("mediated", "{cycles:G,instructions}@0ms"), run("mediated", "instructions@0ms")
    assert [e.state for e in led.host_events] == ["refused", "refused"]
    assert [e.event for e in led.host_events] == ["cycles:G", "instructions"]
    assert [e.event for e in alone.host_events] == ["instructions:H"]
    both = run("mediated", "{cycles,instructions:H}@0ms").host_events
    assert [(e.event, e.group_leader) for e in both] == [("cycles:H", 0), ("instructions:H", 0)]


def test_events_stand_in_the_order_in_which_they_were_asked_for() -> None:
    """Whenever they are opened, and refused or not; so do those of the modes beside each other."""
    host = ("cycles:G@2ms", "instructions@1ms", "branches:H")
    names = [[e.event for e in run(mode, *host).host_events] for mode in UNDER_KVM]
    assert names == [
        ["cycles:G", "instructions", "branches:H"],
        ["cycles:G", "instructions:H", "branches:H"],
    ]


# ---- frequency mode ----


@pytest.mark.parametrize("cpu", ["sapphire-rapids", "zen4"])
@pytest.mark.parametrize("hz", [1000, 4000, 20000])
def test_a_frequency_is_reached_where_nothing_disturbs(cpu: str, hz: int) -> None:
    """A guest in one loop: from 60 ms on, when the period has been found, so many a second."""
    made = machine("emulated", f"-F {hz} cycles", cpu=cpu, work=1_000_000_000)
    millisecond = cpus.load(cpu).tsc_khz

    def samples_at(ms: int) -> int:
        assert made.run_until(1 << 60, ms * millisecond) is Stop.UNTIL
        (event,) = made.host_events()
        return event.samples

    # At the edges a sample may be in or out; the period follows what each tick has seen.
    begin = samples_at(60)
    assert samples_at(90) - begin == pytest.approx(hz * 0.03, rel=0.02, abs=1)


def test_the_greatest_frequency_is_the_kernels() -> None:
    """perf_event_open() gives -EINVAL beyond the rate that -F max asks for."""
    made = machine("emulated", work=1000)
    fast = HostEvent(INSTRUCTIONS, sample_period=host_perf.MAX_SAMPLE_RATE, freq=True)
    assert made.open_host_event(fast) == 0
    faster = dataclasses.replace(fast, sample_period=fast.sample_period + 1)
    assert made.open_host_event(faster) == -errno.EINVAL


# ---- threads ----

SHARED = ("guest.cpus=2", "host.cpus=1")


def by_thread(result: Result) -> dict[str, results.HostEvent]:
    """Return host events by what they are called."""
    return {event.label: event for event in result.host_events}


@pytest.mark.parametrize("cpu", ["sapphire-rapids", "zen4"])
def test_two_vcpus_on_one_pcpu_each_with_an_event_of_its_own(cpu: str) -> None:
    """A thread's event counts what its vCPU retired; the CPU-wide one counts both."""
    host = ("-t vcpu0 instructions", "-t vcpu1 instructions", "instructions:G@0ms")
    result = run("emulated", *host, cpu=cpu, ms=6, settings=SHARED)
    found = by_thread(result)
    first, second, wide = (
        found[name] for name in ("instructions (vcpu0)", "instructions (vcpu1)", "instructions:G")
    )
    assert isinstance(result.vcpus, list)
    done = [vcpu.instructions - vcpu.emulated for vcpu in result.vcpus]
    assert [first.true_guest, second.true_guest] == done
    assert [first.guest_count, second.guest_count] == done
    assert wide.count == wide.true_guest == sum(done)
    # They take turns on the pCPU: their times do not overlap, and fill what is not idle.
    assert first.time_enabled == first.time_running > 0
    assert first.time_enabled + second.time_enabled <= result.guest.tsc_cycles
    assert first.time_enabled + second.time_enabled > result.guest.tsc_cycles * 0.9
    for event in (first, second):
        # Perf's own functions, in which it stops the PMU, are what such an event loses.
        assert isinstance(event.lost, int)
        assert 0 <= event.lost <= sum(c.cycles for c in result.costs)


@pytest.mark.parametrize("mode", UNDER_KVM)
def test_what_the_host_did_is_split_among_the_threads(mode: str) -> None:
    """Host code that runs for a thread is that thread's; what is left is nobody's (idle, start)."""
    host = (
        *(f"-t {t} instructions:H@0ms" for t in ("vcpu0", "vcpu1", "task0")),
        "instructions:H@0ms",
    )
    result = run(mode, *host, ms=8, settings=(*SHARED, "host.tasks=1"))
    *threads, wide = result.host_events
    assert isinstance(wide.true_host, int)
    parts = [e.true_host for e in threads if isinstance(e.true_host, int)]
    assert all(part > 0 for part in parts)
    assert 0 <= wide.true_host - sum(parts) < wide.true_host // 100
    assert isinstance(result.vcpus, list)
    done = [vcpu.instructions - vcpu.emulated for vcpu in result.vcpus]
    assert [e.excluded_guest for e in threads] == [*done, 0]
    assert wide.excluded_guest == sum(done)


@pytest.mark.parametrize("mode", UNDER_KVM)
def test_a_computing_thread_counts_what_it_computes(mode: str) -> None:
    """At user privilege that is all it does there, and nobody else on the host is there."""
    host = ("-t task1 cycles:uH", "-t task0 cycles:uH", "cycles:uH")
    result = run(mode, *host, ms=8, settings=("host.tasks=2",))
    second, first, wide = result.host_events
    computed = next(c.cycles for c in result.costs if c.stack == "host_task")
    assert first.count == first.true_host
    assert second.count == second.true_host
    assert first.count + second.count == wide.count == computed
    assert min(first.count, second.count) > computed // 4
    assert [e.thread for e in (second, first)] == ["task1", "task0"]
    assert first.true_guest == first.excluded_guest == 0


def test_samples_of_a_thread() -> None:
    """Those of the vCPU's thread: none while the computing one has the pCPU."""
    host = ("-t vcpu0 -c 500000 cycles:u", "-t task0 -c 500000 cycles:u", "-c 500000 cycles:u@0ms")
    result = run("emulated", *host, ms=12, settings=("host.tasks=1",))
    vcpu, task, wide = result.host_events
    for event in (vcpu, task, wide):
        assert event.samples == event.count // 500_000
    assert vcpu.guest_samples == vcpu.samples
    assert task.guest_samples == 0
    assert isinstance(task.samples, int)
    assert task.samples > 5
    assert wide.count == vcpu.count + task.count


@pytest.mark.parametrize("mode", UNDER_KVM)
def test_clones_and_cuts_do_not_show_in_a_threads_events(mode: str) -> None:
    """Nor in groups and frequencies; the watch of the thread goes with the clone."""
    settings = (*SHARED, "host.tasks=1")
    host = ("-F 4000 {cycles:H,instructions:H}", "-t task0 {cycles:H,branches:H}")
    options = Options("perf-stat", time_ns=2_000_000, host_perf=host, settings=settings)
    config = Plan(options).config(Mode[mode.upper()], work=1_000_000, perf=True)
    event = HostEvent(
        INSTRUCTIONS,
        exclude_guest=True,
        thread_kind=HostThread.VCPU,
        thread=1,
        sample_period=10_000,
    )

    def made() -> Machine:
        machine = Machine(config)
        assert machine.open_host_event(event) == 4
        return machine

    whole = made()
    while whole.run(1 << 40) is Stop.BUDGET:
        pass
    cut = made()
    steps = 0
    while cut.run(40) is Stop.BUDGET:
        steps += 1
        if steps % 20 == 0:
            cut = cut.clone()
    assert steps > 100
    assert cut.host_events() == whole.host_events()
    assert all(e.count for e in whole.host_events() if e.event.config != 0x300C4)


def test_threads_and_leaders_that_are_not_there() -> None:
    """-ESRCH and -EBADF, as perf_event_open() has them; a group of two threads' is -EINVAL."""
    options = Options("perf-stat", time_ns=1_000_000, host_perf=("cycles:H",), settings=SHARED)
    machine = Machine(Plan(options).config(Mode.MEDIATED, work=1000))

    def open_event(kind: HostThread, thread: int, leader: int | None = None) -> int:
        return machine.open_host_event(
            HostEvent(
                INSTRUCTIONS,
                exclude_guest=True,
                thread_kind=kind,
                thread=thread,
                group_leader=leader,
            )
        )

    assert open_event(HostThread.VCPU, 2) == -errno.ESRCH
    assert open_event(HostThread.TASK, 0) == -errno.ESRCH
    assert open_event(HostThread.NONE, 0, leader=1) == -errno.EBADF
    assert open_event(HostThread.NONE, 0, leader=0) == 1
    assert open_event(HostThread.VCPU, 1) == 2
    assert open_event(HostThread.VCPU, 1, leader=2) == 3
    assert open_event(HostThread.VCPU, 0, leader=2) == -errno.EINVAL
    assert open_event(HostThread.NONE, 0, leader=2) == -errno.EINVAL
    # Who joins one that is a member itself joins nobody.
    assert open_event(HostThread.NONE, 0, leader=1) == -errno.EINVAL
    machine.close_host_event(0)
    assert open_event(HostThread.NONE, 0, leader=0) == -errno.EBADF


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("-t vcpu2 cycles", "there is no vcpu2: 2 of them"),
        ("-t task2 cycles:H", "there is no task2: 2 of them"),
    ],
)
def test_sessions_of_threads_that_are_not_there(spec: str, says: str) -> None:
    """Refused before anything runs; host.tasks are so many on each pCPU."""
    settings = ("guest.cpus=2", "host.cpus=2", "host.tasks=1")
    with pytest.raises(UsageError, match=says):
        Plan(Options("perf-stat", host_perf=(spec,), settings=settings))


def test_a_thread_on_another_pcpu() -> None:
    """With a pCPU for each vCPU the second task is on the second one."""
    settings = ("guest.cpus=2", "host.cpus=2", "host.tasks=1")
    host = ("-t task0 cycles:uH", "-t task1 cycles:uH", "-t vcpu1 instructions:G")
    result = run("emulated", *host, ms=6, settings=settings)
    first, second, vcpu = result.host_events
    computed = sum(c.cycles for c in result.costs if c.stack == "host_task")
    assert first.count + second.count == computed
    assert min(first.count, second.count) > computed // 4
    assert isinstance(result.vcpus, list)
    assert vcpu.count == result.vcpus[1].instructions - result.vcpus[1].emulated


@pytest.mark.parametrize("mode", UNDER_KVM)
def test_events_follow_a_vcpu_from_pcpu_to_pcpu(mode: str) -> None:
    """Each half millisecond the two vCPUs change places; each event stays with its vCPU."""
    settings = ("guest.cpus=2", "host.cpus=2", "host.migrate_us=500")
    modifier = {"emulated": "G", "mediated": "H"}[mode]
    host = tuple(f"-t vcpu{n} instructions:{modifier}" for n in range(2))
    result = run(mode, *host, ms=6, settings=settings)
    assert isinstance(result.vcpus, list)
    done = [vcpu.instructions - vcpu.emulated for vcpu in result.vcpus]
    assert [e.all_guest for e in result.host_events] == done
    assert result.stats["cpu_migrations"] > 8
    for event in result.host_events:
        assert event.time_running == event.time_enabled > 0
        if mode == "emulated":
            assert event.count == event.true_guest
        else:
            assert 0 < event.count <= known(event.true_host)  # type: ignore[arg-type]


def test_an_event_with_a_threshold_has_no_truth() -> None:
    """Nor is its guests' part known; its count is there, CPU-wide and of a thread."""
    wide, thread = run("emulated", "r10100c0", "-t vcpu0 r10100c0").host_events
    for event in (wide, thread):
        assert event.count > 0
        assert event.true_guest is event.true_host is event.lost is UNSET
        assert event.guest_count is event.excluded_guest is UNSET


def test_tasks_of_the_core_are_counted_from_the_first_pcpu_on() -> None:
    """By HostTask: two on pCPU 1 and one on pCPU 0, which is task 0."""
    options = Options("perf-stat", time_ns=1_000_000, settings=("guest.cpus=2", "host.cpus=2"))
    base = Plan(options).config(Mode.EMULATED, work=2_000_000)
    tasks = (HostTask(cpu=1, number=2), HostTask(cpu=0, number=1))
    events = tuple(
        HostEvent(0x1003C, exclude_guest=True, thread_kind=HostThread.TASK, thread=n)
        for n in range(3)
    )
    machine = Machine(dataclasses.replace(base, host_tasks=tasks, host_events=events))
    while machine.run(1 << 40) is Stop.BUDGET:
        pass
    zero, one, two = (e.count for e in machine.host_events())
    on = [next(c.cycles for c in machine.costs(n) if c.stack == "host_task") for n in range(2)]
    assert (zero, one + two) == (on[0], on[1])
    assert machine.open_host_event(HostEvent(0x1003C, thread_kind=HostThread.TASK, thread=3)) < 0


@pytest.mark.parametrize("mode", ["emulated", "mediated"])
def test_opening_an_event_of_another_thread_is_no_part_of_the_guest(mode: str) -> None:
    """perf_event_open() for a thread that waits takes host time on a pCPU that a guest has.

    The guest gives way for it: 25,000 cycles to create the event and 10,000 to release it are not
    among those that its counters have.
    """
    result = pmupass.run(
        "perf-stat",
        mode=mode,
        time="3ms",
        host_perf=("-t task0 cycles:H@1ms-2ms",),
        settings={"host.tasks": 1, "host.task_run_us": 50},
    )
    for counter in result.counters:
        assert (counter.lost, counter.causes) == (0, {})
