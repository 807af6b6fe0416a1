# SPDX-License-Identifier: Apache-2.0
"""KVM_X86_SET_MSR_FILTER as a file: MSRs that the VMM takes from its guest.

    default = "allow"           # what no range has: "allow" or "deny"
    denied = "gp"               # a denied access: "gp" (#GP), or "user" (user space completes it)

    [[range]]
    base = 0x186                # the first MSR
    count = 8                   # how many
    access = "rw"               # "r", "w" or "rw": the kinds of access that the range is about
    allow = [0x186]             # those that stay allowed; none if it is left out

The first range that has an MSR decides on it. A PMU MSR that is denied exits in the mediated vPMU
as in the emulated one, however direct it was. RDPMC and the x2APIC's MSRs are not looked at.
"""

from __future__ import annotations

import tomllib
from typing import NoReturn

from pmupass import text_file
from pmupass.config import MsrFilter, MsrRange
from pmupass.errors import InputError
from pmupass.policy.toml_lines import Lines

MAX_RANGES = 16  # KVM_MSR_FILTER_MAX_RANGES
MAX_MSRS = 0x600 * 8  # of KVM_MSR_FILTER_MAX_BITMAP_SIZE
ACCESS = {"r": 1, "w": 2, "rw": 3}
_KEYS = ("default", "denied", "range")
_RANGE_KEYS = ("base", "count", "access", "allow")


def load(name: str) -> MsrFilter:
    """Read a filter file. InputError names the file and the line."""
    try:
        text = text_file.place(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--set kvm.msr_filter: {name}: {reason}") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"--set kvm.msr_filter: {name}: {error}") from error
    return _File(name, text, data).filter()


class _File:
    """A filter file on its way to a filter."""

    def __init__(self, name: str, text: str, data: dict[str, object]) -> None:
        self.name, self.data = name, data
        self.lines = Lines(text)

    def fail(self, text: str, key: str, element: int | None = None) -> NoReturn:
        line = self.lines.of(key, element)
        raise InputError(f"--set kvm.msr_filter: {self.name}, line {line}: {text}")

    def filter(self) -> MsrFilter:
        for key in self.data:
            if key not in _KEYS:
                self.fail(f"no key {key!r}; there is {', '.join(_KEYS)}", key)
        deny = self._one_of("default", ("allow", "deny")) == "deny"
        user = self._one_of("denied", ("gp", "user")) == "user"
        given = self.data.get("range", [])
        if not isinstance(given, list):
            self.fail("a range is a table: write [[range]]", "range")
        if len(given) > MAX_RANGES:
            self.fail(f"{len(given)} ranges, KVM takes {MAX_RANGES} at most", "range", MAX_RANGES)
        ranges = tuple(self._range(table, i) for i, table in enumerate(given))
        if deny and not ranges:
            self.fail("a filter that allows nothing at all is none (KVM: EINVAL)", "default")
        return MsrFilter(deny, user, ranges)

    def _one_of(self, key: str, values: tuple[str, ...]) -> str:
        value = self.data.get(key, values[0])
        if value not in values:
            self.fail(f"{key} is {value!r}; it is {' or '.join(map(repr, values))}", key)
        return str(value)

    def _range(self, table: object, i: int) -> MsrRange:
        if not isinstance(table, dict):
            self.fail("a range is a table: write [[range]]", "range", i)
        for key in table:
            if key not in _RANGE_KEYS:
                self.fail(f"no key {key!r}; there is {', '.join(_RANGE_KEYS)}", "range", i)
        base = self._number(table.get("base"), "base is the number of an MSR", 0, 0xFFFF_FFFF, i)
        count = self._number(
            table.get("count", 1),
            f"count is a number of MSRs from 1 to {MAX_MSRS} (KVM: EINVAL)",
            1,
            min(MAX_MSRS, (1 << 32) - base),
            i,
        )
        access = table.get("access", "rw")
        if access not in ACCESS:
            self.fail(f'access is {access!r}; it is "r", "w" or "rw"', "range", i)
        allow = table.get("allow", [])
        if not isinstance(allow, list):
            self.fail("allow is a list of MSRs", "range", i)
        for msr in allow:
            self._number(msr, f"allow: {msr!r} is no MSR of the range", base, base + count - 1, i)
        return MsrRange(base, count, ACCESS[access], frozenset(allow))

    def _number(self, given: object, text: str, least: int, most: int, i: int) -> int:
        if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= most:
            self.fail(text, "range", i)
        return given
