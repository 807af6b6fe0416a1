# SPDX-License-Identifier: Apache-2.0
"""What a compiled event filter decides: KVM's rule for GP and fixed counters, and its entries.

Source: Linux 7.0, arch/x86/kvm/pmu.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from pmupass.config import Filter, FilterAction
from pmupass.events.data import CODE

MAX_EVENTS = 300  # KVM_PMU_EVENT_FILTER_MAX_EVENTS
# The u64 of an entry.
SELECT = 0xFF
SELECT_HIGH = 0xF << 32  # AMD only
MATCH_SHIFT = 8
EXCLUDE = 1 << 55
MASK_SHIFT = 56
MASKED_ENTRY = SELECT | 0xFF << MATCH_SHIFT | EXCLUDE | 0xFF << MASK_SHIFT


def select_bits(select: int) -> int:
    """Return where a selector, or an entry, has an event select: bits 7:0 and 35:32."""
    return select & SELECT | (select & 0xF00) << 24


def select_of(config: int) -> int:
    """Return the event select in bits 7:0 and 35:32."""
    return config & SELECT | (config & SELECT_HIGH) >> 24


def encode_masked_entry(select: int, mask: int, match: int, *, exclude: bool = False) -> int:
    """Return what KVM_PMU_ENCODE_MASKED_ENTRY returns; a select of 12 bits is AMD's."""
    low = select_bits(select) | (match & 0xFF) << MATCH_SHIFT
    return low | (EXCLUDE if exclude else 0) | (mask & 0xFF) << MASK_SHIFT


@dataclass(frozen=True, slots=True)
class CompiledFilter(Filter):
    """A filter as the core takes it, and what its author should know.

    ``entries`` are sorted by select; ``warnings`` are whole lines, with file and line number;
    ``code`` is what of a selector names an event on the CPU, event select and umask.
    """

    warnings: tuple[str, ...] = ()
    code: int = CODE

    def allows(self, config: int, fixed_index: int | None = None) -> bool:
        """Return whether a selector's event may count; with an index, a fixed counter's.

        The rule written down plainly, one entry after the other. The core has its own.
        """
        if self.action is FilterAction.NONE:
            return True
        allowing = self.action is FilterAction.ALLOW
        if fixed_index is not None:
            return bool(self.fixed_bitmap >> fixed_index & 1) == allowing
        select, umask = select_of(config & self.code), config >> 8 & 0xFF
        hits = [e for e in self.entries if e.select == select and umask & e.mask == e.match]
        matched = bool(hits) and not any(entry.exclude for entry in hits)
        return matched == allowing


NO_FILTER = CompiledFilter()
