# SPDX-License-Identifier: Apache-2.0
"""Charts as SVG: lines over a number, or for points that have names a row of dots each.

A page has the charts below each other. Figures begin at 0 unless one is below it.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pmupass.pictures.svg import GAP, Axis, line, page, rect, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pmupass.results import Chart

WIDTH = 940
HEAD = 40  # the page's title
TITLE = 24
LEGEND = 18
PLOT = 240  # the height of lines
ROW, STEP = 16, 2.5  # of dots: the least height, and from series to series
FOOT = 44
LEFT, RIGHT = 70, 40  # of lines, for figures
NAMES = 220  # of dots, for names
CHARACTER = 6.2  # pixels, of the legend
# Told apart by people who do not see all colours, too: after Okabe and Ito, and two greys.
COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#5d3a9b"),
    *("#888888", "#b8a800"),
)


def _figure(value: float) -> str:
    return f"{value:,.10g}"


def _values(chart: Chart) -> list[float]:
    return [v for s in chart.series for v in s.values if v is not None] or [0.0]


def _extent(chart: Chart) -> tuple[float, float]:
    """Return the ends of the axis of figures."""
    low, high = min(0.0, *_values(chart)), max(_values(chart))
    return low, high + (high - low) * 0.05 or 1.0


def _legend(chart: Chart, top: float) -> tuple[str, float]:
    """Return the legend, and where what is below it begins."""
    out, x, y = [], float(GAP), top
    for s, colour in zip(chart.series, COLOURS, strict=False):
        width = 24 + CHARACTER * len(s.name) + 14
        if x + width > WIDTH and x > GAP:
            x, y = float(GAP), y + LEGEND
        out.append(rect(x, x + 12, y + 2, 10, colour))
        out.append(text(x + 17, y + 11, s.name))
        x += width
    return "".join(out), y + LEGEND + 4


def _dot(x: float, y: float, colour: str, words: str) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}" fill-opacity=".85">'
        f"<title>{escape(words)}</title></circle>\n"
    )


def _tip(chart: Chart, name: str, point: float | str, value: float) -> str:
    at = point if isinstance(point, str) else f"{_figure(point)} {chart.point}"
    return f"{name}, {at}: {value:,.{chart.digits}f} {chart.unit}"


def _lines(chart: Chart, numbers: Sequence[float], top: float) -> tuple[str, float]:
    """Return a plot over numbers, and where it ends."""
    low, high = _extent(chart)
    bottom, right = top + PLOT, WIDTH - RIGHT
    across = Axis(min(numbers), max(numbers), LEFT, right - LEFT, log=chart.scale == "log")
    up = Axis(low, high, bottom, -PLOT)
    out = []
    for tick in up.ticks:
        y = up.at(tick)
        out.append(line(LEFT, y, right, y, 'stroke="#e4e4e4"'))
        out.append(text(LEFT - 6, y + 4, _figure(tick), ' text-anchor="end" class="note"'))
    for tick in across.ticks if chart.scale == "linear" else numbers:
        x = across.at(tick)
        out.append(line(x, bottom, x, bottom + 4, 'stroke="#888"'))
        out.append(text(x, bottom + 16, _figure(tick), ' text-anchor="middle" class="note"'))
    out.append(line(LEFT, bottom, right, bottom, 'stroke="#888"'))
    out.append(text(right, bottom + 31, chart.point, ' text-anchor="end"'))
    for s, colour in zip(chart.series, COLOURS, strict=False):
        there = [(n, v) for n, v in zip(numbers, s.values, strict=True) if v is not None]
        way = " ".join(f"{across.at(n):.1f},{up.at(v):.1f}" for n, v in there)
        out.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.6"/>\n')
        for n, v in there:
            out.append(_dot(across.at(n), up.at(v), colour, _tip(chart, s.name, n, v)))
    return "".join(out), bottom + FOOT


def _rows(chart: Chart, top: float) -> tuple[str, float]:
    """Return a row of dots for each point, and where they end."""
    low, high = _extent(chart)
    across = Axis(low, high, NAMES, WIDTH - GAP - NAMES)
    height = max(ROW, STEP * (len(chart.series) + 2))
    bottom = top + height * len(chart.points)
    out = []
    for tick in across.ticks:
        x = across.at(tick)
        out.append(line(x, top, x, bottom, 'stroke="#e4e4e4"'))
        out.append(text(x, bottom + 14, _figure(tick), ' text-anchor="middle" class="note"'))
    for i, point in enumerate(chart.points):
        y = top + height * i + height / 2
        out.append(line(NAMES, y, WIDTH - GAP, y, 'stroke="#f0f0f0"'))
        out.append(text(NAMES - 8, y + 4, str(point), ' class="name" text-anchor="end"'))
        for n, (s, colour) in enumerate(zip(chart.series, COLOURS, strict=False)):
            value, beside = s.values[i], STEP * (n - (len(chart.series) - 1) / 2)
            if value is not None:
                tip = _tip(chart, s.name, point, value)
                out.append(_dot(across.at(value), y + beside, colour, tip))
    return "".join(out), bottom + FOOT


def _panel(chart: Chart, top: float) -> tuple[str, float]:
    """Return one chart, and where the next may begin."""
    head = text(GAP, top + 12, f"{chart.text}, {chart.unit}", ' class="title"')
    legend, y = _legend(chart, top + TITLE)
    numbers = [float(p) for p in chart.points if not isinstance(p, str)]
    if len(numbers) == len(chart.points) > 1:
        plot, end = _lines(chart, numbers, y)
    else:
        plot, end = _rows(chart, y)
    return head + legend + plot, end


def draw(title: str, charts: Sequence[Chart]) -> str:
    """Return the SVG of charts; each has as many series as COLOURS at most."""
    out, y = [], float(HEAD)
    for chart in charts:
        panel, y = _panel(chart, y)
        out.append(panel)
    return page(title, WIDTH, y, "".join(out))
