# SPDX-License-Identifier: Apache-2.0
"""The comparison of two commits: what its figures mean and when it fails. Nothing is timed here."""

from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("vs_commit")


def test_a_ratio_above_one_is_faster_in_every_unit(script: ModuleType) -> None:
    assert script.ratio(100.0, 150.0, "MIPS") == 1.5
    assert script.ratio(300.0, 150.0, "host ns") == 2
    assert script.ratio(0.0, 150.0, "host ns") is None  # below the clock's resolution
    assert script.ratio(2.0, 3.0, "exits") is None  # no speed


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ([0.96], 0),
        ([0.94], 1),
        ([0.5, 0.96, 1.3], 0),  # the median decides
        ([0.9, 0.94, 1.3], 1),
    ],
)
def test_the_median_decides(
    script: ModuleType, capsys: pytest.CaptureFixture[str], values: list[float], status: int
) -> None:
    assert script.verdict({"good": [1.0], "figure": values}, 0.05) == status
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "WORSE" in line] == ["figure"] * status
