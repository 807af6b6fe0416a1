# SPDX-License-Identifier: Apache-2.0
"""``--host NAME``: each scenario is made of sessions that perf takes, and does what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pmupass import cpus, host_perf, hosts
from pmupass.core import VmRefusedError
from pmupass.errors import UsageError
from pmupass.events import EventTable
from pmupass.machine import Session
from pmupass.options import Options

if TYPE_CHECKING:
    from pmupass.results import Counter, Result

CPUS = ["sapphire-rapids", "skylake-sp", "zen2", "zen4"]
GP = {"sapphire-rapids": 8, "skylake-sp": 8, "zen2": 6, "zen4": 6}


def run(
    scenario: str,
    mode: str = "emulated",
    cpu: str = "sapphire-rapids",
    ms: int = 2,
    **given: object,
) -> Result:
    """Run perf-stat for some milliseconds."""
    options = Options(
        "perf-stat",
        cpu=cpu,
        time_ns=ms * 1_000_000,
        scenario=scenario,
        host=False,
        **given,  # type: ignore[arg-type]
    )
    return Session(options).run(mode)


def by_event(result: Result) -> dict[str, Counter]:
    """Return the guest's counters by their names."""
    return {counter.event: counter for counter in result.counters}


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("name", hosts.names())
def test_each_is_made_of_sessions(name: str, cpu: str) -> None:
    """On every maker's CPUs; the idle host has none."""
    model = cpus.load(cpu)
    sessions = host_perf.parse_all(hosts.sessions(name, model), EventTable(model))
    assert bool(sessions) == (name != "idle")


def test_an_unknown_one_is_refused() -> None:
    """With what there is."""
    with pytest.raises(UsageError, match=r"no such scenario.*watchdog"):
        hosts.sessions("watchdogs", cpus.load("zen4"))


@pytest.mark.parametrize("cpu", CPUS)
def test_an_agent_that_takes_all_leaves_what_kvm_emulated(cpu: str) -> None:
    """Instructions read as KVM's credits, the others as nothing; the guest believes all of it."""
    result = run("agent-takes-all", cpu=cpu)
    counters = by_event(result)
    for name, counter in counters.items():
        assert counter.running_cycles == counter.enabled_cycles > 0
        assert counter.lost == counter.causes["contention"] > 0, name
    # Credited while the event was enabled: a part of what KVM completed for the guest.
    assert 0 < counters["instructions"].counted <= result.guest.emulated
    assert counters["branches"].counted == counters["cycles"].counted == 0


@pytest.mark.parametrize("cpu", CPUS)
def test_an_agent_that_leaves_one_counter(cpu: str) -> None:
    """One of the guest's four events lives."""
    counters = run("monitoring-agent", cpu=cpu).counters
    assert sum(counter.counted > counter.true // 2 for counter in counters) == 1


@pytest.mark.parametrize("cpu", ["sapphire-rapids", "zen4"])
def test_on_three_counters_a_fourth_event_of_the_host_takes_turns_and_the_guests_dies(
    cpu: str,
) -> None:
    """Rotation gives each of four flexible events three quarters; pinned ones have no turns."""
    events = "branches,branch-misses,branches:u,branch-misses:u"
    found = run("agent-leaves-three", cpu=cpu, events=events).counters
    dead = [counter for counter in found if "contention" in counter.causes]
    assert len(dead) == 1
    assert dead[0].running_cycles == dead[0].enabled_cycles
    host = run(
        "agent-leaves-three",
        cpu=cpu,
        ms=12,
        host_perf=(events,),
        settings=("guest.pmu=idle",),
    ).host_events[-4:]
    shares = [event.time_running / event.time_enabled for event in host]
    # Off in every fourth of the 12 intervals; the first and the last are cut.
    assert all(abs(share - 0.75) < 0.1 for share in shares)
    assert sum(shares) == pytest.approx(3, abs=0.05)


def test_the_watchdog_takes_one_counter() -> None:
    """Eight events for GP counters, and cycles: one of the nine is left without a counter."""
    events = (
        "loads:u,stores:u,cache-references:u,cache-misses:u,"
        "branches:u,branches:k,branch-misses:u,branch-misses:k,cycles"
    )
    assert sum(bool(c.lost) for c in run("idle", events=events).counters) == 0
    assert sum(bool(c.lost) for c in run("watchdog", events=events).counters) == 1
    with pytest.raises(VmRefusedError, match="EBUSY"):
        run("watchdog", mode="mediated")


def test_a_storm_takes_nothing_from_pinned_events() -> None:
    """Flexible events of the host come and go; the guest's stay, for the price of rescheduling."""
    options = Options("perf-stat", time_ns=10_000_000, scenario="profiling-storm", host=False)
    storm = Session(options).run("emulated")
    assert all(counter.lost == 0 for counter in storm.counters)
    assert {event.state for event in storm.host_events} <= {"off", "active", "inactive"}
    assert sum(event.count for event in storm.host_events) > 0
