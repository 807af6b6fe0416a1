# SPDX-License-Identifier: Apache-2.0
"""The event lists of real CPUs, and the encodings that perf gives their events.

An encoding (``config``) has the bits of PERFEVTSEL: event 7:0, umask 15:8, edge 18, any 21, inv
23, cmask 31:24, and of an AMD CPU the event's bits 11:8 at 35:32. Sources: intel/perfmon
(BSD-3-Clause), Linux's lists for AMD; version and commit in each file; names in lower case as perf
shows them.
"""

from __future__ import annotations

import functools
from importlib import resources

import msgspec
from msgspec import Struct

from pmupass.config import Vendor
from pmupass.errors import ModelError

USR = 1 << 16
OS = 1 << 17
EDGE = 1 << 18
ANY = 1 << 21
INV = 1 << 23
CMASK_SHIFT = 24
CMASK = 0xFF << CMASK_SHIFT
CODE = 0xFFFF  # event and umask
IN_TX, IN_TXCP = 1 << 32, 1 << 33
SELECT_HIGH = 0xF << 32  # AMD: event 11:8; Intel: IN_TX, IN_TXCP and two reserved bits
WHAT = CODE | EDGE | INV | CMASK | SELECT_HIGH  # what event maps are looked up with

# perf's generic names (PERF_TYPE_HARDWARE) as Linux's drivers encode them, and the lab's own short
# names for loads and stores. Not every CPU of a vendor has them all.
_GENERIC_INTEL = {
    "cycles": 0x003C,
    "instructions": 0x00C0,
    "branches": 0x00C4,
    "branch-misses": 0x00C5,
    "ref-cycles": 0x0300,
    "cache-references": 0x4F2E,
    "cache-misses": 0x412E,
    "slots": 0x0400,
    "loads": 0x81D0,
    "stores": 0x82D0,
}
_GENERIC_AMD = {
    "cycles": 0x0076,
    "instructions": 0x00C0,
    "branches": 0x00C2,
    "branch-misses": 0x00C3,
    "ref-cycles": 0x1_0000_0120,
    "cache-references": 0xFF60,
    "cache-misses": 0x0964,
    "loads": 0x0129,
    "stores": 0x0229,
}
GENERIC = {Vendor.INTEL: _GENERIC_INTEL, Vendor.AMD: _GENERIC_AMD}
GENERIC_NAMES = frozenset(_GENERIC_INTEL)
ALIASES = {
    "cpu-cycles": "cycles",
    "branch-instructions": "branches",
    "llc-references": "cache-references",
    "llc-misses": "cache-misses",
    "l1-dcache-loads": "loads",
    "l1-dcache-stores": "stores",
}
# Names of fixed counters' events that perf programs by their GP encoding.
BY_GP_ENCODING = {"inst_retired.any": 0x00C0, "cpu_clk_unhalted.thread": 0x003C}


class DataEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """One event of a list. ``extra_msr`` events need a register that no guest has.

    An event that names no counters can be counted on all.
    """

    name: str
    event: str
    umask: str
    sample_after: int = 0
    counters: tuple[int, ...] = ()
    fixed: int | None = None
    cmask: int = 0
    inv: int = 0
    edge: int = 0
    any: int = 0
    extra_msr: str = ""
    alone: int = 0
    pebs: int = 0
    deprecated: int = 0
    errata: str = ""

    @property
    def config(self) -> int:
        """The encoding that perf would program."""
        if self.name in BY_GP_ENCODING:
            return BY_GP_ENCODING[self.name]
        select = int(self.event, 16)
        return (
            select & 0xFF
            | select >> 8 << 32
            | int(self.umask, 16) << 8
            | (EDGE if self.edge else 0)
            | (ANY if self.any else 0)
            | (INV if self.inv else 0)
            | self.cmask << CMASK_SHIFT
        )

    @property
    def counter_mask(self) -> int:
        """Where it may be counted: bit n for GP counter n, bit 32+n for fixed counter n."""
        if not self.counters and self.fixed is None:
            return ~0
        mask = sum(1 << n for n in self.counters)
        return mask if self.fixed is None else mask | 1 << (32 + self.fixed)


class DataFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A list and where it comes from."""

    cpu: str
    source: str
    events: tuple[DataEvent, ...]


@functools.cache
def load(name: str) -> DataFile:
    """Return an event list by its name, which CPU models give as ``events``.

    ModelError for a list that is not there: it names those that are.
    """
    folder = resources.files("pmupass.events")
    names = {f.name.removesuffix(".json") for f in folder.iterdir() if f.name.endswith(".json")}
    if name not in names:
        raise ModelError(f"no event list {name!r}; there is {', '.join(sorted(names))}")
    text = folder.joinpath(f"{name}.json").read_bytes()
    return msgspec.json.decode(text, type=DataFile)
