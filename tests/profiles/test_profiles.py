# SPDX-License-Identifier: Apache-2.0
"""Work profiles: the files are whole and possible, the core's records are theirs."""

import re
from pathlib import Path

import pytest

from pmupass import cpus, profiles
from pmupass.config import Vendor
from pmupass.errors import ModelError, UsageError
from pmupass.events import EventTable
from pmupass.profiles.model import OF_THE_KERNEL, PER, parse

NAMES = ("kernel-mix", "kernel-perf", "memory-bound", "spec-int")


ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def base(def_list) -> list[str]:
    return [text for _, text in def_list("base_events")]


@pytest.fixture
def reasons(def_list) -> list[str]:
    return [name for name, _ in def_list("exit_reasons")]


def test_the_profiles_of_this_version_are_there() -> None:
    assert set(NAMES) <= set(profiles.names())
    every = profiles.load_all()
    assert [p.id for p in every] == sorted({p.id for p in every})
    assert all(p.doc for p in every)


@pytest.mark.parametrize("name", profiles.names())
def test_every_file_fits_the_core(name: str, base: list[str], reasons: list[str]) -> None:
    profile = profiles.load(name)
    record = profile.record(base_events=base, exit_reasons=reasons)
    assert record.id == profile.id
    assert len(record.rates) == 32
    assert record.rates[base.index("instructions")] == 0
    for event, rate in profile.rates.items():
        assert record.rates[base.index(event)] == rate
    assert [reasons[i] for i, _ in record.exits] == [e.reason for e in profile.exits]


def test_spec_int_is_what_it_says() -> None:
    rates = profiles.load("spec-int").rates
    assert 1.6 <= PER / rates["cycles"] <= 2
    assert rates["branches"] / PER == pytest.approx(0.2, abs=1e-3)
    assert 0.005 <= rates["branch-misses"] / rates["branches"] <= 0.01
    assert rates["loads"] / PER == pytest.approx(0.28, abs=1e-3)
    assert rates["stores"] / PER == pytest.approx(0.12, abs=1e-3)
    assert rates["llc-misses"] / PER == pytest.approx(0.001, abs=1e-5)


def test_exit_rates_are_rounded_to_the_nearest(base: list[str], reasons: list[str]) -> None:
    record = profiles.load("kernel-mix").record(base_events=base, exit_reasons=reasons)
    # 4 of a million: 4.19 of 2^20; 1 of a million: 1.05
    assert record.exits == (
        (reasons.index("EPT_MISCONFIG"), 4),
        (reasons.index("IO_INSTRUCTION"), 1),
    )


@pytest.mark.parametrize("cpu", cpus.names())
def test_named_events_go_behind_the_base_events(
    cpu: str, base: list[str], reasons: list[str]
) -> None:
    table = EventTable(cpus.load(cpu))
    every = profiles.load_all()
    named = profiles.named_events(every, table)
    # Named as Intel's big cores do: the list of the E-cores has the architectural events only.
    has = cpus.load(cpu).maker is Vendor.INTEL and cpu != "sierra-forest"
    assert bool(named) == ("mem_load_retired.l1_miss" in named) == has
    maps = {e.config: e.feed for e in table.maps(named, base)}
    for profile in every:
        record = profile.record(named=named, base_events=base, exit_reasons=reasons)
        for name, rate in profile.named.items():
            if (encoding := table.encoding(name)) is not None:
                assert record.rates[maps[encoding]] == rate


