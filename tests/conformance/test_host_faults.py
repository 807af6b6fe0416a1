# SPDX-License-Identifier: Apache-2.0
"""Faults of host perf by setting (host.fault_*), and how each reaches a guest of the emulated vPMU.

The guests count loads, of which KVM credits none, and read by RDPMC. Native has no host, and a
mediated guest's counters are no events of host perf: neither notices, down to the last byte.
"""

from __future__ import annotations

from typing import Any

import guest_asm as asm
import msgspec
import pytest
from guest_asm import EVENTS

import pmupass

NATIVE, EMULATED, MEDIATED = asm.MODES
each_mode = pytest.mark.parametrize("mode", asm.MODES)
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)
KERNEL = asm.EN | asm.OS
LOADS, BRANCHES, STORES = (KERNEL | EVENTS[name] for name in ("loads", "branches", "stores"))
INT = 1 << 20
WIDTH = 48
FULL_WIDTH = 0x4C1
ALL = (
    "host.fault_event_create=1",
    "host.fault_event_period=1",
    "host.fault_overflow=1",
    "host.fault_late_reprogram=2",
)


def loads(number: int) -> str:
    """Return so many loads."""
    return f"\t.rept\t{number}\n\tmovq\t(%rsp), %rax\n\t.endr\n"


def ran(source: str, mode: str, cpu: str, *settings: str) -> asm.Ran:
    """Run a guest under faults."""
    body = f"{asm.PRELUDE}\n_start:\tkernel_setup\n{source}\n\tfinish\n"
    return asm.run(body, mode=mode, cpu=cpu, settings=settings)


# ---- a refused creation ----

# One counter, three events one after the other: each a perf event of its own.
THREE = f"""
	wr	0x186, {LOADS}
	{loads(100)}
	wr	0x186, 0
	pmc	0
	movq	%rax, %r12
	wr	0x186, {LOADS | asm.USR}
	{loads(70)}
	wr	0x186, 0
	pmc	0
	movq	%rax, %r13
	wr	0x186, {LOADS}
	{loads(30)}
	wr	0x186, 0
	pmc	0
	keep	0, %r12
	keep	1, %r13
	keep	2
"""


@each_mode
@each_cpu
@pytest.mark.parametrize("interval", [0, 1, 2, 3])
def test_a_refused_creation(mode: str, cpu: str, interval: int) -> None:
    """Of the creations 1, 2, 3 every N-th is refused: its loads are missing in all later reads."""
    machine = (done := ran(THREE, mode, cpu, f"host.fault_event_create={interval}")).machine
    missing = [bool(interval) and mode == EMULATED and n % interval == 0 for n in (1, 2, 3)]
    counts = [0 if gone else n for gone, n in zip(missing, (100, 70, 30), strict=True)]
    assert done.results(3) == [counts[0], counts[0] + counts[1], sum(counts)]
    lost = {c.config & ~0xFFFF: c.true_count - c.counted for c in machine.counters()}
    causes = {c.config & ~0xFFFF: c.causes for c in machine.counters()}
    # The first and the third are one event to the books.
    expected = {
        asm.OS: 130 - counts[0] - counts[2],
        asm.OS | asm.USR: 70 - counts[1],
    }
    assert lost == expected
    assert causes == {key: {"refused": n} if n else {} for key, n in expected.items()}
    assert machine.stats()["perf_events_refused"] == sum(missing)
    assert machine.stats()["perf_faults"] == sum(missing)
    errors = [e.cause for e in machine.silent_errors()]
    assert errors == ["refused"] * sum(missing)


# ---- a refused period ----

TOGGLES = 5
TOGGLED = (
    f"	wr	0x186, {LOADS}\n"
    + f"{loads(20)}	wr	0x38f, 0\n	wr	0x38f, 1\n" * TOGGLES
    + "	pmc	0\n	keep	0\n"
)


@each_mode
@each_cpu
@pytest.mark.parametrize("interval", [0, 1, 2])
def test_a_refused_period_of_a_paused_event(mode: str, cpu: str, interval: int) -> None:
    """KVM cannot resume the event, and creates another one: it costs, and loses nothing."""
    done = ran(TOGGLED, mode, cpu, f"host.fault_event_period={interval}")
    (counter,) = done.machine.counters()
    assert done.result(0) == counter.counted == counter.true_count == 20 * TOGGLES
    assert not counter.causes
    stats = done.machine.stats()
    again = TOGGLES // interval if interval and mode == EMULATED else 0
    resumed = TOGGLES - again if mode == EMULATED else 0
    assert stats["perf_events_created"] == again + (mode == EMULATED)
    assert stats["perf_events_resumed"] == resumed
    assert stats["perf_faults"] == again


