# SPDX-License-Identifier: Apache-2.0
"""The event filter: KVM's rules and limits, against a slow reference; errors by file and line."""

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from pmupass import cpus
from pmupass.config import FilterAction, FilterEntry
from pmupass.errors import InputError
from pmupass.events import EventTable
from pmupass.policy.event_filter import (
    NO_FILTER,
    CompiledFilter,
    encode_masked_entry,
    load,
    parse,
)

SPR = EventTable(cpus.load("sapphire-rapids"))
SKX = EventTable(cpus.load("skylake-sp"))
ZEN4 = EventTable(cpus.load("zen4"))


def compiled(text: str, table: EventTable = SPR) -> CompiledFilter:
    return parse(text, table)


def kvm_allows(
    action: str, events: list[int], masked: bool, config: int, select_bits: int = 0xFF
) -> bool:
    """What KVM does with the ioctl's own numbers, written down entry by entry."""
    select, umask = config & select_bits, config >> 8 & 0xFF
    included = excluded = False
    for event in events:
        if masked:
            mask, match = event >> 56 & 0xFF, event >> 8 & 0xFF
            exclude = bool(event >> 55 & 1)
        else:
            if event & ~(0xFF00 | select_bits):
                continue  # dropped without a word
            mask, match, exclude = 0xFF, event >> 8 & 0xFF, False
        if event & select_bits == select and umask & mask == match:
            excluded |= exclude
            included |= not exclude
    matched = included and not excluded
    return matched if action == "allow" else not matched


# Few values, so that entries and selectors meet.
selects = st.sampled_from([0x3C, 0xC0, 0xC4, 0xC5])
umasks = st.sampled_from([0x00, 0x01, 0x03, 0x11, 0x20, 0xFF])
masked_entries = st.builds(
    lambda s, mask, match, exclude: encode_masked_entry(s, mask, match, exclude=exclude),
    selects,
    umasks,
    umasks,
    st.booleans(),
)
plain_entries = st.one_of(
    st.builds(lambda s, u: s | u << 8, selects, umasks),
    st.builds(lambda s, high: s | high << 16, selects, st.integers(1, 0xFFFF)),
)
selectors = st.builds(
    lambda s, u, rest: s | u << 8 | rest << 16, selects, umasks, st.integers(0, 0xFFFF)
)


@given(
    st.sampled_from(["allow", "deny"]),
    st.booleans().flatmap(
        lambda masked: st.tuples(
            st.just(masked), st.lists(masked_entries if masked else plain_entries, max_size=12)
        )
    ),
    st.lists(selectors, min_size=1, max_size=12),
)
def test_gp_counters_against_the_reference(action, masked_and_events, configs) -> None:
    masked, events = masked_and_events
    text = f'action = "{action}"\nmasked = {str(masked).lower()}\nfixed_bitmap = 0\n'
    text += f"events = [{', '.join(f'0x{event:x}' for event in events)}]\n"
    found = compiled(text)
    selects_in_order = [entry.select for entry in found.entries]
    assert selects_in_order == sorted(selects_in_order)
    for config in configs:
        assert found.allows(config) == kvm_allows(action, events, masked, config)


# AMD's selects: bits 7:0, and 11:8 in bits 35:32.
amd_selects = st.sampled_from([0x0C0, 0x1C0, 0xFC0, 0x08E, 0x18E])
amd_entries = {
    True: st.builds(
        lambda s, mask, match, exclude: encode_masked_entry(s, mask, match, exclude=exclude),
        amd_selects,
        umasks,
        umasks,
        st.booleans(),
    ),
    False: st.builds(
        lambda s, u, high: s & 0xFF | u << 8 | high << 16 | (s >> 8) << 32,
        amd_selects,
        umasks,
        st.sampled_from([0, 0, 0, 1, 0x80, 1 << 20, 1 << 24]),
    ),
}
amd_selectors = st.builds(
    lambda s, u, rest, sides: s & 0xFF | u << 8 | rest << 16 | (s >> 8) << 32 | sides << 40,
    amd_selects,
    umasks,
    st.integers(0, 0xFFFF),
    st.integers(0, 3),
)


