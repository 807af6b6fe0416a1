# SPDX-License-Identifier: Apache-2.0
"""Work for all cores: runs side by side, with results that do not depend on who made them."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
from typing import TYPE_CHECKING, Self, TypeVar

from pmupass import spawned
from pmupass.machine import InterruptedRunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pmupass.machine import Watch

TICK_SECONDS = 0.1

Item = TypeVar("Item")
Made = TypeVar("Made")


class Workers:
    """Processes that work side by side, to be used as a context.

    By default one a core. A single one works here; several are spawned, for the parent has threads.
    """

    def __init__(self, watch: Watch, label: str, number: int | None = None) -> None:
        self._watch, self._label = watch, label
        self._pool: concurrent.futures.Executor | None = None
        number = number or len(os.sched_getaffinity(0))
        if number > 1:
            self._pool = concurrent.futures.ProcessPoolExecutor(
                number, multiprocessing.get_context("spawn"), spawned.begin
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def here(self, work: Callable[[Item], Made], item: Item) -> Made:
        """Do one thing, in this process. InterruptedRunError if the watch says so."""
        self._go_on(1.0)
        return work(item)

    def each(
        self, work: Callable[[Item], Made], items: Sequence[Item], *, before: int = 0
    ) -> Iterator[tuple[Item, Made]]:
        """Do the same with each item and yield what came of it, as it comes.

        ``before``: how many the watch has been told of already. InterruptedRunError if it says so.
        """
        total = before + len(items)
        if self._pool is None:
            for i, item in enumerate(items):
                self._go_on((before + i) / total)
                yield item, work(item)
            return
        with spawned.interrupts_blocked():
            futures = {self._pool.submit(work, item): item for item in items}
        waiting = set(futures)
        while waiting:
            done, waiting = concurrent.futures.wait(
                waiting, TICK_SECONDS, concurrent.futures.FIRST_COMPLETED
            )
            for future in done:
                yield futures[future], future.result()
            self._go_on(1 - len(waiting) / total)

    def _go_on(self, fraction: float) -> None:
        if not self._watch(self._label, fraction):
            raise InterruptedRunError
