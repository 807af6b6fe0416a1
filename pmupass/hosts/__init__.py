# SPDX-License-Identifier: Apache-2.0
"""Ready-made loads of the host, ``--host NAME``: scenarios.toml as texts for ``--host-perf``."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any

from pmupass.errors import UsageError

if TYPE_CHECKING:
    from pmupass.cpus import CpuModel

STORMS = 15  # sessions of four events each: 63 host events at most
STORM_EVENTS = "cycles,instructions,branches,branch-misses"
STORM_PERIOD = 50_000
STORM_EVERY_MS, STORM_FOR_MS = 6, 3
PINNED = "branches:D"  # counts on GP counters alone


@functools.cache
def _load() -> dict[str, dict[str, Any]]:
    text = (resources.files("pmupass") / "hosts" / "scenarios.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def names() -> dict[str, str]:
    """Return what each scenario is, by name."""
    return {name: scenario["doc"] for name, scenario in _load().items()}


def sessions(name: str, cpu: CpuModel) -> tuple[str, ...]:
    """Return the ``--host-perf`` texts of a scenario on a CPU; UsageError for an unknown name."""
    from pmupass.settings import near

    known = _load()
    if name not in known:
        raise UsageError(
            f"--host {name}: no such scenario{near(name, known)}\nScenarios: {', '.join(known)}"
        )
    by_maker = known[name].get("sessions", {})
    texts = by_maker.get("any") or by_maker.get(cpu.maker.name.lower(), [])
    found: list[str] = []
    for text in texts:
        if text == "{gp}":
            pinned = cpu.silicon.nr_gp - int(known[name]["leave_gp"])
            found.append(",".join([PINNED] * pinned))
        elif text == "{storm}":
            found += [
                f"-c {STORM_PERIOD} {STORM_EVENTS}@{start}ms-{start + STORM_FOR_MS}ms"
                for start in range(STORM_EVERY_MS, STORM_EVERY_MS * (STORMS + 1), STORM_EVERY_MS)
            ]
        else:
            found.append(text.format(ten_seconds=10 * cpu.tsc_khz * 1000))
    return tuple(found)
