# SPDX-License-Identifier: Apache-2.0
"""What happens between two slices of a run: a progress bar on a terminal, and Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType

    from rich.progress import Progress

BAR_AFTER_SECONDS = 1.0


class Watching:
    """The watch of a run, to be used as a context.

    The first Ctrl-C lets the current slice finish, so that there is a partial result; a second one
    raises KeyboardInterrupt. The bar appears on stderr, on a terminal, after a second; with
    ``timed`` it says how long the rest may take.
    """

    def __init__(self, *, timed: bool = False) -> None:
        self.interrupted = False
        self._timed = timed
        self._started = time.monotonic()
        self._bar: Progress | None = None
        self._task: Any = None
        self._label = ""
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._on_interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)
        if self._bar is not None:
            self._bar.stop()

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def __call__(self, label: str, fraction: float | None) -> bool:
        """Note how far the run has come (None: nobody knows); return whether to go on."""
        if sys.stderr.isatty() and time.monotonic() - self._started > BAR_AFTER_SECONDS:
            self._show(label, fraction)
        return not self.interrupted

    def _show(self, label: str, fraction: float | None) -> None:
        if self._bar is None:
            from rich.progress import (
                BarColumn,
                Progress,
                TaskProgressColumn,
                TextColumn,
                TimeRemainingColumn,
            )

            from pmupass.report import console

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                *([TimeRemainingColumn()] if self._timed else []),
                console=console.make(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(label, total=None)
            self._bar.start()
        self._bar.update(
            self._task,
            description=label,
            total=None if fraction is None else 1.0,
            completed=fraction or 0.0,
        )
