# SPDX-License-Identifier: Apache-2.0
"""Charts as SVG: every figure is drawn, where it belongs, and nothing breaks the markup."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from pmupass.pictures import plot
from pmupass.pictures.svg import TICKS, Axis
from pmupass.results import Chart, Series

SVG = "{http://www.w3.org/2000/svg}"
RATES = [1000.0, 10_000.0, 100_000.0]


def chart(points: list[float | str], *values: list[float | None], scale: str = "linear") -> Chart:
    return Chart(
        suite="test",
        name="a",
        text="What <it> & they cost",
        point="exits a second",
        points=points,
        unit="%",
        digits=2,
        scale=scale,  # type: ignore[arg-type]
        series=[Series(f"s<{i}>", list(v)) for i, v in enumerate(values)],
    )


def dots(svg: str) -> list[tuple[float, float, str]]:
    root = ET.fromstring(svg)  # noqa: S314 - of our own making
    return [
        (float(c.attrib["cx"]), float(c.attrib["cy"]), c.findtext(f"{SVG}title") or "")
        for c in root.iter(f"{SVG}circle")
    ]


def test_lines() -> None:
    """A dot for each figure that is there: to the right by the point, up by the figure."""
    svg = plot.draw("t", [chart(RATES, [0.0, 10.0, 20.0], [None, 5.0, 5.0], scale="log")])
    found = dots(svg)
    assert len(found) == 5
    xs, ys = [x for x, _, _ in found], [y for _, y, _ in found]
    # Decades are equally far apart; 0, 10, 20 as well.
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert ys[0] > ys[1] > ys[2]
    assert ys[3] == ys[4] == pytest.approx((ys[0] + ys[1]) / 2, abs=0.2)
    assert found[1][2] == "s<0>, 10,000 exits a second: 10.00 %"


def test_rows() -> None:
    """Points with names: a row each, figures to the right, series of a row beside each other."""
    svg = plot.draw("t", [chart(["idle", "busy"], [0.0, 8.0], [4.0, None])])
    found = dots(svg)
    assert [tip for _, _, tip in found] == [
        *("s<0>, idle: 0.00 %", "s<1>, idle: 4.00 %", "s<0>, busy: 8.00 %")
    ]
    (x0, y0, _), (x1, y1, _), (x2, y2, _) = found
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 < y1 < y2
    assert y1 - y0 < y2 - y0


def test_a_chart_of_nothing() -> None:
    """All figures 0, or below it, or none at all: a picture all the same."""
    for values in ([0.0, 0.0], [-1.0, -2.0], [None, None]):
        plot.draw("t", [chart(["a", "b"], list(values)), chart([1.0, 2.0], list(values))])
        assert len(dots(plot.draw("t", [chart(["a", "b"], list(values))]))) == sum(
            v is not None for v in values
        )


def test_ticks_are_round() -> None:
    """Some five of 1, 2 or 5 times a power of ten; decades on a logarithmic axis."""
    assert Axis(0, 21, 0, 100).ticks == [0, 5, 10, 15, 20]
    assert Axis(0, 0.23, 0, 100).ticks == [0, 0.05, 0.1, 0.15, 0.2]
    assert Axis(1000, 300_000, 0, 100, log=True).ticks == [1000, 10_000, 100_000]


def test_some_five_ticks() -> None:
    for low, high in ((0.43, 1.04), (1.9, 23.0), (0.0012, 0.0101)):
        ticks = Axis(low, high, 0, 100).ticks
        assert 2 <= len(ticks) <= TICKS + 1
        assert all(low <= t <= high for t in ticks)
        assert all(re.fullmatch(r"[\d.]{1,6}", f"{t:g}") for t in ticks)


def test_the_same_bytes() -> None:
    one = chart(RATES, [0.0, 10.0, 20.0])
    assert plot.draw("t", [one, one]) == plot.draw("t", [one, one])
