# SPDX-License-Identifier: Apache-2.0
"""Tornado plots: bars begin at the figure, end where a cost's ends put it, and red is beyond."""

from xml.etree import ElementTree as ET

import pytest

from pmupass.pictures import tornado
from pmupass.results import ConclusionReport, Drawn, Sensitivity, Swing

SVG = "{http://www.w3.org/2000/svg}"


def report(**changes: object) -> ConclusionReport:
    fields: dict[str, object] = {
        "name": "c",
        "text": "a < b & c",
        "figure": "a by b",
        "unit": "times",
        "relation": "below",
        "bound": 1.0,
        "value": 0.5,
        "verdict": "holds",
        "scatter": 0.01,
        "all_low": 0.4,
        "all_high": 0.7,
        "drawn": Drawn(0.45, 0.6, 0),
        "best": 0.3,
        "worst": 0.8,
        "swings": [
            Swing("cost.wrmsr", 75, 115, 200, 0.4, 0.7),
            Swing("guest.perf_work", 50, 100, 200, 0.55, 0.45),
            Swing("cost.rdpmc", 20, 25, 40, 0.5, 0.505),  # only scatters
        ],
        **changes,
    }
    return ConclusionReport(**fields)  # type: ignore[arg-type]


def draw(*reports: ConclusionReport) -> ET.Element:
    svg = tornado.draw(Sensitivity(97, 32, 1, 1000, list(reports)))
    return ET.fromstring(svg)  # noqa: S314 - our own


def bars(root: ET.Element) -> dict[str, dict[str, tuple[float, float]]]:
    """Return left and right of each bar by cost and colour."""
    found = {}
    for group in root.iter(f"{SVG}g"):
        name = group.findtext(f"{SVG}text") or ""
        found[name] = {
            r.attrib["fill"]: (
                float(r.attrib["x"]),
                float(r.attrib["x"]) + float(r.attrib["width"]),
            )
            for r in group.iter(f"{SVG}rect")
        }
    return found


def test_bars_begin_at_the_figure() -> None:
    """0.5 stands between 0.4 and 0.7 at a third; the other cost goes the other way, half as far."""
    found = bars(draw(report()))
    assert list(found) == ["wrmsr", "guest.perf_work"], "what only scatters has no bar"
    low, high = found["wrmsr"][tornado.LOW], found["wrmsr"][tornado.HIGH]
    assert low[1] == pytest.approx(high[0], abs=0.2)
    assert (low[1] - low[0]) / (high[1] - low[0]) == pytest.approx(1 / 3, abs=0.01)
    low, high = found["guest.perf_work"][tornado.LOW], found["guest.perf_work"][tornado.HIGH]
    assert high[1] == pytest.approx(low[0], abs=0.2)
    assert high[1] - high[0] == pytest.approx(low[1] - low[0], abs=0.2)


@pytest.mark.parametrize(("relation", "bound"), [("below", 1.0), ("above", 0.2)])
def test_the_ground_is_red_beyond_the_bound(relation: str, bound: float) -> None:
    root = draw(report(relation=relation, bound=bound))
    ground = next(r for r in root.iter(f"{SVG}rect") if "fill-opacity" in r.attrib)
    left = float(ground.attrib["x"])
    right = left + float(ground.attrib["width"])
    low, high = bars(root)["wrmsr"][tornado.LOW], bars(root)["wrmsr"][tornado.HIGH]
    assert left > high[1] if relation == "below" else right < low[0]


def test_a_picture_has_a_panel_for_each_conclusion() -> None:
    """In two columns, inside of the picture; text is text, whatever characters it has."""
    root = draw(report(), report(unit="%", text="second"), report(best=100.0, text="third"))
    titles = [t.text for t in root.iter(f"{SVG}text") if t.attrib.get("class") == "title"]
    assert titles == ["a < b & c", "second", "third"]
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for rect in root.iter(f"{SVG}rect"):
        assert float(rect.attrib.get("x", 0)) + float(rect.attrib["width"]) <= width
        assert float(rect.attrib.get("y", 0)) + float(rect.attrib["height"]) <= height
    words = " ".join(t.text or "" for t in root.iter(f"{SVG}text"))
    assert "40%" in words, "a share is in per cent"
    assert "all (best 100)" in words, "what is beyond the axis stands in words"
