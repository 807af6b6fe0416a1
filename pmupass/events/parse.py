# SPDX-License-Identifier: Apache-2.0
"""The syntax of event lists, as perf has it: ``name:modifiers,name:modifiers,...``.

A name is a generic one, one of the CPU's event list, or rNNNN (hexadecimal PERFEVTSEL bits). The
modifiers: ``u`` user only, ``k`` kernel only, ``G`` guest only, ``H`` host only, ``D`` pinned,
``p`` to ``ppp`` precise (PEBS), which leaves guests out unless G says otherwise, as perf has it.
``name/branch_type=any/modifiers`` has a branch stack, that is, it uses the LBR. Other terms and
perf's other modifiers are not understood yet.

``{name:modifiers,name}:modifiers`` is a group, of the host's events alone: who behind the brace is
modified are all of them, beside what each has of its own; only the first, which leads, is pinned.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from msgspec import Struct, structs

from pmupass.config import HostEvent
from pmupass.errors import UsageError
from pmupass.events.data import ANY, CODE, IN_TX, IN_TXCP, OS, USR, WHAT

if TYPE_CHECKING:
    from collections.abc import Iterator

MODIFIERS = "ukGHDp"
MOST_PRECISE = 3
BRANCH_STACK = "/branch_type=any/"
PERFS_OTHER_MODIFIERS = "hIPSWebR"
_RAW = re.compile(r"r(?:0x)?([0-9a-fA-F]{1,16})", re.ASCII)
_PREFIX = "event syntax error: '"


class EventSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """One event as the user asked for it.

    ``config`` has the PERFEVTSEL bits event, umask, USR, OS, edge, inv and cmask; ``counters`` has
    bit n for GP counter n and bit 32+n for fixed counter n of the silicon. ``feed`` names the base
    event it counts, None if the model does not feed it.
    """

    name: str
    text: str
    config: int
    counters: int
    user: bool
    kernel: bool
    guest: bool
    host: bool
    pinned: bool
    feed: str | None
    precise_ip: int = 0
    branch_stack: bool = False
    says_who: bool = False  # G or H was given
    group: int = 0  # which of its list, from 1; 0: none

    def host_event(self, sample_period: int = 0) -> HostEvent:
        """Return it as a perf event of the host, CPU-wide and alone; a period of 0 counts."""
        return HostEvent(
            config=self.config,
            sample_period=sample_period,
            pinned=self.pinned,
            exclude_host=not self.host,
            exclude_guest=not self.guest,
            precise_ip=self.precise_ip,
            branch_stack=self.branch_stack,
            text=self.text,
        )


class Term(Struct, frozen=True):
    """A name and its modifiers, and where in the text they stand."""

    name: str
    modifiers: str
    text: str
    column: int
    branch_stack: bool = False
    group: int = 0

    @property
    def precise_ip(self) -> int:
        """How precise: the number of p's."""
        return self.modifiers.count("p")

    @property
    def privileges(self) -> int:
        """The USR and OS bits: both unless u or k says otherwise."""
        bits = (USR if "u" in self.modifiers else 0) | (OS if "k" in self.modifiers else 0)
        return bits or USR | OS


def fail(text: str, column: int, what: str) -> NoReturn:
    """Raise a UsageError that points at a column, as perf does."""
    raise UsageError(f"{_PREFIX}{text}'\n{' ' * (len(_PREFIX) + column)}\\___ {what}")


def _modifiers(text: str, column: int, modifiers: str) -> None:
    if not modifiers:
        fail(text, column, f"a modifier is expected: {' '.join(MODIFIERS)}")
    for i, letter in enumerate(modifiers):
        if letter in PERFS_OTHER_MODIFIERS:
            fail(text, column + i, f"modifier '{letter}' is not supported yet")
        if letter not in MODIFIERS:
            fail(text, column + i, f"Bad modifier; valid are {' '.join(MODIFIERS)}")
        if modifiers[:i].count(letter) >= (MOST_PRECISE if letter == "p" else 1):
            fail(text, column + i, f"Duplicate modifier '{letter}'")


def modified(event: str, modifiers: str) -> str:
    """Return how an event is written with some modifiers more."""
    colon = ":" if modifiers and ":" not in event and BRANCH_STACK not in event else ""
    return f"{event}{colon}{modifiers}"


