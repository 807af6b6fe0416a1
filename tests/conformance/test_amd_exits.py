# SPDX-License-Identifier: Apache-2.0
"""Exits that one more PMI and one more tick cost perf-record on AMD, by the accesses of perf.h.

One event on a core counter. A PMI takes, its own exit included,

    zen2, zen3, emulated    1 + LVTPC 1 + RDPMC 1 + counter 1                       = 4
    zen4, zen5, emulated    1 + GLOBAL_CTL 2 + STATUS 1 + CLR 1 + RDPMC 1 + counter 1 = 7
    mediated                1

A tick takes, without the timer's own exit,

    zen2, zen3, emulated    deadline 1 + EOI 1 (no AVIC for the x2APIC) + off 2 + look 1
                            + stop: selector 1, look 1, RDPMC 1; start: counter 1; on 1 = 10
    zen4, zen5, emulated    deadline 1 + GLOBAL_CTL 2 + look 1 + stop: selector 1, look 1, RDPMC 1
                            + start: counter 1, selector 1                          = 9
    mediated                deadline 1 + selectors 2                                = 3
"""

from __future__ import annotations

import guest_amd as amd
from test_exits_per_pmi import record

PER_PMI = {
    **{(cpu, amd.EMULATED): 4 for cpu in amd.V1},
    **{(cpu, amd.EMULATED): 7 for cpu in amd.V2},
    **{(cpu, amd.MEDIATED): 1 for cpu in amd.V2},
}
PER_TICK = {
    **{(cpu, amd.EMULATED): 10 for cpu in amd.V1},
    **{(cpu, amd.EMULATED): 9 for cpu in amd.V2},
    **{(cpu, amd.MEDIATED): 3 for cpu in amd.V2},
}


@amd.each_vpmu
def test_one_more_pmi_costs_so_many_exits(cpu: str, mode: str) -> None:
    """Fixed periods and no tick, so that PMIs are all that differs between two runs."""

    def exits(period: int) -> tuple[int, int]:
        ran = record(cpu, mode, "instructions", ("guest.hz=0",), period=period)
        assert ran.report.ticks == ran.report.pmis_empty == 0
        if mode == "emulated":
            # 100 samples without a tick throttle the host's event: one tick of the host starts.
            assert ran.exits.pop("interrupt", 0) <= ran.report.pmis // 100
        return sum(ran.exits.values()), ran.report.pmis

    few, few_pmis = exits(10_000_000)
    many, many_pmis = exits(1_000_000)
    assert many_pmis > few_pmis + 50
    assert many - few == PER_PMI[cpu, mode] * (many_pmis - few_pmis)


@amd.each_vpmu
def test_one_more_tick_costs_so_many_exits(cpu: str, mode: str) -> None:
    """What is left of two runs that differ in HZ, once PMIs are taken away."""
    left = []
    for hz in (1000, 4000):
        ran = record(cpu, mode, "cycles", ("guest.linux=6.9", f"guest.hz={hz}"))
        for own in ("nmi", "interrupt", "iret", "vintr"):  # of PMIs, the timer, windows
            ran.exits.pop(own, 0)
        total = sum(ran.exits.values()) - (PER_PMI[cpu, mode] - 1) * ran.report.pmis
        left.append((total, ran.report.ticks))
    (few, few_ticks), (many, many_ticks) = left
    assert many_ticks > few_ticks + 50
    assert many - few == PER_TICK[cpu, mode] * (many_ticks - few_ticks)
