# SPDX-License-Identifier: Apache-2.0
"""The guest-visible rules of an Intel vPMU, as slow and obvious as they can be written.

Registers are a dictionary, counters are a dictionary, every value is a whole number; each method is
one rule. It was written from the rules (docs/rules.toml, docs/model.md) and knows nothing of the
product's code: what differs from it is a bug of one of the two.

``Silicon`` is the bare machine. ``Kvm`` is what the two designs share: registers of a version 2
PMU, KVM's reserved bits, the filter. ``Mediated`` counts on silicon. The emulated design, which
counts through host perf, is in emulated.py.

Instructions and branches are counted exactly. A counter that counts time, or the events of another
list, is only known to be at least what it was. PMIs are taken at the boundary behind the
instruction that overflowed (a skid of 0).

Not in it: PEBS, LBR, cmask, edge and inversion (a selector that has one must be off), host events.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import ClassVar

PERFCTR0, PMC0, EVTSEL0, FIXED_CTR0 = 0xC1, 0x4C1, 0x186, 0x309
FIXED_CTR_CTRL, GLOBAL_STATUS, GLOBAL_CTRL, OVF_CTRL = 0x38D, 0x38E, 0x38F, 0x390
STATUS_SET, INUSE, PERF_CAPABILITIES = 0x391, 0x392, 0x345
USR, OS, EDGE, INT, ANY_THREAD, EN, INV = (1 << bit for bit in (16, 17, 18, 20, 21, 22, 23))
CMASK = 0xFF << 24
THRESHOLD = EDGE | INV | CMASK
INSTRUCTIONS, BRANCHES = 0xC0, 0xC4
FIXED = 32  # index of fixed counter 0: its bit in GLOBAL_CTRL
LVTPC_MASKED = 1 << 16
FAR = 1 << 62  # no overflow in sight
WIDEST = 8  # no CPU retires more in a cycle


class Fault(Exception):  # noqa: N818 - it is #GP, not an error
    """The access is #GP; it changes nothing."""


class Unknown(Exception):  # noqa: N818 - likewise
    """What comes now is beyond this reference."""


@dataclass(frozen=True)
class AtLeast:
    """A value that only has a lower bound, for the counter counts time.

    ``stretch`` names the counter and the stretch between two writes of it, in which it only grows.
    """

    value: int
    stretch: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Bits:
    """A value of which only some bits are known."""

    value: int
    unknown: int


@dataclass(frozen=True)
class Between:
    """A value that lies between two bounds."""

    low: int
    high: int
    stretch: tuple[int, int] = (0, 0)


Value = int | AtLeast | Between | Bits
FOREVER = 1 << 46  # more events than any sequence has


@dataclass(frozen=True)
class Overcount:
    """What an exit and an entry add to counters of instructions and of branches."""

    exit: tuple[int, int] = (0, 0)
    entry: tuple[int, int] = (0, 0)


@dataclass
class Slack:
    """What a counter may show beyond its value since it was written: at least and at most."""

    low: int = 0
    high: int = 0
    events: dict[int, int] = field(default_factory=dict)  # of a threshold, by selector

    def bounds(self) -> tuple[int, int]:
        """Return least and most. E events reach a threshold of c in E / c cycles, or one more."""
        reached = 0
        for selector, events in self.events.items():
            least = max(1, (selector & CMASK) >> 24)
            if selector & INV:
                reached += FOREVER
            elif least <= WIDEST:
                reached += events // least + 1
        return self.low, self.high + reached


@dataclass(frozen=True)
class Shape:
    """The PMU that CPUID and PERF_CAPABILITIES describe."""

    version: int
    gp: int
    fixed: int
    width: int
    full_width_writes: bool
    any_thread: bool  # silicon of version 3 and 4
    capabilities: int | None  # PERF_CAPABILITIES, None without PDCM
    fixed_width: int = 48
    host_gp: int = 8  # what host perf has
    host_fixed: int = 4
    rdpmc_direct: bool = False
    globals_direct: bool = False


