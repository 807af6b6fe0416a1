# SPDX-License-Identifier: Apache-2.0
"""The reference itself: rules of docs/rules.toml with numbers that were worked out by hand."""

import pytest
import rules
from emulated import Emulated
from rules import (
    EN,
    EVTSEL0,
    FIXED_CTR0,
    FIXED_CTR_CTRL,
    GLOBAL_CTRL,
    GLOBAL_STATUS,
    INT,
    OS,
    OVF_CTRL,
    PERFCTR0,
    PMC0,
    USR,
    Fault,
    Filter,
    FilterEntry,
    Kvm,
    Mediated,
    Shape,
    Silicon,
)

GUEST = Shape(
    version=2, gp=4, fixed=3, width=48, full_width_writes=True, any_thread=False, capabilities=8192
)
WRAP = 1 << 48
EVERY = (Silicon, Emulated, Mediated)


def counting(kind: type[Silicon], start: int, more: int = 0) -> Silicon:
    """Return a PMU whose GP counter 0 counts kernel instructions from a value on."""
    pmu = kind(GUEST)
    pmu.write_msr(EVTSEL0, EN | OS | 0xC0 | more)
    pmu.write_msr(PMC0, start)
    return pmu


@pytest.mark.parametrize("kind", EVERY)
def test_writes_of_counters(kind: type[Silicon]) -> None:
    """[1] [3] A legacy write is sign-extended from bit 31; a full one faults above bit 47."""
    pmu = kind(GUEST)
    pmu.write_msr(PERFCTR0, 0xDEAD_BEEF_8000_0000)
    assert pmu.read_msr(PMC0) == 0xFFFF_8000_0000
    with pytest.raises(Fault):
        pmu.write_msr(PMC0, WRAP)
    assert pmu.rdpmc(0, 0, pce=False) == 0xFFFF_8000_0000


def test_a_fixed_counter_beyond_its_width() -> None:
    """[4] The emulated design cuts the value, silicon faults."""
    pmu = Emulated(GUEST)
    pmu.write_msr(FIXED_CTR0, 1 << 50 | 7)
    assert pmu.read_msr(FIXED_CTR0) == 7
    with pytest.raises(Fault):
        Mediated(GUEST).write_msr(FIXED_CTR0, 1 << 50 | 7)


@pytest.mark.parametrize("kind", EVERY)
def test_privileges_and_enables(kind: type[Silicon]) -> None:
    """Ten in the kernel, ten in user mode, ten while GLOBAL_CTRL is off: ten."""
    pmu = counting(kind, 0)
    pmu.enter()
    pmu.retire(10, 0, 0)
    pmu.retire(10, 0, 3)
    pmu.write_msr(GLOBAL_CTRL, 0)
    pmu.retire(10, 0, 0)
    assert pmu.read_msr(PMC0) == 10
    assert pmu.truth == {0xC0 | OS: 10}


@pytest.mark.parametrize("kind", [Silicon, Mediated])
def test_silicon_overflows_at_the_wrap(kind: type[Silicon]) -> None:
    """[6] All ones, one event: 0, the bit is set, a PMI; OVF_CTRL clears the bit, no guest sets."""
    pmu = counting(kind, WRAP - 1, INT)
    pmu.retire(1, 0, 0)
    assert (pmu.read_msr(PMC0), pmu.read_msr(GLOBAL_STATUS), pmu.pmi) == (0, 1, True)
    with pytest.raises(Fault):
        pmu.write_msr(GLOBAL_STATUS, 0)
    pmu.write_msr(OVF_CTRL, 1)
    assert (pmu.read_msr(GLOBAL_STATUS), pmu.read_msr(OVF_CTRL)) == (0, 0)


def test_perf_overflows_one_late() -> None:
    """[6] perf makes two of a period of one: nothing at the wrap, the overflow one later."""
    pmu = counting(Emulated, WRAP - 1, INT)
    pmu.enter()
    pmu.retire(1, 0, 0)
    assert (pmu.read_msr(PMC0), pmu.read_msr(GLOBAL_STATUS), pmu.pmi) == (0, 0, False)
    pmu.retire(1, 0, 0)
    assert (pmu.read_msr(PMC0), pmu.read_msr(GLOBAL_STATUS), pmu.pmi) == (1, 1, True)


def test_a_credit_overflows_at_the_wrap() -> None:
    """The emulated design: an instruction that KVM completes at all ones."""
    pmu = counting(Emulated, WRAP - 2, INT)
    pmu.retire(1, 0, 0, exits=True)
    pmu.enter()
    assert not pmu.pmi
    pmu.retire(1, 0, 0, exits=True)
    assert pmu.read_msr(GLOBAL_STATUS) == 0, "a VMM that reads now does not see it yet"
    pmu.enter()
    assert (pmu.read_msr(PMC0), pmu.read_msr(GLOBAL_STATUS), pmu.pmi) == (0, 1, True)


def test_a_write_under_a_running_event() -> None:
    """An event has counted 3 when -7 is written: the base is -10, so ten more to the overflow."""
    pmu = counting(Emulated, 0)
    pmu.enter()
    pmu.retire(3, 0, 0)
    pmu.write_msr(PMC0, WRAP - 7)
    pmu.retire(9, 0, 0)
    assert (pmu.read_msr(PMC0), pmu.read_msr(GLOBAL_STATUS)) == (2, 0)
    pmu.retire(1, 0, 0)
    assert (pmu.read_msr(PMC0), pmu.read_msr(GLOBAL_STATUS)) == (3, 1)


def test_reserved_bits() -> None:
    """[12] [16] AnyThread faults under KVM and on new silicon, not on silicon of version 4."""
    old = Silicon(Shape(4, 4, 3, 48, full_width_writes=True, any_thread=True, capabilities=0))
    for pmu, faults in ((old, False), (Silicon(GUEST), True), (Kvm(GUEST), True)):
        for msr, value in ((EVTSEL0, rules.ANY_THREAD), (FIXED_CTR_CTRL, 4)):
            if faults:
                with pytest.raises(Fault):
                    pmu.write_msr(msr, value)
            else:
                pmu.write_msr(msr, value)
                assert pmu.read_msr(msr) == value


def test_filters() -> None:
    """An include that matches and no exclude that does; fixed counters by the bitmap alone."""
    some = (FilterEntry(0xC4, 0xF0, 0x40, exclude=False), FilterEntry(0xC4, 0xFF, 0x41, True))
    allow, deny = Filter("allow", some, 1), Filter("deny", some, 1)
    for selector, matched in ((0x40C4, True), (0x41C4, False), (0xC4, False), (0x40C0, False)):
        assert allow.allows_gp(selector | EN | USR) == matched
        assert deny.allows_gp(selector) != matched
    assert [allow.allows_fixed(i) for i in range(3)] == [True, False, False]
    assert [deny.allows_fixed(i) for i in range(3)] == [False, True, True]
    pmu = Mediated(GUEST, filter=Filter("deny", (FilterEntry(0xC4, 0, 0, exclude=False),)))
    pmu.write_msr(EVTSEL0, EN | OS | 0xC4)
    pmu.retire(5, 5, 0)
    assert pmu.read_msr(PMC0) == 0
    pmu.set_filter(Filter())
    pmu.retire(5, 5, 0)
    assert pmu.read_msr(PMC0) == 5
