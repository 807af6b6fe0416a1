# SPDX-License-Identifier: Apache-2.0
"""How far conclusions depend on costs that nobody has published.

Every entry of the cost table has a range in which a measurement may find it. The runs of each
conclusion (:mod:`pmupass.bench.conclusions`) are made anew, never priced anew, with

- each cost at either end of its range, the others as they are,
- all at the lower ends, all at the upper ones, and DRAWS times each somewhere in its range,
  independently and evenly on a logarithmic scale, by a fixed seed,
- each at the end that is worse for the conclusion, the worst corner, and at the better one. If the
  worst one is on the wrong side of the bound, a bisection says how far towards it the conclusion
  holds.

A cost that a run is not charged cannot change it. Such costs are not varied one by one but all at
once, and the run has to come out the same.

Counts and times of a run hang together: a host cycle more moves ticks against samples. So figures
scatter a little with any change; NUDGES runs, in which one cost is a cycle more, say how much.
Whether a figure could cross a bound between the corners only is not looked for: costs add up, so it
is taken to be monotone up to the scatter.
"""

from __future__ import annotations

import math
import os
import random
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import UNSET

from pmupass import costs
from pmupass.bench.conclusions import CONCLUSIONS
from pmupass.bench.runs import Factor, Runs
from pmupass.bench.workers import Workers
from pmupass.options import DEFAULT_CPU
from pmupass.results import ConclusionReport, Drawn, Measurement, Sensitivity, Swing, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pmupass.bench.conclusions import Case, Conclusion
    from pmupass.machine import Watch

DRAWS = 32
SEED = 1
NUDGES = 4
STEPS = 6  # of the bisection towards a corner: 1/64 of the way
DIGITS = 6


# What the guest's kernel retires for perf is as uncertain as what the host's does: instructions by
# how many calls and fields a step has, 3.5 cycles each (pmupass list kernel-work).
GUEST_WORK = Factor("guest.perf_work", 50, 100, 200)


def cost_factors(cpu: str = DEFAULT_CPU) -> dict[str, Factor]:
    """Return a CPU's costs that have a range, by function."""
    return {
        cost.function: Factor(f"cost.{cost.id}", cost.range[0], cost.cycles, cost.range[1])
        for cost in costs.load(cpu=cpu).values()
        if cost.range is not None
    }


@dataclass
class Study:
    """One conclusion, the factors that move it, and what its figure becomes."""

    conclusion: Conclusion
    factors: tuple[Factor, ...]
    runs: Runs = field(repr=False)

    def figure(self, values: Mapping[Factor, int]) -> float:
        """Return the figure with some factors at other values."""
        outcomes = [self.runs.outcome(case, values) for case in self.conclusion.cases]
        return round(self.conclusion.value(*outcomes), DIGITS)

    @cached_property
    def value(self) -> float:
        """The figure as the table has it."""
        return self.figure({})

    @cached_property
    def alone(self) -> dict[tuple[Factor, int], float]:
        """The figure with each factor at the ends of its range."""
        return {(f, end): self.figure({f: end}) for f in self.factors for end in f.ends}

    def corner(self, *, worst: bool) -> dict[Factor, int]:
        """Return each factor at the value that is worst, or best, for the conclusion."""
        worse = self.conclusion.worse
        corner = {}
        for f in self.factors:
            chosen, figure = f.value, self.value
            for end in f.ends:
                there = self.alone[f, end]
                if worse(there, figure) if worst else worse(figure, there):
                    chosen, figure = end, there
            corner[f] = chosen
        return corner

    def nudges(self) -> list[dict[Factor, int]]:
        """Return changes that cost next to nothing: a cycle more of what has the most."""
        dearest = sorted(self.factors, key=lambda f: (-f.value, f.key))
        return [{f: f.value + 1} for f in dearest if f is not GUEST_WORK][:NUDGES]

    def flip(self, f: Factor, end: int) -> int:
        """Return the value nearest to the table's at which a factor alone ends the conclusion."""
        good, bad = f.value, end
        while abs(bad - good) > 1:
            middle = (good + bad) // 2
            if self.conclusion.holds(self.figure({f: middle})):
                good = middle
            else:
                bad = middle
        return bad

    def way(self, corner: Mapping[Factor, int]) -> float:
        """Return the share of the way to a corner up to which the conclusion holds."""
        good, step = 0.0, 0.5
        for _ in range(STEPS):
            part = good + step
            values = {f: _between(f.value, end, part) for f, end in corner.items()}
            if self.conclusion.holds(self.figure(values)):
                good = part
            step /= 2
        return good


def _between(value: int, end: int, part: float) -> int:
    """Return a value part of the way, on a logarithmic scale."""
    if not value or not end:
        return round(value + (end - value) * part)
    return round(value * math.pow(end / value, part))


def _moving(runs: Runs, case: Case, known: Mapping[str, Factor]) -> tuple[Factor, ...]:
    """Return the factors that can change a case.

    These are what it is charged, and the guest's own work. The rest has to leave the run as it is;
    if it does not, a run that serves it (the unprofiled one, the one without a vPMU) is charged.
    """
    rest = _rest(runs, case, known)
    if runs.outcome(case, _at_high(rest)) != runs.outcome(case, {}):
        rest = []
    return (*(f for f in known.values() if f not in rest), GUEST_WORK)


