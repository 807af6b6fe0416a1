# SPDX-License-Identifier: Apache-2.0
"""Workloads: the built-in guest programs, and images of the user's by path."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from pmupass import text_file
from pmupass.errors import InputError, UsageError
from pmupass.settings import Scalar, near

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_IMAGE = 256 << 20
STAT_EVENTS = "cycles,instructions,branches,branch-misses"


@dataclass(frozen=True, slots=True)
class Workload:
    """A guest image and how it is run by default.

    A user's image has a ``path`` or, put together in memory, its bytes in ``data``.
    """

    name: str
    doc: str
    path: Path | None = None
    data: bytes | None = None
    events: str = STAT_EVENTS
    frequency: int | None = None
    samples: bool = False
    defaults: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def builtin(self) -> bool:
        """Whether the image is one of pmupass's own: it takes settings and leaves a report."""
        return self.path is None and self.data is None

    def image(self) -> bytes:
        """Return the guest image; InputError says what is wrong with the file."""
        if self.data is not None:
            return self.data
        if self.path is None:
            return _builtin_image(self.name)
        return _read(self.path)


BUILT_IN: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload(
            "perf-stat",
            "counts events over a stretch of work; more events than counters multiplex",
            defaults={"guest.pmu": "busy"},
        ),
        Workload(
            "perf-record",
            "samples events with PMIs over a stretch of work, adjusting periods at each tick",
            events="cycles,instructions",
            frequency=1000,
            samples=True,
            defaults={"guest.pmu": "busy"},
        ),
        Workload(
            "self-monitor",
            "user code that reads its own counters by RDPMC in a loop",
            defaults={"guest.pmu": "busy", "guest.chunk": 10_000},
        ),
        Workload(
            "exit-storm",
            "CPUID in a loop: what every VM-exit costs when the guest's PMU is idle",
            defaults={"guest.pmu": "idle", "guest.chunk": 20_000},
        ),
    )
}


def find(name: str) -> Workload:
    """Return a workload by built-in name or by path.

    UsageError names near matches; a path needs a slash or an existing file.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    path = Path(name)
    if "/" in name or text_file.place(path).exists():
        return Workload(shown(name), "an image of the user's", path=path)
    raise UsageError(
        f"no workload {name!r}{near(name, BUILT_IN)}"
        f"\nBuilt in: {', '.join(BUILT_IN)}. A path to an image needs a slash (./{name}) or an "
        "existing file."
    )


def shown(path: str | Path) -> str:
    """Return a path as documents can hold it: bytes that are no UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _builtin_image(name: str) -> bytes:
    path = resources.files("pmupass").joinpath("guests", f"{name}.elf")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"the built-in guest {name} is not installed ({path}: {error.strerror}); "
            "reinstall pmupass"
        ) from error


def _read(path: Path) -> bytes:
    try:
        with text_file.place(path).open("rb") as file:
            data = file.read(MAX_IMAGE + 1)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}; WORKLOAD is a built-in name "
            "(pmupass list workloads) or the path of an ELF image"
        ) from error
    if not data:
        raise InputError(f"{path}: malformed guest image: the file is empty")
    if len(data) > MAX_IMAGE:
        raise InputError(f"{path}: larger than {MAX_IMAGE >> 20} MiB, no guest image")
    return data
