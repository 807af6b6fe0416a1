# SPDX-License-Identifier: Apache-2.0
"""Runs of cases with other costs, each made once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmupass.bench.conclusions import Case, Outcome, outcome
from pmupass.machine import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pmupass.bench.workers import Workers


@dataclass(frozen=True, slots=True)
class Factor:
    """Something uncertain: a setting, its value and the range it may be found in."""

    key: str
    low: int
    value: int
    high: int

    @property
    def ends(self) -> tuple[int, ...]:
        """Return the ends of the range that are not the value itself."""
        return tuple(end for end in (self.low, self.high) if end != self.value)


Key = tuple[Case, tuple[tuple[str, int], ...]]  # settings that are not as they are, sorted


def run(key: Key) -> Outcome:
    """Make a run. InterruptedRunError if it does not come to its end."""
    case, values = key
    settings = tuple(f"{name}={value}" for name, value in values)
    return outcome(Session(case.options(settings)).whole(case.mode))


class Runs:
    """Outcomes of runs. ``moving`` has the factors that can change a case, once they are known."""

    def __init__(self, workers: Workers) -> None:
        self.made: dict[Key, Outcome] = {}
        self.moving: dict[Case, tuple[Factor, ...]] = {}
        self._workers = workers

    def outcome(self, case: Case, values: Mapping[Factor, int]) -> Outcome:
        """Return a run's outcome."""
        key = self._key(case, values)
        if key not in self.made:
            self.made[key] = self._workers.here(run, key)
        return self.made[key]

    def prepare(self, wanted: Iterable[tuple[Case, Mapping[Factor, int]]]) -> None:
        """Make runs side by side. InterruptedRunError if the watch says so."""
        keys = dict.fromkeys(self._key(case, values) for case, values in wanted)
        missing = [key for key in keys if key not in self.made]
        self.made.update(self._workers.each(run, missing, before=len(self.made)))

    def _key(self, case: Case, values: Mapping[Factor, int]) -> Key:
        """Return what tells runs apart; one cost that a case is not charged makes no other run."""
        changed = {f: value for f, value in values.items() if value != f.value}
        moving = self.moving.get(case)
        if moving is not None and len(changed) == 1 and not changed.keys() & set(moving):
            changed = {}
        return case, tuple(sorted((f.key, value) for f, value in changed.items()))
