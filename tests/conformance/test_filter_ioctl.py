# SPDX-License-Identifier: Apache-2.0
"""KVM_SET_PMU_EVENT_FILTER while the guest runs: its errors, its forms, and when it holds.

Rules are those of Linux 7.0's KVM; numbers in brackets are those of docs/model.md's list.
"""

from __future__ import annotations

import errno

import guest_asm as asm
import pytest
from test_kvm_msrs import BEFORE, BEHIND, TURNS, finish, machine, word

from pmupass import cpus
from pmupass.config import FilterAction, PmuEventFilter
from pmupass.core import IoctlError, Machine
from pmupass.errors import InputError
from pmupass.events import EventTable
from pmupass.policy import event_filter
from pmupass.policy.event_filter import encode_masked_entry
from pmupass.records import Stop

ALLOW, DENY, MASKED = 0, 1, 1
BRANCHES = 0x00C4
each_vpmu = pytest.mark.parametrize("mode", ["emulated", "mediated"])
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)
NOTHING = PmuEventFilter(DENY)
ALL = PmuEventFilter(ALLOW)


def refused(made: Machine, given: PmuEventFilter) -> int:
    """Return KVM's errno."""
    with pytest.raises(IoctlError) as error:
        made.set_pmu_event_filter(given)
    return error.value.errno


# ---- errors


def test_errors_in_kvms_order() -> None:
    """Action, flags, number of entries, reserved bits of masked entries: the first one is told."""
    made = machine(mode="mediated", cpu="sapphire-rapids")
    many, bad = tuple(range(301)), (1 << 16,)
    assert refused(made, PmuEventFilter(2)) == errno.EINVAL
    assert refused(made, PmuEventFilter(DENY, flags=2)) == errno.EINVAL
    assert refused(made, PmuEventFilter(DENY, flags=3)) == errno.EINVAL
    assert refused(made, PmuEventFilter(DENY, many)) == errno.E2BIG
    assert refused(made, PmuEventFilter(DENY, bad, flags=MASKED)) == errno.EINVAL
    # Two at once.
    assert refused(made, PmuEventFilter(2, many)) == errno.EINVAL
    assert refused(made, PmuEventFilter(DENY, many, flags=2)) == errno.EINVAL
    assert refused(made, PmuEventFilter(DENY, many + bad, flags=MASKED)) == errno.E2BIG
    made.set_pmu_event_filter(PmuEventFilter(DENY, many[:300]))


@pytest.mark.parametrize("bit", [*range(16, 55)])
@pytest.mark.parametrize("cpu", ["sapphire-rapids", "zen4"])
def test_reserved_bits_of_masked_entries(cpu: str, bit: int) -> None:
    """Bits 15:0, 55 and 63:56 are an entry's; 35:32 are the event select's on AMD."""
    made = machine(mode="emulated", cpu=cpu)
    given = PmuEventFilter(DENY, (0xC0 | 1 << bit,), flags=MASKED)
    if cpu == "zen4" and bit in range(32, 36):
        made.set_pmu_event_filter(given)
    else:
        assert refused(made, given) == errno.EINVAL


@each_vpmu
def test_a_refused_filter_leaves_the_old_one(mode: str) -> None:
    made = machine(mode=mode, cpu="sapphire-rapids")
    made.set_pmu_event_filter(PmuEventFilter(DENY, (BRANCHES,)))
    assert refused(made, PmuEventFilter(ALLOW, (1 << 20,), flags=MASKED)) == errno.EINVAL
    finish(made)
    assert [word(made, 1), word(made, 2)] == [BEFORE + 3 * TURNS + BEHIND, 0]


# ---- forms: what is denied of branches (c4, umask 0)


FORMS = {
    "plain": (PmuEventFilter(DENY, (BRANCHES,)), True),
    "another umask": (PmuEventFilter(DENY, (0x01C4,)), False),
    # An entry with other bits is taken and dropped: it matches nothing.
    "dropped": (PmuEventFilter(DENY, (BRANCHES | 1 << 16,)), False),
    "dropped, high": (PmuEventFilter(DENY, (BRANCHES | 1 << 32,)), False),
    "dropped beside one that counts": (PmuEventFilter(DENY, (1 << 60, BRANCHES)), True),
    "masked": (PmuEventFilter(DENY, (encode_masked_entry(0xC4, 0xFF, 0),), flags=1), True),
    "masked, any umask": (PmuEventFilter(DENY, (encode_masked_entry(0xC4, 0, 0),), flags=1), True),
    "match outside of the mask": (
        PmuEventFilter(DENY, (encode_masked_entry(0xC4, 0, 1),), flags=1),
        False,
    ),
    "excluded": (
        PmuEventFilter(
            DENY,
            (
                encode_masked_entry(0xC4, 0, 0, exclude=True),
                encode_masked_entry(0xC4, 0, 0),
            ),
            flags=1,
        ),
        False,
    ),
    "exclude only, deny": (
        PmuEventFilter(DENY, (encode_masked_entry(0xC4, 0, 0, exclude=True),), flags=1),
        False,
    ),
    "exclude only, allow": (
        PmuEventFilter(ALLOW, (encode_masked_entry(0xC0, 0, 0, exclude=True),), 1, 1),
        True,
    ),
    "allow nothing": (PmuEventFilter(ALLOW, (), 1), True),
    # Plain entries have no exclude and no mask: these bits are other bits.
    "masked form without the flag": (
        PmuEventFilter(DENY, (encode_masked_entry(0xC4, 0xFF, 0),)),
        False,
    ),
}


