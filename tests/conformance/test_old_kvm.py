# SPDX-License-Identifier: Apache-2.0
"""KVM as it was: the walk over all counters before 6.9, an event for each reprogramming before 5.5.

And which function leads in which case.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from pmupass import costs
from pmupass.machine import Session
from pmupass.options import Options

if TYPE_CHECKING:
    from pmupass.results import Result

HARDWARE = ("vmx_vmexit", "vmx_vmenter", "__svm_vcpu_run", "svm_vcpu_enter_exit")
TEN_DIFFERENT = (
    "loads:u,loads:k,stores:u,stores:k,branches:u,branches:k,branch-misses:u,branch-misses:k,"
    "cache-references:u,cache-misses:u"
)


def run(workload: str, **options: object) -> Result:
    """Run it emulated."""
    given = {"time_ns": 20_000_000, "host": False, **options}
    return Session(Options(workload, **given)).run("emulated")


def own(result: Result) -> Counter[str]:
    """Return cycles by function, callees apart."""
    found: Counter[str] = Counter()
    for cost in result.costs:
        found[cost.stack.rpartition(";")[2]] += cost.cycles
    return found


def within(result: Result, function: str) -> int:
    """Return cycles of a function with all that it calls."""
    return sum(c.cycles for c in result.costs if function in c.stack.split(";"))


@pytest.mark.parametrize(
    ("cpu", "counters"), [("sapphire-rapids", 8 + 3), ("zen3", 6)], ids=["intel", "amd"]
)
def test_the_walk_looks_at_every_counter(cpu: str, counters: int) -> None:
    """Each completed instruction: one look for each counter the guest has, and one that ends it."""
    result = run("exit-storm", cpu=cpu, settings=("kvm.pmc_walk=pre-6.9",), time_ns=2_000_000)
    checks = sum(
        c.cycles // costs.load(cpu=cpu)["kvm_pmu_trigger_event"].cycles
        for c in result.costs
        if c.stack.endswith("kvm_pmu_trigger_event")
    )
    each = costs.load(cpu=cpu)["pmc_walk"].cycles
    assert own(result)["_find_next_bit"] == checks * (counters + 1) * each
    assert "_find_next_bit" not in own(run("exit-storm", cpu=cpu, time_ns=2_000_000))


@pytest.mark.parametrize("cpu", ["sapphire-rapids", "zen3"])
def test_find_next_bit_leads_with_the_walk(cpu: str) -> None:
    """What hardware does for an exit apart."""
    result = run("exit-storm", cpu=cpu, settings=("kvm.pmc_walk=pre-6.9",), time_ns=2_000_000)
    software = [f for f, _ in own(result).most_common() if f not in HARDWARE]
    assert software[0] == "_find_next_bit"


def test_the_walk_changes_no_count() -> None:
    """It is a cost: what the guest counts, and what is credited, is the same."""
    plain, walk = (
        run("perf-stat", settings=settings, events="instructions:k,branches:k")
        for settings in ((), ("kvm.pmc_walk=pre-6.9",))
    )
    assert plain.stats["credited_instructions"] > 0
    assert walk.guest.emulated >= plain.guest.emulated
    for result in (plain, walk):
        assert all(c.counted == c.true for c in result.counters)


def test_without_reuse_nothing_is_resumed() -> None:
    """Each reprogramming of a counter that counts makes an event; with reuse there are six."""
    six = ",".join(["instructions"] * 6)
    options = {"events": six, "frequency": 1000, "time_ns": 5_000_000}
    reused = run("perf-record", **options)
    created = run("perf-record", settings=("kvm.event_reuse=0",), **options)
    assert reused.stats["perf_events_created"] == 6
    assert reused.stats["perf_events_resumed"] > 100
    assert created.stats["perf_events_resumed"] == 0
    assert created.stats["perf_events_created"] > 100
    assert created.stats["perf_events_released"] > 100


@pytest.mark.parametrize("events", [6, 10])
def test_perf_event_enable_leads_in_the_published_case(events: int) -> None:
    """Of what KVM calls in perf for the sampling table: enable, then pause, then period.

    The cost of each call: enable 1050 and its ctx_resched(), pause 900, period 650; and each pause
    is followed by a period and an enable as long as the selector is the same.
    """
    result = run(
        "perf-record",
        events=",".join(["instructions"] * events),
        frequency=1000,
        settings=("guest.linux=6.8",),
    )
    called = (
        "perf_event_enable",
        "perf_event_pause",
        "perf_event_period",
        "perf_event_create_kernel_counter",
        "perf_event_release_kernel",
        "perf_event_read_value",
        "perf_event_disable",
    )
    ranked = sorted(called, key=lambda function: -within(result, function))
    assert ranked[:3] == ["perf_event_enable", "perf_event_pause", "perf_event_period"]
    assert within(result, "perf_event_enable") > result.cost_cycles / 2


def test_creation_leads_with_different_events_that_take_turns() -> None:
    """Ten of them on eight counters: most turns give a counter another event than it had."""
    result = run("perf-stat", events=TEN_DIFFERENT)
    assert own(result).most_common(1)[0][0] == "perf_event_create_kernel_counter"
    ten_alike = run("perf-stat", events=",".join(["branches:u"] * 10))
    assert own(ten_alike).most_common(1)[0][0] != "perf_event_create_kernel_counter"
