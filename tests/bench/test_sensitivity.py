# SPDX-License-Identifier: Apache-2.0
"""``pmupass bench sensitivity``: what each cost does to a conclusion, derived where it can be."""

from __future__ import annotations

import dataclasses

import pytest
from msgspec import UNSET

from pmupass import costs
from pmupass.bench import runs, sensitivity
from pmupass.bench.conclusions import CONCLUSIONS, Case, Conclusion, Outcome
from pmupass.bench.runs import Factor, Runs
from pmupass.bench.sensitivity import GUEST_WORK, cost_factors, study
from pmupass.bench.workers import Workers
from pmupass.machine import InterruptedRunError

TIME_NS = 1_000_000
EMULATED = Case("exit-storm", "emulated", time_ns=TIME_NS)
MEDIATED = Case("exit-storm", "mediated", time_ns=TIME_NS)


def go_on(_label: str, _fraction: float | None) -> bool:
    return True


def exit_below(bound: float) -> Conclusion:
    return Conclusion(
        "exit",
        "an exit takes fewer cycles",
        "cycles",
        (EMULATED,),
        lambda a: a.cpuid_cycles,
        "below",
        bound,
    )


RATIO = Conclusion(
    "ratio",
    "a mediated exit costs more",
    "cycles, mediated by emulated",
    (MEDIATED, EMULATED),
    lambda a, b: a.cpuid_cycles / b.cpuid_cycles,
    "above",
    1.0,
)


def cycles(case: Case) -> float:
    with Workers(go_on, "test", 1) as hands:
        made = Runs(hands)
        return made.outcome(case, {}).cpuid_cycles


def test_every_cost_with_a_range_is_a_factor() -> None:
    """All entries but the one that is a definition, each by a key that names it alone."""
    table = costs.load()
    factors = cost_factors()
    assert factors.keys() == {c.function for c in table.values() if c.range is not None}
    for function, f in factors.items():
        assert table[f.key.removeprefix("cost.")].function == function
        assert f.low <= f.value <= f.high
        assert f.low < f.high


def test_swings_are_what_an_exit_is_made_of() -> None:
    """An exit of either VM has one vmx_vmexit().

    A load writes 8 selectors, FIXED_CTR_CTRL and GLOBAL_CTRL, a put of an idle PMU nothing, and
    both read 8 GP and 3 fixed counters.
    """
    emulated, mediated = cycles(EMULATED), cycles(MEDIATED)
    table = costs.load()
    found = study(go_on, conclusions=(RATIO,), draws=1).conclusions[0]
    assert found.value == pytest.approx(mediated / emulated, abs=1e-6)
    swings = {s.key: s for s in found.swings}
    for name, in_mediated, in_emulated in (("vmexit", 1, 1), ("wrmsr", 10, 0), ("rdpmc", 22, 0)):
        cost = table[name]
        assert cost.range is not None
        s = swings[f"cost.{name}"]
        assert (s.low, s.value, s.high) == (cost.range[0], cost.cycles, cost.range[1])
        for end, at in ((s.low, s.at_low), (s.high, s.at_high)):
            more = end - cost.cycles
            expected = (mediated + in_mediated * more) / (emulated + in_emulated * more)
            assert at == pytest.approx(expected, rel=1e-3), name
    # Nothing creates an event here: not varied alone, and no bar in a plot.
    assert "cost.perf_create" not in swings
    assert [s.width for s in found.swings] == sorted((s.width for s in found.swings), reverse=True)
    # The worst corner has dear exits and cheap registers, so it is below all single costs.
    assert found.worst < min(s.at_low for s in found.swings)
    assert found.worst < found.drawn.min <= found.drawn.max < found.best
    assert found.verdict == "holds"
    assert found.way is UNSET


def test_a_flip_is_found_to_the_cycle() -> None:
    """An exit has one vmx_vmexit(): with the bound half a cycle above 40 more, 41 more flip it."""
    now = cycles(EMULATED)
    whole = round(now)
    assert now == pytest.approx(whole, abs=0.01), "all exits of this guest are alike"
    report = study(go_on, conclusions=(exit_below(whole + 40.5),), draws=1).conclusions[0]
    flips = {s.key: s.flips_at for s in report.swings if s.flips_at is not UNSET}
    table = costs.load()
    assert flips["cost.vmexit"] == table["vmexit"].cycles + 41
    assert flips["cost.vmentry"] == table["vmentry"].cycles + 41
    # Those whose range does not reach 41 more flip nothing.
    for s in report.swings:
        assert (s.flips_at is not UNSET) == (s.high - s.value >= 41 and s.at_high != report.value)
    assert report.verdict == "flips"


def test_together_costs_end_what_none_ends_alone() -> None:
    """Between the largest single step and the sum of all: a share of the way to the corner."""
    whole = round(cycles(EMULATED))
    table = costs.load()
    step = max(table[name].range[1] - table[name].cycles for name in ("vmexit", "vmentry"))
    report = study(go_on, conclusions=(exit_below(whole + step + 50),), draws=4).conclusions[0]
    assert report.verdict == "together"
    assert 0 < report.way < 1
    assert report.in_words.startswith("till ")
    assert report.worst == report.all_high, "an exit only grows with costs"
    assert report.best == report.all_low
    no = study(go_on, conclusions=(exit_below(whole - 1),), draws=1).conclusions[0]
    assert no.verdict == "no"
    assert no.way is UNSET
    assert all(s.flips_at is UNSET for s in no.swings), "it cannot flip what does not hold"


