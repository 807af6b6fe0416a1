# SPDX-License-Identifier: Apache-2.0
"""Where Linux's perf would put events: most constrained first, fixed counters before GP ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmupass.cpus.model import FIXED_SHIFT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pmupass.config import Pmu

GP_BITS = (1 << FIXED_SHIFT) - 1


def counter_mask(pmu: Pmu) -> int:
    """Return the counters of a PMU: bit n for GP n, bit 32 + n for fixed n."""
    return (1 << pmu.nr_gp) - 1 | ((1 << pmu.nr_fixed) - 1) << FIXED_SHIFT


def place(masks: Sequence[int], pmu: Pmu) -> list[int] | None:
    """Return a counter for each event, all at once, or None if perf finds no such assignment.

    ``masks`` are the counters each event may use. As in ``perf_assign_events()`` an assignment may
    exist that is not found.
    """
    free = counter_mask(pmu)
    counters = [-1] * len(masks)
    usable = [mask & free for mask in masks]
    for event in sorted(range(len(masks)), key=lambda i: usable[i].bit_count()):
        choice = usable[event] & free
        if not choice:
            return None
        best = choice & ~GP_BITS or choice
        counters[event] = (best & -best).bit_length() - 1
        free &= ~(1 << counters[event])
    return counters
