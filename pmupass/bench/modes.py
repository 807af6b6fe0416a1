# SPDX-License-Identifier: Apache-2.0
"""What the modes cost in the model: perf-record's VM-exits by CPU, a vPMU that nobody uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmupass.machine import Session, Watch
from pmupass.options import Options
from pmupass.results import Measurement

if TYPE_CHECKING:
    from collections.abc import Iterator

TIME_NS = 100_000_000


def measure(watch: Watch) -> Iterator[Measurement]:
    """Yield the figures of the suite."""
    for name, cpu, settings in (
        ("skylake-sp", "skylake-sp", ()),
        ("sapphire-rapids", "sapphire-rapids", ()),
        (
            "sapphire-rapids, 4 fixed counters",
            "sapphire-rapids",
            ("kvm.max_fixed_counters=4",),
        ),
    ):
        session = _session(
            watch, Options("perf-record", cpu=cpu, settings=settings, time_ns=TIME_NS)
        )
        emulated, mediated = session.whole("emulated"), session.whole("mediated")
        if mediated.own_exit_count:
            ratio = round(emulated.own_exit_count / mediated.own_exit_count, 3)
            yield Measurement(f"exits, emulated to mediated, {name}", "VM-exits", ratio, "times")
    yield from _idle(watch)


def _idle(watch: Watch) -> Iterator[Measurement]:
    """What a vPMU costs that nobody uses."""
    result = _session(watch, Options("exit-storm", time_ns=TIME_NS)).whole("mediated")
    if result.standing_cost is not None:
        share = round(100 * result.standing_cost, 2)
        yield Measurement("standing cost, mediated, exit-storm", "idle vPMU", share, "%")


def _session(watch: Watch, options: Options) -> Session:
    return Session(options, lambda label, fraction: watch(f"bench modes: {label}", fraction))
