# SPDX-License-Identifier: Apache-2.0
"""The event lists: placement, meaning, names, and what the core is given."""

import pytest

from pmupass import cpus
from pmupass.config import Pmu, Vendor
from pmupass.errors import UsageError
from pmupass.events import EventTable, data
from pmupass.events.table import counter_names

NAMES = cpus.names()
SPR, SKX = "sapphire-rapids", "skylake-sp"
USR, OS = 1 << 16, 1 << 17
FIXED = 1 << 32


@pytest.fixture
def spr() -> EventTable:
    return EventTable(cpus.load(SPR))


@pytest.fixture
def skx() -> EventTable:
    return EventTable(cpus.load(SKX))


@pytest.fixture
def base(def_list) -> list[str]:
    return [text for _, text in def_list("base_events")]


@pytest.mark.parametrize("name", NAMES)
def test_every_cpu_has_a_list_with_a_source(name: str) -> None:
    listed = data.load(cpus.load(name).events)
    assert listed.cpu == cpus.load(name).events
    source = "Linux" if cpus.load(name).maker is Vendor.AMD else "intel/perfmon"
    assert source in listed.source
    assert len(listed.events) > 150 or name == "sierra-forest"
    assert len({event.name for event in listed.events}) == len(listed.events)


def test_sierra_forest_has_the_architectural_events() -> None:
    """The seven of CPUID 0AH on GP counters, and the three of the fixed ones; loads and stores."""
    events = data.load("sierra-forest").events
    gp = {(int(e.event, 16), int(e.umask, 16)) for e in events if e.fixed is None}
    architectural = {
        (0x3C, 0),
        (0xC0, 0),
        (0x3C, 1),
        (0x2E, 0x4F),
        (0x2E, 0x41),
        (0xC4, 0),
        (0xC5, 0),
    }
    assert gp == architectural | {(0xD0, 0x81), (0xD0, 0x82)}
    assert {e.fixed for e in events} == {None, 0, 1, 2}


@pytest.mark.parametrize("name", NAMES)
def test_every_listed_event_can_be_asked_for(name: str) -> None:
    table = EventTable(cpus.load(name))
    for event_name in table.names():
        (spec,) = table.parse(event_name)
        assert spec.counters, event_name
        assert not spec.counters & ~(table.cpu.gp_mask | table.cpu.fixed_mask)
    missing = set(table.data) - set(table.names())
    assert all(table.data[event_name].any for event_name in missing)


@pytest.mark.parametrize("name", NAMES)
def test_the_core_gets_every_encoding_once(name: str, base: list[str]) -> None:
    table = EventTable(cpus.load(name))
    maps = table.maps(base_events=base)
    configs = [entry.config for entry in maps]
    assert configs == sorted(set(configs))
    by_config = {entry.config: entry for entry in maps}
    for event in table.data.values():
        if not event.any:
            assert event.config in by_config, event.name
    for entry in maps:
        assert entry.counters
        assert entry.config == entry.config & data.WHAT
        if entry.feed is not None:
            assert table.feed_of(entry.config) == base[entry.feed]
    fed = {base[entry.feed] for entry in maps if entry.feed is not None}
    assert fed == set(table.cpu.feeds), "every base event of the CPU can be counted"


def test_constraints_of_the_list(spr: EventTable, skx: EventTable) -> None:
    def counters(table: EventTable, text: str) -> int:
        return table.parse(text)[0].counters

    assert counters(spr, "branches") == 0xFF
    assert counters(spr, "mem_inst_retired.all_loads") == 0x0F
    assert counters(spr, "topdown.bad_spec_slots") == 0x01
    assert counters(spr, "instructions") == FIXED | 0xFF
    assert counters(spr, "cycles") == FIXED << 1 | 0xFF
    assert counters(spr, "ref-cycles") == FIXED << 2
    assert counters(spr, "slots") == FIXED << 3
    assert counters(spr, "inst_retired.prec_dist") == FIXED
    assert counters(spr, "rffff") == 0xFF, "an encoding in no list fits any GP counter"
    assert counters(skx, "branches") == 0x0F
    assert counters(skx, "inst_retired.prec_dist") == 0x02
    assert counters(skx, "inst_retired.total_cycles_ps") == 0x0D


@pytest.mark.parametrize(
    ("cpu", "name", "counters"),
    [
        ("cascadelake-sp", "branches", 0x0F),
        ("cascadelake-sp", "inst_retired.prec_dist", 0x02),
        ("icelake-sp", "branches", 0xFF),
        ("icelake-sp", "mem_inst_retired.all_loads", 0x0F),
        ("icelake-sp", "baclears.any", 0x0F),
        ("icelake-sp", "inst_retired.prec_dist", FIXED),
        ("icelake-sp", "ref-cycles", FIXED << 2),
        ("icelake-sp", "cpu_clk_unhalted.ref_xclk", 0xFF),
        ("icelake-sp", "slots", FIXED << 3),
        ("emerald-rapids", "topdown.bad_spec_slots", 0x01),
        ("emerald-rapids", "cpu_clk_unhalted.ref_tsc_p", FIXED << 2 | 0xFF),
        ("granite-rapids", "mem_inst_retired.all_stores", 0x0F),
        ("granite-rapids", "cpu_clk_unhalted.ref_tsc_p", FIXED << 2 | 0xFF),
        ("granite-rapids", "slots", FIXED << 3),
        ("sierra-forest", "instructions", FIXED | 0xFF),
        ("sierra-forest", "cpu_clk_unhalted.core_p", FIXED << 1 | 0xFF),
        ("sierra-forest", "cpu_clk_unhalted.ref_tsc", FIXED << 2),
        ("sierra-forest", "cpu_clk_unhalted.ref_tsc_p", FIXED << 2 | 0xFF),
        ("sierra-forest", "mem_uops_retired.all_loads", 0xFF),
    ],
)
def test_constraints_of_the_other_lists(cpu: str, name: str, counters: int) -> None:
    assert EventTable(cpus.load(cpu)).parse(name)[0].counters == counters


