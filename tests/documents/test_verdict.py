# SPDX-License-Identifier: Apache-2.0
"""The verdict is computed: other numbers, another sentence."""

from collections.abc import Callable

import msgspec
import pytest

from pmupass import results, verdict

Make = Callable[..., results.Result]


def with_intercepted(make: Make, *kinds: str) -> results.Result:
    """Return a mediated result in which accesses of these kinds exit."""
    by_kind = [
        results.AccessKind(k, 0, 50, 1) if k in kinds else results.AccessKind(k, 50, 0, 1)
        for k in ("rdpmc", "wrmsr-global-ctrl", "wrmsr-counter", "wrmsr-evntsel")
    ]
    return make("mediated", accesses=results.Accesses(0, 0, by_kind))


def test_it_names_what_stays_intercepted_and_why(make: Make) -> None:
    mediated = with_intercepted(make, "rdpmc", "wrmsr-global-ctrl", "wrmsr-evntsel")
    modes = {"emulated": make("emulated"), "mediated": mediated}
    text = verdict.of_diff(modes, {})
    assert text.startswith(
        "Mediated takes 2.29 times fewer VM-exits than emulated (85 against 195)"
    )
    assert "because RDPMC and GLOBAL_* stay intercepted (3 of 4 fixed counters exposed)" in text
    assert "33.00% emulated, 6.00% mediated" in text
    assert text.endswith("no mode loses a count.")


def test_it_names_what_became_direct(make: Make) -> None:
    text = verdict.of_diff({"emulated": make("emulated"), "mediated": make("mediated")}, {})
    assert "because RDPMC and GLOBAL_* are direct and only selectors still exit" in text
    assert "stay intercepted" not in text


def test_it_names_the_worst_loss_and_who_is_exact(
    make: Make, make_counter: Callable[..., results.Counter]
) -> None:
    lossy = make("emulated", counters=[make_counter("cycles", 1000, 750, contention=250)])
    text = verdict.of_diff({"native": make("native"), "emulated": lossy}, {})
    assert "emulated miscounts cycles: 250 of 1,000 lost (25.00%), contention" in text
    assert "native is exact" in text


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("refused", "refused: host perf would not create KVM's event, and nobody told the guest"),
        ("late_reprogram", "late-reprogram: the counter's event ran on, or not yet, until KVM"),
        ("counter_write", "counter-write: the counter began where the guest did not write it"),
    ],
)
def test_it_says_what_the_name_of_a_cause_does_not(
    make: Make, make_counter: Callable[..., results.Counter], cause: str, words: str
) -> None:
    lossy = make("emulated", counters=[make_counter("cycles", 1000, 750, **{cause: 250})])
    assert f"lost (25.00%), {words}" in verdict.of_diff({"emulated": lossy}, {})
    assert f"lost (25.00%), {words}" in verdict.of_run(lossy)


@pytest.mark.parametrize(("emulated", "late"), [(52, False), (103, False), (104, True)])
def test_it_says_when_pmis_are_far_behind(make: Make, emulated: int, late: bool) -> None:
    def of(mode: str, p50: int) -> results.Result:
        pmi = make(mode).pmi
        spread = msgspec.structs.replace(pmi.latency_instructions, p50=p50)
        return make(mode, pmi=msgspec.structs.replace(pmi, latency_instructions=spread))

    text = verdict.of_diff({"emulated": of("emulated", emulated), "native": of("native", 52)}, {})
    words = (
        "PMIs come so many guest instructions behind the overflow (p50): 104 emulated, 52 native"
    )
    assert (words in text) is late


def test_it_says_when_mediated_exits_more(make: Make) -> None:
    many = make("mediated", exits=[results.Exit("CPUID", 390, 0, 1)])
    text = verdict.of_diff({"emulated": make("emulated"), "mediated": many}, {})
    assert "2.00 times as many VM-exits as emulated (390 against 195)" in text


def exits(make: Make, emulated: int, mediated: int) -> str:
    """Return the verdict on so many VM-exits."""
    counts = {"emulated": emulated, "mediated": mediated}
    runs = {mode: make(mode, exits=[results.Exit("CPUID", n, 0, 1)]) for mode, n in counts.items()}
    return verdict.of_diff(runs, {}).partition(";")[0]


