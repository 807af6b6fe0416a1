# SPDX-License-Identifier: Apache-2.0
"""A formula that takes counts and plain prices says what the model does, within 5 %."""

from collections.abc import Callable
from types import ModuleType

import pytest

MODES = ("native", "emulated", "mediated")
CASES = 7


@pytest.mark.parametrize("number", range(CASES))
def test_the_formula_agrees(load_script: Callable[[str], ModuleType], number: int) -> None:
    """As it is, and with exit rate, exposed counters, events, HZ or frequency doubled or halved."""
    script = load_script("closed_form")
    assert len(script.CASES) == CASES
    compared = 0
    for mode in MODES:
        model, formula = script.compare(script.CASES[number], mode)
        if model < script.NOTHING:
            assert formula < script.NOTHING
            continue
        assert formula == pytest.approx(model, rel=script.TOLERANCE), mode
        compared += 1
    assert compared >= 2


def test_it_takes_no_charged_cycles(root) -> None:
    """The charge code's results are ``cycles`` of exits, accesses, switches, and ``costs``."""
    text = (root / "bench" / "closed_form.py").read_text(encoding="utf-8")
    for charged in (".cycles", ".costs", ".cost_cycles", ".stack"):
        assert charged not in text
