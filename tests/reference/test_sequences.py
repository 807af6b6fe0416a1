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
from hypothesis import HealthCheck, given, settings
from sequences import check, modes

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
