# SPDX-License-Identifier: Apache-2.0
"""Tornado plots as SVG: for each conclusion the costs that move its figure, widest first.

A bar goes from the figure with the cost at the lower end of its range to that at the upper end; the
line in its middle is the figure as the table has it. Where the conclusion ends the ground is red.
Below are random draws of all costs, and between the best corner and the worst a thin line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pmupass.results import ConclusionReport, Sensitivity, Swing

COLUMNS = 2
PANEL = 610  # the width of a panel, in pixels
GAP = 20
COST = "cost."
LABELS = 160  # of a panel's width, for names
ROW = 15
TITLE = 38
FOOT = 40
HEAD = 62
MOST = 8
TICKS = 5
LOW, HIGH, BOUND, DRAWN = "#3b6fb6", "#e08a2b", "#c0392b", "#9a9a9a"
STYLE = (
    "text{font:11px sans-serif;fill:#222}"
    ".name{font:11px ui-monospace,monospace}"
    ".title{font:600 12.5px sans-serif}"
    ".head{font:600 15px sans-serif}"
    ".note{fill:#666}"
)


@dataclass(frozen=True, slots=True)
class Axis:
    """Figures to pixels; what is beyond the ends is drawn at them."""

    low: float
    high: float
    left: float
    width: float

    def x(self, value: float) -> float:
        """Return where a figure is."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.left + share * self.width

    @property
    def ticks(self) -> list[float]:
        """Round figures, some TICKS of them."""
        step = (self.high - self.low) / TICKS
        decade = 10 ** math.floor(math.log10(step))
        step = next(m * decade for m in (1, 2, 5, 10) if m * decade >= step)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [round(i * step, 10) for i in range(first, last + 1)]


def _axis(c: ConclusionReport, left: float) -> Axis:
    """Return an axis with all on it but the best corner, which may be far away."""
    shown = [c.value, c.bound, c.worst, c.drawn.min, c.drawn.max]
    shown += [at for s in c.swings for at in (s.at_low, s.at_high)]
    low, high = min(shown), max(shown)
    margin = (high - low) * 0.04 or 0.01
    return Axis(low - margin, high + margin, left + LABELS, PANEL - LABELS - 10)


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(text)}</text>\n'


def _rect(x0: float, x1: float, y: float, height: float, colour: str, more: str = "") -> str:
    left, right = sorted((x0, x1))
    return (
        f'<rect x="{left:.1f}" y="{y:.1f}" width="{right - left:.1f}" height="{height:.1f}" '
        f'fill="{colour}"{more}/>\n'
    )


def _line(x0: float, y0: float, x1: float, y1: float, more: str) -> str:
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" {more}/>\n'


def _label(c: ConclusionReport, value: float) -> str:
    return f"{100 * value:g}%" if c.unit == "%" else f"{value:g}"


def _short(value: float) -> float:
    """Return a figure with three digits."""
    return float(f"{value:.3g}")


def _bar(c: ConclusionReport, s: Swing, axis: Axis, y: float) -> str:
    middle = axis.x(c.value)
    name = s.key.removeprefix(COST)
    tip = (
        f"{name}: {s.low:,} gives {_label(c, s.at_low)}, {s.value:,} {_label(c, c.value)}, "
        f"{s.high:,} {_label(c, s.at_high)}"
    )
    return (
        f"<g><title>{escape(tip)}</title>\n"
        + _text(axis.left - 6, y + 11, name, ' class="name" text-anchor="end"')
        + _rect(middle, axis.x(s.at_low), y + 2, ROW - 4, LOW)
        + _rect(middle, axis.x(s.at_high), y + 2, ROW - 4, HIGH)
        + "</g>\n"
    )


def _together(c: ConclusionReport, axis: Axis, y: float) -> str:
    best, worst = axis.x(c.best), axis.x(c.worst)
    beyond = "" if axis.low <= c.best <= axis.high else f" (best {_label(c, _short(c.best))})"
    return (
        _text(axis.left - 6, y + 11, f"all{beyond}", ' class="name" text-anchor="end"')
        + _line(best, y + ROW / 2, worst, y + ROW / 2, 'stroke="#555" stroke-width="1"')
        + _line(worst, y + 2, worst, y + ROW - 2, 'stroke="#555" stroke-width="2"')
        + _rect(axis.x(c.drawn.min), axis.x(c.drawn.max), y + 4, ROW - 8, DRAWN)
    )


def _panel(c: ConclusionReport, left: float, top: float, rows: int) -> str:
    axis = _axis(c, left)
    y, bottom = top + TITLE, top + TITLE + (rows + 1) * ROW + 4
    bound, edge = axis.x(c.bound), axis.left + axis.width
    ended = (bound, edge) if c.relation == "below" else (axis.left, bound)
    words = f"{c.figure}; {c.relation} {_label(c, _short(c.bound))}: {c.in_words}"
    out = [
        _text(left, top + 14, c.text, ' class="title"'),
        _text(left, top + 29, words, ' class="note"'),
        _rect(*ended, y, bottom - y, BOUND, ' fill-opacity=".12"'),
        _line(bound, y, bound, bottom, f'stroke="{BOUND}" stroke-dasharray="4 3"'),
    ]
    for tick in axis.ticks:
        x = axis.x(tick)
        out.append(_line(x, y, x, bottom, 'stroke="#ddd"'))
        out.append(_text(x, bottom + 13, _label(c, tick), ' text-anchor="middle" class="note"'))
    for i, s in enumerate(c.widest(MOST)):
        out.append(_bar(c, s, axis, y + i * ROW))
    out.append(_together(c, axis, y + rows * ROW + 2))
    middle = axis.x(c.value)
    out.append(_line(middle, y, middle, bottom, 'stroke="#222"'))
    return "".join(out)


def _legend(found: Sensitivity) -> str:
    words = (
        (LOW, "cost at the lower end of its range"),
        (HIGH, "at the upper end"),
        (DRAWN, f"all of them: {found.draws} draws; the line ends in the worst corner"),
        (BOUND, "the conclusion does not hold here"),
    )
    out, x = [], float(GAP)
    for colour, text in words:
        out.append(_rect(x, x + 12, 36, 12, colour))
        out.append(_text(x + 17, 46, text))
        x += 40 + 5.6 * len(text)
    return "".join(out)


def draw(found: Sensitivity) -> str:
    """Return the SVG of all conclusions."""
    lines = [found.conclusions[i : i + COLUMNS] for i in range(0, len(found.conclusions), COLUMNS)]
    out, y = [], float(HEAD)
    for line in lines:
        rows = max(len(c.widest(MOST)) for c in line)
        for i, c in enumerate(line):
            out.append(_panel(c, GAP + i * (PANEL + GAP), y, rows))
        y += TITLE + (rows + 1) * ROW + FOOT
    title = "Which conclusions hold whatever the costs are in their ranges"
    width, height = COLUMNS * (PANEL + GAP) + GAP, math.ceil(y)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">\n<title>{title}</title>\n'
        f'<style>{STYLE}</style>\n<rect width="{width}" height="{height}" fill="#fff"/>\n'
        + _text(GAP, 24, title, ' class="head"')
        + _legend(found)
        + "".join(out)
        + "</svg>\n"
    )
