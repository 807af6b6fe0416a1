# SPDX-License-Identifier: Apache-2.0
"""The syntax of -e and --host-perf: what is understood, and errors that point at the column."""

import contextlib

import pytest
from hypothesis import given, strategies as st
from msgspec import structs

from pmupass import cpus
from pmupass.errors import UsageError
from pmupass.events import EventTable

SPR = EventTable(cpus.load("sapphire-rapids"))
SKX = EventTable(cpus.load("skylake-sp"))
USR, OS, EDGE, INV = 1 << 16, 1 << 17, 1 << 18, 1 << 23


def one(text: str, table: EventTable = SPR):
    (spec,) = table.parse(text)
    return spec


@pytest.mark.parametrize(
    ("name", "config", "feed"),
    [
        # Linux's generic events on Intel, and the base events of the guest CPU.
        ("cycles", 0x003C, "cycles"),
        ("cpu-cycles", 0x003C, "cycles"),
        ("instructions", 0x00C0, "instructions"),
        ("branches", 0x00C4, "branches"),
        ("branch-instructions", 0x00C4, "branches"),
        ("branch-misses", 0x00C5, "branch-misses"),
        ("ref-cycles", 0x0300, "ref-cycles"),
        ("cache-references", 0x4F2E, "llc-references"),
        ("cache-misses", 0x412E, "llc-misses"),
        ("LLC-misses", 0x412E, "llc-misses"),
        ("slots", 0x0400, "slots"),
        ("loads", 0x81D0, "loads"),
        ("stores", 0x82D0, "stores"),
        ("inst_retired.any_p", 0x00C0, "instructions"),
        ("INST_RETIRED.ANY", 0x00C0, "instructions"),
        ("cpu_clk_unhalted.thread", 0x003C, "cycles"),
        ("topdown.slots_p", 0x01A4, "slots"),
        ("mem_inst_retired.all_loads", 0x81D0, "loads"),
        ("r4f2e", 0x4F2E, "llc-references"),
        ("r0x4f2e", 0x4F2E, "llc-references"),
        ("r10000c0", 0x0100_00C0, "instructions"),
        ("arith.div_active", 0x0100_09B0, None),
    ],
)
def test_names_and_encodings(name: str, config: int, feed: str | None) -> None:
    spec = one(name)
    assert spec.config == config | USR | OS
    assert spec.feed == feed


@pytest.mark.parametrize(
    ("text", "precise", "branches", "exclude_guest"),
    [
        ("cycles:p", 1, False, True),
        ("cycles:ppp", 3, False, True),
        ("cycles:ppD", 2, False, True),
        ("cycles:pGH", 1, False, False),
        ("cycles:pG", 1, False, False),
        ("cycles/branch_type=any/", 0, True, False),
        ("cycles/branch_type=any/D", 0, True, False),
        ("cycles/branch_type=any/pH", 1, True, True),
    ],
)
def test_precise_events_and_branch_stacks(
    text: str, precise: int, branches: bool, exclude_guest: bool
) -> None:
    """perf's p leaves guests out unless G or H says otherwise; it is the host's event."""
    (spec,) = SPR.host(text)
    event = spec.host_event()
    assert spec.text == text
    assert (event.precise_ip, event.branch_stack) == (precise, branches)
    assert event.exclude_guest is exclude_guest
    assert event.pinned == ("D" in text)


@pytest.mark.parametrize("text", ["cycles:p", "cycles/branch_type=any/"])
def test_amds_are_other_things(text: str) -> None:
    with pytest.raises(UsageError, match="zen4, which is not modelled"):
        EventTable(cpus.load("zen4")).host(text)


def test_the_bits_the_driver_sets_are_dropped_from_raw_events() -> None:
    # 0x53: USR, OS, INT and EN, as libpfm prints encodings; perf masks them off as well.
    assert one("r5300c0").config == 0x00C0 | USR | OS
    assert one("r14300c0:u").config == 0x0100_00C0 | USR


@pytest.mark.parametrize(
    ("modifiers", "bits", "guest", "host", "pinned"),
    [
        ("", USR | OS, True, True, False),
        (":u", USR, True, True, False),
        (":k", OS, True, True, False),
        (":uk", USR | OS, True, True, False),
        (":D", USR | OS, True, True, True),
        (":G", USR | OS, True, False, False),
        (":H", USR | OS, False, True, False),
        (":GH", USR | OS, True, True, False),
        (":kHD", OS, False, True, True),
    ],
)
def test_modifiers(modifiers: str, bits: int, guest: bool, host: bool, pinned: bool) -> None:
    spec = one(f"cycles{modifiers}")
    assert spec.name == "cycles"
    assert spec.text == f"cycles{modifiers}"
    assert spec.config == 0x3C | bits
    assert (spec.user, spec.kernel) == (bool(bits & USR), bool(bits & OS))
    assert (spec.guest, spec.host, spec.pinned) == (guest, host, pinned)


