# SPDX-License-Identifier: Apache-2.0
"""Workers on this computer: processes that live for the whole sweep and get cell after cell.

Each has the next cell while it works on one, so that it need not wait until this process has had
its turn; but not towards the end, where what is left is for whoever is free.

They are spawned, not forked: the parent has threads. A worker that dies (no memory, say) gets a
successor, and its cell another try; a cell that takes its worker with it again and again ends the
sweep. If the parent dies, however that happens, so do the workers.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections import deque
from multiprocessing import connection
from typing import TYPE_CHECKING, Self

from pmupass import spawned
from pmupass.sweep.cell import Job, Order, WorkerError, work

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from multiprocessing.connection import Connection

TRIES = 3
AHEAD = 2  # cells that a worker has: the one it works on, and what follows
TICK_SECONDS = 0.1


def _serve(pipe: Connection, order: Order) -> None:
    """Run cells until there are no more."""
    spawned.begin()
    while True:
        job: Job | None = pipe.recv()
        if job is None:
            return
        try:
            answer: bytes | WorkerError = work(order, job)
        except WorkerError as error:
            answer = error
        pipe.send(answer)


class _Worker:
    """A process and the pipe to it; ``jobs`` are its cells, the first is what it works on."""

    def __init__(self, order: Order) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.jobs: deque[Job] = deque()
        self.process = context.Process(
            target=_serve, args=(theirs, order), name="pmupass-sweep", daemon=True
        )
        with spawned.interrupts_blocked():
            self.process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        """Have it run a cell. That it is dead shows when one asks for the answer."""
        self.jobs.append(job)
        with contextlib.suppress(OSError):
            self.pipe.send(job)

    def answer(self) -> bytes | WorkerError:
        """Return what it answers; EOFError, OSError if it is dead."""
        answer: bytes | WorkerError = self.pipe.recv()
        return answer

    def end(self) -> None:
        """Kill it: it holds nothing that anybody needs."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


class Processes:
    """Workers on this computer, to be used as a context."""

    def __init__(self, order: Order, number: int) -> None:
        self._order = order
        self._number = number
        self._workers: list[_Worker] = []
        self._tries: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()

    def lines(self, jobs: Iterable[Job]) -> Iterator[tuple[int, bytes] | None]:
        """Yield cells and their lines as they come, and None while none does.

        WorkerError for a worker that cannot do its work, or a cell that no worker survives.
        """
        waiting = deque(jobs)
        while len(self._workers) < self._number and waiting:
            self._workers.append(_Worker(self._order))
            self._workers[-1].give(waiting.popleft())
        while busy := [worker for worker in self._workers if worker.jobs]:
            ready = connection.wait([worker.pipe for worker in busy], TICK_SECONDS)
            for worker in busy:
                if worker.pipe not in ready:
                    continue
                done = self._done(worker)
                if done is None:
                    waiting.extendleft(reversed(self._lost(worker)))
                    worker = self._replace(worker)  # noqa: PLW2901
                self._supply(worker, waiting)
                if done is not None:
                    yield done
            if not ready:
                yield None

    def _supply(self, worker: _Worker, waiting: deque[Job]) -> None:
        while waiting and len(worker.jobs) < (AHEAD if len(waiting) > 2 * self._number else 1):
            worker.give(waiting.popleft())

    def _done(self, worker: _Worker) -> tuple[int, bytes] | None:
        """Return the line that a worker made of its cell, None if it died."""
        try:
            answer = worker.answer()
        except (EOFError, OSError):
            return None
        if isinstance(answer, WorkerError):
            raise answer
        return worker.jobs.popleft().cell, answer

    def _lost(self, worker: _Worker) -> deque[Job]:
        """Return the cells of a worker that died; WorkerError if the first did that too often."""
        worker.process.join()
        job = worker.jobs[0]
        tries = self._tries[job.cell] = self._tries.get(job.cell, 0) + 1
        if tries < TRIES:
            return worker.jobs
        status = worker.process.exitcode or 0
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        raise WorkerError(
            f"{job}\nits worker died {tries} times, the last time by {how}; SIGKILL may mean that "
            "memory ran out: --workers with a smaller number needs less"
        )

    def _replace(self, worker: _Worker) -> _Worker:
        successor = _Worker(self._order)
        self._workers[self._workers.index(worker)] = successor
        worker.end()
        return successor