def _term(text: str, part: str, start: int) -> Term:
    """Return one event, which begins at a column."""
    if not part:
        fail(text, start, "an event name is expected")
    event, branches, behind = part.partition(BRANCH_STACK)
    plain = f"{event}:{behind}" if branches and behind else event if branches else part
    for i, letter in enumerate(plain):
        if letter in "/{}":
            fail(
                text,
                start + i,
                f"'{letter}' is not supported yet: write names, rNNNN and modifiers",
            )
    name, colon, modifiers = plain.partition(":")
    if not name:
        fail(text, start, "an event name is expected")
    if colon:
        _modifiers(text, start + len(part) - len(modifiers), modifiers)
    return Term(name, modifiers, part, start, bool(branches))


def _parts(text: str) -> Iterator[tuple[str, int]]:
    """Return what stands between commas, without blanks, and where."""
    column = 0
    for part in text.split(","):
        yield part.strip(), column + len(part) - len(part.lstrip())
        column += len(part) + 1


def terms(text: str) -> list[Term]:
    """Take an event list without groups apart; UsageError points at what is wrong."""
    return [_term(text, part, start) for part, start in _parts(text)]


def grouped_terms(text: str) -> list[Term]:
    """Take an event list with groups apart; UsageError points at what is wrong."""
    found: list[Term] = []
    members: list[Term] = []
    opened: int | None = None
    groups = 0
    for given, at in _parts(text):
        part, start = given, at
        if part.startswith("{"):
            if opened is not None:
                fail(text, start, "a group within a group")
            opened, members = start, []
            groups += 1
            part = part[1:].lstrip()
            start += len(given) - len(part)
        if opened is None:
            found.append(_term(text, part, start))
            continue
        inner, brace, behind = part.partition("}")
        members.append(_term(text, inner.rstrip(), start))
        if not brace:
            continue
        found += _group(text, members, behind, start + len(inner) + 1, groups)
        opened = None
    if opened is not None:
        fail(text, opened, "this group has no end: '}' is missing")
    return found


def _group(text: str, members: list[Term], behind: str, column: int, number: int) -> list[Term]:
    """Return the members of a group with the modifiers behind its brace."""
    if behind and not behind.startswith(":"):
        fail(text, column, "a group ends here: ',' or ':' and modifiers are expected")
    shared = behind[1:]
    if behind:
        _modifiers(text, column + 1, shared)
    for i, member in enumerate(members):
        if i and "D" in member.modifiers:
            fail(text, member.column, "only the leader of a group can be pinned (D)")
        if member.modifiers.count("p") + shared.count("p") > MOST_PRECISE:
            fail(text, column, f"{member.text} and these: more than {MOST_PRECISE} times 'p'")
    return [_in_group(member, shared, number, leads=not i) for i, member in enumerate(members)]


def _in_group(member: Term, shared: str, number: int, *, leads: bool) -> Term:
    more = "".join(
        letter
        for letter in shared
        if letter == "p" or (letter not in member.modifiers and (leads or letter != "D"))
    )
    return structs.replace(
        member,
        modifiers=member.modifiers + more,
        text=modified(member.text, more),
        group=number,
    )


def raw(text: str, term: Term, code: int = CODE) -> int | None:
    """Return what an rNNNN encodes, None if the name is not one.

    ``code``: bits that name an event, and those of transactions if the CPU has them.

    Bits that the driver sets itself (USR, OS, INT, EN, pin control) are dropped, as perf drops
    them. UsageError for AnyThread and for bits beyond the selector's.
    """
    match = _RAW.fullmatch(term.name)
    if match is None:
        return None
    bits = int(match[1], 16)
    if bits & ANY:
        fail(text, term.column, "AnyThread (bit 21): KVM's guests get #GP for it")
    if bits & ~code >> 32 << 32:
        fields = {
            CODE: "in_tx and in_tx_cp, bits 32 and 33, are there with --set cpu.rtm=1",
            CODE | IN_TX | IN_TXCP: "but in_tx and in_tx_cp, bits 32 and 33",
        }.get(code, "but 35:32, of the event")
        fail(text, term.column, f"bits above 31 ({fields}) are not supported")
    return bits & WHAT