@dataclass(frozen=True)
class FilterEntry:
    """A masked entry of KVM_SET_PMU_EVENT_FILTER."""

    select: int
    mask: int
    match: int
    exclude: bool


@dataclass(frozen=True)
class Filter:
    """An event filter; without an action everything is allowed."""

    action: str = ""  # "allow" or "deny"
    entries: tuple[FilterEntry, ...] = ()
    fixed_bitmap: int = 0

    def allows_gp(self, event: int) -> bool:
        """Event select and umask decide: an include that matches, and no exclude that does."""
        if not self.action:
            return True
        select, umask = event & 0xFF | event >> 24 & 0xF00, event >> 8 & 0xFF
        hits = [e for e in self.entries if e.select == select and umask & e.mask == e.match]
        matched = any(not e.exclude for e in hits) and not any(e.exclude for e in hits)
        return matched == (self.action == "allow")

    def allows_fixed(self, number: int) -> bool:
        """The bitmap alone decides."""
        if not self.action:
            return True
        return bool(self.fixed_bitmap >> number & 1) == (self.action == "allow")


@dataclass
class Silicon:
    """A PMU of the bare machine."""

    branches: ClassVar[int] = BRANCHES  # the event
    event_bits: ClassVar[int] = 0xFFFF  # of a selector: event select and umask
    automask: ClassVar[bool] = True  # the LVTPC is masked when it delivers

    shape: Shape
    filter: Filter = field(default_factory=Filter)
    selectors: dict[int, int] = field(default_factory=dict)  # by GP counter
    fixed_ctr_ctrl: int = 0
    status: int = 0
    global_ctrl: int = 0
    counters: dict[int, int] = field(default_factory=dict)  # by bit of GLOBAL_CTRL
    unknown: set[int] = field(default_factory=set)  # counters that have counted time
    doubtful: int = 0  # status bits that depend on time
    lvtpc: int = 0
    pmi: bool = False  # one is due at the next boundary
    truth: dict[int, int] = field(default_factory=dict)  # what was to be counted, by encoding
    lost: dict[tuple[int, str], int] = field(default_factory=dict)  # by encoding and cause
    contended: bool = False  # it has counted through host perf
    overcount: Overcount = field(default_factory=Overcount)
    slack: dict[int, Slack] = field(default_factory=dict)
    overcounted: dict[int, list[int]] = field(default_factory=dict)  # by encoding: least and most
    stretches: dict[int, int] = field(default_factory=dict)
    completes: bool = False  # KVM completes the instruction that exits, for certain
    thresholds: bool = False  # there have been some
    active: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Reset: all zero, but GLOBAL_CTRL enables the GP counters."""
        shape = self.shape
        self.counters = dict.fromkeys(self.indices(), 0)
        self.selectors = dict.fromkeys(range(shape.gp), 0)
        self.global_ctrl = (1 << shape.gp) - 1

    # ---- which registers there are ----

    def indices(self) -> list[int]:
        """Return the counters, each by its bit in GLOBAL_CTRL."""
        return [*range(self.shape.gp), *range(FIXED, FIXED + self.shape.fixed)]

    def counter_of(self, msr: int) -> int | None:
        """Return which counter a counter register is, None if it is none or not there."""
        shape = self.shape
        if 0 <= msr - PERFCTR0 < shape.gp:
            return msr - PERFCTR0
        if 0 <= msr - PMC0 < shape.gp and shape.full_width_writes:
            return msr - PMC0
        if 0 <= msr - FIXED_CTR0 < shape.fixed and shape.version > 1:
            return msr - FIXED_CTR0 + FIXED
        return None

    def exists(self, msr: int) -> bool:
        """Return whether the guest has a register that is no counter."""
        version = self.shape.version
        if 0 <= msr - EVTSEL0 < self.shape.gp:
            return version > 0
        if msr in (FIXED_CTR_CTRL, GLOBAL_STATUS, GLOBAL_CTRL, OVF_CTRL):
            return version > 1
        if msr in (STATUS_SET, INUSE):
            return version > 3
        return msr == PERF_CAPABILITIES and self.shape.capabilities is not None

    def width(self, index: int) -> int:
        """Return the bits of a counter."""
        return self.shape.fixed_width if index >= FIXED else self.shape.width

    # ---- reading ----

    def value(self, index: int) -> Value:
        """Return what a counter shows."""
        value, stretch = self.counters[index], (index, self.stretches.get(index, 0))
        if index in self.unknown:
            return AtLeast(value, stretch)
        if index in self.slack:
            low, high = self.slack[index].bounds()
            return Between(value + low, value + high, stretch)
        return value

    def read_msr(self, msr: int) -> Value:
        """RDMSR."""
        index = self.counter_of(msr)
        if index is not None:
            return self.value(index)
        if not self.exists(msr):
            raise Fault
        if 0 <= msr - EVTSEL0 < self.shape.gp:
            return self.selectors[msr - EVTSEL0]
        values: dict[int, Value] = {
            FIXED_CTR_CTRL: self.fixed_ctr_ctrl,
            GLOBAL_STATUS: self.shown_status(),
            GLOBAL_CTRL: self.global_ctrl,
            OVF_CTRL: 0,
            STATUS_SET: 0,
            INUSE: self.in_use(),
            PERF_CAPABILITIES: self.shape.capabilities or 0,
        }
        return values[msr]

    def shown_status(self) -> Value:
        """Return the status, without what depends on time."""
        return Bits(self.status, self.doubtful) if self.doubtful else self.status

    def in_use(self) -> int:
        """A GP counter is in use by its event select, a fixed one by OS and USR; 63 is INT."""
        found = 0
        for index in self.indices():
            if self.in_use_bits(index):
                found |= 1 << index
            if self.interrupts(index):
                found |= 1 << 63
        return found

    def in_use_bits(self, index: int) -> int:
        """Return the bits that make a counter one in use."""
        if index >= FIXED:
            return self.field(index) & 3
        return self.selectors[index] & 0xFF

    def rdpmc(self, ecx: int, cpl: int, *, pce: bool) -> Value:
        """RDPMC: type 0 are the GP counters, type 0x4000 the fixed ones, the rest is #GP."""
        kind, number = ecx >> 16, ecx & 0xFFFF
        if cpl and not pce:
            raise Fault
        if kind == 0 and number < self.shape.gp:
            return self.value(number)
        if kind == 0x4000 and number < self.shape.fixed and self.shape.version > 1:
            return self.value(FIXED + number)
        raise Fault

    # ---- writing ----

    def write_msr(self, msr: int, value: int) -> None:
        """WRMSR by the guest."""
        index = self.counter_of(msr)
        if index is not None:
            self.write_counter(msr, index, value)
        elif not self.exists(msr):
            raise Fault
        elif 0 <= msr - EVTSEL0 < self.shape.gp:
            self.write_selector(msr - EVTSEL0, value)
        elif msr == FIXED_CTR_CTRL:
            self.write_fixed_ctr_ctrl(value)
        elif msr == GLOBAL_CTRL:
            self.write_global_ctrl(value)
        elif msr == OVF_CTRL:
            self.write_ovf_ctrl(value)
        elif msr == STATUS_SET:
            self.write_status_set(value)
        else:  # STATUS, INUSE and PERF_CAPABILITIES are read-only
            raise Fault
        self.active = {}

    def write_counter(self, msr: int, index: int, value: int) -> None:
        """0xC1 takes 32 bits, sign-extended; 0x4C1 and 0x309 fault above the width."""
        width = self.width(index)
        if 0 <= msr - PERFCTR0 < self.shape.gp:
            value &= 0xFFFFFFFF
            if value >> 31:
                value |= -1 << 32
            value &= (1 << width) - 1
        elif value >> width:
            value = self.too_wide(index, value)
        self.set_counter(index, value)

    def set_counter(self, index: int, value: int) -> None:
        """Give a counter a value."""
        self.counters[index] = value
        self.unknown.discard(index)
        self.slack.pop(index, None)
        self.stretches[index] = self.stretches.get(index, 0) + 1

    def too_wide(self, index: int, value: int) -> int:
        """A value beyond the width is #GP."""
        raise Fault

    def reserved_of_a_selector(self) -> int:
        """Return the bits of a selector that are #GP."""
        reserved = 0xFFFFFFFF_00000000
        return reserved if self.shape.any_thread else reserved | ANY_THREAD

    def write_selector(self, index: int, value: int) -> None:
        """Reserved bits are #GP; all others read back."""
        if value & self.reserved_of_a_selector():
            raise Fault
        self.selectors[index] = value

    def write_fixed_ctr_ctrl(self, value: int) -> None:
        """Four bits for each counter that is there: OS, USR, AnyThread, PMI."""
        allowed = 0xF if self.shape.any_thread else 0xB
        if value & ~sum(allowed << 4 * i for i in range(self.shape.fixed)):
            raise Fault
        self.fixed_ctr_ctrl = value

    def counter_bits(self) -> int:
        """Return the bits of GLOBAL_CTRL that are there."""
        return sum(1 << index for index in self.indices())

    def write_global_ctrl(self, value: int) -> None:
        """Bits of counters that are not there are #GP."""
        if value & ~self.counter_bits():
            raise Fault
        self.global_ctrl = value

    def write_ovf_ctrl(self, value: int) -> None:
        """Clear status bits; 62 and 63 are taken as well."""
        if value & ~(self.counter_bits() | 1 << 62 | 1 << 63):
            raise Fault
        self.status &= ~value

    def write_status_set(self, value: int) -> None:
        """Set status bits."""
        if value & ~self.counter_bits():
            raise Fault
        self.status |= value

    # ---- counting ----

    def field(self, index: int) -> int:
        """Return the four bits of a fixed counter."""
        return self.fixed_ctr_ctrl >> 4 * (index - FIXED) & 0xF

    def interrupts(self, index: int) -> bool:
        """Return whether an overflow of a counter makes a PMI."""
        if index >= FIXED:
            return bool(self.field(index) & 8)
        return bool(self.selectors[index] & INT)

    def privileges(self, index: int) -> int:
        """Return OS and USR of a counter that is enabled by itself, else 0."""
        if index >= FIXED:
            return (OS if self.field(index) & 1 else 0) | (USR if self.field(index) & 2 else 0)
        selector = self.selectors[index]
        return selector & (OS | USR) if selector & EN else 0

    def globally_enabled(self, index: int) -> bool:
        """Version 1 has no GLOBAL_CTRL."""
        return self.shape.version < 2 or bool(self.global_ctrl >> index & 1)

    def event(self, index: int) -> int:
        """Return the event of a counter: 8 bits of select, 8 of umask."""
        if index >= FIXED:
            return (INSTRUCTIONS, 0x3C, 0x0300, 0x0400)[index - FIXED]
        return self.selectors[index] & (self.event_bits | THRESHOLD)

    def allowed(self, index: int) -> bool:
        """Nothing filters on the bare machine."""
        return True

    def enabled(self, index: int, cpl: int) -> bool:
        """Return whether the guest has a counter enabled at a privilege."""
        wanted = USR if cpl else OS
        return bool(self.privileges(index) & wanted) and self.globally_enabled(index)

    def counting(self, cpl: int) -> list[tuple[int, int, int]]:
        """Return (counter, event, encoding in the truth) of those that are enabled."""
        if cpl not in self.active:
            self.active[cpl] = [
                (index, self.event(index), self.event(index) | self.privileges(index))
                for index in self.indices()
                if self.enabled(index, cpl)
            ]
        return self.active[cpl]

    def until_overflow(self, index: int) -> int:
        """Return how many events of silicon are left before a counter overflows."""
        return (1 << self.width(index)) - self.counters[index]

    def headroom(self, cpl: int) -> int:
        """Return a number of instructions that no counter overflows in."""
        near = [
            self.until_overflow(index)
            for index, event, _ in self.counting(cpl)
            if event in (INSTRUCTIONS, self.branches) and not self.missing(index, exits=False)
        ]
        return min(near, default=FAR) - 1

    def retire(self, instructions: int, branches: int, cpl: int, *, exits: bool = False) -> None:
        """So many instructions retire at a privilege, at most the last of them an overflow.

        ``exits``: it is one, and KVM completes it if there is a KVM that serves every access.
        """
        overflowed = []
        for index, event, encoding in self.counting(cpl):
            if event & THRESHOLD:
                events = instructions if event & ~THRESHOLD == INSTRUCTIONS else branches
                self.reach(index, events, exits=exits)
                continue
            if event not in (INSTRUCTIONS, self.branches):
                if event and self.allowed(index):  # event 0 counts nothing
                    self.unknown.add(index)
                continue
            events = instructions if event == INSTRUCTIONS else branches
            self.truth[encoding] = self.truth.get(encoding, 0) + events
            if cause := self.missing(index, exits=exits):
                self.lost[encoding, cause] = self.lost.get((encoding, cause), 0) + events
            elif events and self.count(index, events, exits=exits):
                overflowed.append(index)
        for index in overflowed:
            self.overflow(index)

    def reach(self, index: int, events: int, *, exits: bool) -> None:
        """Events of a counter with a threshold, which KVM credits as if it had none."""
        self.thresholds = True
        slack = self.slack.setdefault(index, Slack())
        if self.missing(index, exits=exits):
            return
        if exits and self.completes:
            self.counters[index] += events
            return
        slack.high += events if exits else 0
        selector = self.selectors[index]
        slack.events[selector] = slack.events.get(selector, 0) + events

    def exposed(self, cpl: int) -> list[tuple[int, int, int, int]]:
        """Return (counter, event, encoding, stretch) of what an exit or an entry now may add to."""
        return [
            (index, event, encoding, self.stretches.get(index, 0))
            for index, event, encoding in self.counting(cpl)
            if event & ~THRESHOLD in (INSTRUCTIONS, self.branches)
            and not self.missing(index, exits=False)
        ]

    def add(
        self,
        amounts: tuple[int, int],
        exposed: list[tuple[int, int, int, int]],
        *,
        certain: bool,
    ) -> None:
        """An exit or an entry has happened, or may have: these counters show more than is true."""
        for index, event, encoding, stretch in exposed if any(amounts) else ():
            plain = event & ~THRESHOLD
            most = amounts[plain != INSTRUCTIONS]
            least = most if certain and event == plain else 0
            both = self.overcounted.setdefault(encoding, [0, 0])
            both[0] += least
            both[1] += most
            if stretch == self.stretches.get(index, 0):  # it has not been written since
                slack = self.slack.setdefault(index, Slack())
                slack.low += least
                slack.high += most

    def exits_for(self, msr: int) -> bool:
        """Return whether a WRMSR exits for certain: nothing does on the bare machine."""
        return False

    def missing(self, index: int, *, exits: bool) -> str:
        """Return why a counter that the guest has enabled does not count; "" if it does."""
        return "" if self.allowed(index) else "filtered"

    def count(self, index: int, events: int, *, exits: bool) -> bool:
        """Count events on a counter; return whether it overflows."""
        value = self.counters[index] + events
        self.counters[index] = value & (1 << self.width(index)) - 1
        return value >> self.width(index) != 0

    def overflow(self, index: int) -> None:
        """Set the status bit; with INT, and if the LVTPC is not masked, a PMI."""
        self.status |= 1 << index
        if self.asks_for_a_pmi(index) and not self.lvtpc & LVTPC_MASKED:
            self.pmi = True

    def asks_for_a_pmi(self, index: int) -> bool:
        """Return whether an overflow now makes a PMI: silicon looks at the register."""
        return self.interrupts(index)

    def is_on_the_way(self) -> bool:
        """Return whether something has happened that has not come to its end."""
        return self.pmi

    def enter(self) -> None:
        """A VM-entry, where there is one: silicon and the mediated design leave nothing for it."""

    def deliver(self) -> None:
        """The PMI is taken."""
        self.pmi = False
        if self.automask:
            self.lvtpc |= LVTPC_MASKED


