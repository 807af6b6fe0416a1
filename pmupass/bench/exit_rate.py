# SPDX-License-Identifier: Apache-2.0
"""A guest that exits at a rate: CPUID so often in a second of its own time, work in between."""

from __future__ import annotations

from functools import cache

from msgspec import UnsetType

from pmupass import cpus
from pmupass.errors import ModelError
from pmupass.machine import Session
from pmupass.options import Options

WORK_NS = 10_000_000
PIECE = "guest.chunk=1000000"  # instructions: what is done between two pieces does not count


@cache
def instructions_a_second(cpu: str) -> float:
    """Return how fast the built-in guest's work is where nothing interrupts it."""
    options = Options("exit-storm", cpu=cpu, time_ns=WORK_NS, settings=(PIECE,), host=False)
    report = Session(options).whole("native").guest.report
    if isinstance(report, UnsetType):
        raise ModelError("the guest exit-storm left no report; its speed is not known")
    seconds = (report.tsc_end - report.tsc_begin) / (cpus.load(cpu).tsc_khz * 1000)
    return report.work / seconds


def chunk(cpu: str, rate: int) -> str:
    """Return the setting by which exit-storm exits so many times a second."""
    return f"guest.chunk={max(round(instructions_a_second(cpu) / rate), 1)}"
