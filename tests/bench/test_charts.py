# SPDX-License-Identifier: Apache-2.0
"""The suites that draw charts: figures held against what they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import UNSET

from pmupass import costs, cpus
from pmupass.bench import exit_rate, exits, exposed, latency, switch
from pmupass.bench.experiment import cycles_of
from pmupass.machine import Session
from pmupass.options import Options
from pmupass.results import Chart, Measurement, Series

if TYPE_CHECKING:
    from collections.abc import Iterable


def go_on(_label: str, _fraction: float | None) -> bool:
    return True


def charts(found: Iterable[object]) -> dict[str, Chart]:
    return {chart.name: chart for chart in found if isinstance(chart, Chart)}


def lines(chart: Chart) -> dict[str, dict[float | str, float | None]]:
    return {s.name: dict(zip(chart.points, s.values, strict=True)) for s in chart.series}


def test_who_is_best() -> None:
    """As far as figures are shown; who is not there does not win."""
    chart = Chart(
        suite="",
        name="",
        text="",
        point="",
        points=["a", "b", "c"],
        unit="%",
        digits=1,
        best="lowest",
        series=[
            Series("x", [1.02, None, None]),
            Series("y", [1.04, 3.0, None]),
            Series("z", [1.1, 4.0, None]),
        ],
    )
    assert [chart.best_of(i) for i in range(3)] == [["x", "y"], ["y"], []]
    assert (
        Chart(**{f: getattr(chart, f) for f in chart.__struct_fields__} | {"best": UNSET}).best_of(
            0
        )
        == []
    )


def test_a_rate_of_exits() -> None:
    """So many exits in a second of the guest's own time: of all the time without the host's."""
    for rate in (10_000, 100_000):
        settings = (exit_rate.chunk("zen4", rate),)
        options = Options(
            "exit-storm", cpu="zen4", time_ns=20_000_000, settings=settings, host=False
        )
        result = Session(options).whole("emulated")
        (storm,) = (e for e in result.exits if e.reason == "cpuid")
        own = result.guest.core_cycles / (cpus.load("zen4").core_khz * 1000)
        assert storm.count / own == pytest.approx(rate, rel=0.05)


def test_exits() -> None:
    """A share of 1 - (1 + r c0) / (1 + r c), c and c0 the seconds of an exit with and without vPMU.

    What ticks add is the same in both; so low rates are left out.
    """
    found = charts(exits.measure(go_on))
    for mode in exits.MODES:
        for cpu, line in lines(found[f"idle-{mode}"]).items():
            with_, without = (
                cycles_of(
                    Session(
                        Options(
                            "exit-storm",
                            cpu=cpu,
                            time_ns=1_000_000,
                            settings=("kvm.cap_pmu_disable=1",) * bare,
                        )
                    ).whole("emulated" if bare else mode),
                    "CPUID",
                )
                for bare in (0, 1)
            )
            hertz = cpus.load(cpu).core_khz * 1000
            for rate in (30_000, 100_000, 300_000):
                expected = 1 - (1 + rate * without / hertz) / (1 + rate * with_ / hertz)
                assert line[rate] == pytest.approx(100 * expected, rel=0.1, abs=0.01)
    for name in ("break-even-sampling", "break-even-counting"):
        for line in lines(found[name]).values():
            values = [v for v in line.values() if v is not None]
            assert values == sorted(values)
            assert all(0 < v < 100 for v in values)


def test_exposed() -> None:
    """A further GP counter, idle: RDPMC at load and put, and upstream writes its selector.

    What the guest lacks takes turns: 6 events on n counters are on one n / 6 of the time.
    """
    found = charts(exposed.measure(go_on))
    table = costs.load()
    wrmsr, rdpmc = table["wrmsr"].cycles, table["rdpmc"].cycles
    idle, moved = lines(found["idle"]), lines(found["registers"])
    for guest, cycles, accesses in (
        ("emulated", 0, 0),
        ("mediated", wrmsr + 2 * rdpmc, 3),
        ("mediated, 4 fixed counters", wrmsr + 2 * rdpmc, 3),
        ("enlightened", 2 * rdpmc, 2),
    ):
        for gp in range(1, 8):
            here, more = idle[guest][gp], idle[guest][gp + 1]
            assert here is not None
            assert more is not None
            assert more - here == pytest.approx(cycles, abs=0.01)
            few, many = moved[guest][gp], moved[guest][gp + 1]
            assert few is not None
            assert many is not None
            assert many - few == pytest.approx(accesses, abs=0.1)
    for line in lines(found["running"]).values():
        for gp in range(1, 9):
            assert line[gp] == pytest.approx(100 * min(gp / 6, 1), abs=0.5)


def test_latency() -> None:
    """Silicon is the soonest, mediated before emulated; skid is silicon's, whoever delivers."""
    found = list(latency.measure(go_on))
    made = charts(found)
    for name in ("cycles", "cycles-99"):
        for line in lines(made[name]).values():
            values = {k: v or 0.0 for k, v in line.items()}
            assert values["native"] < values["mediated"] < values["emulated"]
            assert values["mediated, vcpu-loop"] < values["mediated, enlightened"]
            assert values["mediated, enlightened"] < values["mediated"]
    for line in lines(made["instructions"]).values():
        assert len(set(line.values())) == 1
    assert [m.value for m in found if isinstance(m, Measurement)] == [0]


def test_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two scenes of each vendor's, and three uses."""
    uses = (
        switch.Use("exit-storm", 0, 50_000),
        switch.Use("exit-storm", 1, 50_000),
        switch.Use("perf-record", 6),
    )
    monkeypatch.setattr(switch, "USES", uses)
    monkeypatch.setattr(switch, "STORM_NS", 10_000_000)
    monkeypatch.setattr(switch, "SAMPLING_NS", 10_000_000)
    found = list(switch.measure(go_on))
    made = {name: lines(chart) for name, chart in charts(found).items()}
    idle, counting, sampling = map(str, uses)

    def lost(scene: str, policy: str, use: str) -> float:
        return made[scene][policy][use] or 0.0

    for scene in switch.SCENES:
        # An idle guest: all that waits or moves less is cheaper than as merged.
        upstream = lost(scene.name, "upstream", idle)
        assert lost(scene.name, "enlightened", idle) < upstream
        for policy in ("lazy", "lazy load", "hint", "vcpu-loop"):
            assert abs(lost(scene.name, policy, idle)) < 0.08 * upstream
        put = lost(scene.name, "lazy put", idle)
        assert put == upstream if scene.host else abs(put) < 0.08 * upstream
        assert lost(scene.name, "entry-exit", idle) > upstream
        for use in (counting, sampling):
            assert lost(scene.name, "vcpu-loop", use) < lost(scene.name, "upstream", use)
    for scene in (s for s in switch.SCENES if s.host):
        # While no load is made the host's event loses nothing; one that stays in hides the most.
        missed = made[f"{scene.name}-missed"]
        assert missed["lazy load"][idle] == 0
        for use in (idle, counting):
            figures = {policy: line[use] or 0.0 for policy, line in missed.items()}
            assert max(figures, key=lambda policy: figures[policy]) == "vcpu-loop"
    rows = {m.name: m for m in found if isinstance(m, Measurement)}
    assert all(m.value == 0 for m in rows.values() if m.group == "accuracy")
    wins = [m for m in rows.values() if m.group == "who wins"]
    assert sum(m.value for m in wins) >= len(switch.SCENES) * len(uses)
    assert rows[f"entry-exit: cheapest, of {len(switch.SCENES) * 3}"].value == 0