class Kvm(Silicon):
    """What both designs have in common."""

    def exists(self, msr: int) -> bool:
        """Version 4's registers are not for guests."""
        return msr not in (STATUS_SET, INUSE) and super().exists(msr)

    def reserved_of_a_selector(self) -> int:
        """AnyThread is always reserved."""
        return 0xFFFFFFFF_00000000 | ANY_THREAD

    def allowed(self, index: int) -> bool:
        """The filter denies counters; they keep their values."""
        if index >= FIXED:
            return self.filter.allows_fixed(index - FIXED)
        return self.filter.allows_gp(self.selectors[index] & self.event_bits)

    def set_filter(self, chosen: Filter) -> None:
        """KVM_SET_PMU_EVENT_FILTER: at once, for what is programmed already as well."""
        self.filter = chosen
        self.active = {}

    def adopt(self, other: Silicon) -> None:
        """Restore what was saved of a guest: by registers, so that all counters begin anew."""
        other.enter()
        for name in (
            "filter",
            "selectors",
            "fixed_ctr_ctrl",
            "status",
            "global_ctrl",
            "counters",
            "unknown",
            "doubtful",
            "lvtpc",
            "pmi",
            "truth",
            "lost",
            "contended",
            "overcount",
            "slack",
            "overcounted",
            "stretches",
            "thresholds",
        ):
            setattr(self, name, copy.copy(getattr(other, name)))
        self.set_filter(self.filter)

    def host_writes(self, msr: int, value: int) -> bool:
        """KVM_SET_MSRS of a register that the guest has: whether it is taken.

        As the guest's write, but: 0xC1 is not sign-extended, fixed counters are cut, STATUS can be
        written, and the register that resets it does nothing.
        """
        index = self.counter_of(msr)
        if index is not None:
            width = self.width(index)
            if 0 <= msr - PMC0 < self.shape.gp and value >> width:
                return False
            self.set_counter(index, value & (1 << width) - 1)
        elif msr == GLOBAL_STATUS:
            if value & ~(self.counter_bits() | 1 << 62 | 1 << 63):
                return False
            self.status = value
        elif msr != OVF_CTRL:
            try:
                Silicon.write_msr(self, msr, value)
            except Fault:
                return False
        self.active = {}
        return True