def test_fixed_counters_know_no_cmask_inv_and_edge(spr: EventTable) -> None:
    assert spr.parse("r10000c0")[0].counters == 0xFF
    assert spr.parse("r8400c0")[0].counters == 0xFF


def test_edges_of_a_clock_are_not_its_cycles(skx: EventTable) -> None:
    (spec,) = skx.parse("cpu_clk_unhalted.ring0_trans")
    assert spec.feed is None
    assert skx.feed_of(0x3C) == "cycles"


def test_a_threshold_feeds_what_its_event_feeds(spr: EventTable, skx: EventTable) -> None:
    """Inverted or not: the core makes cycles of it."""
    for config in (0x0100_00C0, 0x0180_00C0, 0x0084_00C0, 0x0080_00C0):
        assert spr.feed_of(config) == "instructions"
    (spec,) = skx.parse("inst_retired.total_cycles_ps")
    assert spec.config & (data.INV | data.CMASK) == data.INV | 10 << data.CMASK_SHIFT
    assert spec.feed == "instructions"
    (found,) = (e for e in skx.maps() if e.config == spec.config & data.WHAT)
    assert found.feed is not None


def test_events_with_an_extra_register_count_zero(spr: EventTable) -> None:
    (spec,) = spr.parse("frontend_retired.l2_miss")
    assert spec.feed is None
    assert spec.config == 0x01C6 | USR | OS


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (0x3C | USR | OS, "cycles"),
        (0xC0 | USR, "instructions:u"),
        (0xC4 | OS, "branches:k"),
        (0x0300 | USR | OS, "ref-cycles"),
        (0x0400 | USR | OS, "slots"),
        (0x412E | USR | OS, "cache-misses"),
        (0x013C | USR | OS, "cpu_clk_unhalted.ref_tsc_p"),
        (0x11C4 | USR | OS, "br_inst_retired.cond"),
        (0x0100_09B0 | OS, "arith.div_active:k"),  # not its deprecated twin
        (0x01C6 | USR | OS, "r01c6"),  # which of many, an extra register decides
        (0xABCD | USR, "rabcd:u"),
        (0x0200_00C0 | USR | OS, "r20000c0"),
        (0xC0 | USR | OS | 1 << 20 | 1 << 22, "instructions"),  # INT and EN are not looked at
    ],
)
def test_names_of_encodings(spr: EventTable, config: int, name: str) -> None:
    assert spr.name_of(config) == name


def test_events_are_shown_as_they_were_typed(spr: EventTable) -> None:
    spr.parse("mem_inst_retired.all_loads:u,r00c4,branch-instructions")
    assert spr.name_of(0x81D0 | USR) == "mem_inst_retired.all_loads:u"
    assert spr.name_of(0xC4 | USR | OS) == "r00c4"
    spr.host("mem_inst_retired.all_stores")
    assert spr.name_of(0x82D0 | USR | OS) == "stores"


def test_named_events_follow_the_base_events(spr: EventTable, base: list[str]) -> None:
    named = ["br_inst_retired.near_call", "mem_load_retired.l1_miss"]
    feeds = {entry.config: entry.feed for entry in spr.maps(named, base)}
    assert feeds[0x02C4] == len(base)
    assert feeds[0x08D1] == len(base) + 1


@pytest.mark.parametrize(
    ("named", "what"),
    [
        (["no.such_event"], "sapphire-rapids has no such event"),
        (["inst_retired.any_p"], "the same encoding as instructions"),
        (["br_inst_retired.near_call", "br_inst_retired.near_call"], "the same encoding"),
        ([f"e{n}" for n in range(23)], "at most 21 named events"),
    ],
)
def test_bad_named_events(spr: EventTable, base: list[str], named: list[str], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        spr.maps(named, base)


def test_an_event_without_a_counter_is_refused(spr: EventTable) -> None:
    kvm = Pmu(version=2, nr_gp=8, nr_fixed=3, gp_width=48, fixed_width=48)
    spr.require(spr.parse("cycles,ref-cycles,branches"), kvm)
    with pytest.raises(UsageError) as error:
        spr.require(spr.parse("slots:u"), kvm)
    assert "slots:u: it needs fixed 3; this PMU has 8 GP and 3 fixed counters" in str(error.value)
    assert "kvm.max_fixed_counters=4" in str(error.value)
    with pytest.raises(UsageError, match=r"it needs fixed 2; .* 0 fixed counters$"):
        spr.require(spr.parse("ref-cycles"), Pmu(version=2, nr_gp=8, nr_fixed=0, gp_width=48))


def test_what_counts_zero_says_why(spr: EventTable, skx: EventTable) -> None:
    assert spr.not_fed(0x01C6) == "needs MSR 0x3f7, which no guest has"
    assert spr.not_fed(0x0100_09B0) == "the model has no such event"
    assert "crystal clock" in skx.not_fed(0x013C)


def test_counters_in_words(spr: EventTable) -> None:
    assert counter_names(spr.counters_of(0xC0)) == "GP 0-7 or fixed 0"
    assert counter_names(spr.counters_of(0x0300)) == "fixed 2"
    assert counter_names(0b1101) == "GP 0,2-3"
    assert counter_names(0) == "no counter"
