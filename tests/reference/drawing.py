# SPDX-License-Identifier: Apache-2.0
"""What can be drawn: machines, and sequences of steps for their guests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import guest_asm as asm
import host_perf
import rules
from hypothesis import strategies as st
from program import LVTPC, NMI

if TYPE_CHECKING:
    from program import Step

PROFILES = (20, 21, 22)  # work profiles; their rates are in sequences.py


@dataclass(frozen=True)
class Given:
    """A machine: the CPU, what its guest has of it, the filter."""

    cpu: str
    settings: tuple[str, ...] = ()
    filter: rules.Filter = field(default_factory=rules.Filter)
    hosts: tuple[host_perf.HostEvent, ...] = ()  # host events that are there before the guest
    overcount: rules.Overcount = field(default_factory=rules.Overcount)
    quiet: bool = False  # no counter overflows
    vcpus: int = 1  # the guest's CPUs; the second one has a program of its own
    cpus: int = 1  # the host's
    tasks: int = 0  # threads of the host that compute, on each of its CPUs

    @property
    def takes_turns(self) -> bool:
        """Return whether somebody else wants the pCPU of the first vCPU, or may some time."""
        return bool(self.tasks) or self.vcpus > 1


SECRET = 0x5EC2E7 << 16  # planted in counters; bits 39:16 of a value
WRAP = 1 << 48
gp = st.integers(0, 8)  # one more than there is, on the CPUs with eight
fixed = st.integers(0, 4)
EVENTS = (rules.INSTRUCTIONS, rules.BRANCHES)
ENABLES = st.sampled_from([0, rules.OS, rules.USR, rules.OS | rules.USR, rules.OS | rules.USR])
# Secrets, and starts that overflow soon: within an instruction, a step, a few steps.
STARTS = st.one_of(
    st.just(SECRET),
    st.integers(0, 1 << 15).map(lambda low: SECRET | low),
    st.integers(1, 8).map(lambda d: WRAP - d),
    st.integers(1, 300).map(lambda d: WRAP - d),
    st.integers(1, 5000).map(lambda d: WRAP - d),
)
# Odd ones: bits above the width, sign bits, the whole width.
ODD_VALUES = st.sampled_from(
    [0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, WRAP - 1, WRAP, 1 << 50 | 7, 1 << 63, (1 << 64) - 1]
)


@st.composite
def selectors(draw: st.DrawFn) -> int:
    """Return a selector that counts, mostly."""
    value = draw(st.sampled_from(EVENTS)) | draw(ENABLES)
    value |= draw(st.sampled_from([rules.EN, rules.EN, rules.EN, 0]))
    return value | draw(st.sampled_from([rules.INT, rules.INT, 0]))


# Bits that read back, in selectors that are off; and bits that fault, or might.
OFF_SELECTORS = st.integers(0, (1 << 32) - 1).map(lambda v: v & ~(rules.EN | rules.ANY_THREAD))
ODD_SELECTORS = st.sampled_from([rules.ANY_THREAD, 1 << 32, 1 << 33, 1 << 34, 1 << 63])


@st.composite
def fixed_controls(draw: st.DrawFn) -> int:
    """Return fields: instructions with PMI or without, the counters of time without."""
    value = draw(st.sampled_from([0, 1, 2, 3, 3, 8, 9, 10, 11, 11]))
    return value | draw(st.sampled_from([0, 0, 0x10, 0x30, 0x100, 0x330]))


def wr(msr: int | st.SearchStrategy[int], values: st.SearchStrategy[int]) -> st.SearchStrategy:
    """Return a WRMSR."""
    return st.tuples(st.just("wr"), st.just(msr) if isinstance(msr, int) else msr, values)


def of(first: int, numbers: st.SearchStrategy[int]) -> st.SearchStrategy[int]:
    """Return the register of some counter."""
    return numbers.map(lambda i: first + i)


GLOBAL_CTRLS = st.one_of(
    st.just((7 << 32) | 0xFF),
    st.just((7 << 32) | 0xF),
    st.integers(0, 0xFF),
    st.tuples(st.integers(0, 0xF), st.integers(0, 7)).map(lambda t: t[0] | t[1] << 32),
    st.sampled_from([1 << 8, 1 << 35, 1 << 36, 1 << 48, 1 << 63]),
)
CLEARS = st.one_of(
    st.integers(0, 0xF).map(lambda v: v | 1 << 32),
    st.sampled_from([1, 0xF, 1 << 32, 7 << 32 | 0xF, 1 << 62, 1 << 63 | 1, 1 << 5, 1 << 48]),
)
READABLE = st.one_of(
    of(rules.PERFCTR0, gp),
    of(rules.PMC0, gp),
    of(rules.EVTSEL0, gp),
    of(rules.FIXED_CTR0, fixed),
    st.integers(rules.FIXED_CTR_CTRL, rules.INUSE),
    st.just(rules.PERF_CAPABILITIES),
    st.just(LVTPC),
)
RDPMC_ODD = st.sampled_from([1 << 29, 1 << 31, 1 << 31 | 1 << 30, 0x10000, 0xFFFF])
INDEX = st.one_of(gp, fixed.map(lambda i: 1 << 30 | i), RDPMC_ODD)
ACCESSES = st.one_of(
    wr(of(rules.EVTSEL0, st.integers(0, 3)), selectors()),
    wr(of(rules.EVTSEL0, st.integers(0, 3)), selectors()),
    wr(of(rules.EVTSEL0, gp), st.one_of(selectors(), OFF_SELECTORS, ODD_SELECTORS)),
    wr(of(rules.PMC0, st.integers(0, 3)), STARTS),
    wr(of(rules.PMC0, gp), st.one_of(STARTS, ODD_VALUES)),
    wr(of(rules.PERFCTR0, gp), st.one_of(STARTS, ODD_VALUES)),
    wr(rules.FIXED_CTR0, st.one_of(STARTS, STARTS, ODD_VALUES)),
    # Counters of time begin low, so that they never overflow.
    wr(of(rules.FIXED_CTR0 + 1, st.integers(0, 3)), st.sampled_from([SECRET, 0, 1 << 50 | 5])),
    wr(rules.FIXED_CTR_CTRL, fixed_controls()),
    wr(rules.FIXED_CTR_CTRL, fixed_controls()),
    wr(rules.FIXED_CTR_CTRL, st.sampled_from([4, 0x40, 0x1000, 0x10000, 1 << 32])),
    wr(rules.GLOBAL_CTRL, GLOBAL_CTRLS),
    wr(rules.OVF_CTRL, CLEARS),
    wr(rules.STATUS_SET, CLEARS.map(lambda v: v & ~(3 << 62))),
    wr(st.sampled_from([rules.GLOBAL_STATUS, rules.INUSE, rules.PERF_CAPABILITIES]), CLEARS),
    wr(LVTPC, st.sampled_from([NMI, NMI, NMI, NMI | rules.LVTPC_MASKED])),
    st.tuples(st.just("rd"), READABLE, st.just(0)),
    st.tuples(st.just("pmc"), INDEX, st.just(0)),
    st.tuples(st.just("pmc3"), INDEX, st.just(0)),
    st.tuples(st.just("pce"), st.integers(0, 1), st.just(0)),
)
COUNT = st.one_of(st.integers(1, 40), st.integers(1, 600))
WORK = st.one_of(st.integers(1, 600), st.integers(1, 1 << 22))
LABOUR = st.one_of(
    st.tuples(st.sampled_from(["spin", "uspin"]), COUNT, st.just(0)),
    st.tuples(st.sampled_from(["work", "uwork"]), WORK, st.sampled_from(PROFILES)),
    st.tuples(st.just("cpuid"), st.integers(1, 20), st.just(0)),
)
ANYTHING = st.one_of(ACCESSES, ACCESSES, LABOUR)
SOON = st.integers(1, 14).map(lambda d: WRAP - d)


def moments(
    counter: st.SearchStrategy[Step], neighbour: st.SearchStrategy[Step]
) -> st.SearchStrategy[tuple[Step, ...]]:
    """Return steps that belong together: what can come between an overflow and its notice.

    A counter is a few events from its end when another one is programmed, or when KVM completes
    instructions; the LVTPC takes the PMI.
    """
    unmask: Step = ("wr", LVTPC, NMI)
    return st.one_of(
        st.tuples(counter, neighbour),
        st.tuples(counter, neighbour, neighbour),
        st.tuples(
            st.just(unmask), counter, st.tuples(st.just("cpuid"), st.integers(1, 9), st.just(0))
        ),
    )


MOMENTS = moments(
    wr(st.sampled_from([rules.PMC0, rules.PMC0 + 1, rules.FIXED_CTR0]), SOON),
    wr(of(rules.EVTSEL0, st.integers(0, 3)), selectors()),
)

# A counter of each kind that overflows within the sequence, so that few are about nothing.
BUSY: tuple[st.SearchStrategy[Step], ...] = (
    wr(rules.GLOBAL_CTRL, st.sampled_from([7 << 32 | 0xF, 1 << 32 | 3])),
    wr(rules.EVTSEL0, selectors()),
    wr(rules.EVTSEL0 + 1, selectors()),
    wr(rules.FIXED_CTR_CTRL, fixed_controls()),
    wr(rules.PMC0, STARTS),
    wr(rules.PMC0 + 1, STARTS),
    wr(rules.FIXED_CTR0, STARTS),
)


def filters_of(events: tuple[int, ...]) -> st.SearchStrategy[rules.Filter]:
    """Return filters that have something to do with these events, or none."""
    entries = st.builds(
        rules.FilterEntry,
        select=st.sampled_from(events),
        mask=st.sampled_from([0xFF, 0xFF, 0xF0, 0]),
        match=st.sampled_from([0, 0, 0x01, 0x40]),
        exclude=st.booleans(),
    )
    return st.one_of(
        st.just(rules.Filter()),
        st.builds(
            rules.Filter,
            action=st.sampled_from(["allow", "deny"]),
            entries=st.lists(entries, max_size=3).map(tuple),
            fixed_bitmap=st.integers(0, 7),
        ),
    )


# Settings on the two CPUs that differ most; what a machine costs to set up is paid for each pair.
WHERE = st.one_of(
    st.tuples(
        st.sampled_from(asm.CPUS),
        st.sampled_from(
            [
                (),
                (),
                ("guest.gp_counters=2", "guest.fixed_counters=1"),
                ("guest.fixed_counters=0",),
                ("guest.pmu_version=1",),
                ("guest.fw_write=0",),
                ("guest.pdcm=0",),
                ("kvm.max_fixed_counters=4",),
                ("kvm.interception=rfc2024",),
                ("guest.gp_width=40", "guest.fixed_width=44"),
                ("guest.gp_width=44", "guest.fixed_width=40"),
            ]
        ),
    ),
    st.tuples(st.sampled_from(asm.MORE_CPUS), st.just(())),
)


# Whose turn it is: mostly there is no question.
TURNS = st.sampled_from(
    [
        *((1, 1, 0),) * 5,  # vCPUs, pCPUs, threads of the host on each
        (1, 2, 0),
        (1, 1, 1),
        (1, 2, 1),
        (2, 1, 0),
        (2, 2, 0),
        (2, 2, 1),
    ]
)


def crowds(events: tuple[int, ...]) -> st.SearchStrategy[tuple[host_perf.HostEvent, ...]]:
    """Return events of a host: mostly none, or about as many as there are counters."""
    few = st.lists(host_events(events), max_size=3).map(tuple)
    crowd = st.tuples(few, st.sampled_from(events), st.sampled_from([3, 4, 5, 7, 8, 9]), few)
    return st.one_of(
        st.just(()),
        st.just(()),
        few,
        crowd.map(lambda t: (*t[0], *(host_perf.HostEvent(t[1]),) * t[2], *t[3])),
    )


def host_events(events: tuple[int, ...]) -> st.SearchStrategy[host_perf.HostEvent]:
    """Return an event of the host."""
    return st.builds(
        host_perf.HostEvent,
        event=st.sampled_from(events),
        pinned=st.sampled_from([True, True, False]),
        exclude_guest=st.booleans(),
    )


HOST_EVENTS = (*EVENTS, rules.BRANCHES, host_perf.CYCLES, host_perf.REF_CYCLES)
machines = st.builds(
    lambda where, filter, hosts, turns: Given(  # noqa: A006
        *where, filter=filter, hosts=hosts, vcpus=turns[0], cpus=turns[1], tasks=turns[2]
    ),
    where=WHERE,
    filter=filters_of(EVENTS),
    hosts=crowds(HOST_EVENTS),
    turns=TURNS,
)
