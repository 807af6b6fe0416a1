# SPDX-License-Identifier: Apache-2.0
"""Tornado plots as SVG: for each conclusion the costs that move its figure, widest first.

A bar goes from the figure with the cost at the lower end of its range to that at the upper end; the
line in its middle is the figure as the table has it. Where the conclusion ends the ground is red.
Below are random draws of all costs, and between the best corner and the worst a thin line.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pmupass.pictures.svg import GAP, Axis, line, page, rect, text

if TYPE_CHECKING:
    from pmupass.results import ConclusionReport, Sensitivity, Swing

COLUMNS = 2
PANEL = 610  # the width of a panel, in pixels
COST = "cost."
LABELS = 160  # of a panel's width, for names
ROW = 15
TITLE = 38
FOOT = 40
HEAD = 62
MOST = 8
LOW, HIGH, BOUND, DRAWN = "#3b6fb6", "#e08a2b", "#c0392b", "#9a9a9a"


def _axis(c: ConclusionReport, left: float) -> Axis:
    """Return an axis with all on it but the best corner, which may be far away."""
    shown = [c.value, c.bound, c.worst, c.drawn.min, c.drawn.max]
    shown += [at for s in c.swings for at in (s.at_low, s.at_high)]
    low, high = min(shown), max(shown)
    margin = (high - low) * 0.04 or 0.01
    return Axis(low - margin, high + margin, left + LABELS, PANEL - LABELS - 10)


def _label(c: ConclusionReport, value: float) -> str:
    return f"{100 * value:g}%" if c.unit == "%" else f"{value:g}"


def _short(value: float) -> float:
    """Return a figure with three digits."""
    return float(f"{value:.3g}")


def _bar(c: ConclusionReport, s: Swing, axis: Axis, y: float) -> str:
    middle = axis.at(c.value)
    name = s.key.removeprefix(COST)
    tip = (
        f"{name}: {s.low:,} gives {_label(c, s.at_low)}, {s.value:,} {_label(c, c.value)}, "
        f"{s.high:,} {_label(c, s.at_high)}"
    )
    return (
        f"<g><title>{escape(tip)}</title>\n"
        + text(axis.start - 6, y + 11, name, ' class="name" text-anchor="end"')
        + rect(middle, axis.at(s.at_low), y + 2, ROW - 4, LOW)
        + rect(middle, axis.at(s.at_high), y + 2, ROW - 4, HIGH)
        + "</g>\n"
    )


def _together(c: ConclusionReport, axis: Axis, y: float) -> str:
    best, worst = axis.at(c.best), axis.at(c.worst)
    beyond = "" if axis.low <= c.best <= axis.high else f" (best {_label(c, _short(c.best))})"
    return (
        text(axis.start - 6, y + 11, f"all{beyond}", ' class="name" text-anchor="end"')
        + line(best, y + ROW / 2, worst, y + ROW / 2, 'stroke="#555" stroke-width="1"')
        + line(worst, y + 2, worst, y + ROW - 2, 'stroke="#555" stroke-width="2"')
        + rect(axis.at(c.drawn.min), axis.at(c.drawn.max), y + 4, ROW - 8, DRAWN)
    )


def _panel(c: ConclusionReport, left: float, top: float, rows: int) -> str:
    axis = _axis(c, left)
    y, bottom = top + TITLE, top + TITLE + (rows + 1) * ROW + 4
    bound, edge = axis.at(c.bound), axis.start + axis.length
    ended = (bound, edge) if c.relation == "below" else (axis.start, bound)
    words = f"{c.figure}; {c.relation} {_label(c, _short(c.bound))}: {c.in_words}"
    out = [
        text(left, top + 14, c.text, ' class="title"'),
        text(left, top + 29, words, ' class="note"'),
        rect(*ended, y, bottom - y, BOUND, ' fill-opacity=".12"'),
        line(bound, y, bound, bottom, f'stroke="{BOUND}" stroke-dasharray="4 3"'),
    ]
    for tick in axis.ticks:
        x = axis.at(tick)
        out.append(line(x, y, x, bottom, 'stroke="#ddd"'))
        out.append(text(x, bottom + 13, _label(c, tick), ' text-anchor="middle" class="note"'))
    for i, s in enumerate(c.widest(MOST)):
        out.append(_bar(c, s, axis, y + i * ROW))
    out.append(_together(c, axis, y + rows * ROW + 2))
    middle = axis.at(c.value)
    out.append(line(middle, y, middle, bottom, 'stroke="#222"'))
    return "".join(out)


def _legend(found: Sensitivity) -> str:
    words = (
        (LOW, "cost at the lower end of its range"),
        (HIGH, "at the upper end"),
        (DRAWN, f"all of them: {found.draws} draws; the line ends in the worst corner"),
        (BOUND, "the conclusion does not hold here"),
    )
    out, x = [], float(GAP)
    for colour, meaning in words:
        out.append(rect(x, x + 12, 36, 12, colour))
        out.append(text(x + 17, 46, meaning))
        x += 40 + 5.6 * len(meaning)
    return "".join(out)


def draw(found: Sensitivity) -> str:
    """Return the SVG of all conclusions."""
    lines = [found.conclusions[i : i + COLUMNS] for i in range(0, len(found.conclusions), COLUMNS)]
    out, y = [], float(HEAD)
    for side_by_side in lines:
        rows = max(len(c.widest(MOST)) for c in side_by_side)
        for i, c in enumerate(side_by_side):
            out.append(_panel(c, GAP + i * (PANEL + GAP), y, rows))
        y += TITLE + (rows + 1) * ROW + FOOT
    title = "Which conclusions hold whatever the costs are in their ranges"
    return page(title, COLUMNS * (PANEL + GAP) + GAP, y, _legend(found) + "".join(out))
