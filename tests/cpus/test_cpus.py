# SPDX-License-Identifier: Apache-2.0
"""CPU models: the files are whole, the facts are those of the silicon, overrides are checked."""

import dataclasses
from pathlib import Path

import msgspec
import pytest

from pmupass import cpus
from pmupass.config import Overcount
from pmupass.cpus.model import OVERRIDES, parse
from pmupass.errors import ModelError, UsageError
from pmupass.events.table import EventTable

NAMES = (
    "cascadelake-sp",
    "emerald-rapids",
    "granite-rapids",
    "icelake-sp",
    "sapphire-rapids",
    "sierra-forest",
    "skylake-sp",
)


def test_the_models_of_this_version_are_there() -> None:
    assert set(NAMES) <= set(cpus.names())
    assert cpus.names() == sorted(cpus.names())


@pytest.mark.parametrize("name", cpus.names())
def test_every_file_is_valid_and_fits_the_core(name: str) -> None:
    cpu = cpus.load(name)
    pmu = cpu.pmu
    assert cpu.name == name
    assert pmu.nr_gp <= 16, "PP_MAX_GP"
    assert pmu.nr_fixed <= 8, "PP_MAX_FIXED"
    assert [fixed.counter for fixed in cpu.fixed] == list(range(pmu.nr_fixed))
    assert cpu.clock.max_khz >= cpu.core_khz >= cpu.tsc_khz


@pytest.mark.parametrize("name", cpus.names())
def test_timing_has_the_fields_of_the_header(name: str, root: Path) -> None:
    header = (root / "csrc" / "pmupass.h").read_text(encoding="utf-8")
    body = header.split("struct pp_timing {")[1].split("}")[0]
    fields = body.replace("uint32_t", "").replace("\n", "").replace("\t", "").replace(";", ",")
    assert set(cpus.load(name).timing) == {f.strip() for f in fields.split(",") if f.strip()}


@pytest.mark.parametrize("name", cpus.names())
def test_every_fed_encoding_has_one_meaning(name: str) -> None:
    cpu = cpus.load(name)
    encodings = [code for codes in cpu.feeds.values() for code in codes]
    assert len(encodings) == len(set(encodings))
    placed = [code for fixed in cpu.fixed for code in (*fixed.also, *fixed.only)]
    assert len(placed) == len(set(placed))
    for fixed in cpu.fixed:
        for code in (*fixed.also, *fixed.only):
            assert cpu.feed_of(code) == fixed.counts, hex(code)


@pytest.mark.parametrize("name", cpus.names())
def test_every_feed_is_a_base_event(name: str, def_list) -> None:
    assert set(cpus.load(name).feeds) <= {text for _, text in def_list("base_events")}


@pytest.mark.parametrize("name", cpus.names())
def test_a_fact_has_a_source(name: str, root: Path) -> None:
    """Every line that sets a fact carries a comment, or stands under one."""
    text = (root / "pmupass" / "cpus" / f"{name}.toml").read_text(encoding="utf-8")
    facts = text.split("[silicon]")[1].split("[feeds]")[0].splitlines()
    commented = False
    for line in facts:
        if "=" in line.partition("#")[0]:
            assert "#" in line or commented, line
        commented = line.lstrip().startswith("#")


def test_sapphire_rapids() -> None:
    cpu = cpus.load("sapphire-rapids")
    pmu = cpu.pmu
    assert (pmu.version, pmu.nr_gp, pmu.nr_fixed, pmu.gp_width, pmu.fixed_width) == (
        5,
        8,
        4,
        48,
        48,
    )
    assert cpu.exit_save_global_ctrl
    assert pmu.fw_write
    assert cpu.signature.eax == 0x806F8
    # 3.0 GHz over a TSC of 2.0 GHz: two TSC cycles in three core cycles.
    assert (cpu.timing["ref_num"], cpu.timing["ref_den"]) == (2, 3)
    assert cpu.timing["issue_width"] == 6


def test_skylake_sp() -> None:
    cpu = cpus.load("skylake-sp")
    pmu = cpu.pmu
    assert (pmu.version, pmu.nr_gp, pmu.nr_fixed, pmu.gp_width, pmu.fixed_width) == (
        4,
        4,
        3,
        48,
        48,
    )
    assert not cpu.exit_save_global_ctrl
    assert cpu.signature.eax == 0x50654
    assert cpu.timing["issue_width"] == 4
    assert cpu.feed_of(0x013C) is None, "the crystal clock is not modelled"
    assert "slots" not in cpu.feeds


