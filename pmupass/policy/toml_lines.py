# SPDX-License-Identifier: Apache-2.0
"""Where things stand in a TOML text: what tomllib does not tell, and messages need.

    Lines(text).of("events", 2)         the line of the third event
    Lines(text).of("grid.set.guest.hz") of a key with its tables' names, or of what it stands in
    Lines(text).of("cell[1].mode")      of a key in the second [[cell]]

Keys, the elements of their arrays, [tables] and [[tables]]. It looks only at texts that tomllib
has accepted, so it checks nothing.
"""

from __future__ import annotations

import re

_SEGMENT = r"(?:\"[^\"\n]*\"|'[^'\n]*'|[A-Za-z0-9_-]+)"
_DOTTED = rf"{_SEGMENT}(?:[ \t]*\.[ \t]*{_SEGMENT})*"
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
_TABLES = re.compile(rf"\s*\[\[\s*({_DOTTED})\s*\]\]")
_TABLE = re.compile(rf"\s*\[\s*({_DOTTED})\s*\]")
_TOKEN = re.compile(
    r'"""(?:\\.|(?!""").)*"{3,5}'  # strings of several lines
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{},]"
    r"|[^\s\[\]{},\"'#]+"
    r"|\s+",
    re.DOTALL,
)


class Lines:
    """Line numbers, from 1, of a TOML text's keys and array elements."""

    def __init__(self, text: str) -> None:
        self._keys: dict[str, int] = {}
        self._elements: dict[str, list[int]] = {}
        at, line, inside = 0, 1, ""
        while at < len(text):
            tables = _TABLES.match(text, at)
            table = _TABLE.match(text, at)
            key = _KEY.match(text, at)
            end = at
            if found := tables or table:
                name = _plain(found[1])
                start = line + text.count("\n", at, found.start(1))
                self._keys.setdefault(name, start)
                inside = f"{name}."
                if tables:
                    elements = self._elements.setdefault(name, [])
                    elements.append(start)
                    inside = f"{name}[{len(elements) - 1}]."
                    self._keys[inside[:-1]] = start
                end = found.end()
            elif key:
                name = _plain(key[1])
                start = line + text.count("\n", at, key.start(1))
                line_of_value = line + text.count("\n", at, key.end())
                end, values = self._value(text, key.end(), line_of_value)
                # Where a key means the same in every table, its own name finds the first one.
                for known in (name, inside + name):
                    self._keys.setdefault(known, start)
                    if values:
                        self._elements.setdefault(known, values)
            newline = text.find("\n", end)
            end = len(text) if newline < 0 else newline + 1
            line += text.count("\n", at, end)
            at = end

    def _value(self, text: str, at: int, line: int) -> tuple[int, list[int]]:
        """Go over a value; return where it ends and the line of each element of an array."""
        elements: list[int] = []
        depth = 0
        fresh = False
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None:
                break
            word = token[0]
            blank = word.isspace() or word.startswith("#")
            if depth == 0 and blank and "\n" in word:
                break
            at = token.end()
            if fresh and not blank and word not in ",]":
                elements.append(line)
                fresh = False
            if word in "[{":
                depth += 1
                fresh = fresh or (depth == 1 and word == "[")
            elif word in "]}":
                depth -= 1
                fresh = fresh and depth > 0
            elif word == "," and depth == 1:
                fresh = True
            line += word.count("\n")
        return at, elements

    def of(self, key: str, element: int | None = None) -> int:
        """Return the line of a key, or of an element of its array.

        What has no line (it stands in an inline table) has that of what it is in; else 1.
        """
        lines = self._elements.get(key, [])
        if element is not None and element < len(lines):
            return lines[element]
        while key not in self._keys:
            key, dot, _ = key.rpartition(".")
            if not dot:
                return 1
        return self._keys[key]


def _plain(dotted: str) -> str:
    """Return a key as one writes it without quotes."""
    return ".".join(part.strip().strip("\"'") for part in re.findall(_SEGMENT, dotted))
