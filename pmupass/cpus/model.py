# SPDX-License-Identifier: Apache-2.0
"""What a CPU model consists of, and how its file is read.

Frequencies are kHz, times of the timing table subcycles (1/64 core cycle), counters a mask with
bit n for GP counter n and bit 32+n for fixed counter n, encodings event | umask << 8, on AMD's with
bits 11:8 of the event at 35:32.
"""

from __future__ import annotations

import math
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta, Struct

from pmupass.config import Overcount, PeriodLimit, Pmu, Vendor
from pmupass.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec.inspect import IntType, StructType

FIXED_SHIFT = 32
PERF_CAP_FW_WRITE = 1 << 13
# PERF_CAPABILITIES bits whose features the model has. The silicon's LBR, PEBS and PERF_METRICS
# bits are kept from guests, in every mode: a guest that believed them would touch absent MSRs.
MODELLED_PERF_CAPABILITIES = PERF_CAP_FW_WRITE

MIN_TSC_KHZ = 10_000  # the built-in guests' fastest tick needs a TSC of 10 MHz
Positive = Annotated[int, Meta(ge=1, le=0xFFFF_FFFF)]
Word = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
Subcycles = Annotated[int, Meta(ge=0, le=1 << 24)]
Encoding = Annotated[int, Meta(ge=0, le=0xF_0000_FFFF)]
# Bits of a selector that name an event: select and umask.
EVENT_CODE = {Vendor.INTEL: 0xFFFF, Vendor.AMD: 0xF_0000_FFFF}


class Signature(Struct, frozen=True, forbid_unknown_fields=True):
    """CPUID leaf 1, EAX, taken apart."""

    family: Annotated[int, Meta(ge=6, le=0x1A)]
    model: Annotated[int, Meta(ge=0, le=0xFF)]
    stepping: Annotated[int, Meta(ge=0, le=0xF)]

    @property
    def eax(self) -> int:
        """The register value; families above 15 go on in the extended one."""
        family, extended = min(self.family, 0xF), max(self.family - 0xF, 0)
        model = self.model & 0xF
        return extended << 20 | (self.model >> 4) << 16 | family << 8 | model << 4 | self.stepping


class Clock(Struct, frozen=True, forbid_unknown_fields=True):
    """Clocks in kHz. ``crystal_enumerated``: CPUID 0x15 ECX gives the crystal's frequency.

    AMD's CPUs have no such leaves, and no crystal and bus here.
    """

    tsc_khz: Annotated[int, Meta(ge=MIN_TSC_KHZ, le=0xFFFF_FFFF)]
    core_khz: Positive
    max_khz: Positive
    crystal_khz: Positive | None = None
    bus_khz: Positive | None = None
    crystal_enumerated: bool = False


class Timing(Struct, frozen=True, forbid_unknown_fields=True):
    """What instructions cost, in subcycles; ``struct pp_timing`` has the meanings."""

    issue_width: Annotated[int, Meta(ge=1, le=64)]
    simple: Annotated[int, Meta(ge=1, le=1 << 24)]
    load: Subcycles
    store: Subcycles
    multiply: Subcycles
    divide: Subcycles
    locked: Subcycles
    string_iteration: Subcycles
    serialize: Subcycles
    msr: Subcycles
    rdpmc: Subcycles
    rdtsc: Subcycles
    pause: Subcycles
    interrupt: Subcycles
    branch_miss: Subcycles
    llc_miss: Subcycles


class Silicon(Struct, frozen=True, forbid_unknown_fields=True):
    """The PMU as the silicon has it, and what virtualization and perf offer around it.

    What only Intel's have is absent by default, and so is AMD's ``perfctr_core``. AMD's ``version``
    is 2 with PerfMonV2, else 1. ``apicv``: Linux virtualizes the APIC there unless told otherwise.

    ``lbr_depth``: branch records, ``arch_lbr``: of an architectural LBR. ``pebs_ept``: perf knows
    that PEBS records go through EPT there. ``pdist``: perf gives :ppp events GP 0; ``kvm_pdist``:
    KVM asks for it.
    """

    version: Annotated[int, Meta(ge=1, le=5)]
    nr_gp: Annotated[int, Meta(ge=1, le=16)]
    gp_width: Annotated[int, Meta(ge=32, le=64)]
    skid_cycles: Annotated[int, Meta(ge=0, le=1 << 20)]
    mediated_capable: bool
    nr_fixed: Annotated[int, Meta(ge=0, le=8)] = 0
    fixed_width: Annotated[int, Meta(ge=0, le=64)] = 0
    perf_capabilities: int = 0
    nr_arch_events: Annotated[int, Meta(ge=0, le=32)] = 0
    anythread_deprecated: bool = False
    exit_save_global_ctrl: bool = False
    entry_load_global_ctrl: bool = False
    perfctr_core: bool = False
    apicv: bool = True
    hybrid: bool = False
    rtm: bool = False
    lbr_depth: Annotated[int, Meta(ge=0, le=32)] = 0
    arch_lbr: bool = False
    pebs_ept: bool = False
    pdist: bool = False
    kvm_pdist: bool = False


