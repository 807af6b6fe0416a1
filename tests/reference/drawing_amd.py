# SPDX-License-Identifier: Apache-2.0
"""What can be drawn for AMD's CPUs: machines, and accesses to their registers."""

from __future__ import annotations

import amd
import rules
from drawing import (
    ENABLES,
    LABOUR,
    ODD_VALUES,
    RDPMC_ODD,
    SOON,
    STARTS,
    TURNS,
    Given,
    crowds,
    filters_of,
    moments,
    of,
    wr,
)
from hypothesis import strategies as st
from program import LVTPC, NMI

EVENTS = (rules.INSTRUCTIONS, amd.AmdSilicon.branches)
counter = st.integers(0, 6)  # one more than there is
few = st.integers(0, 3)


@st.composite
def selectors(draw: st.DrawFn) -> int:
    """Return a selector that counts, mostly; some with bits that are cleared."""
    value = draw(st.sampled_from(EVENTS)) | draw(ENABLES)
    value |= draw(st.sampled_from([rules.EN, rules.EN, rules.EN, 0]))
    value |= draw(st.sampled_from([0, 0, 0, 1 << 21, 1 << 19, 1 << 36, 1 << 63]))
    value |= draw(st.sampled_from([0, 0, 0, 1 << 40, 1 << 41, amd.SIDES]))
    return value | draw(st.sampled_from([rules.INT, rules.INT, 0]))


def core(first: int, numbers: st.SearchStrategy[int]) -> st.SearchStrategy[int]:
    """Return a register of the core extension: selectors and counters take turns."""
    return numbers.map(lambda n: first + 2 * n)


CTL, CTR = amd.PERF_CTL0, amd.PERF_CTL0 + 1
OFF = st.integers(0, (1 << 64) - 1).map(lambda v: v & ~rules.EN)
MASKS = st.one_of(st.integers(0, 0x7F), st.sampled_from([0x3F, 1 << 32 | 0x3F, (1 << 64) - 1]))
READABLE = st.one_of(
    core(CTL, counter),
    core(CTR, counter),
    of(amd.K7_EVNTSEL0, st.integers(0, 9)),
    st.integers(amd.STATUS, amd.STATUS_SET),
    st.sampled_from([LVTPC, rules.PERFCTR0, rules.GLOBAL_STATUS, rules.FIXED_CTR0]),
)
INDEX = st.one_of(counter, RDPMC_ODD)
ACCESSES = st.one_of(
    wr(core(CTL, few), selectors()),
    wr(core(CTL, few), selectors()),
    wr(core(CTL, counter), st.one_of(selectors(), OFF)),
    wr(of(amd.K7_EVNTSEL0, st.integers(0, 3)), st.one_of(selectors(), OFF)),
    wr(core(CTR, few), STARTS),
    wr(core(CTR, counter), st.one_of(STARTS, ODD_VALUES)),
    wr(of(amd.K7_PERFCTR0, st.integers(0, 4)), st.one_of(STARTS, ODD_VALUES)),
    wr(amd.CTL, MASKS),
    wr(st.integers(amd.STATUS, amd.STATUS_SET), MASKS),
    wr(st.sampled_from([rules.PMC0, rules.GLOBAL_CTRL, rules.FIXED_CTR_CTRL]), STARTS),
    wr(LVTPC, st.sampled_from([NMI, NMI, NMI, NMI | rules.LVTPC_MASKED])),
    st.tuples(st.just("rd"), READABLE, st.just(0)),
    st.tuples(st.just("pmc"), INDEX, st.just(0)),
    st.tuples(st.just("pmc3"), INDEX, st.just(0)),
    st.tuples(st.just("pce"), st.integers(0, 1), st.just(0)),
)
ANYTHING = st.one_of(ACCESSES, ACCESSES, LABOUR)
MOMENTS = moments(wr(core(CTR, st.integers(0, 1)), SOON), wr(core(CTL, few), selectors()))
BUSY = (
    wr(amd.CTL, st.sampled_from([0x3F, 0xF, 3])),
    wr(amd.PERF_CTL0, selectors()),
    wr(amd.PERF_CTL0 + 2, selectors()),
    wr(amd.K7_EVNTSEL0 + 2, selectors()),
    wr(amd.PERF_CTL0 + 1, STARTS),
    wr(amd.PERF_CTL0 + 3, STARTS),
    wr(amd.K7_PERFCTR0 + 2, STARTS),
)
WHERE = st.one_of(
    st.tuples(
        st.just("zen4"),
        st.sampled_from(
            [
                (),
                (),
                ("guest.gp_counters=2",),
                ("guest.perfmon_v2=0",),
                ("guest.perfmon_v2=0", "guest.perfctr_core=0"),
                ("kvm.apicv=0",),
            ]
        ),
    ),
    st.tuples(st.just("zen2"), st.sampled_from([(), ("guest.perfctr_core=0",)])),
    st.tuples(st.sampled_from(["zen3", "zen5"]), st.just(())),
)
HOST_EVENTS = (*EVENTS, 0x76)  # cycles
machines = st.builds(
    lambda where, filter, hosts, turns: Given(  # noqa: A006
        *where, filter=filter, hosts=hosts, vcpus=turns[0], cpus=turns[1], tasks=turns[2]
    ),
    where=WHERE,
    filter=filters_of(EVENTS),
    hosts=crowds(HOST_EVENTS),
    turns=TURNS,
)
