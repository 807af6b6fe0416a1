# SPDX-License-Identifier: Apache-2.0
"""Flame graphs of host time as SVG: one per mode on one scale, and what the modes differ in.

A frame is a function of the host kernel in one calling context, its width the cycles of it and its
callees; callers are below. In a difference the width is how many cycles differ, blue where the
second mode has fewer, red where it has more.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from html import escape
from itertools import combinations
from typing import TYPE_CHECKING

from pmupass.pictures import stacks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pmupass.pictures.stacks import Frame
    from pmupass.results import Result

WIDTH = 1200  # of a picture, in pixels
MARGIN = 10
ROW = 17  # of a frame
TITLE = 34  # of a panel, above its frames
LETTER = 6.6  # of the font below, which is monospaced
NARROWEST = 0.3  # a frame that is drawn
STYLE = (
    "text{font:11px ui-monospace,monospace;fill:#111}"
    ".title{font:600 14px sans-serif}"
    ".note{font:12px sans-serif;fill:#555}"
    "rect{stroke:#fff;stroke-width:.5}"
    "g:hover>rect{stroke:#000;stroke-width:1}"
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One flame graph with its title; ``paint`` is the colour of a frame."""

    title: str
    note: str
    top: Frame
    paint: Callable[[Frame], str]

    @property
    def height(self) -> int:
        """Pixels."""
        return TITLE + self.top.depth * ROW + MARGIN


def _warm(frame: Frame) -> str:
    """Return a warm colour that is a function's own, in all pictures."""
    seed = zlib.crc32(frame.name.encode())
    return f"hsl({seed % 46} {70 + (seed >> 8) % 20}% {62 + (seed >> 16) % 12}%)"


def _signed(frame: Frame) -> str:
    """Return red for more, blue for less, paler the more both cancel out."""
    share = frame.cycles / frame.width if frame.width else 0
    return f"hsl({8 if share > 0 else 214} 75% {94 - round(34 * abs(share))}%)"


def _plain_panel(mode: str, cycles: Mapping[str, int], note: str) -> Panel:
    top = stacks.tree(cycles, mode)
    return Panel(f"{mode}: {top.cycles:,} host cycles", note, top, _warm)


def _difference_panel(old: str, new: str, by_mode: Mapping[str, Mapping[str, int]]) -> Panel:
    top = stacks.tree(stacks.difference(by_mode[old], by_mode[new]), f"{new} less {old}")
    return Panel(
        f"{new} less {old}: {top.cycles:+,} host cycles",
        f"width: cycles that differ; blue: fewer in {new}, red: more",
        top,
        _signed,
    )


def _frame(frame: Frame, x: float, y: float, width: float, whole: int, colour: str) -> str:
    share = f"{frame.cycles / whole:+.2%}" if frame.cycles < 0 else f"{frame.cycles / whole:.2%}"
    letters = int((width - 4) / LETTER)
    label = frame.name if len(frame.name) <= letters else frame.name[: max(letters - 2, 0)] + ".."
    text = f'<text x="{x + 3:.1f}" y="{y + 12:.1f}">{escape(label)}</text>' if letters > 2 else ""
    return (
        f"<g><title>{escape(frame.name)}: {frame.cycles:,} cycles, {share}; "
        f"itself {frame.own:,}</title>"
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{ROW}" fill="{colour}"/>'
        f"{text}</g>\n"
    )


def _panel(panel: Panel, y: float, scale: float) -> str:
    base = y + TITLE + (panel.top.depth - 1) * ROW
    whole = panel.top.width or 1
    frames = []
    for frame, level, left in panel.top.walk():
        width = frame.width * scale
        if width >= NARROWEST:
            x = MARGIN + left * scale
            colour = panel.paint(frame)
            frames.append(_frame(frame, x, base - level * ROW, width, whole, colour))
    return (
        f'<text class="title" x="{MARGIN}" y="{y + 16:.1f}">{escape(panel.title)}</text>\n'
        f'<text class="note" x="{MARGIN}" y="{y + 30:.1f}">{escape(panel.note)}</text>\n'
        + "".join(frames)
    )


def _svg(title: str, panels: list[Panel]) -> str:
    widest = max((panel.top.width for panel in panels), default=0)
    scale = (WIDTH - 2 * MARGIN) / widest if widest else 0
    height = 40 + sum(panel.height for panel in panels)
    parts = []
    y = 40.0
    for panel in panels:
        parts.append(_panel(panel, y, scale))
        y += panel.height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n'
        f'<text class="title" x="{MARGIN}" y="22">{escape(title)}</text>\n'
        + "".join(parts)
        + "</svg>\n"
    )


def draw(title: str, results: Mapping[str, Result]) -> str:
    """Return the SVG of one or more modes' results, all to one scale; native has no host time."""
    by_mode = stacks.of_results(results)
    panels = [_plain_panel(mode, cycles, _share(results[mode])) for mode, cycles in by_mode.items()]
    panels += [_difference_panel(old, new, by_mode) for old, new in combinations(by_mode, 2)]
    return _svg(title, panels)


def _share(result: Result) -> str:
    share = result.cost_cycles / (result.cost_cycles + result.guest.core_cycles or 1)
    incomplete = "" if result.complete else "; the run was interrupted"
    return f"{share:.2%} of the run's core cycles, callers below callees{incomplete}"