def test_cascadelake_sp_is_skylake_sp_with_other_clocks() -> None:
    clx, skx = cpus.load("cascadelake-sp"), cpus.load("skylake-sp")
    assert clx.signature.eax == 0x50657
    assert clx.silicon == skx.silicon
    assert clx.timing_table == skx.timing_table
    assert (clx.feeds, clx.not_fed, clx.fixed) == (skx.feeds, skx.not_fed, skx.fixed)
    # 3.3 GHz over 2.7 GHz
    assert (clx.timing["ref_num"], clx.timing["ref_den"]) == (9, 11)


def test_icelake_sp() -> None:
    """The counters of Sapphire Rapids; GLOBAL_CTRL goes through the store list, as on Skylake."""
    cpu = cpus.load("icelake-sp")
    assert cpu.signature.eax == 0x606A6
    # :ppp goes to GP 0 from Sapphire Rapids on.
    assert dataclasses.replace(cpu.pmu, pdist=True) == cpus.load("sapphire-rapids").pmu
    assert not cpu.exit_save_global_ctrl
    assert cpu.timing["issue_width"] == 5
    assert (cpu.timing["ref_num"], cpu.timing["ref_den"]) == (23, 30)
    assert cpu.feed_of(0x013C) is None, "REF_XCLK still; REF_TSC_P came with Sapphire Rapids"
    assert cpu.feed_of(0x0100) == "instructions"
    assert cpu.feed_of(0x01A4) == cpu.feed_of(0x0400) == "slots"


@pytest.mark.parametrize(
    ("name", "signature", "ref"),
    [
        ("emerald-rapids", 0xC06F2, (19, 29)),  # 1.9 over 2.9 GHz
        ("granite-rapids", 0xA06D1, (24, 35)),  # 2.4 over 3.5 GHz
    ],
)
def test_the_successors_of_sapphire_rapids(name: str, signature: int, ref: tuple[int, int]) -> None:
    cpu, spr = cpus.load(name), cpus.load("sapphire-rapids")
    assert cpu.signature.eax == signature
    # Their precise distribution is not in KVM's list of models.
    assert cpu.silicon == msgspec.structs.replace(spr.silicon, kvm_pdist=False)
    assert cpu.timing_table == spr.timing_table
    assert (cpu.feeds, cpu.not_fed, cpu.fixed) == (spr.feeds, spr.not_fed, spr.fixed)
    assert (cpu.timing["ref_num"], cpu.timing["ref_den"]) == ref


def test_sierra_forest() -> None:
    """E-cores: 8 GP counters and, with no TOPDOWN.SLOTS, 3 fixed ones; 2.2 over 3.0 GHz."""
    cpu = cpus.load("sierra-forest")
    pmu = cpu.pmu
    assert (pmu.version, pmu.nr_gp, pmu.nr_fixed, pmu.gp_width) == (5, 8, 3, 48)
    assert cpu.signature.eax == 0xA06F3
    assert cpu.exit_save_global_ctrl
    assert (cpu.timing["ref_num"], cpu.timing["ref_den"]) == (11, 15)
    assert cpu.feed_of(0x013C) == cpu.feed_of(0x0300) == "ref-cycles"
    assert "slots" not in cpu.feeds
    assert cpu.counters_of(0x013C) == 1 << 34 | 0xFF
    assert cpu.errata.overcount.erratum == "SRF7"


def test_errata_can_be_overridden() -> None:
    cpu = cpus.load("sierra-forest", {"overcount_exit_branches": "0"})
    assert cpu.overcount == Overcount(1, 0, 1, 1)
    assert cpu.errata.overcount.erratum == "SRF7"
    # What if: on a CPU that has no such erratum.
    assert cpus.load("skylake-sp").overcount == Overcount()
    assert cpus.load("skylake-sp", {"overcount_entry_instructions": 2}).overcount == Overcount(
        0, 0, 2, 0
    )
    with pytest.raises(UsageError, match=r"overcount_exit_branches=-1: a whole number from 0 to"):
        cpus.load("sierra-forest", {"overcount_exit_branches": -1})


def test_event_lists_are_shared_and_none_is_left_over(root: Path) -> None:
    shared = {name: cpus.load(name).events for name in NAMES}
    assert shared["cascadelake-sp"] == "skylake-sp"
    assert shared["emerald-rapids"] == "sapphire-rapids"
    files = {file.stem for file in (root / "pmupass" / "events").glob("*.json")}
    assert files == {cpus.load(name).events for name in cpus.names()}