Extra = Annotated[int, Meta(ge=0, le=1000)]


class OvercountErratum(Struct, frozen=True, forbid_unknown_fields=True):
    """An erratum by which VM-exits and VM-entries count as instructions or branches retired.

    The amounts are what one of them adds; ``confidence`` says how far they are to be trusted. Both
    are counted with the guest's GLOBAL_CTRL in force, at the guest's privilege.
    """

    erratum: str = ""
    source: str = ""
    confidence: str = ""
    exit_instructions: Extra = 0
    exit_branches: Extra = 0
    entry_instructions: Extra = 0
    entry_branches: Extra = 0


class Errata(Struct, frozen=True, forbid_unknown_fields=True):
    """Errata of a CPU that change what counters show; each kind has a table of its own."""

    overcount: OvercountErratum = OvercountErratum()


class Periods(Struct, frozen=True, forbid_unknown_fields=True):
    """What the silicon does not take of sampling periods (x86_pmu.limit_period); 0: nothing.

    Host perf refuses an event with a period shorter than ``least`` and cuts the distance to an
    overflow to a multiple of ``multiple``. For events of all kinds, where some silicon has it for
    one event.
    """

    least: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    multiple: Annotated[int, Meta(ge=0, le=1 << 20)] = 0


class FixedCounter(Struct, frozen=True, forbid_unknown_fields=True):
    """Encodings that perf places on a fixed counter: on it alone, or on any GP counter as well."""

    counter: Annotated[int, Meta(ge=0, le=7)]
    counts: str
    also: tuple[Encoding, ...] = ()
    only: tuple[Encoding, ...] = ()


class CpuModel(Struct, frozen=True, forbid_unknown_fields=True):
    """A CPU. ``feeds`` says which encodings count which base event, by its name.

    ``events`` names the event list (pmupass/events/NAME.json): CPUs with the same core share one.
    """

    name: str
    vendor: Literal["GenuineIntel", "AuthenticAMD"]
    events: str
    brand: Annotated[str, Meta(max_length=47)]
    signature: Signature
    physical_address_bits: Annotated[int, Meta(ge=36, le=52)]
    clock: Clock
    silicon: Silicon
    timing_table: Timing
    feeds: dict[str, tuple[Encoding, ...]]
    not_fed: dict[str, str]
    fixed: tuple[FixedCounter, ...] = ()
    errata: Errata = Errata()
    periods: Periods = Periods()

    @property
    def period_limit(self) -> PeriodLimit:
        """The quirk of sampling periods, for the core."""
        return PeriodLimit(self.periods.least, self.periods.multiple)

    @property
    def maker(self) -> Vendor:
        """Who made it."""
        return Vendor.AMD if self.vendor == "AuthenticAMD" else Vendor.INTEL

    @property
    def event_code(self) -> int:
        """The bits of a selector that name an event: select and umask."""
        return EVENT_CODE[self.maker]

    @property
    def overcount(self) -> Overcount:
        """What VM-exits and VM-entries add to counters, for the core."""
        e = self.errata.overcount
        return Overcount(
            e.exit_instructions, e.exit_branches, e.entry_instructions, e.entry_branches
        )

    @property
    def tsc_khz(self) -> int:
        """TSC frequency in kHz."""
        return self.clock.tsc_khz

    @property
    def core_khz(self) -> int:
        """Core frequency in kHz; the model keeps it constant."""
        return self.clock.core_khz

    @property
    def skid_cycles(self) -> int:
        """Core cycles from an overflow to its PMI."""
        return self.silicon.skid_cycles

    @property
    def exit_save_global_ctrl(self) -> bool:
        """Whether a VM-exit can save GLOBAL_CTRL; without it KVM uses the auto-store list."""
        return self.silicon.exit_save_global_ctrl

    @property
    def pmu(self) -> Pmu:
        """The physical PMU, as far as it is modelled: no PEBS, LBR and PERF_METRICS."""
        s = self.silicon
        return Pmu(
            version=s.version,
            nr_gp=s.nr_gp,
            nr_fixed=s.nr_fixed,
            gp_width=s.gp_width,
            fixed_width=s.fixed_width,
            fw_write=bool(s.perf_capabilities & PERF_CAP_FW_WRITE),
            rtm=s.rtm,
            perf_capabilities=s.perf_capabilities & MODELLED_PERF_CAPABILITIES,
            vendor=self.maker,
            perfctr_core=s.perfctr_core,
            pdcm=bool(s.perf_capabilities),
            arch_events=s.nr_arch_events,
            pebs_ept=s.pebs_ept,
            pdist=s.pdist,
        )

    @property
    def timing(self) -> dict[str, int]:
        """The fields of ``struct pp_timing``; ref_num / ref_den are TSC cycles per core cycle."""
        shared = math.gcd(self.clock.tsc_khz, self.clock.core_khz)
        return {
            "ref_num": self.clock.tsc_khz // shared,
            "ref_den": self.clock.core_khz // shared,
            **msgspec.structs.asdict(self.timing_table),
        }

    @property
    def gp_mask(self) -> int:
        """All GP counters."""
        return (1 << self.silicon.nr_gp) - 1

    @property
    def fixed_mask(self) -> int:
        """All fixed counters."""
        return ((1 << self.silicon.nr_fixed) - 1) << FIXED_SHIFT

    def counters_of(self, encoding: int) -> int | None:
        """Return where perf places an encoding that has to do with a fixed counter, else None."""
        for fixed in self.fixed:
            bit = 1 << (FIXED_SHIFT + fixed.counter)
            if encoding in fixed.only:
                return bit
            if encoding in fixed.also:
                return bit | self.gp_mask
        return None

    def feed_of(self, encoding: int) -> str | None:
        """Return the name of the base event that an encoding counts, None for none."""
        for event, encodings in self.feeds.items():
            if encoding in encodings:
                return event
        return None


