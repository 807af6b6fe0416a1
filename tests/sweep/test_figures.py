# SPDX-License-Identifier: Apache-2.0
"""Figures: what a path finds in a real result, held against the document's own keys."""

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from pmupass import run
from pmupass.errors import UsageError
from pmupass.results import Result
from pmupass.sweep import figures


@pytest.fixture(scope="module")
def result() -> Result:
    """Two events, one of them lost to a host event; exits, costs, two vCPUs."""
    return run(
        "perf-record",
        mode="emulated",
        events="cycles,ref-cycles",
        time="3ms",
        host_perf=["ref-cycles:D"],
        settings=["guest.cpus=2"],
    )


@pytest.fixture(scope="module")
def document(result: Result) -> Any:
    """Return the result as readers of JSON have it."""
    return msgspec.json.decode(msgspec.json.encode(result))


def value(result: Result, path: str) -> Any:
    return figures.parse("x", path).of(result)


def test_keys(result: Result, document: Any) -> None:
    assert value(result, "overhead") == document["overhead"]
    assert value(result, "pmi.latency_cycles.p50") == document["pmi"]["latency_cycles"]["p50"]
    assert value(result, "guest.stop") == "exit"
    assert value(result, "guest.report.ticks") == document["guest"]["report"]["ticks"]
    assert value(result, "settings.guest.hz") == 1000
    assert value(result, "stats.reprograms") == document["stats"]["reprograms"] > 0


def test_arrays(result: Result, document: Any) -> None:
    exits = document["exits"]
    assert value(result, "exits[*].count") == sum(e["count"] for e in exits) == result.exit_count
    assert value(result, "exits[].reason") == [e["reason"] for e in exits]
    assert value(result, "exits.length") == len(exits)
    assert value(result, "exits[0].count") == exits[0]["count"]
    (writes,) = (e["count"] for e in exits if e["reason"] == "MSR_WRITE")
    assert value(result, "exits[MSR_WRITE].count") == writes
    lost = {c["event"]: c["lost"] for c in document["counters"]}
    assert lost["ref-cycles"] > 0
    assert value(result, "counters[ref-cycles].lost") == lost["ref-cycles"]
    assert value(result, "counters[ref-cycles].causes.contention") == lost["ref-cycles"]
    of_vcpus = [[c["true"] for c in vcpu["counters"]] for vcpu in document["vcpus"]]
    assert value(result, "vcpus[].counters[].true") == of_vcpus
    assert value(result, "vcpus[1].counters[cycles].true") == of_vcpus[1][0]
    assert value(result, "vcpus[*].counters[*].true") == sum(map(sum, of_vcpus))


def test_costs_go_by_their_innermost_function(result: Result, document: Any) -> None:
    """perf_event_enable is reached by more than one way, or the sum would show nothing."""
    stacks = {c["stack"]: c["cycles"] for c in document["costs"]}
    found = [cycles for stack, cycles in stacks.items() if stack.endswith(";perf_event_enable")]
    assert found
    assert value(result, "costs[perf_event_enable].cycles") == sum(found)
    exits = [cycles for stack, cycles in stacks.items() if stack.endswith("vmx_vmexit")]
    assert value(result, "costs[vmx_vmexit].cycles") == sum(exits)
    assert value(result, "costs[*].cycles") == sum(stacks.values())


def test_what_did_not_occur_is_0_and_what_is_not_there_is_left_out(result: Result) -> None:
    assert value(result, "exits[TRIPLE_FAULT].count") == 0
    assert value(result, "costs[kvm_mediated_pmu_load].cycles") == 0
    assert value(result, "accesses.by_kind[rdmsr-evntsel].direct") == 0
    assert value(result, "counters[cycles].causes.filtered") == 0
    assert value(result, "counters[branches].lost") is UNSET
    assert value(result, "vms[0].workload") is UNSET
    assert value(result, "vcpus[7].exits") is UNSET
    assert value(result, "host.cpus") is UNSET


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("", "the path is empty"),
        ("exit", "no key 'exit'; did you mean exits?"),
        ("exits.count", r"exits is an array: write exits\[\*\]"),
        ("exits[*].cont", "no key 'cont'; did you mean count?"),
        ("exits[CPUIDD].count", r"no 'CPUIDD' in exits; did you mean CPUID\?"),
        ("accesses.by_kind[rdpc].direct", "did you mean rdpmc"),
        ("exits[*].reason", "a sum needs numbers"),
        ("exits[CPUID]", "a sum needs numbers"),
        ("vcpus[*].counters[].lost", "a sum needs numbers"),
        ("vcpus[a].exits", r"vcpus has no names; write vcpus\[0\]"),
        ("pmi[0]", "pmi is no array; there is due"),
        ("overhead.x", "overhead is a value"),
        ("counters[cycles].causes.contentoin", "did you mean contention"),
        ("stats.reprogram", "did you mean reprograms"),
        ("settings.guest.hzz", "did you mean guest.hz"),
        ("pmi..due", "is no key and no"),
        ("exits[", "is no key and no"),
    ],
)
def test_a_path_that_leads_nowhere(path: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        figures.parse("x", path)


@pytest.mark.parametrize("name", figures.DEFAULT)
def test_the_default_figures_are_there(result: Result, name: str) -> None:
    found = value(result, figures.DEFAULT[name])
    assert found is not UNSET
    assert found is not None
