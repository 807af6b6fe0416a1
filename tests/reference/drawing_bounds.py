# SPDX-License-Identifier: Apache-2.0
"""Sequences of which a reference only knows bounds: silicon with errata, counters with thresholds.

Nothing overflows in them and the LVTPC is masked, so that no PMI depends on what is not known.
"""

from __future__ import annotations

import dataclasses

import amd
import rules
from drawing_sequences import Example, examples
from hypothesis import strategies as st
from program import LVTPC, NMI, Step

MASKED = NMI | rules.LVTPC_MASKED
OVERCOUNT = rules.Overcount(exit=(3, 7), entry=(5, 11))
AMOUNTS = tuple(
    f"cpu.overcount_{side}_{event}={amount}"
    for side in ("exit", "entry")
    for event, amount in zip(("instructions", "branches"), getattr(OVERCOUNT, side), strict=True)
)
# A threshold of 16 is beyond what a cycle can hold.
THRESHOLDS = (
    *(c << 24 for c in (0, 1, 2, 16)),
    rules.EDGE,
    rules.INV | 1 << 24,
    rules.INV | 16 << 24,
    rules.INV | rules.EDGE,
)


def is_selector(msr: int) -> bool:
    """Return whether an MSR is a selector of either vendor."""
    core = 0 <= msr - amd.PERF_CTL0 < 12 and not msr & 1
    return core or 0 <= msr - rules.EVTSEL0 < 8 or 0 <= msr - amd.K7_EVNTSEL0 < 4


@st.composite
def quiet(draw: st.DrawFn, step: Step, *, thresholds: bool) -> Step:
    """Return a step without PMIs, and with a threshold here and there."""
    name, first, second = step
    if name == "wr" and first == LVTPC:
        return (name, first, MASKED)
    if name == "wr" and is_selector(first) and second & rules.EN and thresholds:
        return (name, first, second | draw(st.sampled_from(THRESHOLDS)))
    return step


@st.composite
def bounded_examples(draw: st.DrawFn) -> Example:
    """Return an example with errata, with thresholds, or with both."""
    example = draw(examples())
    errata, thresholds = draw(st.sampled_from([(True, False), (False, True), (True, True)]))
    given = dataclasses.replace(example.given, quiet=True)
    if errata:
        given = dataclasses.replace(
            given,
            settings=(*given.settings, *AMOUNTS),
            overcount=OVERCOUNT,
            # How often the host interrupts the guest, nobody knows.
            vcpus=1,
            tasks=0,
        )
    steps = [draw(quiet(step, thresholds=thresholds)) for step in example.steps]
    return Example(given, (("wr", LVTPC, MASKED), *steps), example.slices)