def _rest(runs: Runs, case: Case, known: Mapping[str, Factor]) -> list[Factor]:
    charged = runs.outcome(case, {}).charged
    return [f for function, f in known.items() if function not in charged]


def _at_high(factors: Iterable[Factor]) -> dict[Factor, int]:
    return {f: f.high for f in factors}


def _draws(factors: Sequence[Factor], draws: int) -> list[dict[Factor, int]]:
    """Return independent values of all factors, evenly on a logarithmic scale."""
    drawn = random.Random(SEED)  # noqa: S311 - no secret
    return [{f: _between(f.low, f.high, drawn.random()) for f in factors} for _ in range(draws)]


@dataclass(frozen=True, slots=True)
class Joint:
    """Values of all factors of a CPU at once."""

    lows: dict[Factor, int]
    highs: dict[Factor, int]
    drawn: list[dict[Factor, int]]

    @classmethod
    def of(cls, known: Mapping[str, Factor], draws: int) -> Joint:
        """Return the ends of all ranges, and so many draws."""
        factors = (*known.values(), GUEST_WORK)
        return cls({f: f.low for f in factors}, _at_high(factors), _draws(factors, draws))

    @property
    def all(self) -> tuple[dict[Factor, int], ...]:
        """All of them."""
        return (self.lows, self.highs, *self.drawn)


def study(
    watch: Watch,
    *,
    conclusions: Sequence[Conclusion] = CONCLUSIONS,
    draws: int = DRAWS,
    workers: int = 1,
) -> Sensitivity:
    """Return how each conclusion fares. InterruptedRunError if the watch says so."""
    with Workers(watch, "bench sensitivity", workers) as hands:
        runs = Runs(hands)
        cases = list(dict.fromkeys(case for c in conclusions for case in c.cases))
        known = {case.cpu: cost_factors(case.cpu) for case in cases}
        joint = {cpu: Joint.of(factors, draws) for cpu, factors in known.items()}
        runs.prepare((case, {}) for case in cases)
        runs.prepare((case, _at_high(_rest(runs, case, known[case.cpu]))) for case in cases)
        runs.moving = {case: _moving(runs, case, known[case.cpu]) for case in cases}
        runs.prepare(
            (case, values)
            for case in cases
            for values in (
                *({f: end} for f in runs.moving[case] for end in f.ends),
                *joint[case.cpu].all,
            )
        )
        studies = [
            Study(c, tuple(dict.fromkeys(f for case in c.cases for f in runs.moving[case])), runs)
            for c in conclusions
        ]
        runs.prepare(
            (case, values)
            for s in studies
            for values in (*s.nudges(), s.corner(worst=True), s.corner(worst=False))
            for case in s.conclusion.cases
        )
        reports = [_report(s, joint[s.conclusion.cases[0].cpu]) for s in studies]
        number = len({f.key for factors in known.values() for f in factors.values()})
        return Sensitivity(
            costs=number, draws=draws, seed=SEED, runs=len(runs.made), conclusions=reports
        )


def _report(s: Study, joint: Joint) -> ConclusionReport:
    c = s.conclusion
    worst_corner = s.corner(worst=True)
    worst, all_low, all_high = map(s.figure, (worst_corner, joint.lows, joint.highs))
    figures = [s.figure(values) for values in joint.drawn]
    failed = sum(not c.holds(figure) for figure in figures)
    together = all(map(c.holds, (worst, all_low, all_high))) and not failed
    verdict: Verdict = "holds"
    if not c.holds(s.value):
        verdict = "no"
    elif not all(map(c.holds, s.alone.values())):
        verdict = "flips"
    elif not together:
        verdict = "together"
    return ConclusionReport(
        name=c.name,
        text=c.text,
        figure=c.figure,
        unit=c.unit,
        relation=c.relation,
        bound=round(c.bound, DIGITS),
        value=s.value,
        verdict=verdict,
        scatter=round(max(abs(s.figure(n) - s.value) for n in s.nudges()), DIGITS),
        all_low=all_low,
        all_high=all_high,
        drawn=Drawn(min=min(figures), max=max(figures), failed=failed),
        best=s.figure(s.corner(worst=False)),
        worst=worst,
        way=s.way(worst_corner) if verdict == "together" and not c.holds(worst) else UNSET,
        swings=sorted(
            (_swing(s, f) for f in s.factors), key=lambda swing: (-swing.width, swing.key)
        ),
    )


def _swing(s: Study, f: Factor) -> Swing:
    at = {end: s.alone.get((f, end), s.value) for end in (f.low, f.high)}
    bad = [end for end, figure in at.items() if not s.conclusion.holds(figure)]
    return Swing(
        key=f.key,
        low=f.low,
        value=f.value,
        high=f.high,
        at_low=at[f.low],
        at_high=at[f.high],
        flips_at=s.flip(f, bad[0]) if bad and s.conclusion.holds(s.value) else UNSET,
    )


def measure(watch: Watch) -> Iterator[Measurement | Sensitivity]:
    """Yield the figures of all conclusions, and then how they fare."""
    workers = len(os.sched_getaffinity(0))
    found = study(watch, workers=workers)
    for c in found.conclusions:
        value = round(100 * c.value, 2) if c.unit == "%" else round(c.value, 3)
        yield Measurement(f"{c.name}: {c.figure}", "conclusions", value, c.unit)
    yield found
