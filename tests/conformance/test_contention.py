# SPDX-License-Identifier: Apache-2.0
"""A pinned host event takes a counter from a guest that does not know: what is lost, what is said.

Host perf places CPU-pinned events first, then KVM's (task-pinned); a pinned event that finds no
counter goes to the error state, and nobody tells the guest. Placement: cycles fits fixed 1 and any
GP counter, ref-cycles (0x0300) only fixed 2, the other events here only GP counters. KVM makes the
events of GP counters before those of fixed ones, so it is the fixed counter's event that finds no
room.
"""

from __future__ import annotations

import json
from typing import Any

import guest_asm as asm
import pytest

import pmupass
from pmupass.cli import main
from pmupass.config import Filter, FilterAction, FilterEntry
from pmupass.errors import ExitStatus

EN, OS = 1 << 22, 1 << 17

# GP-only events on both CPUs, as many as Sapphire Rapids has GP counters.
GP_ONLY = (
    "branches",
    "branch-misses",
    "cache-references",
    "cache-misses",
    "br_inst_retired.near_taken",
    "br_inst_retired.near_call",
    "mem_load_retired.l1_miss",
    "dtlb_load_misses.walk_completed",
)
NR_GP = {"sapphire-rapids": 8, "skylake-sp": 4}


def run(cpu: str, events: str, *host: str, **options: Any) -> pmupass.Result:
    """Run perf-stat in emulated mode beside host events."""
    given = {"mode": "emulated", "time": "3ms", **options}
    return pmupass.run("perf-stat", cpu=cpu, events=events, host_perf=host, **given)


def by_event(result: pmupass.Result) -> dict[str, pmupass.results.Counter]:
    """Return the counters by name."""
    return {counter.event: counter for counter in result.counters}


@pytest.mark.parametrize("cpu", NR_GP)
def test_no_counter_is_left_for_cycles(cpu: str) -> None:
    """As many GP-only events as GP counters, the host on fixed 1: no room for cycles."""
    gp_only = GP_ONLY[: NR_GP[cpu]]
    result = run(cpu, ",".join((*gp_only, "cycles")), "cycles:D")
    counters = by_event(result)
    dead = counters.pop("cycles")
    # The guest reads 0 for what was true, and believes that it counted all the time.
    assert dead.counted == 0
    assert dead.true > 1_000_000
    assert dead.causes == {"contention": dead.true}
    assert dead.running_cycles == dead.enabled_cycles > 0
    assert dead.wrong_reads == dead.reads > 0
    assert not dead.filtered
    report = result.guest.report
    event = next(e for e in report.events if e.event == "cycles")
    assert event.value == 0
    assert event.enabled == event.running > 0
    # One silent error, from the start of the event to its end.
    (error,) = result.silent_errors
    assert (error.event, error.cause, error.lost) == ("cycles", "contention", dead.true)
    assert report.tsc_begin <= error.tsc < error.until <= result.guest.tsc_cycles
    assert error.until - error.tsc > 0.9 * event.enabled
    # The others have their counters.
    assert set(counters) == set(gp_only)
    for counter in counters.values():
        assert (counter.lost, counter.causes) == (0, {})
        assert counter.true > 0
    (host,) = result.host_events
    assert host.state == "active"
    assert host.count > dead.true  # it counts host and guest
    assert result.stats["perf_events_error"] >= 1


@pytest.mark.parametrize("cpu", NR_GP)
def test_cycles_on_a_gp_counter(cpu: str) -> None:
    """One GP-only event fewer: perf puts the guest's cycles on a GP counter, nothing is lost."""
    gp_only = GP_ONLY[: NR_GP[cpu] - 1]
    result = run(cpu, ",".join((*gp_only, "cycles")), "cycles:D")
    assert len(result.counters) == len(gp_only) + 1
    for counter in result.counters:
        assert (counter.lost, counter.causes) == (0, {})
        assert counter.true > 0
    assert result.silent_errors == []
    assert result.reads.wrong == 0
    assert result.host_events[0].state == "active"


@pytest.mark.parametrize("cpu", NR_GP)
def test_ref_cycles_fit_one_counter_only(cpu: str) -> None:
    """All GP counters are free, and yet a single guest event is dead: 0x0300 fits fixed 2 only."""
    result = run(cpu, "ref-cycles", "ref-cycles:D")
    (counter,) = result.counters
    assert counter.counted == 0
    assert counter.causes == {"contention": counter.true}
    assert counter.true > 1_000_000
    (event,) = result.guest.report.events
    assert event.enabled == event.running > 0
    (error,) = result.silent_errors
    assert (error.event, error.cause, error.lost) == ("ref-cycles", "contention", counter.true)


@pytest.mark.parametrize("cpu", NR_GP)
def test_without_the_host_nothing_is_lost(cpu: str) -> None:
    """The same guests alone: the host event is what did it."""
    for events in (",".join((*GP_ONLY[: NR_GP[cpu]], "cycles")), "ref-cycles"):
        result = run(cpu, events)
        assert all(counter.lost == 0 for counter in result.counters)
        assert result.silent_errors == []


