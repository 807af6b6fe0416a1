# SPDX-License-Identifier: Apache-2.0
"""Guests that spin: that of bench/idle.py does the same in all modes, the worst can be stopped."""

import itertools
import os
import time
from collections.abc import Callable
from types import ModuleType

import pytest

from pmupass.config import Mode
from pmupass.machine import Session
from pmupass.options import MODES, Options
from pmupass.plan import Plan
from pmupass.workloads import Workload

if "libasan" in os.environ.get("LD_PRELOAD", ""):
    pytest.skip("compiles with gcc, which must run without ASan", allow_module_level=True)

# Steps as far as the next event: the end of the clock may come before they are stopped.
END_BY_THEMSELVES = {"jump", "loop", "work"}
NAMES = (
    "jump",
    "loop",
    "string",
    "work",
    "fault",
    "rewrite",
    "exits",
    "device",
    "unaligned",
    "flush",
)


@pytest.fixture
def images(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("images")


@pytest.mark.parametrize("mode", Mode)
def test_a_third_of_the_guest_is_loops(
    images: ModuleType, load_script: Callable[[str], ModuleType], mode: Mode
) -> None:
    """The same instructions one by one and in steps; three million a round and a bit more."""
    script = load_script("idle")
    image = images.IDLE_MIX.image(2)
    _, _, stepped = script.run(image, mode, one_by_one=True)
    _, _, skipped = script.run(image, mode)
    assert stepped == skipped
    assert 2 * 3_000_000 <= skipped < 2 * 3_300_000


@pytest.mark.slow
@pytest.mark.parametrize("mode", Mode)
def test_three_billion_instructions(
    images: ModuleType, load_script: Callable[[str], ModuleType], mode: Mode
) -> None:
    """A billion of them are ``loop .``; how long it takes is bench/idle.py's affair."""
    _, _, instructions = load_script("idle").run(images.IDLE_MIX.image(), mode)
    assert instructions >= 3_000_000_000


def test_the_list_is_the_scripts(images: ModuleType) -> None:
    assert tuple(images.WORST) == NAMES


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *((name, "native") for name in NAMES),
        *((n, m) for n in ("exits", "jump") for m in MODES[1:]),
    ],
)
def test_the_worst_guests_are_stopped_soon(images: ModuleType, name: str, mode: str) -> None:
    """The watch is asked often, whatever runs; a second is more than it takes (bench/stop.py)."""
    asked = [time.monotonic()]

    def watch(_label: str, _fraction: float | None) -> bool:
        asked.append(time.monotonic())
        return len(asked) < 4

    session = Session(Options("perf-stat", host=False), watch)
    session.plan = Plan(
        Options("worst", host=False), Workload("worst", "", data=images.WORST[name].image())
    )
    result = session.run(mode)
    if name not in END_BY_THEMSELVES or result.guest.stop != "time":
        assert result.guest.stop == "interrupted"
        assert len(asked) == 4
    gaps = [after - before for before, after in itertools.pairwise(asked)]
    assert max(gaps, default=0) < 1
    assert time.monotonic() - asked[-1] < 1