@given(
    st.sampled_from(["allow", "deny"]),
    st.booleans().flatmap(
        lambda masked: st.tuples(st.just(masked), st.lists(amd_entries[masked], max_size=12))
    ),
    st.lists(amd_selectors, min_size=1, max_size=12),
)
def test_amds_selects_have_12_bits(action, masked_and_events, configs) -> None:
    masked, events = masked_and_events
    text = f'action = "{action}"\nmasked = {str(masked).lower()}\n'
    text += f"events = [{', '.join(f'0x{event:x}' for event in events)}]\n"
    found = compiled(text, ZEN4)
    selects_in_order = [entry.select for entry in found.entries]
    assert selects_in_order == sorted(selects_in_order)
    for config in configs:
        expected = kvm_allows(action, events, masked, config, 0xF_0000_00FF)
        assert found.allows(config) == expected


def test_amds_filters_by_name_encoding_and_table() -> None:
    """The same select of 12 bits in each form; no word about fixed counters, there are none."""
    found = compiled(
        """
        action = "allow"
        events = ["instructions", "r10000188e", 0x1_0000_1f8e, { event = 0x18e, umask = 0x07 }]
        """,
        ZEN4,
    )
    assert found.entries == (
        FilterEntry(0x0C0, 0xFF, 0x00),
        FilterEntry(0x18E, 0xFF, 0x07),
        FilterEntry(0x18E, 0xFF, 0x18),
        FilterEntry(0x18E, 0xFF, 0x1F),
    )
    assert found.warnings == ()
    assert found.allows(0x1_0053_188E)
    assert not found.allows(0x0053_188E)


AMD_ERRORS = [
    ('action = "allow"\nfixed = [0]', 2, "zen4 has no fixed counters"),
    ('action = "deny"\nevents = [{ event = 0x1000 }]', 2, "event is a number of 12 bits"),
    (
        'action = "deny"\nmasked = true\nevents = [0x10_000000c0]',
        3,
        "has bits outside a masked entry: 0x1000000000 (KVM: EINVAL)",
    ),
    ('action = "deny"\nevents = ["r10000000c0"]', 2, "unknown event 'r10000000c0' on zen4"),
]


@pytest.mark.parametrize(("text", "line", "what"), AMD_ERRORS)
def test_errors_on_amd(text: str, line: int, what: str) -> None:
    with pytest.raises(InputError) as error:
        compiled(text, ZEN4)
    assert str(error.value).startswith(f"filter:{line}: ")
    assert what in str(error.value)


@given(st.sampled_from(["allow", "deny"]), st.integers(0, 15), st.integers(0, 3))
def test_fixed_counters_look_at_the_bitmap_alone(action: str, bitmap: int, index: int) -> None:
    found = compiled(f'action = "{action}"\nfixed_bitmap = {bitmap}\nevents = ["instructions"]')
    assert found.allows(0xC0, index) == (bool(bitmap >> index & 1) == (action == "allow"))


@given(st.integers(0, 0xFF), st.integers(0, 0xFF), st.integers(0, 0xFF), st.booleans())
def test_tables_and_kvms_own_form_mean_the_same(select, mask, match, exclude) -> None:
    number = encode_masked_entry(select, mask, match, exclude=exclude)
    table = (
        f"{{ event = {select}, umask = {match}, mask = {mask}, exclude = {str(exclude).lower()} }}"
    )
    for entry in (f"0x{number:x}", f'"0x{number:x}"', table):
        found = compiled(f'action = "deny"\nmasked = true\nevents = [{entry}]')
        assert found.entries == (FilterEntry(select, mask, match, exclude),)


def test_no_filter_allows_everything() -> None:
    assert NO_FILTER.action is FilterAction.NONE
    assert NO_FILTER.allows(0x1234)
    assert NO_FILTER.allows(0xC0, 0)


