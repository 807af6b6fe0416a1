# SPDX-License-Identifier: Apache-2.0
"""For whom the mediated vPMU is cheaper: worked by hand."""

from __future__ import annotations

import pytest

from pmupass.bench.break_even import Design, share_to_profile

EMULATED = Design(idle_exit=1000, busy_exit=4000, added=0.5)
MEDIATED = Design(idle_exit=3000, busy_exit=3500, added=0.1)


def test_where_both_cost_the_same() -> None:
    """10,000 exits a second at 10^9 Hz: 0.02 dearer while idle, 0.4 + 0.005 cheaper while busy.

    A share p of the time costs the same when 0.02 (1 - p) = 0.405 p.
    """
    share = share_to_profile(EMULATED, MEDIATED, rate=10_000, hertz=1e9)
    assert share == pytest.approx(0.02 / 0.425)
    for p, cheaper in ((share - 0.01, EMULATED), (share + 0.01, MEDIATED)):
        cost = {
            design: (1 - p) * 1e4 * design.idle_exit / 1e9
            + p * (1e4 * design.busy_exit / 1e9 + design.added)
            for design in (EMULATED, MEDIATED)
        }
        assert min(cost, key=lambda design: cost[design]) == cheaper


def test_where_there_is_nothing_to_pay_for_or_nothing_that_pays() -> None:
    """Without exits any profiling pays; a design that saves nothing never does."""
    assert share_to_profile(EMULATED, MEDIATED, rate=0, hertz=1e9) == 0
    dear = MEDIATED._replace(added=0.6)
    assert share_to_profile(EMULATED, dear, rate=10_000, hertz=1e9) is None