# A counter that runs is written: 400 loads short of its end. Then 500 loads, and the status.
REWRITTEN = f"""
	wr	0x186, {LOADS | INT}
	{loads(20)}
	wr	{FULL_WIDTH}, {(1 << WIDTH) - 400}
	{loads(500)}
	xorl	%eax, %eax
	cpuid
	rd	0x38e
	movq	%rax, %r12
	pmc	0
	keep	0, %r12
	keep	1
"""


@each_mode
@each_cpu
@pytest.mark.parametrize("faulty", [False, True])
def test_a_refused_period_of_a_live_event(mode: str, cpu: str, faulty: bool) -> None:
    """KVM does not look: the value is right, the event keeps its period, no overflow is seen.

    The period is the whole counter's, 2^48, from its start at 0. KVM hears of no end of it.
    """
    done = ran(REWRITTEN, mode, cpu, f"host.fault_event_period={int(faulty)}")
    missed = faulty and mode == EMULATED
    assert done.results(2) == [0 if missed else 1, 100]
    (counter,) = done.machine.counters()
    assert (counter.counted, counter.causes) == (520, {})
    assert done.machine.stats()["perf_faults"] == missed


# ---- a dropped overflow ----

# From 100 loads short of the end, 100 loads at a time; the status behind each hundred.
PERIODS = 4
HUNDREDS = (
    f"	wr	{FULL_WIDTH}, {(1 << WIDTH) - 100}\n	wr	0x186, {LOADS | INT}\n"
    + "".join(
        f"{loads(100)}	nop\n	xorl	%eax, %eax\n	cpuid\n	rd	0x38e\n	keep	{n}\n"
        "	wr	0x390, 1\n"
        for n in range(PERIODS)
    )
    + f"	pmc	0\n	keep	{PERIODS}\n"
)


@each_mode
@each_cpu
@pytest.mark.parametrize(
    ("interval", "statuses", "hit"),
    [
        # The counter wraps once; then it has 2^48 to go.
        (0, [1, 0, 0, 0], 0),
        # perf goes on with periods of 100, and tells of none.
        (1, [0, 0, 0, 0], PERIODS),
        # The first one is told. KVM reprograms, and the next is 2^48 away.
        (2, [1, 0, 0, 0], 0),
    ],
)
def test_a_dropped_overflow(
    mode: str, cpu: str, interval: int, statuses: list[int], hit: int
) -> None:
    """No status bit, though the counter reads on; no count is lost."""
    done = ran(HUNDREDS, mode, cpu, f"host.fault_overflow={interval}")
    if mode != EMULATED:
        statuses, hit = [1, 0, 0, 0], 0
    assert done.results(PERIODS + 1) == [*statuses, 100 * (PERIODS - 1)]
    (counter,) = done.machine.counters()
    assert (counter.true_count, counter.counted, counter.causes) == (400, 400, {})
    assert counter.overflows == 1
    assert done.machine.stats()["perf_faults"] == hit


@each_mode
@each_cpu
@pytest.mark.parametrize("interval", [0, 3])
def test_dropped_overflows_of_a_sampling_guest(mode: str, cpu: str, interval: int) -> None:
    """A guest that samples each 20000 branches misses every third of perf's overflows.

    perf begins KVM's period anew behind one that is dropped, and the end of that one is told: the
    guest's sample comes a period late. Each PMI that is dropped was due; the one behind it is not,
    since the guest's own counter has gone on from 0. There are too few for throttling.
    """
    result = pmupass.run(
        "perf-record",
        mode=mode,
        cpu=cpu,
        time="1ms",
        events="branches:u",
        period=20000,
        settings=(f"host.fault_overflow={interval}",),
    )
    (counter,) = result.counters
    periods = counter.true // 20000
    assert 30 < periods < 100
    assert counter.lost == 0
    samples = result.guest.report.events[0].samples
    assert result.pmi.due == result.pmi.delivered == samples
    if mode != EMULATED or not interval:
        assert (samples, result.pmi.dropped) == (periods, 0)
        return
    overflows = result.stats["host_pmis"]
    assert result.pmi.dropped == result.stats["perf_faults"] == overflows // interval
    assert samples == overflows - result.pmi.dropped < periods - 10


