# SPDX-License-Identifier: Apache-2.0
"""Which events a CPU has: names to encodings and back, placement, and what feeds them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from pmupass.config import EventMap, Pmu, Vendor
from pmupass.cpus.model import FIXED_SHIFT, CpuModel
from pmupass.errors import UsageError
from pmupass.events import data, placement
from pmupass.events.data import ANY, CMASK, EDGE, IN_TX, IN_TXCP, OS, USR, WHAT, DataEvent
from pmupass.events.parse import EventSpec, Term, fail, grouped_terms, raw, terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# A listed event that counts edges of a clock (ring 0 transitions) is no fraction of the clock: it
# counts zero.
_CLOCKS = ("cycles", "ref-cycles", "slots")
IN_TXCP_COUNTER = 2  # the only GP counter that has it
MAX_EVENTS = 32  # NR_EVENTS of the core: base events and named events of profiles together


class EventTable:
    """The events of one CPU.

    It shows events under the names they were parsed with; everything else about it is constant.
    """

    def __init__(self, cpu: CpuModel) -> None:
        self.cpu = cpu
        self.code = cpu.event_code
        self._transactions = IN_TX | IN_TXCP if cpu.pmu.rtm else 0
        self._names: dict[str, int] = {}
        self._shown: dict[int, str] = {}
        self._typed: dict[int, str] = {}
        self._listed: dict[int, int] = {}
        self._extra_msrs: dict[int, str] = {}
        self.data = {event.name: event for event in data.load(cpu.events).events}
        self._read()

    def _read(self) -> None:
        for name, config in data.GENERIC[self.cpu.maker].items():
            if self.cpu.feed_of(config) is not None:
                self._names[name] = config
                self._shown[config] = name
        by_config: dict[int, list[DataEvent]] = {}
        for event in self.data.values():
            self._names.setdefault(event.name, event.config)
            by_config.setdefault(event.config, []).append(event)
        for config, events in by_config.items():
            mask = self.cpu.gp_mask | self.cpu.fixed_mask
            for event in events:
                mask &= event.counter_mask
            self._listed[config] = mask
            if all(event.extra_msr for event in events):
                self._extra_msrs[config] = events[0].extra_msr
            shown = _name_among(events)
            if shown is not None:
                self._shown.setdefault(config, shown)

    # Names

    def names(self) -> list[str]:
        """Return every name that ``-e`` understands, generic ones first."""
        return [name for name, config in self._names.items() if not config & ANY]

    def parse(self, text: str) -> tuple[EventSpec, ...]:
        """Return the events of ``-e``; each repetition is one of its own.

        UsageError points at the column that is wrong.
        """
        specs = tuple(self._spec(text, term) for term in terms(text))
        for spec in specs:
            self._typed.setdefault(spec.config & WHAT, spec.name)
        return specs

    def host(self, text: str) -> tuple[EventSpec, ...]:
        """Return the events of ``--host-perf``: groups as well, and not shown under these names.

        UsageError for a group that the PMU can never count at once: perf_event_open() refuses it.
        """
        found = grouped_terms(text)
        for term in found:
            if self.cpu.maker is Vendor.AMD and (term.precise_ip or term.branch_stack):
                what = "precise events are IBS" if term.precise_ip else "branch stacks are LbrExtV2"
                fail(text, term.column, f"{what} on {self.cpu.name}, which is not modelled")
        specs = tuple(self._spec(text, term) for term in found)
        self._check_groups(text, found, specs)
        return specs

    def _check_groups(self, text: str, found: Sequence[Term], specs: Sequence[EventSpec]) -> None:
        for number in range(1, max(spec.group for spec in specs) + 1):
            members = [spec.counters for spec in specs if spec.group == number]
            if placement.place(members, self.cpu.pmu) is None:
                term = next(term for term in found if term.group == number)
                what = f"the {len(members)} events of this group never fit on the PMU at once"
                fail(text, term.column, f"{what}: perf_event_open() gives -EINVAL")

    def _spec(self, text: str, term: Term) -> EventSpec:
        name, config = self._resolve(text, term)
        config |= term.privileges
        either = "G" in term.modifiers or "H" in term.modifiers
        return EventSpec(
            name=name,
            text=term.text,
            config=config,
            counters=self.counters_of(config),
            user=bool(config & USR),
            kernel=bool(config & OS),
            guest="G" in term.modifiers or not (either or term.precise_ip),
            host=not either or "H" in term.modifiers,
            pinned="D" in term.modifiers,
            feed=self.feed_of(config),
            precise_ip=term.precise_ip,
            branch_stack=term.branch_stack,
            says_who=either,
            group=term.group,
        )

    def _resolve(self, text: str, term: Term) -> tuple[str, int]:
        name = term.name.lower()
        name = data.ALIASES.get(name, name)
        config = self._names.get(name)
        if config is None:
            encoding = raw(text, term, self.code | self._transactions)
            if encoding is not None:
                return term.name, encoding
            fail(text, term.column, self._unknown(name))
        if config & ANY:
            fail(text, term.column, "an AnyThread event: KVM's guests get #GP for it")
        return name, config

    def _unknown(self, name: str) -> str:
        if name in data.GENERIC_NAMES:
            return f"{self.cpu.name} has no {name} event"
        near = difflib.get_close_matches(name, [*self._names, *data.ALIASES], n=2)
        hint = f"; did you mean {' or '.join(near)}?" if near else " (pmupass list events)"
        return f"unknown event on {self.cpu.name}{hint}"

    def encoding(self, name: str) -> int | None:
        """Return the encoding of a name without modifiers, None if there is no such event."""
        name = name.lower()
        return self._names.get(data.ALIASES.get(name, name))

    def name_of(self, config: int) -> str:
        """Return how an encoding is shown: with ``:u`` or ``:k`` if it counts one privilege only.

        The name it was asked for by, else the generic one, else the event list's, else rNNNN.
        """
        what = config & WHAT
        name = self._typed.get(what) or self._shown.get(what) or f"r{what:04x}"
        privileges = config & (USR | OS)
        if privileges == USR:
            return f"{name}:u"
        return f"{name}:k" if privileges == OS else name

    # Placement and meaning

    def counters_of(self, config: int) -> int:
        """Return where perf may place an encoding: bit n GP counter n, bit 32+n fixed counter n.

        Fixed counters know no edge, inv, cmask and transactions; an encoding in no list fits every
        GP counter, one with IN_TXCP GP counter 2.
        """
        what = config & WHAT
        if what & self._transactions & IN_TXCP:
            return 1 << IN_TXCP_COUNTER & self.cpu.gp_mask
        mask = self.cpu.counters_of(what & self.code)
        if mask is not None:
            plain = what == what & self.code
            return mask if plain else (mask & self.cpu.gp_mask or mask)
        return self._listed.get(what) or self._listed.get(what & self.code) or self.cpu.gp_mask

    def feed_of(self, config: int) -> str | None:
        """Return the base event that an encoding counts, None if it counts zero."""
        what = config & WHAT
        feed = self.cpu.feed_of(what & self.code)
        if what & self._transactions:
            return self._feed_by_transactions(what, feed)
        edge_of_clock = feed in _CLOCKS and what & EDGE and what in self._listed
        return None if edge_of_clock else feed

    @staticmethod
    def _feed_by_transactions(what: int, feed: str | None) -> str | None:
        """Return it for a selector with IN_TX or IN_TXCP: transactions consist of cycles."""
        both = what & (IN_TX | IN_TXCP) == IN_TX | IN_TXCP
        if both or what & (EDGE | CMASK) or (feed in _CLOCKS and feed != "cycles"):
            return None
        return feed if feed == "cycles" or not what & IN_TX else None

    def not_fed(self, config: int) -> str:
        """Return why an encoding counts zero."""
        what = config & WHAT
        extra = self._extra_msrs.get(what)
        if extra is not None:
            return f"needs MSR {extra}, which no guest has"
        return self.cpu.not_fed.get(f"0x{what & self.code:04x}", "the model has no such event")

    def require(self, specs: Iterable[EventSpec], pmu: Pmu) -> None:
        """Raise UsageError if a PMU has none of the counters that an event may use."""
        gp = (1 << pmu.nr_gp) - 1
        fixed = ((1 << pmu.nr_fixed) - 1) << FIXED_SHIFT
        for spec in specs:
            if not spec.counters & (gp | fixed):
                raise UsageError(
                    f"{spec.text}: it needs {counter_names(spec.counters)}; this PMU has "
                    f"{pmu.nr_gp} GP and {pmu.nr_fixed} fixed counters"
                    + _more_fixed(spec.counters, pmu.nr_fixed)
                )

    def maps(
        self, named: Sequence[str] = (), base_events: Sequence[str] | None = None
    ) -> list[EventMap]:
        """Return every encoding that is known, for the core, sorted.

        ``named`` are the named events of profiles: the k-th gets the event id behind the base
        events plus k. ``base_events`` is the core's list, asked for if it is not given. UsageError
        for a named event that does not exist, is a base event, or is one too many.
        """
        if base_events is None:
            from pmupass import core

            base_events = core.names("base_events")
        ids = {name: i for i, name in enumerate(base_events)}
        extra = self._named_ids(named, len(ids))
        configs = {config & WHAT for config in self._listed if not config & ANY}
        configs |= {config for config in self._names.values() if not config & ANY}
        for encodings in self.cpu.feeds.values():
            configs |= set(encodings)
        for fixed in self.cpu.fixed:
            configs |= {*fixed.also, *fixed.only}
        configs |= set(extra)
        result = []
        for config in sorted(configs):
            feed = self.feed_of(config)
            number = extra.get(config) if feed is None else ids[feed]
            result.append(EventMap(config, self.counters_of(config), number))
        return result

    def _named_ids(self, named: Sequence[str], first: int) -> dict[int, int]:
        ids: dict[int, int] = {}
        if first + len(named) > MAX_EVENTS:
            raise UsageError(f"at most {MAX_EVENTS - first} named events fit into the profiles")
        for k, name in enumerate(named):
            config = self.encoding(name)
            if config is None or config & ANY:
                raise UsageError(f"profile event {name}: {self.cpu.name} has no such event")
            if self.feed_of(config) is not None or config in ids:
                shown = self.name_of(config)
                raise UsageError(f"profile event {name}: it is the same encoding as {shown}")
            ids[config] = first + k
        return ids


def _name_among(events: Sequence[DataEvent]) -> str | None:
    """The name to show for one encoding: none if an extra register tells its events apart."""
    plain = [event for event in events if not event.extra_msr and not event.any]
    current = [event for event in plain if not event.deprecated]
    return (current or plain)[0].name if plain else None


def counter_names(mask: int) -> str:
    """Return a counter mask in words: ``GP 0-3`` or ``fixed 2``."""
    gp = [n for n in range(FIXED_SHIFT) if mask >> n & 1]
    fixed = [n for n in range(FIXED_SHIFT) if mask >> (FIXED_SHIFT + n) & 1]
    words = [f"{kind} {_ranges(ns)}" for kind, ns in (("GP", gp), ("fixed", fixed)) if ns]
    return " or ".join(words) or "no counter"


def _ranges(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for n in numbers:
        if runs and runs[-1][1] == n - 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)


def _more_fixed(counters: int, nr_fixed: int) -> str:
    fixed = counters >> FIXED_SHIFT
    if fixed >> nr_fixed == 1 and nr_fixed == 3:
        return " (--set kvm.max_fixed_counters=4 exposes fixed counter 3)"
    return ""
