# SPDX-License-Identifier: Apache-2.0
"""Host cycles by call stack: collapsed, as a tree, and what two of them differ in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pmupass.results import Result

SEPARATOR = ";"


def of_result(result: Result) -> dict[str, int]:
    """Return the cycles of each stack's innermost function, callees apart."""
    return {cost.stack: cost.cycles for cost in result.costs if cost.cycles}


def of_results(results: Mapping[str, Result]) -> dict[str, dict[str, int]]:
    """Return the same by mode; modes without a host have none."""
    found = {mode: of_result(result) for mode, result in results.items()}
    return {mode: stacks for mode, stacks in found.items() if stacks}


def folded(stacks: Mapping[str, int], root: str = "") -> str:
    """Return collapsed stacks, a line each, as flamegraph.pl and speedscope read them.

    ``root``, when there is one, is the outermost frame of all.
    """
    prefix = root + SEPARATOR if root else ""
    return "".join(f"{prefix}{stack} {cycles}\n" for stack, cycles in sorted(stacks.items()))


@dataclass(slots=True)
class Frame:
    """A function in one calling context, and whom it calls.

    ``cycles`` are signed: what there is, or by how much a second profile has more. ``width`` is how
    much there is of it, itself and callees: the sum of absolute cycles.
    """

    name: str
    own: int = 0
    callees: dict[str, Frame] = field(default_factory=dict)

    @property
    def cycles(self) -> int:
        """Its own cycles and its callees', signed."""
        return self.own + sum(callee.cycles for callee in self.callees.values())

    @property
    def width(self) -> int:
        """The same without signs, so that more here and less there do not hide each other."""
        return abs(self.own) + sum(callee.width for callee in self.callees.values())

    @property
    def depth(self) -> int:
        """How many frames are on top of each other."""
        return 1 + max((callee.depth for callee in self.callees.values()), default=0)

    def walk(self, level: int = 0, left: int = 0) -> Iterator[tuple[Frame, int, int]]:
        """Yield frames with their level and what is to their left, callers first, by name."""
        yield self, level, left
        for _, callee in sorted(self.callees.items()):
            yield from callee.walk(level + 1, left)
            left += callee.width


def tree(stacks: Mapping[str, int], root: str) -> Frame:
    """Return the frames under one of the name ``root``."""
    top = Frame(root)
    for stack, cycles in stacks.items():
        frame = top
        for name in stack.split(SEPARATOR):
            frame = frame.callees.setdefault(name, Frame(name))
        frame.own += cycles
    return top


def difference(old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, int]:
    """Return by how many cycles each stack has more in ``new``; stacks alike are left out."""
    found = {stack: new.get(stack, 0) - old.get(stack, 0) for stack in old.keys() | new.keys()}
    return {stack: cycles for stack, cycles in found.items() if cycles}
