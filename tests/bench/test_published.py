# SPDX-License-Identifier: Apache-2.0
"""``pmupass bench published``: the six cells, and what stands beside them."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import resources
from typing import Any

import pytest

from pmupass.bench import published

CELLS = {
    "6 x instructions, emulated": 33.62,
    "6 x instructions, everything direct": 4.24,
    "6 x instructions, selectors intercepted": 6.21,
    "10 x instructions, emulated": 79.32,
    "10 x instructions, everything direct": 7.34,
    "10 x instructions, selectors intercepted": 10.45,
}


@pytest.fixture(scope="module")
def bench() -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "pmupass", "bench", "published", "--no-host", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def group(bench: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """Return a group's figures by name."""
    return {m["name"]: m for m in bench["results"] if m["group"] == name}


def test_the_six_cells(bench: dict[str, Any]) -> None:
    """Value beside published, the ratio, and the verdict that follows from it."""
    cells = group(bench, "overhead")
    assert {name: m["published"] for name, m in cells.items()} == CELLS
    for m in cells.values():
        assert m["ratio"] == pytest.approx(m["value"] / m["published"], abs=0.001)
        assert m["verdict"] == ("pass" if 0.8 <= m["ratio"] <= 1.2 else "fail")
        assert ("analysis" in m) == (m["verdict"] == "fail")


def test_at_least_five_are_within_a_fifth(bench: dict[str, Any]) -> None:
    passed = [m["name"] for m in group(bench, "overhead").values() if m["verdict"] == "pass"]
    assert len(passed) >= 5, passed


def test_the_analysis_says_where_the_cycles_went(bench: dict[str, Any]) -> None:
    """Of the cell that fails: writes of selectors, which exit in this arrangement alone."""
    (failed,) = (m for m in group(bench, "overhead").values() if m["verdict"] == "fail")
    assert failed["name"] == "10 x instructions, selectors intercepted"
    assert "of that in points: MSR_WRITE" in failed["analysis"]


def test_slower_turns_bring_the_lower_row_down(bench: dict[str, Any]) -> None:
    """A quarter of the turns: fewer writes of selectors, so that cell falls most."""
    cells, slow = group(bench, "overhead"), group(bench, "overhead, turns each 4 ms")
    assert list(slow) == list(CELLS)[3:]
    fallen = {name: m["value"] / cells[name]["value"] for name, m in slow.items()}
    assert all(share < 1 for share in fallen.values())
    assert min(fallen, key=lambda name: fallen[name]) == list(CELLS)[5]
    assert all("verdict" not in m for m in slow.values())


def test_what_follows_from_interception(bench: dict[str, Any]) -> None:
    """What is intercepted costs: of Linux 7.0's arrangements, in the order of what is direct."""
    found = group(bench, "prediction, Linux 7.0")
    for events in (6, 10):
        values = [
            found[f"{events} x instructions, {name}"]["value"]
            for name in (
                "native",
                "mediated, fixed counter 3 exposed",
                "mediated",
                "emulated",
            )
        ]
        assert values == sorted(values)
        amd = [
            found[f"{events} x instructions, Zen 4, {name}"]["value"]
            for name in ("native", "mediated", "emulated")
        ]
        assert amd == sorted(amd)
    assert all("published" not in m for m in found.values())


def test_elision_saves_the_published_share(bench: dict[str, Any]) -> None:
    """1000 cycles of 11 counters on Emerald Rapids, 900 of 6 on Turin: a WRMSR less an RDPMC each.

    Emerald Rapids: 11 (115 - 25) = 990; Turin: 6 (175 - 25) = 900.
    """
    found = group(bench, "CPUID exit, idle mediated vPMU")
    for name, saved in (("Emerald Rapids", 990), ("Turin", 900)):
        before = found[f"{name}, all counters written"]["value"]
        assert before - found[f"{name}, writes left out"]["value"] == pytest.approx(saved, abs=2)


def test_the_tax_of_a_skipped_instruction(bench: dict[str, Any]) -> None:
    """26 cycles on Ice Lake-SP and 57 on Zen 2; the walk of before 6.9 is 301 on Zen 3.

    Zen 3's core runs at the model's frequency; to the walk comes the 26 of the check itself.
    """
    found = group(bench, "a skipped instruction's share for an idle vPMU")
    assert found["Ice Lake-SP"]["value"] == pytest.approx(26, abs=1)
    assert found["Zen 2"]["value"] == pytest.approx(57, abs=1)
    text = resources.files("pmupass").joinpath("cpus", "zen3.toml").read_text(encoding="utf-8")
    khz = tomllib.loads(text)["clock"]["core_khz"]
    walk = found["Zen 3, walk of all counters before 6.9"]
    assert walk["value"] == pytest.approx((301 + 26) * 10**6 / khz, rel=0.05)


def test_an_event_for_each_reprogramming_is_dearer(bench: dict[str, Any]) -> None:
    """2019: reuse made the handler twice as fast at least, here as there."""
    found = group(bench, "guest NMI handler, emulated")
    assert (
        found["2019, an event for each reprogramming"]["value"]
        > 2 * found["2019, events reused"]["value"]
    )


def test_no_cost_knows_a_cell() -> None:
    """The figures of the table stand in the suite alone: no setting of a cell is one of a cost."""
    for cell in published.CELLS:
        assert not [setting for setting in cell.settings if setting.startswith("cost.")]
