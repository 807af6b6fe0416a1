# SPDX-License-Identifier: Apache-2.0
"""Differences have the right class, and are expected where the design is known to lose."""

from collections.abc import Callable

import msgspec
import pytest

from pmupass import diff, results

Make = Callable[..., results.Result]


def found(document: results.Diff) -> dict[str, results.Difference]:
    """Return the differences by what they are about."""
    return {d.what: d for d in document.differences}


def test_costs_differ_as_expected(make: Make) -> None:
    document = diff.compare("perf-record", {m: make(m) for m in ("emulated", "mediated")})
    exits = found(document)["VM-exits, those of the work profile left out"]
    assert exits.kind == "cost"
    assert exits.expected
    assert exits.values == {"emulated": 195, "mediated": 85}


def test_equal_modes_have_no_architectural_difference(make: Make) -> None:
    document = diff.compare("perf-record", {m: make(m) for m in ("native", "mediated")})
    assert not [d for d in document.differences if d.kind == "architectural"]


def test_a_different_exit_value_is_unexpected(make: Make) -> None:
    guest = msgspec.structs.replace(make().guest, exit_value=1)
    document = diff.compare("x", {"native": make("native"), "mediated": make(guest=guest)})
    difference = found(document)["exit value"]
    assert difference.kind == "architectural"
    assert not difference.expected


def test_contention_is_expected_of_the_emulated_design_only(
    make: Make, make_counter: Callable[..., results.Counter]
) -> None:
    lost = [make_counter("cycles", 100, 40, contention=60)]
    for mode, expected in (("emulated", True), ("mediated", False)):
        document = diff.compare("x", {"native": make("native"), mode: make(mode, counters=lost)})
        difference = found(document)["cycles: counts lost"]
        assert difference.kind == "accuracy"
        assert difference.values == {"native": 0, mode: 60}
        assert difference.expected is expected


@pytest.mark.parametrize(
    ("settings", "cause", "mode", "expected"),
    [
        ({"host.fault_late_reprogram": 1}, "late_reprogram", "emulated", True),
        ({"host.fault_late_reprogram": 0}, "late_reprogram", "emulated", False),
        ({}, "late_reprogram", "emulated", False),
        ({"kvm.fault_counter_write": "31-bit"}, "counter_write", "emulated", True),
        ({"kvm.fault_counter_write": "none"}, "counter_write", "emulated", False),
        # The other fault was asked for; and no fault reaches the bare machine.
        ({"host.fault_late_reprogram": 1}, "counter_write", "emulated", False),
        ({"kvm.fault_counter_write": "31-bit"}, "counter_write", "native", False),
        ({}, "throttled", "emulated", True),
        ({}, "throttled", "mediated", False),
    ],
)
def test_a_fault_that_was_asked_for_is_expected(
    make: Make,
    make_counter: Callable[..., results.Counter],
    settings: dict[str, results.Value],
    cause: str,
    mode: str,
    expected: bool,
) -> None:
    lost = [make_counter("cycles", 100, 140, **{cause: -40})]
    error = results.SilentError("cycles", 1, 2, -40, cause.replace("_", "-"))
    faulty = make(mode, counters=lost, silent_errors=[error], settings=settings)
    document = diff.compare("x", {"other": make("native"), mode: faulty})
    assert found(document)["cycles: counts lost"].expected is expected
    assert found(document)["silent errors"].expected is expected


def test_what_the_filter_denies_is_expected_everywhere(
    make: Make, make_counter: Callable[..., results.Counter]
) -> None:
    denied = [make_counter("cycles", 100, 0, filtered=100)]
    document = diff.compare("x", {"native": make("native"), "mediated": make(counters=denied)})
    assert found(document)["cycles: counts lost"].expected


