# SPDX-License-Identifier: Apache-2.0
"""Sequences about two things that random ones come to too rarely.

``moments``: a counter is about to wrap while KVM completes instructions or perf waits for an event
that it makes a late one, and just then the host does something. ``crowds``: the host's events leave
few counters, or none, and the guest's come, go and change while the host's do, too.
"""

from __future__ import annotations

import dataclasses

import amd
import drawing
import drawing_amd
import drawing_sequences
import rules
from drawing import SECRET, WRAP, Given
from drawing_sequences import Example, Slice
from host_perf import REF_CYCLES, HostEvent
from hypothesis import strategies as st
from program import LVTPC, NMI, Step

INTEL = ("sapphire-rapids", "skylake-sp", "cascadelake-sp")
AMD = ("zen4", "zen2")
GP = {"sapphire-rapids": 8, "skylake-sp": 4, "cascadelake-sp": 4}
PLACES = st.sampled_from([(1, 1, 0), (1, 2, 0), (1, 2, 0), (1, 2, 1), (2, 2, 1)])


def registers(cpu: str, index: int) -> tuple[int, int]:
    """Return selector and counter of a general-purpose counter."""
    if cpu in AMD:
        return amd.PERF_CTL0 + 2 * index, amd.PERF_CTL0 + 2 * index + 1
    return rules.EVTSEL0 + index, rules.PMC0 + index


def events_of(cpu: str) -> tuple[int, int]:
    """Return instructions and branches."""
    return drawing_amd.EVENTS if cpu in AMD else drawing.EVENTS


def begin(cpu: str) -> list[Step]:
    """Return steps that let PMIs come, and enable all counters but for their selectors."""
    everything: Step = ("wr", rules.GLOBAL_CTRL, 7 << 32 | 0xF)
    return [("wr", LVTPC, NMI), *([] if cpu in AMD else [everything])]


@st.composite
def given(draw: st.DrawFn, hosts: st.SearchStrategy[tuple[HostEvent, ...]]) -> Given:
    """Return a machine without a filter."""
    cpu = draw(st.sampled_from([*INTEL, *AMD]))
    vcpus, cpus, tasks = draw(PLACES)
    made = draw(hosts)
    if cpu in AMD:  # no pseudo events, and another encoding of branches
        made = tuple(
            HostEvent(drawing_amd.EVENTS[1], e.pinned, e.exclude_guest)
            for e in made
            if e.event != REF_CYCLES
        )
    return Given(cpu, hosts=made, vcpus=vcpus, cpus=cpus, tasks=tasks)


@st.composite
def moments(draw: st.DrawFn) -> Example:
    """Return an example in which the host acts when something is on the way."""
    machine = draw(given(st.just(())))
    instructions, branches = events_of(machine.cpu)
    steps = begin(machine.cpu)
    slices: list[Slice] = []
    for _ in range(draw(st.integers(1, 3))):
        index = draw(st.integers(0, 1))
        selector, counter = registers(machine.cpu, index)
        event = draw(st.sampled_from([instructions, instructions, branches]))
        steps += [
            ("wr", selector, event | rules.EN | rules.OS | draw(st.sampled_from([rules.INT, 0]))),
            ("wr", counter, WRAP - draw(st.sampled_from([1, 1, 1, 1, 2, 3, 5, 9]))),
            draw(st.sampled_from([("cpuid", 6, 0), ("spin", 9, 0), ("rd", selector, 0)])),
        ]
        acts = ("migrate", "write", "write", "open", *(("move",) * (machine.cpus > 1)))
        act = draw(st.sampled_from(acts))
        new = HostEvent(branches, draw(st.booleans()) or act == "open", exclude_guest=True)
        # Late first, then wrapped: the next moment may be the one that matters.
        before = draw(st.sampled_from([0, 0, 1, 2]))
        slices += [Slice(draw(st.integers(1, 12)), "read", moment=True)] * before
        slices.append(
            Slice(
                1 if before else draw(st.integers(1, 12)),
                act,
                msr=counter if machine.cpu in AMD else rules.PERFCTR0 + index,
                value=draw(st.sampled_from([SECRET, WRAP - 2])) if act == "write" else 1,
                event=new if act == "open" else None,
                moment=True,
            )
        )
        slices += [Slice(1, "read")] * draw(st.integers(0, 2))
    return Example(machine, tuple(steps), tuple(slices))


PINNED = st.builds(
    HostEvent,
    event=st.sampled_from([rules.BRANCHES, rules.BRANCHES, rules.BRANCHES, REF_CYCLES]),
    pinned=st.sampled_from([True, True, True, False]),
    exclude_guest=st.sampled_from([True, True, False]),
)


@st.composite
def crowds(draw: st.DrawFn) -> Example:
    """Return an example in which there are few counters for the guest."""
    machine = draw(given(st.lists(PINNED, max_size=2).map(tuple)))
    # As many as there are general-purpose counters, or one or two less.
    number = GP.get(machine.cpu, 6) - draw(st.integers(0, 2)) - len(machine.hosts)
    full = HostEvent(events_of(machine.cpu)[1], exclude_guest=draw(st.booleans()))
    machine = dataclasses.replace(machine, hosts=(*machine.hosts, *(full,) * number))
    instructions, branches = events_of(machine.cpu)
    steps = begin(machine.cpu)
    for _ in range(draw(st.integers(4, 10))):
        selector, counter = registers(machine.cpu, draw(st.integers(0, 3)))
        event = draw(st.sampled_from([branches, branches, instructions, 0]))
        what = draw(st.sampled_from(["selector", "selector", "selector", "counter", "fixed"]))
        if what == "selector":
            on = rules.EN | rules.OS if event else 0
            steps.append(("wr", selector, event | on))
        elif what == "counter":
            steps.append(("wr", counter, SECRET))
        elif machine.cpu not in AMD:
            steps.append(("wr", rules.FIXED_CTR_CTRL, draw(st.sampled_from([0, 0x100, 0x101, 1]))))
        steps.append(("spin", draw(st.integers(5, 30)), 0))
    acts = ("open", "open", "close", "close", *(("move",) * (2 * (machine.cpus > 1))))
    slices = draw(
        st.lists(
            drawing_sequences.slices(
                acts,
                drawing_sequences.INTEL_WRITES,
                st.just(rules.Filter()),
                PINNED if machine.cpu not in AMD else drawing.host_events(drawing_amd.EVENTS),
            ),
            max_size=6,
        )
    )
    return Example(machine, tuple(steps), tuple(slices))


targets = st.one_of(moments(), crowds(), crowds())
