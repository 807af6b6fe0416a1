# SPDX-License-Identifier: Apache-2.0
"""For whom the mediated vPMU is cheaper than the emulated one.

Each exit that leaves the inner run loop is dearer with a mediated vPMU that is idle, by its switch;
profiling is dearer with an emulated one. In a second of a guest's own time

    dearer = rate x (exit, PMU idle, mediated - emulated)
    saved  = (time that profiling adds, emulated - mediated)
             + rate x (exit while counters count, emulated - mediated)

so that both designs cost the same to a guest that profiles dearer / (dearer + saved) of its time.
The time that profiling adds is of a guest without exits of its own, against its time without
profiling.
"""

from __future__ import annotations

from typing import NamedTuple


class Design(NamedTuple):
    """What one of the two costs."""

    idle_exit: float  # cycles
    busy_exit: float  # cycles, while counters count
    added: float  # time that profiling adds, a share of the time without it


def share_to_profile(
    emulated: Design, mediated: Design, *, rate: float, hertz: float
) -> float | None:
    """Return the share of its time that a guest of so many exits a second has to profile.

    None: profiling does not pay for the switch, however long.
    """
    dearer = rate * (mediated.idle_exit - emulated.idle_exit) / hertz
    saved = emulated.added - mediated.added
    saved += rate * (emulated.busy_exit - mediated.busy_exit) / hertz
    if dearer <= 0:
        return 0.0
    return dearer / (dearer + saved) if saved >= 0 else None
