# SPDX-License-Identifier: Apache-2.0
"""What plots are made of: marks of SVG, pages, axes. The same input gives the same bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

GAP = 20
TICKS = 5
STYLE = (
    "text{font:11px sans-serif;fill:#222}"
    ".name{font:11px ui-monospace,monospace}"
    ".title{font:600 12.5px sans-serif}"
    ".head{font:600 15px sans-serif}"
    ".note{fill:#666}"
)


@dataclass(frozen=True, slots=True)
class Axis:
    """Figures to pixels, ``length`` of them from ``start``; what is beyond is drawn at the ends."""

    low: float
    high: float
    start: float
    length: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return where a figure is."""
        low, high = self.low, self.high
        value = min(max(value, low), high)
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * self.length

    @property
    def ticks(self) -> list[float]:
        """Round figures: some TICKS of them, or on a logarithmic axis the decades."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            return [10.0**i for i in range(first, last + 1)]
        step = (self.high - self.low) / TICKS
        decade = 10 ** math.floor(math.log10(step))
        step = next(m * decade for m in (1, 2, 5, 10) if m * decade >= step)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [round(i * step, 10) for i in range(first, last + 1)]


def text(x: float, y: float, words: str, more: str = "") -> str:
    """Return words whose base line begins there; ``more``: further attributes."""
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(words)}</text>\n'


def rect(x0: float, x1: float, y: float, height: float, colour: str, more: str = "") -> str:
    """Return a filled rectangle between two places, in either order."""
    left, right = sorted((x0, x1))
    return (
        f'<rect x="{left:.1f}" y="{y:.1f}" width="{right - left:.1f}" height="{height:.1f}" '
        f'fill="{colour}"{more}/>\n'
    )


def line(x0: float, y0: float, x1: float, y1: float, more: str) -> str:
    """Return a line; ``more`` has its colour."""
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" {more}/>\n'


def page(title: str, width: float, height: float, body: str) -> str:
    """Return a whole picture under a title of its own, which takes the first 30 pixels."""
    w, h = math.ceil(width), math.ceil(height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" '
        f'viewBox="0 0 {w} {h}" role="img">\n<title>{escape(title)}</title>\n'
        f'<style>{STYLE}</style>\n<rect width="{w}" height="{h}" fill="#fff"/>\n'
        + text(GAP, 24, title, ' class="head"')
        + body
        + "</svg>\n"
    )
