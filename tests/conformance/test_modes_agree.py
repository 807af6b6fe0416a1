# SPDX-License-Identifier: Apache-2.0
"""Random programs of PMU accesses: what architecture defines is the same in all modes.

On Skylake-SP a guest has all of the silicon's counters in every mode, so that the same accesses are
valid in each. Counts of instructions, branches, loads and stores, values of registers and faults
must agree; what was counted must be true. Where a host event or a filter takes counts away, what is
lost must be explained by that and by nothing else.
"""

from __future__ import annotations

import guest_asm as asm
import pytest
from hypothesis import given, settings, strategies as st

from pmupass.config import Filter, FilterAction, FilterEntry

CPU = "skylake-sp"
NR_GP = 4
EVENTS = [asm.EVENTS[name] for name in ("instructions", "branches", "loads", "stores")]
WRAP = 1 << 48
# Starts of counters: far from a wrap, and some that wrap during the program.
VALUES = st.sampled_from([0, 1, 12345, 1 << 40, WRAP - 1000, WRAP - 333, WRAP - 40])
gp = st.integers(0, NR_GP - 1)


@st.composite
def selectors(draw: st.DrawFn) -> int:
    """Return a selector: an event with any privileges, on or off."""
    value = draw(st.sampled_from(EVENTS))
    value |= draw(st.sampled_from([0, asm.OS, asm.USR, asm.OS | asm.USR]))
    return value | draw(st.sampled_from([0, asm.EN, asm.EN]))


def write(msr: int, values: st.SearchStrategy[int]) -> st.SearchStrategy[tuple]:
    """Return a WRMSR of some value."""
    return st.tuples(st.just("wr"), st.just(msr), values)


def write_gp(first: int, values: st.SearchStrategy[int]) -> st.SearchStrategy[tuple]:
    """Return a WRMSR to the register of some GP counter."""
    return st.tuples(st.just("wr"), gp.map(lambda i: first + i), values)


GLOBAL_MASKS = st.sampled_from([high | low for high in (0, 1 << asm.FIXED) for low in range(16)])
READABLE = [first + i for first in (asm.PMC0, asm.PERFCTR0, asm.EVTSEL0) for i in range(NR_GP)]
ACCESSES = (
    write(asm.GLOBAL_CTRL, GLOBAL_MASKS),
    write_gp(asm.EVTSEL0, selectors()),
    write_gp(asm.EVTSEL0, selectors()),
    # Fixed 1 and 2 count time, which the modes do not share.
    write(asm.FIXED_CTR_CTRL, st.integers(0, 3)),
    write_gp(asm.PMC0, VALUES),
    write_gp(asm.PERFCTR0, VALUES),
    write(asm.FIXED_CTR0, VALUES),
    write(asm.OVF_CTRL, st.sampled_from([1, 0xF, 1 << asm.FIXED | 3, 1 << 5])),
    st.tuples(st.just("rd"), st.sampled_from(READABLE)),
    st.tuples(st.just("pmc"), st.sampled_from([0, 1, 2, 3, 4, 1 << 30, 1 << 30 | 9])),
    st.tuples(st.just("pmc3"), gp),
    st.tuples(st.just("pce"), st.integers(0, 1)),
    st.tuples(st.just("spin"), st.integers(1, 300)),
)
programs = st.lists(st.one_of(*ACCESSES), min_size=5, max_size=50)


def run(ops: list[tuple], mode: str, **given_: object) -> tuple[asm.Ran, list[int | str]]:
    """Run a program with all counters on at first and read at last."""
    start = [("wr", asm.GLOBAL_CTRL, 0xF | 1 << asm.FIXED)]
    end = [("wr", asm.GLOBAL_CTRL, 0)]
    end += [("pmc", i) for i in range(NR_GP)]
    end += [("pmc", 1 << 30)]
    whole = [*start, *ops, *end]
    ran = asm.run(asm.script(whole), mode=mode, cpu=CPU, **given_)
    return ran, asm.script_results(ran, len(whole))


@settings(max_examples=60)
@given(ops=programs)
def test_random_programs(ops: list[tuple]) -> None:
    found = {}
    for mode in asm.MODES:
        ran, found[mode] = run(ops, mode)
        for counter in ran.counters().values():
            assert counter.true_count == counter.counted, (mode, counter)
            assert not counter.causes, (mode, counter)
            assert counter.wrong_reads == 0
        assert ran.machine.silent_errors() == []
    assert found["emulated"] == found["native"]
    assert found["mediated"] == found["native"]


def check_losses(ran: asm.Ran, cause: str) -> None:
    """Nothing is lost to anything but the cause, and what is lost is what is explained."""
    for counter in ran.counters().values():
        lost = counter.true_count - counter.counted
        assert counter.causes == ({cause: lost} if lost else {}), counter
        assert 0 <= counter.true_running_cycles <= counter.enabled_cycles


HOSTS = (
    ("branches:D",),
    ("branches:D", "instructions:D", "instructions:D"),
    ("loads:D", "stores:D", "branches:D", "cycles:D", "ref-cycles:D"),
    ("branches:D",) * 4,
)


@settings(max_examples=40)
@given(ops=programs, host=st.sampled_from(HOSTS))
def test_contention_explains_what_is_lost(ops: list[tuple], host: tuple[str, ...]) -> None:
    ran, _ = run(ops, "emulated", host_perf=host)
    check_losses(ran, "contention")


filters = st.builds(
    FilterEntry,
    select=st.sampled_from([0xC0, 0xC4, 0xD0]),
    mask=st.sampled_from([0xFF, 0x80, 0]),
    match=st.sampled_from([0, 0x80, 0x81, 0x82]),
    exclude=st.booleans(),
)


@pytest.mark.parametrize("mode", ["emulated", "mediated"])
@settings(max_examples=40)
@given(
    ops=programs,
    action=st.sampled_from([FilterAction.ALLOW, FilterAction.DENY]),
    entries=st.lists(filters, max_size=3),
    bitmap=st.integers(0, 1),
)
def test_a_filter_explains_what_is_lost(
    mode: str,
    ops: list[tuple],
    action: FilterAction,
    entries: list[FilterEntry],
    bitmap: int,
) -> None:
    chosen = Filter(action, bitmap, tuple(sorted(entries, key=lambda e: (e.select, e.exclude))))
    ran, _ = run(ops, mode, filter=chosen)
    check_losses(ran, "filtered")
    assert ran.machine.silent_errors() == []
