# SPDX-License-Identifier: Apache-2.0
"""The verdict is computed: other numbers, another sentence."""

from collections.abc import Callable

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


def test_it_says_when_mediated_exits_more(make: Make) -> None:
    many = make("mediated", exits=[results.Exit("CPUID", 390, 0, 1)])
    text = verdict.of_diff({"emulated": make("emulated"), "mediated": many}, {})
    assert "2.00 times as many VM-exits as emulated (390 against 195)" in text


def test_refusals_are_said(make: Make) -> None:
    text = verdict.of_diff({"emulated": make("emulated")}, {"mediated": "-EBUSY"})
    assert "mediated was refused" in text
    partial = make("native", complete=False)
    assert verdict.of_diff({"native": partial}, {}).startswith("Interrupted, so far: ")
    assert "-EBUSY" in verdict.of_diff({}, {"mediated": "-EBUSY"})


def test_of_one_run(make: Make, make_counter: Callable[..., results.Counter]) -> None:
    assert verdict.of_run(make()).startswith("All 2 events counted exactly; profiling took 6.00%")
    lossy = make("emulated", counters=[make_counter("cycles", 10, 8, refused=2)])
    assert "worst cycles: 2 of 10 lost (20.00%), refused" in verdict.of_run(lossy)
    denied = make(counters=[make_counter("cycles", 10, 0, filtered=10)])
    assert "No event was allowed to count; the event filter denied cycles" in verdict.of_run(denied)
    assert verdict.of_run(make(counters=[])).startswith("The guest counted nothing")
    assert verdict.of_run(make(complete=False)).startswith("Interrupted, so far: ")
