# SPDX-License-Identifier: Apache-2.0
"""Random programs of PMU accesses on AMD's CPUs: what is the same in all modes.

As test_modes_agree.py, on zen4, where a guest has all of the silicon's counters in every mode, and
on zen3, which has no mediated mode. VMRUN, which silicon counts as a branch, is put aside.
"""

from __future__ import annotations

import guest_amd as amd
import guest_asm as asm
import pytest
from guest_amd import ctl, ctr
from hypothesis import given, settings, strategies as st
from test_modes_agree import VALUES, write

LOADS = 0x0129
EVENTS = (amd.INSTRUCTIONS, amd.BRANCHES, LOADS)
nr = st.integers(0, amd.NR - 1)
k7 = st.integers(0, 3)


@st.composite
def selectors(draw: st.DrawFn) -> int:
    """Return a selector: an event with any privileges, on or off, reserved bits in some."""
    value = draw(st.sampled_from(EVENTS))
    value |= draw(st.sampled_from([0, asm.OS, asm.USR, asm.OS | asm.USR]))
    value |= draw(st.sampled_from([0, asm.EN, asm.EN]))
    return value | draw(st.sampled_from([0, 0, 0, 1 << 21, 1 << 19, 1 << 63]))


def of(first: int, numbers: st.SearchStrategy[int], step: int) -> st.SearchStrategy[int]:
    """Return the register of some counter."""
    return numbers.map(lambda i: first + step * i)


def wr(msrs: st.SearchStrategy[int], values: st.SearchStrategy[int]) -> st.SearchStrategy[tuple]:
    """Return a WRMSR."""
    return st.tuples(st.just("wr"), msrs, values)


CTL, CTR = of(amd.PERF_CTL0, nr, 2), of(amd.PERF_CTR0, nr, 2)
K7_CTL, K7_CTR = of(amd.K7_EVNTSEL0, k7, 1), of(amd.K7_PERFCTR0, k7, 1)
# Wider than a counter: what is above is dropped.
ODD = st.sampled_from([1 << 50 | 7, (1 << 64) - 1])
BOTH = (
    wr(CTL, selectors()),
    wr(CTL, selectors()),
    wr(K7_CTL, selectors()),
    wr(CTR, st.one_of(VALUES, ODD)),
    wr(K7_CTR, VALUES),
    st.tuples(st.just("rd"), st.one_of(CTL, CTR, K7_CTL, K7_CTR, st.just(ctr(amd.NR)))),
    st.tuples(st.just("pmc"), st.integers(0, amd.NR)),
    st.tuples(st.just("pmc3"), nr),
    st.tuples(st.just("pce"), st.integers(0, 1)),
    st.tuples(st.just("spin"), st.integers(1, 300)),
)
V2 = (
    write(amd.GLOBAL_CTL, st.integers(0, 0xFF)),
    write(amd.STATUS_CLR, st.integers(0, 0xFF)),
    st.tuples(st.just("rd"), st.just(amd.GLOBAL_CTL)),
)
PROGRAMS = {
    "zen3": st.lists(st.one_of(*BOTH), min_size=5, max_size=50),
    "zen4": st.lists(st.one_of(*BOTH, *V2), min_size=5, max_size=50),
}


def check(ops: list[tuple], cpu: str, modes: tuple[str, ...]) -> None:
    """All off at the end and read; what was counted is true, and the modes agree."""
    end = [("wr", ctl(n), 0) for n in range(amd.NR)]
    end += [("pmc", n) for n in range(amd.NR)]
    whole = [*ops, *end]
    found = {}
    for mode in modes:
        ran = asm.run(asm.script(whole), mode=mode, cpu=cpu)
        found[mode] = asm.script_results(ran, len(whole))
        for counter in ran.counters().values():
            assert counter.true_count == counter.counted, (mode, counter)
            assert not counter.causes, (mode, counter)
            assert counter.wrong_reads == 0
        assert ran.machine.silent_errors() == []
    for mode in modes:
        assert found[mode] == found[modes[0]], mode


@settings(max_examples=40)
@given(ops=PROGRAMS["zen4"])
def test_random_programs_with_perfmon_v2(ops: list[tuple]) -> None:
    check(ops, "zen4", asm.MODES)


@settings(max_examples=30)
@given(ops=PROGRAMS["zen3"])
def test_random_programs_without_it(ops: list[tuple]) -> None:
    check(ops, "zen3", (amd.NATIVE, amd.EMULATED))


@pytest.mark.parametrize("cpu", PROGRAMS)
def test_every_counter_is_among_them(cpu: str) -> None:
    """The programs are about something: a plain one counts on each counter, and by K7's names."""
    modes = asm.MODES if cpu in amd.V2 else (amd.NATIVE, amd.EMULATED)
    ops: list[tuple] = [("wr", ctl(n), amd.COUNT | EVENTS[n % 3]) for n in range(amd.NR)]
    ops += [("spin", 200), ("rd", amd.K7_PERFCTR0 + 1), ("pmc", 5)]
    check(ops, cpu, modes)
    found = asm.run_script(ops, mode=modes[-1], cpu=cpu)
    assert min(found[-2:]) > 0  # type: ignore[type-var]
