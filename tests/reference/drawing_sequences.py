# SPDX-License-Identifier: Apache-2.0
"""Whole examples: a machine, the steps of its guest, and what the host does between slices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import amd
import drawing
import drawing_amd
import rules
from hypothesis import strategies as st

if TYPE_CHECKING:
    from drawing import Given
    from program import Step

# What a VMM writes: registers that the guest may have.
INTEL_WRITES = st.one_of(
    st.tuples(drawing.of(rules.PERFCTR0, st.integers(0, 3)), drawing.STARTS),
    st.tuples(drawing.of(rules.PERFCTR0, st.integers(0, 3)), drawing.ODD_VALUES),
    st.tuples(drawing.of(rules.EVTSEL0, st.integers(0, 3)), drawing.selectors()),
    st.tuples(st.just(rules.FIXED_CTR0), drawing.STARTS),
    st.tuples(st.just(rules.FIXED_CTR_CTRL), drawing.fixed_controls()),
    st.tuples(st.just(rules.GLOBAL_CTRL), drawing.GLOBAL_CTRLS),
    st.tuples(st.just(rules.GLOBAL_STATUS), st.sampled_from([0, 1, 3, 1 << 32 | 1, 1 << 48])),
)
few = st.integers(0, 3)
AMD_WRITES = st.one_of(
    st.tuples(drawing_amd.core(drawing_amd.CTR, few), drawing.STARTS),
    st.tuples(drawing.of(amd.K7_PERFCTR0, few), st.one_of(drawing.STARTS, drawing.ODD_VALUES)),
    st.tuples(drawing.of(amd.K7_EVNTSEL0, few), drawing_amd.selectors()),
    st.tuples(st.just(amd.CTL), drawing_amd.MASKS),
    st.tuples(st.sampled_from([amd.STATUS, amd.STATUS_CLR, amd.STATUS_SET]), drawing_amd.MASKS),
)


@dataclass(frozen=True)
class Slice:
    """A run of so many basic blocks, and what the host does then.

    "nothing"; "read": KVM_GET_MSRS of all registers; "write": KVM_SET_MSRS of one; "replace":
    another event filter; "clone": a clone goes on; "migrate": the guest, in the other design.
    """

    blocks: int
    act: str = "nothing"
    msr: int = 0
    value: int = 0
    filter: rules.Filter = field(default_factory=rules.Filter)


@dataclass(frozen=True)
class Example:
    """A machine, its guest's steps, the slices of its run; the rest runs in one."""

    given: Given
    steps: tuple[Step, ...]
    slices: tuple[Slice, ...] = ()


@st.composite
def slices(
    draw: st.DrawFn,
    writes: st.SearchStrategy[tuple[int, int]],
    filters: st.SearchStrategy[rules.Filter],
) -> Slice:
    """Return a slice; the first ones are in the guest's start-up code, where nothing is done."""
    blocks = draw(st.one_of(st.integers(1, 40), st.integers(1, 300)))
    act = draw(st.sampled_from(["nothing", "read", "write", "replace", "clone", "migrate"]))
    msr, value = draw(writes) if act == "write" else (0, 0)
    return Slice(blocks, act, msr, value, draw(filters) if act == "replace" else rules.Filter())


@st.composite
def examples(draw: st.DrawFn, *, vendors: tuple[str, ...] = ("intel", "amd")) -> Example:
    """Return an example; two thirds of them are Intel's."""
    vendor = draw(st.sampled_from([*vendors, vendors[0]]))
    if vendor == "intel":
        given, busy, anything = drawing.machines, drawing.BUSY, drawing.ANYTHING
        writes, filters = INTEL_WRITES, drawing.filters_of(drawing.EVENTS)
    else:
        given, busy, anything = drawing_amd.machines, drawing_amd.BUSY, drawing_amd.ANYTHING
        writes, filters = AMD_WRITES, drawing.filters_of(drawing_amd.EVENTS)
    begin = [step for step in [draw(s) for s in busy] if draw(st.integers(0, 4))]
    return Example(
        draw(given),
        (*begin, *draw(st.lists(anything, min_size=3, max_size=40))),
        tuple(draw(st.lists(slices(writes, filters), max_size=8))),
    )