def test_a_missing_event_list_is_a_malformed_model(root: Path) -> None:
    text = (root / "pmupass" / "cpus" / "icelake-sp.toml").read_text(encoding="utf-8")
    cpu = parse("mine", text.replace('events = "icelake-sp"', 'events = "no-such"'), {})
    with pytest.raises(ModelError, match=r"no event list 'no-such'; there is .*icelake-sp"):
        EventTable(cpu)


def test_features_that_are_not_modelled_are_kept_from_guests() -> None:
    for name in NAMES:
        assert cpus.load(name).pmu.perf_capabilities == 1 << 13


def test_constraints_follow_perf() -> None:
    """Raw 0xc0 and 0x3c fit their fixed counter and any GP; pseudo-encodings the fixed one only."""
    spr, skx = cpus.load("sapphire-rapids"), cpus.load("skylake-sp")
    icx, gnr = cpus.load("icelake-sp"), cpus.load("granite-rapids")
    assert spr.counters_of(0x00C0) == 1 << 32 | 0xFF
    assert spr.counters_of(0x003C) == 1 << 33 | 0xFF
    assert spr.counters_of(0x013C) == 1 << 34 | 0xFF
    assert spr.counters_of(0x0300) == 1 << 34
    assert spr.counters_of(0x0400) == 1 << 35
    assert spr.counters_of(0x00C4) is None
    assert skx.counters_of(0x00C0) == 1 << 32 | 0xF
    assert skx.counters_of(0x0300) == 1 << 34
    assert skx.counters_of(0x013C) is None
    # Ice Lake: the four fixed counters, but 0x13c only since Sapphire Rapids.
    assert icx.counters_of(0x00C0) == 1 << 32 | 0xFF
    assert icx.counters_of(0x0100) == 1 << 32
    assert icx.counters_of(0x0400) == 1 << 35
    assert icx.counters_of(0x013C) is None
    assert gnr.counters_of(0x013C) == 1 << 34 | 0xFF


def test_overrides() -> None:
    cpu = cpus.load(
        "sapphire-rapids",
        {
            "skid_cycles": "0x10",
            "core_khz": 4_000_000,
            "simple": "64",
            "exit_save_global_ctrl": "0",
        },
    )
    assert cpu.skid_cycles == 16
    assert (cpu.timing["ref_num"], cpu.timing["ref_den"]) == (1, 2)
    assert cpu.timing["simple"] == 64
    assert not cpu.exit_save_global_ctrl


@pytest.mark.parametrize("key", OVERRIDES)
def test_every_override_that_is_named_works(key: str) -> None:
    assert cpus.load("skylake-sp", {key: "10000" if key == "tsc_khz" else "1"})


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"frequency": 1}, ["no setting cpu.frequency", "core_khz", "skid_cycles", "llc_miss"]),
        ({"simple": "fast"}, ["cpu.simple=fast", "whole number"]),
        ({"simple": "0"}, ["cpu.simple=0", "from 1 to 16777216"]),
        ({"core_khz": "-5"}, ["cpu.core_khz=-5", "from 1 to 4294967295"]),
        ({"tsc_khz": "0"}, ["cpu.tsc_khz=0: a whole number from 10000 to 4294967295 is expected"]),
        ({"skid_cycles": str((1 << 20) + 1)}, ["from 0 to 1048576"]),
        (
            {"exit_save_global_ctrl": "maybe"},
            ["cpu.exit_save_global_ctrl=maybe", "1 (on) or 0 (off)"],
        ),
        ({"issue_width": "65"}, ["issue_width", "from 1 to 64"]),
    ],
)
def test_a_bad_override_says_what_is_valid(
    overrides: dict[str, int | str], words: list[str]
) -> None:
    with pytest.raises(UsageError) as error:
        cpus.load("skylake-sp", overrides)
    for word in words:
        assert word in str(error.value)
    assert "`" not in str(error.value), "msgspec's words"


def test_an_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no CPU model 'pentium'; there is .*skylake-sp"):
        cpus.load("pentium")


@pytest.mark.parametrize("name", cpus.names())
def test_what_is_listed_as_not_fed_is_not_fed(name: str) -> None:
    table = EventTable(cpus.load(name))
    for key, why in table.cpu.not_fed.items():
        assert table.feed_of(int(key, 16)) is None
        assert table.not_fed(int(key, 16)) == why