def test_names_encodings_and_tables() -> None:
    found = compiled(
        """
        action = "allow"
        fixed = ["instructions", 1, "ref-cycles"]
        events = [
            "branches", "r01c2", "0x412e", 0xc0,
            "mem_inst_retired.all_loads",
            { event = 0x3c },
        ]
        """
    )
    assert found.action is FilterAction.ALLOW
    assert found.fixed_bitmap == 0b111
    assert found.entries == (
        FilterEntry(0x2E, 0xFF, 0x41),
        FilterEntry(0x3C, 0xFF, 0x00),
        FilterEntry(0xC0, 0xFF, 0x00),
        FilterEntry(0xC2, 0xFF, 0x01),
        FilterEntry(0xC4, 0xFF, 0x00),
        FilterEntry(0xD0, 0xFF, 0x81),
    )
    assert found.warnings == ()
    assert found.allows(0xC4 | 0x53 << 16), "privileges and flags are not looked at"
    assert not found.allows(0x11C4)


def test_an_exclusion_without_an_inclusion_matches_nothing() -> None:
    entry = "{ event = 0xc4, umask = 0, mask = 0, exclude = true }"
    assert not compiled(f'action = "allow"\nfixed = []\nevents = [{entry}]').allows(0xC4)
    assert compiled(f'action = "deny"\nevents = [{entry}]').allows(0xC4)


def test_masked_entries_turn_the_flag_on() -> None:
    found = compiled('action = "deny"\nevents = ["branches", { event = 0xc5, mask = 0 }]')
    assert found.entries == (FilterEntry(0xC4, 0xFF, 0), FilterEntry(0xC5, 0, 0))
    assert not found.allows(0x99C5)


ERRORS = [
    ("events = []", 1, "action is missing"),
    ('\n\naction = "permit"', 3, 'action is \'permit\'; it is "allow" or "deny" (KVM: EINVAL)'),
    ("action = 1", 1, "action is 1"),
    ('action = "deny"\nevent = []', 2, "no key 'event'; there is action, events"),
    ('action = "deny"\nevents = "cycles"', 2, "events is a list"),
    (
        'action = "deny"\nevents = [\n  "cycles",\n  # twice\n  "cycels",\n]',
        5,
        "unknown event 'cycels'",
    ),
    ('action = "deny"\nevents = ["cycles:u"]', 2, "the filter does not look at privileges"),
    ('action = "deny"\nevents = [1.5]', 2, "an event is a name, an encoding or a table"),
    ('action = "deny"\nevents = [true]', 2, "an event is a name, an encoding or a table"),
    ('action = "deny"\nevents = ["0xzz"]', 2, "'0xzz' is no hexadecimal number"),
    ('action = "deny"\nevents = [-1]', 2, "does not fit into 64 bits"),
    ('action = "deny"\nevents = [{ umask = 1 }]', 2, "the event is missing"),
    ('action = "deny"\nevents = [\n{ event = 0xc0, name = 1 }]', 3, "no key 'name' in an event"),
    ('action = "deny"\nevents = [{ event = 0x1c0 }]', 2, "event is a number of 8 bits (12 bits"),
    ('action = "deny"\nevents = [{ event = 0xc0, umask = 256 }]', 2, "umask is a number of 8 bits"),
    ('action = "deny"\nevents = [{ event = 0xc0, exclude = 1 }]', 2, "exclude is true or false"),
    ('action = "deny"\nmasked = 1', 2, "masked is true or false"),
    (
        'action = "deny"\nmasked = false\nevents = ["cycles",\n{ event = 0xc0, mask = 1 }]',
        4,
        "mask and exclude need masked = true",
    ),
    (
        'action = "deny"\nmasked = true\nevents = [0x1_000000c0]',
        3,
        "bits 35:32 are AMD's; an Intel CPU has 8 bits of event select (KVM: EINVAL)",
    ),
    (
        'action = "deny"\nmasked = true\nevents = [\n0xc0,\n0x100_000000c0]',
        5,
        "has bits outside a masked entry: 0x10000000000 (KVM: EINVAL)",
    ),
    ('action = "allow"\nfixed = 3', 2, "fixed is a list"),
    (
        'action = "allow"\nfixed = [0,\n 4]',
        3,
        "no fixed counter 4 on sapphire-rapids; there is 0 to 3",
    ),
    ('action = "allow"\nfixed = ["branches"]', 2, "no fixed counter 'branches'"),
    ('action = "allow"\nfixed = [0]\nfixed_bitmap = 1', 3, "one of fixed and fixed_bitmap"),
    ('action = "allow"\nfixed_bitmap = -1', 2, "fixed_bitmap is a number of 32 bits"),
    ('action = "allow"\nevents = [', 2, "no valid TOML"),
    ('action = "allow\n', 1, "no valid TOML"),
]