@each_vpmu
@pytest.mark.parametrize("name", FORMS)
def test_forms(mode: str, name: str) -> None:
    given, denied = FORMS[name]
    made = machine(mode=mode, cpu="sapphire-rapids")
    made.set_pmu_event_filter(given)
    finish(made)
    assert word(made, 2) == (0 if denied else TURNS)
    # The bitmap alone decides on the fixed counter, and lets it count in all of these [46].
    assert word(made, 1) == BEFORE + 3 * TURNS + BEHIND


@each_vpmu
@pytest.mark.parametrize(
    ("given", "counts"),
    [
        (PmuEventFilter(DENY, (0x00C0,), 0), True),
        (PmuEventFilter(DENY, (), 1), False),
        (PmuEventFilter(DENY, (), 0xFFFF_FFFE), True),
        (PmuEventFilter(ALLOW, (0x00C0,), 0), False),
        (PmuEventFilter(ALLOW, (), 1), True),
    ],
)
def test_the_fixed_counter(mode: str, given: PmuEventFilter, counts: bool) -> None:
    """[46] The bitmap, whatever the entries say of its event; also of what KVM credits."""
    made = machine(mode=mode, cpu="sapphire-rapids")
    made.set_pmu_event_filter(given)
    finish(made)
    assert word(made, 1) == (BEFORE + 3 * TURNS + BEHIND if counts else 0)


@pytest.mark.parametrize(("mode", "cpu"), [("emulated", "zen3"), ("mediated", "zen4")])
def test_twelve_bits_of_event_select(mode: str, cpu: str) -> None:
    """AMD: 0x1c2 is another event than 0xc2, in plain and in masked entries."""
    source = f"""
{asm.PRELUDE}
_start:
	wr 0xc0010200, {asm.EN | asm.OS | 0xC2}
	movl	${TURNS}, %ecx
1:	incq	RESULTS
	decl	%ecx
	jnz	1b
	wr 0xc0010200, 0
	rd 0xc0010201
	keep 2
	finish
"""
    high = 0xC2 | 1 << 32
    for given, denied in (
        (PmuEventFilter(DENY, (0xC2,)), True),
        (PmuEventFilter(DENY, (high,)), False),
        (PmuEventFilter(DENY, (encode_masked_entry(0xC2, 0, 0),), flags=1), True),
        (PmuEventFilter(DENY, (encode_masked_entry(0x1C2, 0, 0),), flags=1), False),
        (PmuEventFilter(DENY, (0xC2 | 1 << 36,)), False),
    ):
        made = machine(source, mode=mode, cpu=cpu)
        made.set_pmu_event_filter(given)
        finish(made)
        assert word(made, 2) == (0 if denied else TURNS), given


# ---- while the guest runs


@each_vpmu
@each_cpu
def test_it_is_replaced_while_the_guest_runs(mode: str, cpu: str) -> None:
    """[17] Denied from one turn to another, then allowed: exactly these turns are missing.

    The guest does nothing for it. Its selector reads back as written, and its counter, at rest, can
    be read.
    """
    made = machine(mode=mode, cpu=cpu)
    made.run(3000)
    first = word(made, 0)
    made.set_pmu_event_filter(PmuEventFilter(DENY, (BRANCHES,)))
    made.run(4000)
    second = word(made, 0)
    assert 0 < first < second < TURNS
    # The block that was about to run when the filter came is the first that is not counted.
    assert made.get_msrs([asm.PERFCTR0]) == [first]
    selector = asm.EN | asm.OS | asm.USR | BRANCHES
    assert made.get_msrs([asm.EVTSEL0]) == [selector]
    made.set_pmu_event_filter(NOTHING)
    finish(made)
    assert word(made, 1) == BEFORE + 3 * TURNS + BEHIND
    assert word(made, 2) == TURNS - (second - first)
    counters = {c.config & 0xFFFF: c for c in made.counters()}
    assert counters[BRANCHES].causes == {"filtered": second - first}
    assert counters[BRANCHES].filtered
    assert made.silent_errors() == []


