# SPDX-License-Identifier: Apache-2.0
"""Runs of cases with other costs, on all cores, each made once."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing import connection
from typing import TYPE_CHECKING, Self

from pmupass.bench.conclusions import Case, Outcome, outcome
from pmupass.machine import InterruptedRunError, Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from pmupass.machine import Watch

TICK_SECONDS = 0.1


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


def _begin() -> None:
    """Leave Ctrl-C to the parent, and end when it does, however that happens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
    os._exit(1)


class Runs:
    """Outcomes of runs, to be used as a context.

    With one worker runs are made here, with more by processes (spawned: the parent has threads).
    ``moving`` has the factors that can change a case, once they are known.
    """

    def __init__(self, watch: Watch, workers: int) -> None:
        self.made: dict[Key, Outcome] = {}
        self.moving: dict[Case, tuple[Factor, ...]] = {}
        self._watch = watch
        self._pool: concurrent.futures.Executor | None = None
        if workers > 1:
            self._pool = concurrent.futures.ProcessPoolExecutor(
                workers, multiprocessing.get_context("spawn"), _begin
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def outcome(self, case: Case, values: Mapping[Factor, int]) -> Outcome:
        """Return a run's outcome."""
        key = self._key(case, values)
        if key not in self.made:
            self._go_on(1)
            self.made[key] = run(key)
        return self.made[key]

    def prepare(self, wanted: Iterable[tuple[Case, Mapping[Factor, int]]]) -> None:
        """Make runs side by side. InterruptedRunError if the watch says so."""
        keys = dict.fromkeys(self._key(case, values) for case, values in wanted)
        missing = [key for key in keys if key not in self.made]
        total = len(self.made) + len(missing)
        if self._pool is None:
            for key in missing:
                self._go_on(total)
                self.made[key] = run(key)
            return
        futures = {self._pool.submit(run, key): key for key in missing}
        waiting = set(futures)
        while waiting:
            done, waiting = concurrent.futures.wait(
                waiting, TICK_SECONDS, concurrent.futures.FIRST_COMPLETED
            )
            for future in done:
                self.made[futures[future]] = future.result()
            self._go_on(total)

    def _go_on(self, total: int) -> None:
        if not self._watch("bench sensitivity", min(len(self.made) / total, 1.0)):
            raise InterruptedRunError

    def _key(self, case: Case, values: Mapping[Factor, int]) -> Key:
        """Return what tells runs apart; one cost that a case is not charged makes no other run."""
        changed = {f: value for f, value in values.items() if value != f.value}
        moving = self.moving.get(case)
        if moving is not None and len(changed) == 1 and not changed.keys() & set(moving):
            changed = {}
        return case, tuple(sorted((f.key, value) for f, value in changed.items()))
