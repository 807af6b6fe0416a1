# SPDX-License-Identifier: Apache-2.0
"""Where things stand in a TOML text: what tomllib does not tell, and messages need.

    Lines(text).of("events", 2)     the line of the third event

Top-level keys, the elements of their arrays, and [[tables]]. It looks only at texts that tomllib
has accepted, so it checks nothing.
"""

from __future__ import annotations

import re

_KEY = re.compile(r"\s*(\"[^\"\n]*\"|'[^'\n]*'|[A-Za-z0-9_-]+)\s*=")
_TABLES = re.compile(r"\s*\[\[\s*([A-Za-z0-9_-]+)\s*\]\]")
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
        at, line = 0, 1
        while at < len(text):
            tables = _TABLES.match(text, at)
            key = _KEY.match(text, at)
            end = at
            if tables:
                start = line + text.count("\n", at, tables.start(1))
                self._keys.setdefault(tables[1], start)
                self._elements.setdefault(tables[1], []).append(start)
                end = tables.end()
            elif key:
                name = key[1].strip("\"'")
                start = line + text.count("\n", at, key.start(1))
                self._keys.setdefault(name, start)
                line_of_value = line + text.count("\n", at, key.end())
                end = self._value(text, key.end(), line_of_value, name)
            newline = text.find("\n", end)
            end = len(text) if newline < 0 else newline + 1
            line += text.count("\n", at, end)
            at = end

    def _value(self, text: str, at: int, line: int, name: str) -> int:
        """Go over a value; note the line of each element of an array. Return where it ends."""
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
        if elements:
            self._elements.setdefault(name, elements)
        return at

    def of(self, key: str, element: int | None = None) -> int:
        """Return the line of a key, or of an element of its array; 1 if it is not there."""
        lines = self._elements.get(key, [])
        if element is not None and element < len(lines):
            return lines[element]
        return self._keys.get(key, 1)
