# SPDX-License-Identifier: Apache-2.0
"""The event filter, KVM_SET_PMU_EVENT_FILTER: read from TOML, checked by KVM's rules, compiled.

    action = "allow"                    # or "deny"
    events = [
        "instructions",                 # a name: event and umask decide, nothing else is looked at
        "r01c4",                        # the same by encoding
        0x00c5,                         # KVM's own form, as the ioctl takes it
        { event = 0xc4, umask = 0x10, mask = 0xf0 },            # masked: umask & 0xf0 == 0x10
        { event = 0xc4, umask = 0x20, mask = 0xff, exclude = true },
    ]
    fixed = ["instructions", 1]         # fixed counters that the action names; or fixed_bitmap = 3
    masked = true                       # KVM_PMU_EVENT_FLAG_MASKED_EVENTS; by itself if an entry
                                        # has a mask or excludes

An event select has 8 bits on Intel's CPUs and 12 on AMD's, the upper four in bits 35:32 of an
encoding. Fixed counters look at the bitmap and never at ``events``; no bitmap is an empty one, so
an allow list without ``fixed`` stops them all. A filtered counter can be programmed and read; it
does not count. Source: Linux 7.0, arch/x86/kvm/pmu.c, as reference 4 of the model tells it.
"""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

from pmupass import text_file
from pmupass.config import FilterAction, FilterEntry
from pmupass.errors import InputError
from pmupass.policy.filter_rules import (
    EXCLUDE,
    MASK_SHIFT,
    MASKED_ENTRY,
    MATCH_SHIFT,
    MAX_EVENTS,
    NO_FILTER,
    SELECT_HIGH,
    CompiledFilter,
    encode_masked_entry,
    select_bits,
    select_of,
)
from pmupass.policy.toml_lines import Lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pmupass.events.table import EventTable

__all__ = [
    "MAX_EVENTS",
    "NO_FILTER",
    "CompiledFilter",
    "encode_masked_entry",
    "load",
    "parse",
    "shipped",
]

_KEYS = ("action", "events", "fixed", "fixed_bitmap", "masked")
_ENTRY_KEYS = ("event", "umask", "mask", "exclude")