# --set cpu.KEY: the key, and where in the file it stands: its tables, and its name there.
_AMOUNTS = ("exit_instructions", "exit_branches", "entry_instructions", "entry_branches")
_PLACES: dict[str, tuple[tuple[str, ...], str]] = {
    **{key: (("clock",), key) for key in ("tsc_khz", "core_khz")},
    **{key: (("silicon",), key) for key in ("skid_cycles", "exit_save_global_ctrl", "rtm")},
    **{key: (("timing",), key) for key in Timing.__struct_fields__},
    **{f"overcount_{key}": (("errata", "overcount"), key) for key in _AMOUNTS},
    **{f"period_{key}": (("periods",), key) for key in Periods.__struct_fields__},
}
_TYPES = {
    ("clock",): Clock,
    ("silicon",): Silicon,
    ("timing",): Timing,
    ("errata", "overcount"): OvercountErratum,
    ("periods",): Periods,
}
OVERRIDES = tuple(_PLACES)
_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _limits(key: str) -> tuple[int, int]:
    """Return the least and the most value of a number, from the type that holds it."""
    tables, name = _PLACES[key]
    info = cast("StructType", msgspec.inspect.type_info(_TYPES[tables]))
    (kind,) = (cast("IntType", field.type) for field in info.fields if field.name == name)
    return cast("int", kind.ge), cast("int", kind.le)


def _value(key: str, given: int | str) -> int | bool:
    text = str(given).strip().lower()
    if key in ("exit_save_global_ctrl", "rtm"):
        if text not in _BOOLEANS:
            raise UsageError(f"--set cpu.{key}={given}: 1 (on) or 0 (off) is expected")
        return _BOOLEANS[text]
    least, most = _limits(key)
    try:
        value = int(text, 0)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise UsageError(
            f"--set cpu.{key}={given}: a whole number from {least} to {most} is expected"
        )
    return value


def _override(data: dict[str, Any], overrides: Mapping[str, int | str]) -> None:
    for key, given in overrides.items():
        if key not in _PLACES:
            raise UsageError(f"no setting cpu.{key}; there is cpu.* with {', '.join(OVERRIDES)}")
        tables, name = _PLACES[key]
        table = data
        for part in tables:
            table = table.setdefault(part, {})
        table[name] = _value(key, given)


def parse(name: str, text: str, overrides: Mapping[str, int | str]) -> CpuModel:
    """Read the text of a CPU file. UsageError for bad overrides, ModelError for a bad file."""
    data: dict[str, Any] = tomllib.loads(text)
    _override(data, overrides)
    try:
        timing = data.pop("timing")
        return msgspec.convert({**data, "name": name, "timing_table": timing}, CpuModel)
    except msgspec.ValidationError as error:
        raise ModelError(f"the CPU model {name} is malformed: {error}") from error
