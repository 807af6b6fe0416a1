# SPDX-License-Identifier: Apache-2.0
"""The cost table: complete, sourced, and its sums are the published ones."""

import re
from pathlib import Path

import pytest

from pmupass import costs
from pmupass.costs.model import parse
from pmupass.errors import InputError, ModelError, UsageError


@pytest.fixture(scope="module")
def table() -> costs.CostTable:
    return costs.load()


def total(table: costs.CostTable, words: str) -> int:
    """Add up entries: ``10 wrmsr + rdpmc``."""
    cycles = 0
    for word in words.split("+"):
        *times, name = word.split()
        cycles += int(times[0] if times else 1) * table[name].cycles
    return cycles


def test_exactly_the_functions_that_the_core_charges(def_list, table: costs.CostTable) -> None:
    expected = {name.lower(): function for name, function in def_list("costs")}
    assert {cost.id: cost.function for cost in table.values()} == expected
    assert len(table) == len(expected), "functions are named once"


def test_the_cores_order(def_list) -> None:
    names = [name for name, _ in def_list("costs")]
    found = costs.cycles(names, {"wrmsr": "7"})
    assert len(found) == len(names)
    assert found[names.index("WRMSR")] == 7
    assert found == costs.cycles([function for _, function in def_list("costs")], {"WRMSR": 7})
    with pytest.raises(ModelError, match="no entry 'NOTHING'"):
        costs.cycles(["NOTHING"])


def test_every_entry_says_where_it_comes_from(table: costs.CostTable) -> None:
    for cost in table.values():
        assert cost.source, cost.id
        if cost.confidence == "estimate":
            assert cost.note, f"{cost.id}: an estimate shows its arithmetic"
        else:
            assert "no published number" not in cost.source, cost.id