def test_each_repetition_is_an_event_of_its_own() -> None:
    assert [spec.name for spec in SPR.parse("cycles,cycles, instructions:u")] == [
        "cycles",
        "cycles",
        "instructions",
    ]


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("cycels", 0, "unknown event on sapphire-rapids; did you mean cycles"),
        ("cycles,nonsense", 7, "unknown event"),
        ("cycles,instructions:z", 20, "Bad modifier; valid are u k G H D p"),
        ("cycles:uz", 8, "Bad modifier"),
        ("cycles:kk", 8, "Duplicate modifier 'k'"),
        ("cycles:P", 7, "modifier 'P' is not supported yet"),
        ("cycles:ppkpp", 11, "Duplicate modifier 'p'"),
        ("cycles/branch_type=any/upu", 25, "Duplicate modifier 'u'"),
        ("cycles/branch_type=u/", 6, "'/' is not supported yet"),
        ("/branch_type=any/", 0, "an event name is expected"),
        ("cycles:u:k", 8, "Bad modifier"),
        ("cycles:", 7, "a modifier is expected"),
        ("", 0, "an event name is expected"),
        ("cycles,", 7, "an event name is expected"),
        ("cycles,,cycles", 7, "an event name is expected"),
        (":u", 0, "an event name is expected"),
        (" cycels", 1, "unknown event"),
        ("cpu/event=0xc0/", 3, "'/' is not supported yet"),
        ("{cycles,instructions}", 0, "'{' is not supported yet"),
        ("r12g", 0, "unknown event"),
        ("r2000c0", 0, "AnyThread"),
        (
            "r1000000c0",
            0,
            "bits above 31 (in_tx and in_tx_cp, bits 32 and 33, are there with --set",
        ),
        ("r11112222333344445", 0, "unknown event"),
    ],
)
def test_errors_point_at_the_column(text: str, column: int, what: str) -> None:
    with pytest.raises(UsageError) as error:
        SPR.parse(text)
    first, second = str(error.value).split("\n")
    assert first == f"event syntax error: '{text}'"
    assert second.index("\\___ ") == len("event syntax error: '") + column
    assert second.partition("\\___ ")[2].startswith(what)


IN_TX, IN_TXCP = 1 << 32, 1 << 33


@pytest.mark.parametrize(
    ("name", "config", "feed", "counters"),
    [
        # in_tx counts cycles alone, of which transactions consist here; in_tx_cp counts on GP 2
        # alone and leaves out nothing but cycles. No fixed counter has either.
        ("r10000003c", 0x3C | IN_TX, "cycles", 0xF),
        ("r1000000c0", 0xC0 | IN_TX, None, 0xF),
        ("r20000003c", 0x3C | IN_TXCP, "cycles", 4),
        ("r2005100c4", 0xC4 | IN_TXCP, "branches", 4),
        ("r30000003c", 0x3C | IN_TX | IN_TXCP, None, 4),
        ("r200000300", 0x300 | IN_TXCP, None, 4),
        ("r2010000c4", 0xC4 | 1 << 24 | IN_TXCP, None, 4),
    ],
)
def test_events_of_transactions(name: str, config: int, feed: str | None, counters: int) -> None:
    rtm = EventTable(cpus.load("skylake-sp", {"rtm": "1"}))
    spec = one(name, rtm)
    assert spec.config == config | USR | OS
    assert (spec.feed, spec.counters) == (feed, counters)
    assert rtm.name_of(spec.config) == name
    with pytest.raises(
        UsageError, match=r"bits above 31 \(but in_tx and in_tx_cp, bits 32 and 33\)"
    ):
        rtm.parse("r4000000c0")


def test_an_event_that_this_cpu_lacks() -> None:
    with pytest.raises(UsageError, match="skylake-sp has no slots event"):
        SKX.parse("slots")
    with pytest.raises(UsageError, match="AnyThread event: KVM's guests get #GP"):
        SKX.parse("cpu_clk_unhalted.thread_any")


modifier_sets = (
    st.lists(st.sampled_from(["u", "k", "G", "H", "D", "p", "ppp"]), unique=True)
    .filter(lambda letters: "".join(letters).count("p") <= 3)
    .map("".join)
)
names = st.one_of(
    st.sampled_from(SPR.names()),
    st.integers(0, 0xFFFF).map(lambda code: f"r{code:04x}"),
    st.tuples(st.integers(0, 0xFFFF), st.integers(0, 255), st.booleans(), st.booleans()).map(
        lambda t: f"r{t[0] | t[1] << 24 | EDGE * t[2] | INV * t[3]:x}"
    ),
)
events = st.tuples(names, modifier_sets).map(lambda t: f"{t[0]}:{t[1]}" if t[1] else t[0])


