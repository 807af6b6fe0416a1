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
    import host_perf
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
    """A run of so many basic blocks, and what the host does then; all of it so many times.

    ``moment``: the run goes on until something is on the way: a PMI, a wrap, a late overflow.

    "nothing"; "read": KVM_GET_MSRS of all registers; "write": KVM_SET_MSRS of one; "replace":
    another event filter; "clone": a clone goes on; "migrate": the guest, in the other design;
    "move": the vCPU's thread, to the pCPU ``value``; "open": another host event; "close": the host
    event of the place ``value``, if it is there.
    """

    blocks: int
    act: str = "nothing"
    times: int = 1
    msr: int = 0
    value: int = 0
    filter: rules.Filter = field(default_factory=rules.Filter)
    event: host_perf.HostEvent | None = None
    moment: bool = False


@dataclass(frozen=True)
class Example:
    """A machine, its guest's steps, the slices of its run; the rest runs in one."""

    given: Given
    steps: tuple[Step, ...]
    slices: tuple[Slice, ...] = ()


ACTS = ("nothing", "read", "write", "replace", "clone", "migrate")
HOST_ACTS = ("open", "close")


@st.composite
def slices(
    draw: st.DrawFn,
    acts: tuple[str, ...],
    writes: st.SearchStrategy[tuple[int, int]],
    filters: st.SearchStrategy[rules.Filter],
    events: st.SearchStrategy[host_perf.HostEvent],
) -> Slice:
    """Return a slice; some look at block after block, so that nothing short is missed."""
    act = draw(st.sampled_from(acts))
    how = draw(st.sampled_from(["plain", "plain", "often", "moment"]))
    blocks, times = draw(st.one_of(st.integers(1, 40), st.integers(1, 300))), 1
    if how == "often":
        blocks, times = 1, draw(st.integers(1, 20))
    msr, value = draw(writes) if act == "write" else (0, draw(st.integers(0, 9)))
    return Slice(
        blocks if how != "moment" else draw(st.integers(1, 8)),
        act,
        times if act in ("read", "write", "migrate", "move") else 1,
        msr,
        value,
        draw(filters) if act == "replace" else rules.Filter(),
        draw(events) if act == "open" else None,
        how == "moment",
    )


@st.composite
def examples(draw: st.DrawFn, *, vendors: tuple[str, ...] = ("intel", "amd")) -> Example:
    """Return an example; two thirds of them are Intel's."""
    vendor = draw(st.sampled_from([*vendors, vendors[0]]))
    drawn = drawing if vendor == "intel" else drawing_amd
    writes = INTEL_WRITES if vendor == "intel" else AMD_WRITES
    begin = [step for step in [draw(s) for s in drawn.BUSY] if draw(st.integers(0, 4))]
    single = drawn.ANYTHING.map(lambda step: (step,))
    groups = draw(st.lists(st.one_of(single, single, drawn.MOMENTS), min_size=3, max_size=32))
    rest = [step for group in groups for step in group]
    given = draw(drawn.machines)
    acts = (*ACTS, *HOST_ACTS, *HOST_ACTS) if given.hosts else (*ACTS, "open")
    if given.cpus > 1:
        acts = (*acts, "move", "move", "move")
    filters, events = drawing.filters_of(drawn.EVENTS), drawing.host_events(drawn.HOST_EVENTS)
    some = draw(st.lists(slices(acts, writes, filters, events), max_size=8))
    return Example(given, (*begin, *rest[:60]), tuple(some))