@pytest.mark.parametrize("cpu", NR_GP)
@pytest.mark.parametrize("host", ["cycles", "cycles:DH"])
def test_who_gives_way(cpu: str, host: str) -> None:
    """KVM's pinned events go before flexible host events and behind pinned ones.

    A host event that leaves guests out takes a counter all the same: perf's placement does not look
    at that.
    """
    gp_only = GP_ONLY[: NR_GP[cpu]]
    result = run(cpu, ",".join((*gp_only, "cycles")), host)
    cycles = by_event(result)["cycles"]
    if host == "cycles":
        assert cycles.lost == 0
        assert result.host_events[0].state == "inactive"
        assert result.host_events[0].time_running < result.host_events[0].time_enabled
    else:
        assert cycles.counted == 0
        assert cycles.causes == {"contention": cycles.true}
        assert result.host_events[0].state == "active"


@pytest.mark.parametrize("cpu", NR_GP)
def test_sampling_on_a_dead_counter_gets_no_samples(cpu: str) -> None:
    result = pmupass.run(
        "perf-record",
        mode="emulated",
        cpu=cpu,
        events="ref-cycles",
        host_perf=["ref-cycles:D"],
        time="5ms",
    )
    assert result.guest.report.pmis == 0
    assert result.guest.report.events[0].samples == 0
    assert result.pmi.due > 0
    assert result.pmi.delivered == 0


@pytest.mark.parametrize("cpu", NR_GP)
@pytest.mark.parametrize("host", ["cycles:D", "cycles", "ref-cycles:D", "instructions:G"])
def test_a_mediated_vm_is_refused(cpu: str, host: str, capsys: pytest.CaptureFixture[str]) -> None:
    """-EBUSY at KVM_CREATE_VCPU, for an event counts guests: status 3, and what to change."""
    status = main(
        ["run", "perf-stat", "--mode", "mediated", "--cpu", cpu, "--host-perf", host, "--time=1ms"]
    )
    captured = capsys.readouterr()
    assert status == ExitStatus.INPUT == 3
    assert captured.out == ""
    assert "-EBUSY" in captured.err
    assert host in captured.err
    # Three ways out: leave the guest out, close it, the other design.
    for way in ("exclude_guest", "close it", "--mode emulated"):
        assert way in captured.err


@pytest.mark.parametrize("cpu", NR_GP)
def test_a_mediated_vm_beside_events_that_leave_guests_out(cpu: str) -> None:
    """They are scheduled out while the guest's PMU is loaded, and lose nothing of the host."""
    host = ("cycles:DH", "instructions:H", "ref-cycles:DH")
    alone = run(cpu, "cycles,instructions", mode="mediated")
    result = run(cpu, "cycles,instructions", *host, mode="mediated")
    for counter in result.counters:
        assert (counter.lost, counter.causes) == (0, {})
        assert counter.true > 0
    assert result.silent_errors == []
    for event in result.host_events:
        # Guest time is no time of theirs, so that their ratio stays honest.
        assert event.time_enabled == event.time_running > 0
        assert event.time_enabled < result.guest.tsc_cycles // 2
        assert event.count > 0
    assert len(result.switch.policy) > 0
    assert result.switch.loads >= alone.switch.loads


def test_diff_modes_goes_on_without_the_refused_mode(capsys: pytest.CaptureFixture[str]) -> None:
    """A refused mode stands in the comparison; named in --modes it is status 3."""
    arguments = ["diff-modes", "perf-stat", "--host-perf", "cycles:D", "--time=1ms", "--json"]
    assert main(arguments) == ExitStatus.OK
    document = json.loads(capsys.readouterr().out)
    assert "-EBUSY" in document["modes"]["mediated"]["refused"]
    assert set(document["modes"]) == {"native", "emulated", "mediated"}
    assert main([*arguments, "--modes", "emulated,mediated"]) == ExitStatus.INPUT


def test_what_the_filter_denies_is_not_contention() -> None:
    """A counter whose event had no room gets another event, which the filter denies.

    EN without OS and USR: KVM makes an event all the same, and four pinned ones of the host leave
    it no counter. Then OS, of instructions: an exact counter counts from the WRMSR on that says so,
    which KVM completes with the new setting. Branches (0xc4) alone are allowed: all is filtered.
    """
    select = 0x186
    ops = [
        ("wr", select, EN | 0xC4),
        ("wr", select, EN | OS | 0xC0),
        ("spin", 10),
        ("wr", select, 0),
    ]
    ran = asm.run(
        asm.script(ops),
        mode="emulated",
        cpu="skylake-sp",
        filter=Filter(FilterAction.ALLOW, 0, (FilterEntry(0xC4, 0xFF, 0, exclude=False),)),
        host_perf=("branches:D",) * 4,
    )
    counter = ran.counters()[OS | 0xC0]
    assert counter.counted == 0
    assert counter.true_count > 20
    assert counter.causes == {"filtered": counter.true_count}
