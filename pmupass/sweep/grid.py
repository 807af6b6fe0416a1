# SPDX-License-Identifier: Apache-2.0
"""A sweep as a file: which cells there are, and what of each is kept.

    columns = ["mode", "set.guest.hz", "overhead", "msr_writes"]   # of the table at the end
    full = false                   # true: each line has the whole result document, too

    [common]                       # options of `pmupass run`, by their long names
    workload = "perf-record"
    time = "20ms"

    [grid]                         # every value with every other; the last axis changes fastest
    mode = ["emulated", "mediated"]
    event = ["cycles", ["cycles", "instructions"], []]   # an option once for each; [] leaves it out
    set.guest.hz = [100, 1000]

    [grid.arrangement]             # an axis of named points: several options that go together
    upstream = {}
    rfc2024 = { switch = "entry-exit", set.kvm.interception = "rfc2024" }

    [[exclude]]                    # cells that match all of it are left out
    mode = "emulated"
    arrangement = ["rfc2024"]      # any of these

    [[cell]]                       # one more cell
    mode = "native"

    [figures]                      # what is kept of each result: names, and paths (figures.py)
    overhead = "overhead"
    msr_writes = "exits[MSR_WRITE].count"

Relative paths start in the file's folder. Cells are numbered from 1, those of the grid first.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from pmupass import text_file
from pmupass.errors import InputError, PmupassError
from pmupass.policy.toml_lines import Lines
from pmupass.settings import near
from pmupass.sweep import check, figures, words
from pmupass.sweep.cell import Job
from pmupass.sweep.words import SET, Given, Words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

MAX_CELLS = 100_000
_KEYS = ("columns", "full", "common", "grid", "exclude", "cell", "figures")
OUTCOME = "outcome"
# Columns of a file that names neither columns nor figures.
COLUMNS = ("overhead", "standing_cost", "exits", "lost", "silent_errors", "host_cycles")


@dataclass(frozen=True, slots=True)
class Point:
    """One value of an axis: how it is called, and the options that it stands for."""

    label: Any
    given: Given


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of the grid."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: its coordinates, and its options by name."""

    labels: Mapping[str, Any]
    given: Given


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep that can be run. ``files`` are the user's files that cells name."""

    name: str
    folder: Path
    jobs: tuple[Job, ...]
    files: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    full: bool


def load(path: Path) -> Sweep:
    """Read a sweep. InputError says what is wrong, where, and what there is instead."""
    try:
        text = text_file.read(path, name=str(path), kind="sweep")
    except FileNotFoundError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: {error}") from None
    folder = path.absolute().parent
    with text_file.beside(folder):
        return _File(str(path), text, data).sweep(folder)


