# SPDX-License-Identifier: Apache-2.0
"""Events: what a name or an encoding counts on a CPU, and on which counters.

    table = EventTable(cpus.load("sapphire-rapids"))
    table.parse("cycles,instructions:u")        what -e says
    table.host("ref-cycles:D")                  what --host-perf says
    table.name_of(0x2_00c0)                     "instructions:k"

The event lists (``*.json``) are facts of Intel's perfmon data and of Linux's lists for AMD:
encodings, counters, extra registers. Which of them the model feeds stands with the CPU model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pmupass.events.parse import EventSpec
    from pmupass.events.table import EventTable

__all__ = ["EventSpec", "EventTable"]


def __getattr__(name: str) -> object:
    """Bring in a type when somebody asks for it: they need msgspec."""
    if name == "EventTable":
        from pmupass.events.table import EventTable

        return EventTable
    if name == "EventSpec":
        from pmupass.events.parse import EventSpec

        return EventSpec
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