class Mediated(Kvm):
    """The guest's counters are silicon's; what KVM completes it credits, with the same effect."""

    def rdpmc(self, ecx: int, cpl: int, *, pce: bool) -> Value:
        """RDPMC that does not exit shows counters that KVM hides: 0, since nobody uses them."""
        hidden = range(1 << 30 | self.shape.fixed, 1 << 30 | self.shape.host_fixed)
        if self.shape.rdpmc_direct and ecx in hidden and (pce or not cpl):
            return 0
        return super().rdpmc(ecx, cpl, pce=pce)

    def write_msr(self, msr: int, value: int) -> None:
        """GLOBAL_* that are direct have silicon's reserved bits: those of hidden counters do."""
        if not self.shape.globals_direct or msr not in (GLOBAL_CTRL, OVF_CTRL):
            return super().write_msr(msr, value)
        guest, self.shape = self.shape, self.silicon_shape()
        try:
            super().write_msr(msr, value)
        finally:
            self.shape = guest

    def silicon_shape(self) -> Shape:
        """Return the shape of what is below the guest's PMU."""
        shape = self.shape
        return replace(shape, gp=shape.host_gp, fixed=shape.host_fixed)

    def exits_for(self, msr: int) -> bool:
        """Selectors always exit."""
        return msr == FIXED_CTR_CTRL or 0 <= msr - EVTSEL0 < self.shape.gp