@pytest.mark.parametrize(
    ("cpu", "settings", "event", "lost", "expected"),
    [
        # SRF7 is in the CPU model: it adds to instructions, so the loss is negative, and no cycles.
        ("sierra-forest", {}, "instructions", -8, True),
        ("sierra-forest", {}, "instructions", 8, False),
        ("sierra-forest", {}, "cycles", -8, False),
        # With both of its amounts 0 nothing explains the loss; with one set, any CPU has it.
        (
            "sierra-forest",
            {"cpu.overcount_exit_instructions": "0", "cpu.overcount_entry_instructions": "0"},
            "instructions",
            -8,
            False,
        ),
        ("skylake-sp", {}, "instructions", -8, False),
        ("skylake-sp", {"cpu.overcount_exit_instructions": "2"}, "instructions", -8, True),
        ("skylake-sp", {"cpu.overcount_exit_branches": "2"}, "instructions", -8, False),
    ],
)
def test_an_erratum_is_expected_where_the_cpu_model_has_it(
    make: Make,
    make_counter: Callable[..., results.Counter],
    cpu: str,
    settings: dict[str, results.Value],
    event: str,
    lost: int,
    expected: bool,
) -> None:
    changes = {
        "cpu": cpu,
        "settings": settings,
        "counters": [make_counter(event, 100, 100 - lost, erratum=lost)],
        "silent_errors": [results.SilentError(event, 1, 2, lost, "erratum")],
    }
    clean = make("native", cpu=cpu, settings=settings, counters=[make_counter(event, 100, 100)])
    for mode in ("emulated", "mediated"):
        document = diff.compare("x", {"native": clean, mode: make(mode, **changes)})
        assert found(document)[f"{event}: counts lost"].expected is expected
        assert found(document)["silent errors"].expected is expected
    # There are no VM-exits natively.
    mediated = msgspec.structs.replace(clean, mode="mediated")
    document = diff.compare("x", {"native": make("native", **changes), "mediated": mediated})
    assert not found(document)[f"{event}: counts lost"].expected


def test_host_visibility_leaves_native_out(make: Make) -> None:
    document = diff.compare("x", {m: make(m) for m in ("native", "emulated", "mediated")})
    difference = found(document)["cycles that host perf could not see"]
    assert difference.kind == "host-visibility"
    assert set(difference.values) == {"emulated", "mediated"}


def test_one_mode_has_nothing_to_differ_from(make: Make) -> None:
    document = diff.compare("x", {"native": make("native"), "mediated": results.Refused("no")})
    assert document.differences == []
    assert document.refusals == {"mediated": "no"}


def test_an_interrupted_mode_makes_the_diff_incomplete(make: Make) -> None:
    assert not diff.compare("x", {"native": make("native", complete=False)}).complete


THREE_LINES = "boot\nok 1\nok 2\n"
OTHER_PMU = results.Pmus(results.PmuShape(5, 8, 4), results.PmuShape(5, 8, 4))


def printed(make: Make, mode: str, text: str, **changes: object) -> results.Result:
    return make(mode, guest=msgspec.structs.replace(make().guest, serial=text), **changes)


def test_serial_output_is_shown_from_the_first_line_that_differs(make: Make) -> None:
    """Lines 1 to 3 are equal; mediated has no fourth line, emulated has another one."""
    modes = {
        "emulated": printed(make, "emulated", THREE_LINES + "not ok 3\nok 4\n"),
        "mediated": printed(make, "mediated", THREE_LINES),
    }
    # The same PMU is shown to both, so that nothing excuses a difference.
    modes = {m: msgspec.structs.replace(r, pmu=OTHER_PMU) for m, r in modes.items()}
    difference = found(diff.compare("x", modes))["serial output, line 4"]
    assert difference.kind == "architectural"
    assert difference.values == {"emulated": "not ok 3", "mediated": None}
    assert not difference.expected


def test_a_guest_that_is_shown_another_pmu_may_print_otherwise(make: Make) -> None:
    """The guest sees version 5 natively and version 2 under KVM, in both designs alike."""
    modes = {
        "native": printed(make, "native", "version 5\n", pmu=OTHER_PMU),
        "emulated": printed(make, "emulated", "version 2\n"),
        "mediated": printed(make, "mediated", "version 2\n"),
    }
    assert found(diff.compare("x", modes))["serial output, line 1"].expected
    modes["mediated"] = printed(make, "mediated", "version 3\n")
    assert not found(diff.compare("x", modes))["serial output, line 1"].expected
