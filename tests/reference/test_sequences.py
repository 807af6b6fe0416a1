# SPDX-License-Identifier: Apache-2.0
"""Random sequences of a guest's accesses and work, against the reference, in every mode.

After each step: what was read, whether it faulted, how many PMIs came and where the last one fell.
Since counters and status are whole numbers that the reference computes, a read that agrees says
that instructions and branches are exact, that a status bit comes from an overflow or from a credit
that wrapped, and that nothing of the host's is in it.
"""

from __future__ import annotations

import pytest
from drawing_bounds import bounded_examples
from drawing_sequences import Example, examples
from drawing_targets import targets
from hypothesis import HealthCheck, Phase, given, settings
from sequences import check, modes
from wrong_rules import MISTAKES

lenient = settings(suppress_health_check=list(HealthCheck))


def run(example: Example) -> None:
    """Run an example in every mode."""
    for mode in modes(example.given):
        check(example, mode)


@settings(lenient, max_examples=80)
@given(example=examples())
def test_sequences(example: Example) -> None:
    run(example)


@settings(lenient, max_examples=40)
@given(example=bounded_examples())
def test_bounded_sequences(example: Example) -> None:
    run(example)


@settings(lenient, max_examples=25)
@given(example=targets)
def test_targeted_sequences(example: Example) -> None:
    run(example)


@pytest.mark.slow
@settings(lenient, max_examples=3_000)
@given(example=targets)
def test_many_targeted_sequences(example: Example) -> None:
    run(example)


@pytest.mark.slow
@settings(lenient, max_examples=2_000)
@given(example=bounded_examples())
def test_many_bounded_sequences(example: Example) -> None:
    run(example)


@pytest.mark.slow
@settings(lenient, max_examples=10_000)
@given(example=examples())
def test_many_sequences(example: Example) -> None:
    run(example)


class Found(BaseException):
    """It differs: the first time is enough."""


def differs(example: Example) -> None:
    """Raise Found if the reference and the product differ."""
    for mode in modes(example.given)[1:]:
        try:
            check(example, mode)
        except AssertionError:
            raise Found from None


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference with one rule wrong says something else within 1000 sequences of either kind."""
    monkeypatch.setattr(*MISTAKES[mistake])
    enough = settings(lenient, max_examples=1000, phases=[Phase.generate])

    def hunt() -> None:
        for drawn in (targets, examples()):
            enough(given(example=drawn)(differs))()

    with pytest.raises(Found):
        hunt()