def test_a_cost_that_is_not_charged_changes_nothing() -> None:
    """What study() takes for granted of costs that a run is not charged, one by one."""
    with Workers(go_on, "test", 1) as hands:
        made = Runs(hands)
        before = made.outcome(EMULATED, {})
        rest = [f for name, f in cost_factors().items() if name not in before.charged]
        assert len(rest) > 50
        for f in rest[::6]:
            for end in f.ends:
                assert made.outcome(EMULATED, {f: end}) == before, f.key
        assert len(made.made) > 10


def test_a_cost_of_a_run_that_serves_the_result_is_varied(monkeypatch: pytest.MonkeyPatch) -> None:
    """perf_read is charged to the unprofiled run alone: the result's costs do not have it."""

    def run(key: runs.Key) -> Outcome:
        values = dict(key[1])
        overhead = 0.5 - values.get("cost.perf_read", 500) / 10_000
        return Outcome(overhead, 0.0, 0, 100, {}, frozenset({"vmx_vmexit"}))

    monkeypatch.setattr(runs, "run", run)
    conclusion = Conclusion("c", "t", "f", (EMULATED,), lambda a: a.overhead, "below", 1)
    report = study(go_on, conclusions=(conclusion,), draws=1).conclusions[0]
    assert report.swings[0].key == "cost.perf_read"
    assert report.swings[0].at_low == pytest.approx(0.5 - 350 / 10_000)
    assert len(report.swings) == len(cost_factors()) + 1


def test_a_cpu_has_costs_of_its_own() -> None:
    """What zen4.toml says of a cost is varied around that, and not around what all others have."""
    common, own = cost_factors(), cost_factors("zen4")
    assert common.keys() == own.keys()
    assert common != own
    conclusion = dataclasses.replace(
        RATIO, cases=tuple(dataclasses.replace(case, cpu="zen4") for case in RATIO.cases)
    )
    found = study(go_on, conclusions=(conclusion,), draws=1).conclusions[0]
    swings = {s.key: (s.low, s.value, s.high) for s in found.swings}
    of_zen4 = {f.key: (f.low, f.value, f.high) for f in own.values()}
    assert all(swings[key] == of_zen4[key] for key in swings if key in of_zen4)


def test_draws_are_in_their_ranges_and_by_their_seed() -> None:
    factors = (*cost_factors().values(), GUEST_WORK)
    draws = sensitivity._draws(factors, 20)
    assert draws == sensitivity._draws(factors, 20)
    assert all(f.low <= draw[f] <= f.high for draw in draws for f in factors)
    # On a logarithmic scale half of them are below the geometric mean, sqrt(50 x 200) = 100.
    below = sum(draw[f] < (f.low * f.high) ** 0.5 for draw in draws for f in factors)
    assert 0.45 < below / (20 * len(factors)) < 0.55


def test_workers_make_no_difference() -> None:
    alone, two = (study(go_on, conclusions=(RATIO,), draws=2, workers=n) for n in (1, 2))
    assert alone == two


@pytest.mark.parametrize("workers", [1, 2])
def test_it_can_be_stopped(workers: int) -> None:
    asked = 0

    def watch(_label: str, fraction: float | None) -> bool:
        nonlocal asked
        asked += 1
        assert fraction is not None
        assert 0 <= fraction <= 1
        return asked < 3

    with pytest.raises(InterruptedRunError):
        study(watch, conclusions=(RATIO,), draws=2, workers=workers)


def test_all_conclusions_hold_with_the_tables_costs() -> None:
    """They are what the documents say; a change of the model that ends one has to change them."""
    assert len({c.name for c in CONCLUSIONS}) == len(CONCLUSIONS)
    assert all(len({case.cpu for case in c.cases}) == 1 for c in CONCLUSIONS), "one cost table"
    with Workers(go_on, "test", 1) as hands:
        made = Runs(hands)
        for c in CONCLUSIONS:
            value = c.value(*(made.outcome(case, {}) for case in c.cases))
            assert c.holds(value), f"{c.name}: {value} is not {c.relation} {c.bound}"


def test_the_break_even_is_that_of_the_exits_suite() -> None:
    """Emulated 1,000 and 4,000 cycles an exit, idle and busy, 0.5 added; mediated 16,000 and 0.25.

    10,000 exits of 15,000 cycles more while idle, of 12,000 more while busy, 0.25 of the time less.
    """
    from pmupass import cpus

    c = next(c for c in CONCLUSIONS if c.name == "break-even")
    common = Outcome(0.0, 0.0, 0, 1, {}, frozenset())
    at = [
        dataclasses.replace(common, overhead=overhead, cpuid_cycles=cycles)
        for overhead, cycles in (
            (0, 1000),
            (0, 4000),
            (1 / 3, 0),
            (0, 16_000),
            (0, 16_000),
            (0.2, 0),
        )
    ]
    second = 10_000 / (cpus.load("sapphire-rapids").core_khz * 1000)
    dearer, saved = 15_000 * second, 0.25 - 12_000 * second
    assert c.value(*at) == pytest.approx(dearer / (dearer + saved))
    assert c.value(*at[:5], at[2]) == float("inf"), "a design that saves nothing never pays"


def test_ends_that_are_the_value_itself_are_no_change() -> None:
    assert Factor("cost.x", 26, 26, 57).ends == (57,)