@each_cpu
def test_an_event_that_is_dropped_for_ever_is_throttled(cpu: str) -> None:
    """perf takes a PMI each 100 loads, 100 times: then it stops the event, which KVM would restart.

    Without a host tick the samples add up to the most that one may have, 100000 / 1000. What the
    guest loads from then on is lost to that, but for the skid: six loads a cycle at the most.
    """
    source = f"	wr	{FULL_WIDTH}, {(1 << WIDTH) - 100}\n	wr	0x186, {LOADS | INT}\n"
    source += f"	movl	$120, %esi\n1:\n{loads(100)}	nop\n	decl	%esi\n	jnz	1b\n"
    done = ran(source + "	pmc	0\n	keep	0\n", EMULATED, cpu, "host.fault_overflow=1")
    (counter,) = done.machine.counters()
    assert counter.true_count == 12000
    lost = counter.true_count - counter.counted
    assert 2000 - 6 * done.config.skid_cycles <= lost <= 2000
    assert counter.causes == {"throttled": lost}
    assert done.result(0) == counter.counted - 100
    assert [e.cause for e in done.machine.silent_errors()] == ["throttled"]
    assert done.machine.stats()["perf_throttles"] == 1


# ---- a late reprogram ----

EXIT = "	xorl	%eax, %eax\n	cpuid\n"
BEFORE, ON, AFTER = 50, 70, 20
# On, the loads of an entry; off, the loads of one: RESULTS has the counter behind each.
LATE = (
    f"	wr	0x186, {LOADS}\n"
    + f"{loads(BEFORE)}{EXIT}" * 3
    + f"{loads(ON)}	wr	0x186, 0\n"
    + f"{loads(AFTER)}{EXIT}" * 3
    + "	pmc	0\n	keep	0\n"
)


@each_mode
@each_cpu
@pytest.mark.parametrize("entries", [0, 1, 2, 3])
def test_a_late_reprogram(mode: str, cpu: str, entries: int) -> None:
    """The loads of the first N entries are missing; those of N behind the end are counted."""
    done = ran(LATE, mode, cpu, f"host.fault_late_reprogram={entries}")
    late = entries if mode == EMULATED else 0
    (counter,) = done.machine.counters()
    true = 3 * BEFORE + ON
    lost = late * (BEFORE - AFTER)
    assert counter.true_count == true
    assert done.result(0) == counter.counted == true - lost
    assert counter.causes == ({"late-reprogram": lost} if lost else {})
    errors = [(e.cause, e.lost) for e in done.machine.silent_errors()]
    missing, more = late * BEFORE, -late * AFTER
    assert errors == ([("late-reprogram", missing), ("late-reprogram", more)] if late else [])
    assert done.machine.stats()["perf_faults"] == (2 if late else 0)


# ---- the others ----


def without_settings(result: pmupass.Result) -> dict[str, Any]:
    """Return a document but for the settings and the computer it ran on."""
    document: dict[str, Any] = msgspec.to_builtins(result)
    return {key: value for key, value in document.items() if key not in ("settings", "host")}


@pytest.mark.parametrize(
    ("mode", "cpu", "host"),
    [
        (NATIVE, "sapphire-rapids", ()),
        (NATIVE, "zen3", ()),
        (MEDIATED, "sapphire-rapids", ()),
        (MEDIATED, "skylake-sp", ()),
        (MEDIATED, "zen4", ()),
        # Samples of the host's own: their overflows are no vCPU's.
        (MEDIATED, "sapphire-rapids", ("-c 100000 cycles:H", "loads:HD")),
    ],
)
@pytest.mark.parametrize("workload", ["perf-record", "perf-stat"])
def test_who_has_no_events_in_host_perf_notices_nothing(
    mode: str, cpu: str, host: tuple[str, ...], workload: str
) -> None:
    given = {"mode": mode, "cpu": cpu, "time": "2ms", "host_perf": host}
    plain, faulty = (pmupass.run(workload, settings=s, **given) for s in ((), ALL))
    assert plain.settings != faulty.settings
    assert without_settings(plain) == without_settings(faulty)


@each_cpu
def test_it_is_each_threads_own_count(cpu: str) -> None:
    """Every second creation of each of two vCPUs, whatever they do at the same time."""
    given = {"mode": EMULATED, "cpu": cpu, "time": "2ms", "events": "loads:u,stores:u"}
    result = pmupass.run(
        "perf-stat", settings=("guest.cpus=2", "host.fault_event_create=2"), **given
    )
    for vcpu in result.vcpus:
        lost = {c.event: c.lost / c.true for c in vcpu.counters}
        assert lost == {"loads:u": 0, "stores:u": 1}