def test_nearly_equal_exits_are_about_as_many_without_a_reason(make: Make) -> None:
    """It said "1.00 times fewer … because"."""
    expected = "Mediated takes about as many VM-exits as emulated (2,557 against 2,553)"
    assert exits(make, 2553, 2557) == expected
    assert exits(make, 1020, 1000).endswith(
        "about as many VM-exits as emulated (1,000 against 1,020)"
    )
    assert exits(make, 700, 700) == "Mediated takes as many VM-exits as emulated (700)"
    assert "1.02 times fewer VM-exits" in exits(make, 1021, 1000)
    assert "because" in exits(make, 1021, 1000)
    assert "1.02 times as many" in exits(make, 1000, 1021)


def test_large_ratios_have_no_decimals(make: Make) -> None:
    assert "takes 285 times fewer" in exits(make, 57_000, 200)
    assert "takes 10.00 times fewer" in exits(make, 1000, 100)
    assert "takes 1,234 times as many" in exits(make, 1, 1234)


def test_refusals_are_said(make: Make) -> None:
    text = verdict.of_diff({"emulated": make("emulated")}, {"mediated": "-EBUSY"})
    assert "mediated was refused" in text
    partial = make("native", complete=False)
    assert verdict.of_diff({"native": partial}, {}).startswith("Interrupted, so far: ")


def test_no_mode_ran_is_one_sentence(make: Make) -> None:
    """The reasons, of several lines, stand above it already."""
    refusal = "-EBUSY\nExclude guests"
    assert verdict.of_diff({}, {"mediated": refusal}) == "No mode ran: mediated was refused."
    both = {"emulated": refusal, "mediated": refusal}
    assert verdict.of_diff({}, both) == "No mode ran: emulated and mediated were refused."
    assert "; emulated and mediated were refused." in verdict.of_diff(
        {"native": make("native")}, both
    )


def test_of_one_run(make: Make, make_counter: Callable[..., results.Counter]) -> None:
    assert verdict.of_run(make()).startswith("All 2 events counted exactly; profiling took 6.00%")
    lossy = make("emulated", counters=[make_counter("cycles", 10, 8, refused=2)])
    assert verdict.of_run(lossy).startswith(
        "The event counted wrong, cycles: 2 of 10 lost (20.00%), refused"
    )
    denied = make(counters=[make_counter("cycles", 10, 0, filtered=10)])
    assert "No event was allowed to count; the event filter denied cycles" in verdict.of_run(denied)
    assert verdict.of_run(make(counters=[])).startswith("The guest counted nothing")
    assert verdict.of_run(make(complete=False)).startswith("Interrupted, so far: ")


def test_a_diff_without_anything_to_say(make: Make) -> None:
    """It was a lone full stop."""
    quiet = make("native", counters=[], overhead=None)
    assert verdict.of_diff({"native": quiet}, {}) == "The guest counted nothing."


def test_events_that_the_filter_denied_are_mentioned(
    make: Make, make_counter: Callable[..., results.Counter]
) -> None:
    """Two of five counted; it said "All 2 events counted exactly"."""
    right = [make_counter(name, 10, 10) for name in ("cycles", "loads")]
    denied = [make_counter(name, 10, 0, filtered=10) for name in ("branches", "slots", "stores")]
    text = verdict.of_run(make(counters=right + denied))
    assert text.startswith(
        "2 of 5 events counted exactly; the event filter denied branches, slots and stores; "
    )
    wrong = [make_counter("cycles", 10, 9, refused=1), make_counter("loads", 10, 5, refused=5)]
    text = verdict.of_run(make("emulated", counters=wrong + denied[:1]))
    assert text.startswith("2 of 3 events counted wrong, worst loads: 5 of 10 lost (50.00%), ref")
    assert "; the event filter denied branches;" in text
    text = verdict.of_run(make("emulated", counters=wrong[:1] + right[1:]))
    assert text.startswith("1 of 2 events counted wrong, cycles: 1 of 10 lost")
    modes = {mode: make(mode, counters=right + denied[:1]) for mode in ("emulated", "mediated")}
    assert verdict.of_diff(modes, {}).endswith("the event filter denied branches.")


def test_counts_that_are_too_high(make: Make, make_counter: Callable[..., results.Counter]) -> None:
    high = make("emulated", counters=[make_counter("cycles", 100, 105, period_rounding=-5)])
    assert "cycles: 5 more than the true 100 (5.00%), period-rounding" in verdict.of_run(high)


def test_a_run_that_broke_off_was_not_interrupted(make: Make) -> None:
    import msgspec

    guest = msgspec.structs.replace(make().guest, stop="unimplemented")
    broken = make(guest=guest, complete=False)
    assert verdict.of_run(broken).startswith("Stopped, so far: ")
    assert verdict.of_diff({"mediated": broken}, {}).startswith("Stopped, so far: ")