class _Compiler:
    """One filter file on its way to a CompiledFilter."""

    def __init__(self, text: str, source: str, table: EventTable, *, shared: bool) -> None:
        self.source = source
        self.shared = shared  # one of ours, for the CPUs of both makers
        self.table = table
        self.warnings: list[str] = []
        try:
            self.data: Mapping[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(_syntax_error(source, text, str(error))) from None
        self.lines = Lines(text)

    def fail(self, what: str, key: str, element: int | None = None) -> NoReturn:
        raise InputError(f"{self.source}:{self.lines.of(key, element)}: {what}")

    def warn(self, what: str, key: str, element: int | None = None) -> None:
        self.warnings.append(f"{self.source}:{self.lines.of(key, element)}: {what}")

    def compile(self) -> CompiledFilter:
        for key in self.data:
            if key not in _KEYS:
                self.fail(f"no key {key!r}; there is {', '.join(_KEYS)}", key)
        action = self._action()
        bitmap = self._fixed(action)
        entries = self._events()
        self._pitfalls(action, bitmap, entries)
        most = select_of(self.table.code)
        kept = [entry for entry in entries if entry is not None and entry.select <= most]
        kept.sort(key=lambda e: (e.select, e.exclude, e.match, e.mask))
        return CompiledFilter(action, bitmap, tuple(kept), tuple(self.warnings), self.table.code)

    def _action(self) -> FilterAction:
        action = self.data.get("action")
        if action not in ("allow", "deny"):
            given = "is missing" if action is None else f"is {action!r}"
            self.fail(f'action {given}; it is "allow" or "deny" (KVM: EINVAL)', "action")
        return FilterAction.ALLOW if action == "allow" else FilterAction.DENY

    # Fixed counters

    def _fixed(self, action: FilterAction) -> int:
        if "fixed" in self.data and "fixed_bitmap" in self.data:
            self.fail("give one of fixed and fixed_bitmap", "fixed_bitmap")
        if "fixed_bitmap" in self.data:
            bitmap = self.data["fixed_bitmap"]
            if not _is_int(bitmap) or not 0 <= bitmap <= 0xFFFF_FFFF:
                self.fail("fixed_bitmap is a number of 32 bits", "fixed_bitmap")
            return int(bitmap)
        if "fixed" not in self.data:
            if action is FilterAction.ALLOW and self.table.cpu.fixed:
                self.warn("no fixed counters are named, so none of them may count", "action")
            return 0
        listed = self.data["fixed"]
        if not isinstance(listed, list):
            self.fail("fixed is a list of fixed counters, by index or event name", "fixed")
        bitmap = 0
        for i, given in enumerate(listed):
            bitmap |= 1 << self._fixed_index(given, i)
        return bitmap

    def _fixed_index(self, given: object, i: int) -> int:
        by_name = {fixed.counts: fixed.counter for fixed in self.table.cpu.fixed}
        count = self.table.cpu.silicon.nr_fixed
        if isinstance(given, str) and given in by_name:
            return by_name[given]
        if not count:
            self.fail(f"{self.table.cpu.name} has no fixed counters", "fixed", i)
        if not (_is_int(given) and 0 <= given < count):
            self.fail(
                f"no fixed counter {given!r} on {self.table.cpu.name}; there is "
                f"0 to {count - 1}, or {', '.join(by_name)}",
                "fixed",
                i,
            )
        return given

    # Events

    def _events(self) -> list[FilterEntry | None]:
        events = self.data.get("events", [])
        if not isinstance(events, list):
            self.fail("events is a list", "events")
        if len(events) > MAX_EVENTS:
            self.fail(f"{len(events)} events, KVM takes {MAX_EVENTS} at most (E2BIG)", "events")
        masked = self._masked(events)
        return [self._entry(given, i, masked=masked) for i, given in enumerate(events)]

    def _masked(self, events: Sequence[object]) -> bool:
        needs = [
            i for i, e in enumerate(events) if isinstance(e, dict) and {"mask", "exclude"} & {*e}
        ]
        masked = self.data.get("masked", bool(needs))
        if not isinstance(masked, bool):
            self.fail("masked is true or false", "masked")
        if needs and not masked:
            self.fail("mask and exclude need masked = true", "events", needs[0])
        return masked

    def _entry(self, given: object, i: int, *, masked: bool) -> FilterEntry | None:
        if isinstance(given, dict):
            return self._table_entry(given, i)
        if _is_int(given):
            return self._kvm_entry(given, i, masked=masked)
        if not isinstance(given, str):
            self.fail("an event is a name, an encoding or a table", "events", i)
        if given[:2].lower() == "0x":
            try:
                return self._kvm_entry(int(given, 16), i, masked=masked)
            except ValueError:
                self.fail(f"{given!r} is no hexadecimal number", "events", i)
        return self._named_entry(given, i)

    def _kvm_entry(self, entry: int, i: int, *, masked: bool) -> FilterEntry | None:
        """Take an entry in KVM's own form."""
        if not 0 <= entry < 1 << 64:
            self.fail(f"{entry:#x} does not fit into 64 bits", "events", i)
        if not masked:
            if entry & ~self.table.code:
                self.warn(
                    f"KVM drops entry {entry:#x} without a word: it has bits beyond event and "
                    "umask, so it never matches",
                    "events",
                    i,
                )
                return None
            return FilterEntry(select_of(entry), 0xFF, entry >> 8 & 0xFF)
        if entry & SELECT_HIGH & ~self.table.code:
            self.fail(
                f"{entry:#x}: bits 35:32 are AMD's; an Intel CPU has 8 bits of event select "
                "(KVM: EINVAL)",
                "events",
                i,
            )
        if outside := entry & ~(MASKED_ENTRY | self.table.code):
            self.fail(
                f"{entry:#x} has bits outside a masked entry: {outside:#x} (KVM: EINVAL)",
                "events",
                i,
            )
        return self._checked(
            FilterEntry(
                select_of(entry),
                entry >> MASK_SHIFT & 0xFF,
                entry >> MATCH_SHIFT & 0xFF,
                bool(entry & EXCLUDE),
            ),
            i,
        )

    def _table_entry(self, given: Mapping[str, object], i: int) -> FilterEntry:
        for key in given:
            if key not in _ENTRY_KEYS:
                self.fail(
                    f"no key {key!r} in an event; there is {', '.join(_ENTRY_KEYS)}", "events", i
                )
        if "event" not in given:
            self.fail("the event is missing", "events", i)
        exclude = given.get("exclude", False)
        if not isinstance(exclude, bool):
            self.fail("exclude is true or false", "events", i)
        select = self._select(given["event"], i)
        match = self._byte(given.get("umask", 0), "umask", i)
        mask = self._byte(given.get("mask", 0xFF), "mask", i)
        return self._checked(FilterEntry(select, mask, match, exclude), i)

    def _select(self, given: object, i: int) -> int:
        if self.shared or self.table.code & SELECT_HIGH:
            if not (_is_int(given) and 0 <= given <= 0xFFF):
                self.fail("event is a number of 12 bits", "events", i)
            return given
        return self._byte(given, "event", i, " (12 bits of event select are AMD's; KVM: EINVAL)")

    def _byte(self, given: object, key: str, i: int, more: str = "") -> int:
        if not (_is_int(given) and 0 <= given <= 0xFF):
            self.fail(f"{key} is a number of 8 bits{more}", "events", i)
        return given

    def _checked(self, entry: FilterEntry, i: int) -> FilterEntry:
        if entry.match & ~entry.mask:
            self.warn(
                f"umask 0x{entry.match:02x} has bits outside mask 0x{entry.mask:02x}: "
                "the entry never matches",
                "events",
                i,
            )
        return entry

    def _named_entry(self, given: str, i: int) -> FilterEntry:
        if ":" in given:
            self.fail(f"{given!r}: the filter does not look at privileges", "events", i)
        config = self.table.encoding(given)
        if config is None:
            config = _encoding_of_raw(given, self.table.code)
        if config is None:
            self.fail(f"unknown event {given!r} on {self.table.cpu.name}", "events", i)
        code = config & self.table.code
        if config != code:
            self.warn(
                f"{given}: the filter looks at event and umask only, so it means "
                f"{self.table.name_of(code)} and all that is derived from it",
                "events",
                i,
            )
        return FilterEntry(select_of(code), 0xFF, code >> 8 & 0xFF)

    def _pitfalls(
        self, action: FilterAction, bitmap: int, entries: Sequence[FilterEntry | None]
    ) -> None:
        """Warn where an event's fixed counter is decided against the event."""
        if self.shared:
            return
        compiled = CompiledFilter(action, bitmap, tuple(e for e in entries if e is not None))
        for i, entry in enumerate(entries):
            if entry is None or entry.exclude or entry.mask != 0xFF:
                continue
            config = select_bits(entry.select) | entry.match << 8
            for fixed in self.table.cpu.fixed:
                if config not in (*fixed.also, *fixed.only):
                    continue
                if compiled.allows(config) != compiled.allows(config, fixed.counter):
                    verb = "may" if compiled.allows(config, fixed.counter) else "may not"
                    self.warn(
                        f"{self.table.name_of(config)}: fixed counter {fixed.counter} counts it as "
                        f"well and {verb} count: the bitmap decides there, not events",
                        "events",
                        i,
                    )


def _syntax_error(source: str, text: str, error: str) -> str:
    """Return tomllib's message, ``what (at line n, column m)``, as ``source:n: what``."""
    what, _, where = error.rpartition(" (at ")
    line = re.match(r"line (\d+)", where)
    number = line[1] if line else text.count("\n") + 1  # at end of document
    return f"{source}:{number}: no valid TOML: {what or error}"


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _encoding_of_raw(name: str, code: int) -> int | None:
    if name[:1] != "r":
        return None
    try:
        value = int(name[1:], 16)
    except ValueError:
        return None
    return value if value >= 0 and not value & ~(0xFFFF_FFFF | code) else None


def parse(
    text: str, table: EventTable, *, source: str = "filter", shared: bool = False
) -> CompiledFilter:
    """Compile the text of a filter file; InputError says ``source:line: what``."""
    return _Compiler(text, source, table, shared=shared).compile()


def shipped() -> dict[str, str]:
    """Return the filters that come with pmupass: name and text."""
    folder = resources.files("pmupass") / "filters"
    return {
        file.name.removesuffix(".toml"): file.read_text("utf-8")
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".toml")
    }


def load(path: str | Path, table: EventTable) -> CompiledFilter:
    """Read a filter for a CPU, a file or one that comes with pmupass, by its name.

    InputError for a file that is not there or no good. A file goes before one of ours.
    """
    ours = shipped()
    if str(path) in ours and not text_file.place(path).exists():
        return parse(ours[str(path)], table, source=str(path), shared=True)
    path = Path(path)
    try:
        text = text_file.read(path, name=str(path), kind="event filter")
    except FileNotFoundError:
        name, at, _ = str(path).rpartition("@")
        hint = f"\nA time behind an @ is written as in {name}@20ms" if at and name else ""
        raise InputError(
            f"{path}: no such file, nor a filter that comes with pmupass: {', '.join(ours)}{hint}"
        ) from None
    return parse(text, table, source=str(path))