class _File:
    """A sweep's file on its way to a sweep."""

    def __init__(self, name: str, text: str, data: dict[str, Any]) -> None:
        self.name, self.data = name, data
        self.lines = Lines(text)
        self._checked: set[tuple[str, Words]] = set()

    def fail(self, text: str, key: str = "", element: int | None = None) -> NoReturn:
        line = f":{self.lines.of(key, element)}" if key else ""
        where = f"{key}: " if key else ""
        raise InputError(f"{self.name}{line}: {where}{text}".replace(": \n", ":\n"))

    @contextlib.contextmanager
    def _at(self, key: str, element: int | None = None) -> Iterator[None]:
        """Have errors of a value say where it stands."""
        try:
            yield
        except PmupassError as error:
            # What has several lines points into the first one: they stay below each other.
            text = str(error)
            self.fail(f"\n{text}" if "\n" in text else text, key, element)

    def sweep(self, folder: Path) -> Sweep:
        for key in self.data:
            if key not in _KEYS:
                self.fail(f"no such key{near(key, _KEYS)}; there is {', '.join(_KEYS)}", key)
        common = self._options(self._table("common"), "common")
        axes = self._axes(self._table("grid"))
        every = [*self._grid(axes, common), *self._cells(common)]
        if not every:
            self.fail("no cells: a sweep has [grid], with at least one axis, or [[cell]]")
        cells = self._without_excluded(every, axes)
        if not cells:
            self.fail(f"no cells: [[exclude]] leaves none of {len(every)}")
        jobs = tuple(
            Job(i, tuple(cell.labels.items()), words.command(cell.given))
            for i, cell in enumerate(cells, 1)
        )
        paths, full = self._figures(), self.data.get("full", False)
        if not isinstance(full, bool):
            self.fail("true or false", "full")
        return Sweep(
            name=self.name,
            folder=folder,
            jobs=jobs,
            files=self._files(jobs),
            figures=paths,
            columns=self._columns(jobs, dict(paths)),
            full=full,
        )

    # Tables and values

    def _table(self, key: str) -> dict[str, Any]:
        table = self.data.get(key, {})
        if not isinstance(table, dict):
            self.fail(f"a table: write [{key}]", key)
        return table

    def _tables(self, key: str) -> list[dict[str, Any]]:
        tables = self.data.get(key, [])
        if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
            self.fail(f"tables: write [[{key}]], once for each", key)
        return tables

    def _flat(self, value: Any, name: str, where: str) -> Iterator[tuple[str, Any]]:
        """Yield the settings of a table, which dots in keys have made tables of tables."""
        if not isinstance(value, dict):
            self.fail("settings with their keys: set.guest.hz = ...", where)
        for key, inner in value.items():
            if isinstance(inner, dict):
                yield from self._flat(inner, f"{name}.{key}", f"{where}.{key}")
            else:
                yield f"{name}.{key}", inner

    def _named(
        self, table: Mapping[str, Any], where: str, more: Sequence[str] = ()
    ) -> Iterator[tuple[str, Any]]:
        """Yield options, settings as set.KEY, and the names in ``more``, with what they say."""
        for key, value in table.items():
            if key == SET:
                yield from self._flat(value, SET, f"{where}.{SET}")
            elif key in words.options() or key in more:
                yield key, value
            else:
                self._unknown(key, where, more)

    def _unknown(self, key: str, where: str, more: Sequence[str]) -> NoReturn:
        known = [*words.options(), *more]
        long = words.long_name(key)
        hint = f"; did you mean {long}?" if long else near(key, known)
        self.fail(f"no such option{hint}\nThere is: {', '.join(known)}", f"{where}.{key}")

    def _words(self, name: str, value: Any, where: str, element: int | None = None) -> Words:
        """Return what a value says of an option; what it may not say is refused."""
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(v, str | int) for v in values):
            self.fail(
                "text, a whole number, true or false; or an array of these, for an option that is "
                "given several times",
                where,
                element,
            )
        if len(values) > 1 and not words.repeats(name):
            self.fail(f"{name} is given once", where, element)
        found = tuple(str(int(v)) if isinstance(v, bool) else str(v) for v in values)
        if (name, found) not in self._checked:
            with self._at(where, element):
                check.option(name, found)
            self._checked.add((name, found))
        return found

    def _options(self, table: Any, where: str) -> Given:
        if not isinstance(table, dict):
            self.fail('a table of options, as { cpu = "zen4" }', where)
        return {
            name: self._words(name, value, f"{where}.{name}")
            for name, value in self._named(table, where)
        }

    # Cells

    def _axes(self, table: dict[str, Any]) -> list[Axis]:
        names = [key for key, value in table.items() if isinstance(value, dict) and key != SET]
        for name in set(names) & set(words.options()):
            self.fail(
                "an axis is an array; tables are points of an axis of your own", f"grid.{name}"
            )
        axes = []
        for name, value in self._named(table, "grid", names):
            where = f"grid.{name}"
            if name in names:
                points = [Point(k, self._options(v, f"{where}.{k}")) for k, v in value.items()]
            elif isinstance(value, list):
                points = [
                    Point(v, {name: self._words(name, v, where, i)}) for i, v in enumerate(value)
                ]
            else:
                self.fail(
                    "an axis is an array of values; what all cells share stands in [common]", where
                )
            if not points:
                self.fail("an axis without values", where)
            axes.append(Axis(name, tuple(points)))
        self._check_axes(axes)
        return axes

    def _check_axes(self, axes: Sequence[Axis]) -> None:
        owners: dict[str, str] = {}
        for axis in axes:
            for i, point in enumerate(axis.points):
                if point.given in [other.given for other in axis.points[:i]]:
                    self.fail(
                        f"{_in_toml(point.label)} says what another one says",
                        f"grid.{axis.name}",
                        i,
                    )
                for name in point.given:
                    owner = owners.setdefault(name, axis.name)
                    if owner != axis.name:
                        self.fail(f"{name} is said by {owner}, too", f"grid.{axis.name}", i)

    def _grid(self, axes: Sequence[Axis], common: Given) -> Iterator[Cell]:
        if not axes:
            return
        size = math.prod(len(axis.points) for axis in axes)
        if size > MAX_CELLS:
            self.fail(f"{size:,} cells; {MAX_CELLS:,} at most", "grid")
        for points in itertools.product(*(axis.points for axis in axes)):
            given = dict(common)
            for point in points:
                given |= point.given
            yield Cell({a.name: p.label for a, p in zip(axes, points, strict=True)}, given)

    def _cells(self, common: Given) -> Iterator[Cell]:
        for i, table in enumerate(self._tables("cell")):
            where = f"cell[{i}]"
            given = self._options(table, where)
            labels = dict(self._named(table, where))
            yield Cell(labels, common | given)

    def _without_excluded(self, cells: list[Cell], axes: Sequence[Axis]) -> list[Cell]:
        points = {axis.name: axis for axis in axes if axis.name not in words.options()}
        points = {name: axis for name, axis in points.items() if not name.startswith(f"{SET}.")}
        for i, table in enumerate(self._tables("exclude")):
            where = f"exclude[{i}]"
            rule: dict[str, list[Any]] = {}
            for name, value in self._named(table, where, tuple(points)):
                any_of = value if isinstance(value, list) else [value]
                at = f"{where}.{name}"
                if name in points:
                    labels = [point.label for point in points[name].points]
                    for label in any_of:
                        if label not in labels:
                            self.fail(f"no point {label!r}{near(str(label), labels)}", at)
                    rule[name] = any_of
                else:
                    rule[name] = [self._words(name, v, at) for v in any_of]
            kept = [cell for cell in cells if not _matches(cell, rule, points)]
            if len(kept) == len(cells):
                self.fail("no cell is like this", where)
            cells = kept
        return cells

    def _files(self, jobs: Sequence[Job]) -> tuple[str, ...]:
        """Return the user's files that cells name; refuse cells that can never be."""
        found: dict[str, None] = {}
        seen: dict[Words, int] = {}
        for job in jobs:
            other = seen.setdefault(job.words, job.cell)
            if other != job.cell:
                self.fail(f"cells {other} and {job.cell} are the same: {job}")
            try:
                found |= dict.fromkeys(check.command(job.words))
            except PmupassError as error:
                self.fail(f"{job}: {error}")
        return tuple(found)

    # What is kept

    def _figures(self) -> tuple[tuple[str, str], ...]:
        if "figures" not in self.data:
            return tuple(figures.DEFAULT.items())
        found = []
        for name, path in self._table("figures").items():
            where = f"figures.{name}"
            if not isinstance(path, str):
                self.fail('a path into the result document, as "exits[*].count"', where)
            with self._at(where):
                figures.parse(name, path)
            found.append((name, path))
        return tuple(found)

    def _columns(self, jobs: Sequence[Job], paths: Mapping[str, str]) -> tuple[str, ...]:
        axes = list(dict.fromkeys(name for job in jobs for name, _ in job.axes))
        for name in paths:
            if name in (*axes, OUTCOME):
                self.fail(f"{name} is a column of the cells already", f"figures.{name}")
        if "columns" not in self.data:
            chosen = paths if "figures" in self.data else COLUMNS
            return (*axes, *chosen)
        columns = self.data["columns"]
        if not isinstance(columns, list) or not all(isinstance(c, str) for c in columns):
            self.fail('an array of names: of axes, of figures, or "outcome"', "columns")
        known = [*axes, *paths, OUTCOME]
        for i, column in enumerate(columns):
            if column not in known:
                hint = near(column, known)
                self.fail(f"{column!r}: no such axis or figure{hint}", "columns", i)
        return tuple(columns)


def _in_toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _matches(cell: Cell, rule: Mapping[str, list[Any]], points: Mapping[str, Axis]) -> bool:
    return all(
        (cell.labels.get(name) if name in points else cell.given.get(name, words.default(name)))
        in any_of
        for name, any_of in rule.items()
    )