@pytest.mark.parametrize(("text", "line", "what"), ERRORS)
def test_errors_stand_at_their_line(text: str, line: int, what: str, tmp_path: Path) -> None:
    path = tmp_path / "filter.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        load(path, SPR)
    place, _, message = str(error.value).partition(": ")
    assert place == f"{path}:{line}"
    assert what in message


def test_300_events_are_the_most() -> None:
    at_most = ", ".join(["0xc0"] * 300)
    assert len(compiled(f'action = "deny"\nevents = [{at_most}]').entries) == 300
    with pytest.raises(InputError, match=r"filter:2: 301 events, KVM takes 300 at most \(E2BIG\)"):
        compiled(f'action = "deny"\nevents = [{at_most}, 0xc0]')


WARNINGS = [
    # KVM drops what has bits beyond event and umask.
    ('action = "deny"\nevents = [\n0x1_00c4]', 3, "KVM drops entry 0x100c4 without a word"),
    ('action = "deny"\nevents = [{ event = 0xc4, umask = 0x11, mask = 0x01 }]', 2, "never matches"),
    ('action = "deny"\nevents = ["uops_executed.stalls"]', 2, "looks at event and umask only"),
    # The instructions selector is denied, fixed counter 0 is not.
    (
        'action = "deny"\nevents = ["instructions"]',
        2,
        "fixed counter 0 counts it as well and may count",
    ),
    (
        'action = "allow"\nfixed = [1]\nevents = ["cycles",\n"instructions"]',
        4,
        "fixed counter 0 counts it as well and may not count",
    ),
    ('action = "allow"\nevents = ["branches"]', 1, "no fixed counters are named"),
]


@pytest.mark.parametrize(("text", "line", "what"), WARNINGS)
def test_warnings(text: str, line: int, what: str) -> None:
    (warning,) = compiled(text).warnings
    assert warning.startswith(f"filter:{line}: ")
    assert what in warning


def test_dropped_entries_do_not_reach_the_core() -> None:
    assert compiled('action = "deny"\nevents = [0x1_00c4, 0x00c5]').entries == (
        FilterEntry(0xC5, 0xFF, 0),
    )


def test_events_are_those_of_the_cpu() -> None:
    compiled('action = "deny"\nevents = ["topdown.slots_p"]')
    with pytest.raises(InputError, match=r"unknown event 'topdown\.slots_p' on skylake-sp"):
        compiled('action = "deny"\nevents = ["topdown.slots_p"]', SKX)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none\.toml: no such file, nor a filter .* architectural, core, llc"
    ):
        load(tmp_path / "none.toml", SPR)
    with pytest.raises(InputError, match="directory"):
        load(tmp_path, SPR)
    (tmp_path / "latin.toml").write_bytes(b'action = "\xe4"')
    with pytest.raises(InputError, match="no UTF-8 text"):
        load(tmp_path / "latin.toml", SPR)
    (tmp_path / "huge.toml").write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(InputError, match="larger than 1 MiB"):
        load(tmp_path / "huge.toml", SPR)
