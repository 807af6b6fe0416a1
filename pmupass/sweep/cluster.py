# SPDX-License-Identifier: Apache-2.0
"""Workers of a Dask cluster, with the ``dask`` extra: ``--dask ADDRESS`` is its scheduler's.

The cluster's workers need the same build of pmupass and, for cells that name files, these files at
the same place. A cell whose worker dies is given to another one by the scheduler; its line is taken
once. A few cells per thread are under way at a time, so that a long sweep fills no scheduler.
"""

from __future__ import annotations

import queue
import time
import uuid
from typing import TYPE_CHECKING, Any, Self

from pmupass.errors import InputError, UsageError
from pmupass.sweep.cell import Job, Order, WorkerError, work

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from distributed import Client, Future

TICK_SECONDS = 0.1
CONNECT_SECONDS = 10
ASK_SECONDS = 2
PER_THREAD = 3
TRIES = 3


class Cluster:
    """The workers of a cluster, to be used as a context."""

    def __init__(self, order: Order, address: str) -> None:
        try:
            from distributed import Client
            from distributed.comm.addressing import parse_address, parse_host_port
            from distributed.comm.registry import get_backend
        except ImportError:
            raise UsageError(
                "--dask needs the package distributed: pip install 'pmupass[dask]', or from a "
                "checkout pip install '.[dask]'"
            ) from None
        self._order = order
        self._done: queue.SimpleQueue[Future[bytes]] = queue.SimpleQueue()
        self._under_way: dict[Future[bytes], Job] = {}
        self._tries: dict[int, int] = {}
        self._threads, self._asked = 0, 0.0
        # Keys name results on the scheduler: those of another session are others.
        self._session = uuid.uuid4().hex[:8]
        try:
            # A client of an address that means nothing would take half a minute to go away.
            scheme, location = parse_address(address)
            get_backend(scheme)
            if scheme in ("tcp", "tls"):
                parse_host_port(location)
            self._client: Client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            why = str(error) or type(error).__name__
            raise InputError(f"--dask {address}: no scheduler answers there: {why}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._under_way:
            self._client.cancel(list(self._under_way), force=True)
        self._client.close()

    @property
    def threads(self) -> int:
        """How many cells the cluster can run at once, as of a moment ago."""
        if time.monotonic() - self._asked > ASK_SECONDS:
            workers: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
            self._threads = sum(worker["nthreads"] for worker in workers.values())
            self._asked = time.monotonic()
        return self._threads

    def lines(self, jobs: Iterable[Job]) -> Iterator[tuple[int, bytes] | None]:
        """Yield cells and their lines as they come, and None while none does.

        WorkerError for a worker that cannot do its work, or a cell that no worker survives.
        """
        waiting = iter(jobs)
        while True:
            while len(self._under_way) < max(self.threads, 1) * PER_THREAD:
                job = next(waiting, None)
                if job is None:
                    break
                self._submit(job)
            if not self._under_way:
                return
            try:
                future = self._done.get(timeout=TICK_SECONDS)
            except queue.Empty:
                yield None
                continue
            job = self._under_way.pop(future)
            line = self._line(future, job)
            if line is None:
                self._submit(job)
            else:
                yield job.cell, line

    def _submit(self, job: Job) -> None:
        tries = self._tries[job.cell] = self._tries.get(job.cell, 0) + 1
        if tries > TRIES:
            raise WorkerError(f"{job}\nthe cluster lost it {TRIES} times; does its scheduler live?")
        future = self._client.submit(
            work,
            self._order,
            job,
            key=f"pmupass-{self._order.sweep}-{self._session}-{job.cell}-{tries}",
            pure=False,
        )
        self._under_way[future] = job
        future.add_done_callback(self._done.put)

    def _line(self, future: Future[bytes], job: Job) -> bytes | None:
        """Return a cell's line, None if the cluster lost it."""
        from distributed import KilledWorker

        if future.status in ("cancelled", "lost"):
            return None
        try:
            line: bytes = future.result()
        except WorkerError:
            raise
        except KilledWorker:
            raise WorkerError(
                f"{job}\nits workers died, one after the other; see the cluster's logs"
            ) from None
        except Exception as error:
            raise WorkerError(f"{job}\non the cluster: {type(error).__name__}: {error}") from error
        return line