@each_vpmu
def test_a_running_vcpu_is_kicked(mode: str) -> None:
    """It comes out once, by an external interrupt, and holds its counters against the filter."""
    made = machine(mode=mode, cpu="sapphire-rapids")
    made.run(3000)
    before = {e.reason: e.count for e in made.exits()}
    made.set_pmu_event_filter(PmuEventFilter(DENY, (BRANCHES,)))
    # The ioctl does not wait: nothing has exited yet.
    assert {e.reason: e.count for e in made.exits()} == before
    made.run(1)
    after = {e.reason: e.count for e in made.exits()}
    assert after["EXTERNAL_INTERRUPT"] == before.get("EXTERNAL_INTERRUPT", 0) + 1


@each_vpmu
def test_it_is_cloned_and_a_new_host_has_its_own(mode: str) -> None:
    """A clone has the filter of its original; a restored guest that of its new machine."""
    made = machine(mode=mode, cpu="sapphire-rapids")
    made.set_pmu_event_filter(PmuEventFilter(DENY, (BRANCHES,)))
    made.run(3000)
    clone = made.clone()
    clone.set_pmu_event_filter(NOTHING)
    turns = word(made, 0)
    moved = made.migrate(machine(mode=mode, cpu="sapphire-rapids")._config)
    for other, expected in ((made, 0), (clone, TURNS - turns), (moved, TURNS - turns)):
        finish(other)
        assert word(other, 2) == expected


# ---- the filters that come with pmupass


@pytest.mark.parametrize("cpu", ["sapphire-rapids", "skylake-sp", "zen4", "zen3"])
def test_shipped_filters(cpu: str) -> None:
    """Each allows what the smaller one allows; KVM takes them all."""
    table = EventTable(cpus.load(cpu))
    filters = [event_filter.load(name, table) for name in ("architectural", "core", "llc")]
    assert [f.warnings for f in filters] == [(), (), ()]
    amd = cpu.startswith("zen")
    configs = [s | u << 8 for s in range(256) for u in range(256)]
    allowed = [{c for c in configs if f.allows(c)} for f in filters]
    assert allowed[0] < allowed[1] < allowed[2] < set(configs)
    basic = {"cycles", "instructions", "branches", "branch-misses"}
    assert {table.encoding(name) for name in basic} <= allowed[0]
    if not amd:
        # MEM_LOAD_RETIRED by level: 04 and 20 are the last level cache's.
        assert {0x01D1, 0x02D1, 0x08D1, 0x10D1} <= allowed[1]
        assert not {0x04D1, 0x20D1} & allowed[1]
        assert {0x04D1, 0x20D1} <= allowed[2]
        assert all(f.allows(0, fixed) for f in filters for fixed in range(4))
    made = machine(mode="emulated", cpu=cpu)
    for given in filters:
        assert given.action is FilterAction.ALLOW
        made.set_pmu_event_filter(given)


# ---- refusals


def test_refusals() -> None:
    with pytest.raises(InputError, match="native machine has no KVM"):
        machine(mode="native", cpu="sapphire-rapids").set_pmu_event_filter(ALL)
    made = machine(mode="mediated", cpu="sapphire-rapids", settings=("kvm.interception=none",))
    with pytest.raises(InputError, match="needs intercepted selectors"):
        made.set_pmu_event_filter(ALL)
    made = machine(mode="mediated", cpu="sapphire-rapids")
    finish(made)
    assert made.run(1) is Stop.EXIT
    made.counters()
    with pytest.raises(InputError, match="read out"):
        made.set_pmu_event_filter(ALL)


@each_vpmu
@each_cpu
def test_rdpmc_of_a_denied_counter(mode: str, cpu: str) -> None:
    """The filter says what counts, not what may be read: it reads what was written."""
    ops = [
        ("wr", asm.PERFCTR0, 77),
        ("wr", asm.EVTSEL0, asm.EN | asm.OS | asm.USR | BRANCHES),
        ("spin", 100),
        ("pmc", 0),
        ("pce", 1),
        ("pmc3", 0),
        ("rd", asm.EVTSEL0),
    ]
    made = machine(asm.script(ops), mode=mode, cpu=cpu)
    made.set_pmu_event_filter(PmuEventFilter(DENY, (BRANCHES,)))
    finish(made)
    ran = asm.Ran(made, Stop.EXIT, asm.config(b"", mode=mode, cpu=cpu))
    found = asm.script_results(ran, len(ops))
    assert [found[3], found[5]] == [77, 77]
    assert found[6] == asm.EN | asm.OS | asm.USR | BRANCHES