@given(st.lists(events, min_size=1, max_size=12))
def test_parse_print_parse_is_the_identity(texts: list[str]) -> None:
    specs = SPR.parse(",".join(texts))
    assert SPR.parse(",".join(spec.text for spec in specs)) == specs


@given(st.lists(events, min_size=1, max_size=4))
def test_printed_names_parse_to_the_same_encoding(texts: list[str]) -> None:
    table = EventTable(SPR.cpu)
    for spec in SPR.parse(",".join(texts)):
        assert one(table.name_of(spec.config), table).config == spec.config


@given(st.text(max_size=40))
def test_no_text_is_too_strange_for_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert SPR.parse(text)


def test_a_host_event() -> None:
    (spec,) = SPR.host("ref-cycles:D")
    event = spec.host_event()
    assert (event.config, event.pinned) == (0x0300 | USR | OS, True)
    assert (event.exclude_host, event.exclude_guest) == (False, False)
    (spec,) = SPR.host("cycles:H")
    assert spec.host_event(4096).exclude_guest
    assert spec.host_event(4096).sample_period == 4096
    (spec,) = SPR.host("cycles:G")
    assert spec.host_event().exclude_host


@pytest.mark.parametrize(
    ("text", "shown", "groups"),
    [
        ("{cycles,instructions}", ["cycles", "instructions"], [1, 1]),
        # Modifiers behind the brace are everybody's, beside one's own; D is the leader's.
        ("{cycles,instructions}:D", ["cycles:D", "instructions"], [1, 1]),
        ("{cycles:u,instructions}:kH", ["cycles:ukH", "instructions:kH"], [1, 1]),
        ("{cycles,cache-misses:G}:H", ["cycles:H", "cache-misses:GH"], [1, 1]),
        ("{cycles:u,instructions:kp}:p", ["cycles:up", "instructions:kpp"], [1, 1]),
        ("loads,{cycles:D , stores}, {branches}:u", None, [0, 1, 1, 2]),
        ("{cycles/branch_type=any/,stores}:D", ["cycles/branch_type=any/D", "stores"], [1, 1]),
    ],
)
def test_groups(text: str, shown: list[str] | None, groups: list[int]) -> None:
    """As perf's parser has them; its own tests have some of these."""
    specs = SPR.host(text)
    assert [spec.group for spec in specs] == groups
    assert shown is None or [spec.text for spec in specs] == shown
    # Each is what it is alone, under the name that is shown.
    for spec in specs:
        (alone,) = SPR.host(spec.text)
        assert structs.replace(spec, group=0) == alone


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("{cycles", 0, "this group has no end"),
        ("loads,{cycles,stores", 6, "this group has no end"),
        ("{cycles,{stores}}", 8, "a group within a group"),
        ("{}", 1, "an event name is expected"),
        ("{cycles,}", 8, "an event name is expected"),
        ("cycles}", 6, "'}' is not supported yet"),
        ("g{cycles}", 1, "'{' is not supported yet"),
        ("{cycles}u", 8, "a group ends here"),
        ("{cycles}:", 9, "a modifier is expected"),
        ("{cycles}:uQ", 10, "Bad modifier"),
        ("{cycles,stores}:S", 16, "modifier 'S' is not supported yet"),
        ("{cycles,stores:D}", 8, "only the leader of a group can be pinned"),
        ("{cycles:pp,stores:p}:pp", 20, "cycles:pp and these"),
        # Reference cycles have one counter: perf_event_open() refuses the second with -EINVAL.
        ("{ref-cycles,ref-cycles:u}", 1, "the 2 events of this group never fit"),
        (f"{{{','.join(['loads'] * 9)}}}", 1, "the 9 events of this group never fit"),
    ],
)
def test_errors_in_groups_point_at_the_column(text: str, column: int, what: str) -> None:
    with pytest.raises(UsageError) as error:
        SPR.host(text)
    first, second = str(error.value).split("\n")
    assert first == f"event syntax error: '{text}'"
    assert second.index("\\___ ") == len("event syntax error: '") + column
    assert second.partition("\\___ ")[2].startswith(what)


def test_the_guests_perf_has_no_groups() -> None:
    with pytest.raises(UsageError, match="not supported yet"):
        SPR.parse("{cycles,instructions}")


@given(st.lists(events, min_size=1, max_size=6), st.text("{}:,uDpG ", max_size=12))
def test_no_group_is_too_strange_for_a_usage_error(texts: list[str], noise: str) -> None:
    with contextlib.suppress(UsageError):
        assert SPR.host("{" + ",".join(texts) + "}" + noise)
    with contextlib.suppress(UsageError):
        assert SPR.host(noise + ",".join(texts))
