# SPDX-License-Identifier: Apache-2.0
"""``pmupass list`` and ``pmupass policy``."""

from collections.abc import Callable

import pytest

from pmupass.cli.listing import LISTS
from pmupass.settings import SWITCH_POLICIES


@pytest.mark.parametrize("what", LISTS)
def test_lists_fit_and_are_not_empty(pmupass: Callable, what: str) -> None:
    outcome = pmupass("list", what)
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= 100
    assert lines == [line.rstrip() for line in lines], "trailing blanks"


def test_switch_policies_are_listed(pmupass: Callable) -> None:
    first = {line.split()[0] for line in pmupass("list", "switch-policies").out.splitlines()[2:]}
    assert first == set(SWITCH_POLICIES)


def test_lists_name_what_the_issue_asks_for(pmupass: Callable) -> None:
    assert "sapphire-rapids" in pmupass("list", "cpus").out
    assert "skylake-sp" in pmupass("list", "cpus").out
    for cpu in ("cascadelake-sp", "icelake-sp", "emerald-rapids", "granite-rapids"):
        assert cpu in pmupass("list", "cpus").out
    assert "sierra-forest" in pmupass("list", "cpus").out
    assert "SRF7" in pmupass("list", "cpus").out
    for workload in ("perf-stat", "perf-record", "self-monitor", "exit-storm"):
        assert workload in pmupass("list", "workloads").out
    for profile in ("spec-int", "memory-bound", "kernel-mix"):
        assert profile in pmupass("list", "profiles").out
    assert "fixed 3" in pmupass("list", "events").out
    assert "fixed 3" not in pmupass("list", "events", "--cpu", "skylake-sp").out


def test_costs_have_id_function_source_and_confidence(pmupass: Callable) -> None:
    lines = pmupass("list", "costs").out.splitlines()
    assert lines[0].split() == ["id", "function", "cycles", "per", "source", "confidence"]
    found = next(line for line in lines if line.startswith("rdpmc ")).split()
    assert found[:3] == ["rdpmc", "native_read_pmc", "25"]


def test_defaults_are_shown_as_they_are_written(pmupass: Callable) -> None:
    """A yes was shown as True, which --set refuses."""
    line = next(x for x in pmupass("list", "settings").out.splitlines() if "kvm.apicv" in x)
    assert line.split()[:5] == ["kvm.apicv", "-", "0", "|", "1"]


def test_an_unknown_list_names_near_ones(pmupass: Callable) -> None:
    outcome = pmupass("list", "evnts")
    assert outcome.status == 2
    assert "did you mean events" in outcome.err


def test_an_unknown_cpu_names_those_there_are(pmupass: Callable) -> None:
    outcome = pmupass("policy", "--cpu", "pentium")
    assert outcome.status == 2
    assert "sapphire-rapids" in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "cpus", "--cpu", "pentium"),
        ("policy", "--set", "cost.foo=1"),
        ("policy", "--set", "profile.foo=1"),
        ("policy", "--set", "cpu.foo=1"),
        ("policy", "--set", "guest.profile=foo"),
    ],
)
def test_what_is_not_needed_must_be_right_as_well(
    pmupass: Callable, arguments: tuple[str, ...]
) -> None:
    outcome = pmupass(*arguments)
    assert outcome.status == 2
    assert outcome.out == ""


def row(text: str, register: str) -> str:
    """Return the line of a register in the policy table."""
    return next(line for line in text.splitlines() if line.startswith(register))


def test_skylake_matches_the_talk(pmupass: Callable) -> None:
    outcome = pmupass("policy", "--cpu", "skylake-sp")
    assert outcome.status == 0
    assert "upstream decides as rfc2024, the arrangement of the talk, does." in outcome.out
    assert row(outcome.out, "RDPMC").split()[:3] == ["RDPMC", "direct", "direct"]


def test_sapphire_rapids_does_not_and_says_why(pmupass: Callable) -> None:
    outcome = pmupass("policy")
    assert row(outcome.out, "RDPMC").split()[:3] == ["RDPMC", "exits", "direct"]
    assert "guest has 3 of 4 fixed counters" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 100


def test_exposing_the_fourth_fixed_counter_makes_it_match(pmupass: Callable) -> None:
    outcome = pmupass("policy", "--set", "kvm.max_fixed_counters=4")
    assert "upstream decides as rfc2024" in outcome.out


def test_a_guest_with_fewer_counters_does_not_match(pmupass: Callable) -> None:
    outcome = pmupass("policy", "--cpu", "skylake-sp", "--set", "guest.gp_counters=2")
    assert row(outcome.out, "RDPMC").split()[:2] == ["RDPMC", "exits"]
    assert "guest has 2 of 4 GP counters" in outcome.out


def test_interception_none_has_a_column(pmupass: Callable) -> None:
    outcome = pmupass("policy", "--set", "kvm.interception=none")
    assert row(outcome.out, "IA32_PERFEVTSELn").split()[2:5] == ["exits", "exits", "direct"]


@pytest.mark.parametrize(("mode", "decision"), [("emulated", "exits"), ("native", "direct")])
def test_the_other_modes(pmupass: Callable, mode: str, decision: str) -> None:
    outcome = pmupass("policy", "--mode", mode)
    assert row(outcome.out, "RDPMC").split()[1] == decision


def test_other_msrs_stand_in_a_table_of_their_own(pmupass: Callable) -> None:
    """TSC: reads see the offset, writes change it. Without APICv all of the x2APIC exits."""
    outcome = pmupass("policy")
    assert row(outcome.out, "IA32_TSC ").split()[1:4] == ["0x010", "write", "exits"]
    assert row(outcome.out, "IA32_EFER").split()[2] == "exits"
    assert row(outcome.out, "x2APIC TPR").split()[3] == "direct"
    outcome = pmupass("policy", "--set", "kvm.apicv=0")
    assert row(outcome.out, "x2APIC").split()[:3] == ["x2APIC", "0x800-0x83f", "exits"]
    outcome = pmupass("policy", "--mode", "native")
    assert row(outcome.out, "IA32_EFER").split()[2] == "direct"


def test_a_guests_cpuid_changes_the_table(pmupass: Callable) -> None:
    plain = pmupass("policy", "--cpu", "skylake-sp").out
    narrow = pmupass("policy", "--cpu", "skylake-sp", "--guest-cpuid", "gp_width=40,fixed_width=40")
    assert "guest's GP counters have 40 bits" in narrow.out
    assert "40 bits" not in plain
    by_setting = ("--set", "guest.gp_width=40", "--set", "guest.fixed_width=40")
    assert pmupass("policy", "--cpu", "skylake-sp", *by_setting).out == narrow.out


def test_a_guests_cpuid_that_is_none(pmupass: Callable) -> None:
    for text, words in (
        ("gp_width", "write name=value"),
        ("gp_with=40", "no such name; did you mean gp_width?"),
        ("gp_width=31", "whole numbers from 32 to 64"),
        ("pmu_version=1,fixed_counters=2", "fixed counters came with version 2"),
        ("perfmon_v2=1", "is no AMD CPU"),
    ):
        outcome = pmupass("policy", "--guest-cpuid", text)
        assert (outcome.status, outcome.out) == (2, "")
        assert words in outcome.err
