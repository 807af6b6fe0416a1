# SPDX-License-Identifier: Apache-2.0
"""Figures: what of a result document a sweep keeps, each by a path into the document.

    overhead                     a key
    pmi.latency_cycles.p50       a key of a key
    counters[].lost              an array's elements, one after the other
    exits[*].count               their sum
    exits[CPUID].cycles          of those that are called so, added up: events by their text,
                                 exits by reason, accesses by kind, costs by innermost function
    vcpus[1].pmi.delivered       of one by its place, from 0
    silent_errors.length         how many there are
    stats.perf_rotations         below an object of names, the rest is a name

What the document does not have (an event that a cell does not count, a part that is optional) is
left out; exits, accesses, causes and costs that did not occur are 0.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, inspect

from pmupass.errors import UsageError
from pmupass.results import Result
from pmupass.settings import BY_KEY, near

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# What is kept unless the file says something else.
DEFAULT = {
    "events": "counters[].event",
    "true": "counters[].true",
    "counted": "counters[].counted",
    "lost": "counters[].lost",
    "silent_errors": "silent_errors.length",
    "instructions": "guest.instructions",
    "tsc_cycles": "guest.tsc_cycles",
    "overhead": "overhead",
    "standing_cost": "standing_cost",
    "pmis": "pmi.delivered",
    "pmi_latency": "pmi.latency_cycles.p50",
    "exits": "exits[*].count",
    "profile_exits": "exits[*].profile",
    "direct": "accesses.direct",
    "intercepted": "accesses.intercepted",
    "switches": "switch.loads",
    "switch_cycles": "switch.cycles",
    "host_blind_cycles": "switch.host_blind_cycles",
    "host_cycles": "costs[*].cycles",
}
_STEP = re.compile(r"\.?([A-Za-z_]\w*)|\[([^\[\]]*)\]")
# How the elements of an array are called, by their type.
_CALLED: dict[str, Callable[[Any], str]] = {
    "Counter": lambda e: e.event,
    "ReportEvent": lambda e: e.event,
    "HostEvent": lambda e: e.event,
    "SilentError": lambda e: e.event,
    "Exit": lambda e: e.reason,
    "AccessKind": lambda e: e.kind,
    "Cost": lambda e: e.stack.rpartition(";")[2],
    "Vm": lambda e: e.workload,
}
# Of these a missing one did not occur; lists of the core have all the names that there can be.
_TALLIES = {
    "Exit": ("exit_reasons", "svm_exit_reasons"),
    "AccessKind": ("access_kinds",),
    "Cost": (),
}
_NAMES_BELOW = {"causes": ("loss_causes",), "stats": ("stats",)}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path: a key, each element of an array, their sum, those of a name, one."""

    kind: str  # key, name, length, each, sum, called, at
    name: str = ""
    tally: bool = False

    @property
    def adds(self) -> bool:
        """Whether what comes behind it is added up."""
        return self.kind in ("sum", "called")


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure by its name and its path."""

    name: str
    path: str
    steps: tuple[Step, ...]

    def of(self, result: Result) -> Any:
        """Return the figure of a result, UNSET if it has none."""
        return _follow(result, self.steps)


def parse(name: str, path: str) -> Figure:
    """Return a figure; UsageError for a path that leads nowhere."""
    steps: list[Step] = []
    kind: inspect.Type = inspect.type_info(Result)
    rest = path
    while rest:
        step, kind, rest = _next(path, rest, _bare(kind))
        steps.append(step)
    if not steps:
        raise UsageError(f"the path is empty; it begins with one of {', '.join(_keys(Result))}")
    if any(step.adds for step in steps):
        _check_sum(path, steps, _bare(kind))
    return Figure(name, path, tuple(steps))


@functools.cache
def parse_all(paths: tuple[tuple[str, str], ...]) -> tuple[Figure, ...]:
    """Return figures of names and paths; kept, because every cell has the same."""
    return tuple(parse(name, path) for name, path in paths)


def _bare(kind: inspect.Type) -> inspect.Type:
    """Return a type without what it may be instead: absent, or null."""
    if isinstance(kind, inspect.UnionType):
        kinds = [k for k in kind.types if not isinstance(k, inspect.NoneType)]
        kinds = [k for k in kinds if getattr(k, "cls", None) is not msgspec.UnsetType]
        return kinds[0] if len(kinds) == 1 else kind
    return kind


def _keys(cls: type) -> tuple[str, ...]:
    return tuple(field.encode_name for field in msgspec.structs.fields(cls))


def _next(path: str, rest: str, kind: inspect.Type) -> tuple[Step, inspect.Type, str]:
    """Return the step that ``rest`` begins with, the type behind it and what is left."""
    done = path[: len(path) - len(rest)]
    if isinstance(kind, inspect.DictType):
        return _name(path, rest, kind, done)
    match = _STEP.match(rest)
    if match is None:
        raise UsageError(f"{path}: {rest!r} is no key and no [element]")
    left = rest[match.end() :]
    if isinstance(kind, inspect.ListType):
        return *_element(path, match, kind, done), left
    if not isinstance(kind, inspect.StructType):
        raise UsageError(f"{path}: {done} is a value; nothing stands below it")
    key = match[1]
    fields = {field.encode_name: field for field in kind.fields}
    if key is None:
        where = f"{done} is" if done else "the document is"
        raise UsageError(f"{path}: {where} no array; there is {', '.join(fields)}")
    if key not in fields:
        raise UsageError(f"{path}: no key {key!r}{_hint(key, fields)}")
    return Step("key", fields[key].name), fields[key].type, left


def _name(
    path: str, rest: str, kind: inspect.DictType, done: str
) -> tuple[Step, inspect.Type, str]:
    """Return the step into an object of names."""
    name = rest.removeprefix(".")
    known = _core_names(_NAMES_BELOW.get(re.split(r"[.\]]", done)[-1], ()))
    if done == "settings" and "." in name and name.partition(".")[0] in ("guest", "kvm", "host"):
        known = set(BY_KEY)
    if known and name not in known:
        raise UsageError(f"{path}: no {done} {name!r}{near(name, known)}")
    return Step("name", name, tally=done.endswith("causes")), kind.value_type, ""


def _element(
    path: str, match: re.Match[str], kind: inspect.ListType, done: str
) -> tuple[Step, inspect.Type]:
    """Return the step into an array."""
    if match[1] == "length":
        return Step("length"), inspect.IntType()
    item = _bare(kind.item_type)
    called = match[2]
    if called is None:
        raise UsageError(
            f"{path}: {done} is an array: write {done}[*] for the sum, {done}[] for each, "
            f"{done}[NAME] or {done}.length"
        )
    called = called.strip()
    if called == "":
        return Step("each"), item
    if called == "*":
        return Step("sum"), item
    if called.isdecimal():
        return Step("at", called), item
    cls = item.cls.__name__ if isinstance(item, inspect.StructType) else ""
    if cls not in _CALLED:
        raise UsageError(f"{path}: {done} has no names; write {done}[0] for the first")
    known = _core_names(_TALLIES.get(cls, ()))
    if known and called not in known:
        raise UsageError(f"{path}: no {called!r} in {done}{near(called, known)}")
    return Step("called", called, tally=cls in _TALLIES), item


def _check_sum(path: str, steps: Iterable[Step], kind: inspect.Type) -> None:
    numbers = isinstance(kind, inspect.IntType | inspect.FloatType)
    if not numbers or any(step.kind == "each" for step in steps):
        raise UsageError(f"{path}: a sum needs numbers; [] in place of a name or * lists them")


def _core_names(lists: Iterable[str]) -> set[str]:
    from pmupass import core

    return {entry.name for name in lists for entry in core.table(name)}


def _hint(key: str, keys: Iterable[str]) -> str:
    return near(key, keys) or f"; there is {', '.join(keys)}"


def _follow(value: Any, steps: tuple[Step, ...]) -> Any:
    if not steps or value is UNSET or value is None:
        return value
    step, rest = steps[0], steps[1:]
    if step.kind in ("each", "sum", "called"):
        return _of_elements(value, step, rest)
    below: Any = UNSET
    if step.kind == "key":
        below = getattr(value, step.name)
    elif step.kind == "name":
        below = value.get(step.name, 0 if step.tally else UNSET)
    elif step.kind == "length":
        below = len(value)
    elif int(step.name) < len(value):
        below = value[int(step.name)]
    return _follow(below, rest)


def _of_elements(elements: list[Any], step: Step, rest: tuple[Step, ...]) -> Any:
    if step.kind == "called":
        elements = [e for e in elements if _CALLED[type(e).__name__](e) == step.name]
        if not elements and not step.tally:
            return UNSET
    found = [x for x in (_follow(e, rest) for e in elements) if x is not UNSET]
    return found if step.kind == "each" else sum(x for x in found if x is not None)
