# SPDX-License-Identifier: Apache-2.0
"""A guest whose events are of one task, and another one that takes turns with it.

Per switch the guest's perf does what Linux's does for the events of a task that goes or comes
(csrc/guest/perf.h): the PMU off, each event out or in, the PMU on.
"""

from __future__ import annotations

import pytest

import pmupass
from pmupass import cpus
from pmupass.results import GuestReport, Result

MODES = ("native", "emulated", "mediated")
EVENTS = ("branches", "loads", "stores")  # on GP counters
N = len(EVENTS)
SLICE_US = 700  # no whole number of ticks


def run(mode: str, workload: str = "perf-stat", **given: object) -> Result:
    """Run a guest with two tasks on Skylake-SP: all of silicon's counters in each mode."""
    settings = {"guest.tasks": 2, "guest.slice_us": SLICE_US, **given.pop("settings", {})}  # type: ignore[dict-item]
    words: dict[str, object] = {"cpu": "skylake-sp", "time": "20ms", "events": ",".join(EVENTS)}
    return pmupass.run(workload, mode=mode, settings=settings, **{**words, **given})  # type: ignore[arg-type]


def report(result: Result) -> GuestReport:
    found = result.guest.report
    assert isinstance(found, GuestReport)
    return found


def outs_and_ins(result: Result) -> tuple[int, int]:
    """Return how often the first task went and came: it goes first."""
    switches = report(result).task_switches
    return (switches + 1) // 2, switches // 2


@pytest.mark.parametrize("mode", MODES)
def test_accesses(mode: str) -> None:
    """Each event that counts is started, goes and comes with its task, and is stopped at the end.

    GLOBAL_CTRL = 0 and = all around each start, each switch and the end; the first = 0 is left out,
    for the PMU is off. If the end finds the task out nothing is left to do. Out: a selector's write
    and a RDPMC an event; in: a counter's and a selector's write.
    """
    result = run(mode)
    outs, ins = outs_and_ins(result)
    assert outs > 10
    at_end = outs == ins
    found = {kind.kind: kind.direct + kind.intercepted for kind in result.accesses.by_kind}
    assert found["wrmsr-global-ctrl"] == 2 * N - 1 + 2 * (outs + ins) + 2 * at_end
    assert found["wrmsr-evntsel"] == N + N * (outs + ins) + N * at_end
    assert found["wrmsr-counter"] == N + N * ins
    assert found["rdpmc"] == N * outs + N * at_end


@pytest.mark.parametrize("mode", MODES)
def test_times_and_counts(mode: str) -> None:
    """Enabled while the task runs, on a counter all of that time, and every count is exact."""
    result = run(mode)
    found = report(result)
    outs, ins = outs_and_ins(result)
    time = found.tsc_end - found.tsc_begin
    slice_ = SLICE_US * cpus.load("skylake-sp").tsc_khz // 1000
    # What is late in one slice is early in the next. The last one is the task's if it was in.
    own = slice_ * outs + (time - slice_ * (outs + ins) if outs == ins else 0)
    assert found.events[0].enabled == pytest.approx(own, rel=0.02)
    for event, counter in zip(found.events, result.counters, strict=True):
        assert event.running == event.enabled
        assert (counter.lost, counter.causes) == (0, {})
        assert event.value == counter.true
    # The second task does the same work: half of the branches are not counted.
    alone = run(mode, settings={"guest.tasks": 1})
    branches = [r.counters[0].true for r in (result, alone)]
    assert branches[0] / branches[1] == pytest.approx(found.events[0].enabled / time, rel=0.05)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("workload", ["perf-stat", "perf-record"])
def test_turns_and_samples(mode: str, workload: str) -> None:
    """Seven events on four counters, by turns, and sampling ones: exact, and no PMI is lost.

    An event whose phase comes while the task is out is started when it comes back.
    """
    names = "branches,loads,stores,branch-misses,cache-references,cache-misses,branches:u"
    settings = {"guest.slice_us": 1700}
    if workload == "perf-record":
        settings["guest.phase_us"] = 900
    result = run(mode, workload, events=names, settings=settings)
    for counter in result.counters:
        assert (counter.lost, counter.causes) == (0, {})
    found = report(result)
    assert found.rotations > 3
    for event in found.events:
        assert 0 < event.running < event.enabled
    assert result.pmi.dropped == 0
    if workload == "perf-record":
        assert found.pmis > 20
        # Later events have been enabled for less.
        enabled = [event.enabled for event in found.events]
        assert enabled == sorted(enabled, reverse=True)


def test_what_a_switch_costs() -> None:
    """Each access of a switch exits in an emulated vPMU; here only selectors do in a mediated one.

    Ten times as many switches: their cost is overhead, for without events none of it is there.
    """
    overhead = {
        (mode, slice_us): run(mode, settings={"guest.slice_us": slice_us}).overhead or 0.0
        for mode in MODES
        for slice_us in (1000, 100)
    }
    for mode in MODES:
        assert overhead[mode, 100] > 4 * overhead[mode, 1000]
    assert overhead["native", 100] < overhead["mediated", 100] < overhead["emulated", 100]