def test_overrides() -> None:
    changed = profiles.load("spec-int", {"branches": "1000", "branch-misses": "0x10"})
    assert (changed.rates["branches"], changed.rates["branch-misses"]) == (1000, 16)
    every = {
        p.name: p for p in profiles.load_all({"stores": 7, "spec-int.stores": "9", "kernel": 1})
    }
    assert every["spec-int"].rates["stores"] == 9
    assert every["memory-bound"].rates["stores"] == 7
    assert every["memory-bound"].kernel == 1


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (
            {"spec.branches": 1},
            "profile.spec.branches: no work profile 'spec'; there is kernel-mix",
        ),
        ({"spec-int.ipc": 1}, "profile.spec-int.ipc: no such rate; there is kernel, chunk, cycles"),
        ({"branches": "many"}, "profile.branches=many: a whole number from 0 to"),
        (
            {"branches": "-1"},
            "profile.branches=-1: a whole number from 0 to 4294967296 is expected",
        ),
        (
            {"cycles": "0"},
            "profile.cycles=0: work profile spec-int: cycles are missing: work takes time",
        ),
        ({"branch-misses": 10**6}, "more branch-misses than branches"),
        ({"kernel": 2000}, "profile.kernel=2000: a whole number from 0 to 1024 is expected"),
        ({"spec-int.chunk": 0}, "profile.spec-int.chunk=0: a whole number from 1 to"),
    ],
)
def test_bad_overrides(overrides: dict[str, int | str], what: str) -> None:
    with pytest.raises(UsageError) as error:
        profiles.load("spec-int", overrides)
    assert what in str(error.value)


def test_a_bad_key_is_named_as_it_was_typed() -> None:
    """Not by the profile that happens to be read first."""
    with pytest.raises(UsageError) as error:
        profiles.load_all({"foo": 1})
    first, second = str(error.value).split("\n")
    assert first.startswith("--set profile.foo: no such rate; there is kernel, chunk, cycles")
    assert "profile.KEY=N for all workloads" in second
    assert "profile.kernel-mix.KEY=N" in second


def test_a_named_event_has_a_dot_in_its_name() -> None:
    key = "mem_load_retired.l1_miss"
    for profile in profiles.load_all({key: 3}):
        assert (profile.named[key] == 3) == (profile.name != OF_THE_KERNEL)
    assert profiles.load("spec-int", {f"spec-int.{key}": 4}).named[key] == 4


def test_what_the_kernel_retires_is_changed_by_its_name_alone() -> None:
    """Another workload does not make another Linux."""
    before = profiles.load(OF_THE_KERNEL)
    assert profiles.load(OF_THE_KERNEL, {"cycles": 1_048_576}) == before
    assert profiles.load(OF_THE_KERNEL, {f"{OF_THE_KERNEL}.cycles": 5}).rates["cycles"] == 5


def test_the_guests_know_the_profile_of_their_kernel() -> None:
    """The guests pass its id in RAX: PP_GUEST_KERNEL_PROFILE of csrc/guest/pp_guest.h."""
    text = (ROOT / "csrc" / "guest" / "pp_guest.h").read_text(encoding="utf-8")
    number = re.search(r"^#define PP_GUEST_KERNEL_PROFILE (\d+)", text, re.MULTILINE)
    assert number is not None
    assert profiles.load(OF_THE_KERNEL).id == int(number[1])


def test_an_unknown_profile_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no work profile 'specint'; there is .*spec-int"):
        profiles.load("specint")


GOOD = 'id = 9\ndoc = "x"\nkernel = 0\nchunk = 1\n[rates]\ncycles = 1\n'


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (GOOD.replace("cycles", "loads"), "cycles are missing"),
        (GOOD + "slots = 3\n", "slots follows from the others"),
        (GOOD + "branches = 2_000_000\n", "more branches than instructions"),
        (GOOD + '[[exits]]\nreason = "HLT"\nper_million = 0\n', ">= 1"),
        (GOOD + '[[exits]]\nreason = "HLT"\nper_million = 600_000\n' * 2, "more exits"),
        (GOOD + "colour = 1\n", None),
        ("colour = 1\n" + GOOD, "unknown field"),
    ],
)
def test_malformed_files(text: str, what: str | None, base: list[str], reasons: list[str]) -> None:
    with pytest.raises(ModelError) as error:
        parse("test", text, {}).record(base_events=base, exit_reasons=reasons)
    assert (what or "is not in list") in str(error.value)