def test_every_entry_but_a_definition_has_a_range(table: costs.CostTable) -> None:
    """An estimate without a range says nothing: the head of the table has the rule."""
    without = {cost.id for cost in table.values() if cost.range is None}
    assert without == {"host_task"}
    for cost in table.values():
        if cost.range is None:
            continue
        low, high = cost.range
        assert low <= cost.cycles <= high, cost.id
        if cost.confidence == "estimate" and "no published number" in cost.source:
            assert 3 * low <= 2 * high, f"{cost.id}: nobody knows that so well"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wrmsr = 90\n[perf_event_period]\ncycles = 700\nsource = 'here'\n", ""),
        ("nothing = 1\n", "no cost nothing"),
        ("wrmsr = -1\n", "wrmsr: Expected `int` >= 0"),
        ("wrmsr = 'fast'\n", "wrmsr: Expected `int`, got `str`"),
        ("[wrmsr]\ncycle = 1\n", "wrmsr: Object contains unknown field `cycle`"),
        ("wrmsr = 1\nnative_write_msr = 2\n", "a second entry for wrmsr"),
        ("wrmsr = \n", "Invalid value"),
    ],
)
def test_costs_of_a_file(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "costs.toml"
    file.write_text(text)
    if not said:
        assert costs.read_settings(str(file)) == ("cost.wrmsr=90", "cost.perf_period=700")
        return
    with pytest.raises(InputError, match=re.escape(said)) as error:
        costs.read_settings(str(file))
    assert str(file) in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        costs.read_settings(str(tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(InputError, match="no UTF-8"):
        costs.read_settings(str(tmp_path / "bytes.toml"))


EXIT = "vmexit + vmentry + vmx_vcpu_run + vcpu_enter_guest + vcpu_run + handle_exit"
IDLE_SWITCH = (
    "10 wrmsr + 22 rdpmc + 2 rdmsr + 2 lvtpc_write + mediated_load + mediated_put"
    " + perf_load_guest + perf_put_guest"
)


def test_a_cpuid_exit(table: costs.CostTable) -> None:
    """kvm-unit-tests, Dec 2024: 1018 to 1110 cycles."""
    plain = total(table, f"{EXIT} + emulate_cpuid + skip_insn")
    assert 1000 <= plain <= 1110
    assert plain + table["pmu_trigger_event"].cycles <= 1110


def test_a_cpuid_exit_with_a_mediated_vpmu(table: costs.CostTable) -> None:
    """Emerald Rapids: 3k cycles (rounded), 4k before 11 WRMSR became RDPMC."""
    words = f"{EXIT} + emulate_cpuid + skip_insn + pmu_trigger_event + {IDLE_SWITCH}"
    elided = total(table, words)
    assert 2500 <= elided <= 3500
    assert 1500 <= total(table, IDLE_SWITCH) <= 2300
    before = elided + 11 * (table["wrmsr"].cycles - table["rdpmc"].cycles)
    assert 3500 <= before <= 4500


def test_wrmsr_is_dearer_than_rdpmc_by_what_was_measured(table: costs.CostTable) -> None:
    assert table["wrmsr"].cycles - table["rdpmc"].cycles == pytest.approx(90, abs=10)
    assert (table["wrmsr"].cycles, table["rdpmc"].cycles) == (115, 25)


def test_an_emulated_access(table: costs.CostTable) -> None:
    """Rough check of the sampling table: about 1.2k for an exit that calls perf for nothing."""
    words = "emulate_wrmsr + pmu_set_msr + skip_insn + pmu_trigger_event + guest_get_msrs"
    assert 1100 <= total(table, f"{EXIT} + {words} + pmu_handle_event") <= 1300


def test_pause_and_resume(table: costs.CostTable) -> None:
    """The sampling table of January 2024: 33.6 % of 3 GHz, six counters of 1000 samples a second.

    About 122,000 pauses and as many resumes a second (two rounds a PMI, one a tick and event, one a
    deadline) have to come to a quarter of the time; exits and PMIs make the rest.

    The k-th resume moves the k-1 that run already, 15 in all: out and in again, a selector off, a
    counter read, a counter and a selector written. It solves 1, 2, ... k constraints: 56 in all.
    """
    pmu = "pmu_disable + pmu_enable + 2 wrmsr"
    pause = total(table, f"perf_pause + event_sched_out + {pmu} + wrmsr + rdpmc")
    own = total(
        table, f"perf_period + perf_enable + ctx_resched + event_sched_in + {pmu} + 2 wrmsr"
    )
    other = total(table, "event_sched_out + event_sched_in + 3 wrmsr + rdpmc")
    resumes = 6 * own + 15 * other + 56 * table["schedule_events"].cycles
    mean = (6 * pause + resumes) / 12
    assert 122_000 * 2 * mean / 3e9 == pytest.approx(0.25, abs=0.02)


def test_published_numbers_stand_as_they_are(table: costs.CostTable) -> None:
    assert table["pmu_trigger_event"].cycles == 26
    assert table["guest_get_msrs"].cycles == 1559 - 1529
    assert table["perf_create"].cycles >= 10_000


def test_overrides_go_by_function_or_id() -> None:
    assert costs.load({"native_write_msr": "200"})["wrmsr"].cycles == 200
    assert costs.load({"wrmsr": 0x10})["native_write_msr"].cycles == 16


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (
            {"perf_event_perid": 1},
            "no setting cost.perf_event_perid; did you mean cost.perf_event_period",
        ),
        ({"qqq": 1}, "no setting cost.qqq (pmupass list costs)"),
        ({"wrmsr": "-1"}, "cost.wrmsr=-1: cycles are a whole number from 0"),
        ({"wrmsr": "much"}, "cost.wrmsr=much: cycles are a whole number"),
        ({"wrmsr": 10**10}, "to 1000000000"),
    ],
)
def test_bad_overrides(overrides: dict[str, int | str], what: str) -> None:
    with pytest.raises(UsageError) as error:
        costs.load(overrides)
    assert what in str(error.value)


def test_a_malformed_table() -> None:
    with pytest.raises(ModelError, match=r"malformed: x: .*confidence"):
        parse('[x]\nfunction = "f"\ncycles = 1\nsource = "s"\nconfidence = "sure"\n', {})


CPUS_OF_THEIR_OWN = ("zen2", "zen3", "zen4", "zen5")


@pytest.mark.parametrize("cpu", CPUS_OF_THEIR_OWN)
def test_what_a_cpu_has_of_its_own(cpu: str, table: costs.CostTable) -> None:
    """Entries of the table for all in another place, each with a source, a range and a function."""
    mine = costs.load(cpu=cpu)
    assert list(mine) == list(table)
    differ = [cost for cost in mine.values() if cost != table[cost.function]]
    assert differ
    for cost in differ:
        assert cost.id == table[cost.function].id
        assert cost.range is not None
        assert cost.range[0] <= cost.cycles <= cost.range[1]
        assert cost.note


def test_a_cpu_without_a_table_has_the_one_for_all(table: costs.CostTable) -> None:
    assert costs.load(cpu="emerald-rapids") == table


def test_settings_go_over_what_a_cpu_has() -> None:
    assert costs.load({"wrmsr": 7}, "zen5")["wrmsr"].cycles == 7


def test_every_table_is_of_a_cpu() -> None:
    folder = Path(costs.__file__).parent
    assert {p.stem for p in folder.glob("*.toml")} == {"default", *CPUS_OF_THEIR_OWN}


def test_no_entry_has_the_name_of_anothers_function(table: costs.CostTable) -> None:
    """``--set cost.apic_write`` once meant the physical LVTPC, whose function is apic_write()."""
    for cost in table.values():
        assert table[cost.id] is cost
        assert table[cost.function] is cost
    one = 'function = "f"\ncycles = 1\nsource = "s"\nconfidence = "high"\n'
    other = one.replace('"f"', '"a"')
    with pytest.raises(ModelError, match="a is an entry and another one's function"):
        parse(f"[a]\n{one}[b]\n{other}", {})
