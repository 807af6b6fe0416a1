# SPDX-License-Identifier: Apache-2.0
"""The PMU of a guest on an Intel CPU, as a VMM may configure it, and CPUID leaf 0xA.

A VMM passes on what KVM_GET_SUPPORTED_CPUID offers (Linux 7.0: version at most 2, at most 8 GP and
3 fixed counters, AnyThread deprecated) or changes it: a VM that is to migrate, or an older CPU
model, has another version, fewer counters, narrower ones, no full-width writes, no PDCM, or
architectural events taken away. KVM keeps the version of its guest's CPUID as it is, above 2 too,
which changes nothing of what it serves. Of more counters than it offers it would serve those that
it has, and CPUID would promise too much: that is refused here. It does not look at the events that
leaf 0xA takes away.

On the bare machine the same settings say what the silicon is like, of which it cannot have more
than the CPU model. There, an architectural event that is not there is counted by no GP counter.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from pmupass.config import Cpuid, EventMap, Mode, Pmu
from pmupass.cpus.model import FIXED_SHIFT, MODELLED_PERF_CAPABILITIES, PERF_CAP_FW_WRITE
from pmupass.errors import UsageError
from pmupass.policy import branch_records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pmupass.cpus.model import CpuModel
    from pmupass.settings import Settings

KVM_MAX_VERSION = 2
MOST_VERSION = 5  # version 6 brings CPUID leaf 0x23, which is not modelled
LEAST_WIDTH = 32
# CPUID 0xA EBX by bit: the name that perf has for it, if any, and the encoding.
ARCH_EVENTS = (
    ("cycles", 0x003C),
    ("instructions", 0x00C0),
    ("bus-cycles", 0x013C),
    ("cache-references", 0x4F2E),
    ("cache-misses", 0x412E),
    ("branches", 0x00C4),
    ("branch-misses", 0x00C5),
    ("", 0x01A4),  # topdown slots
)
ARCH_EVENT_NAMES = frozenset(name for name, _ in ARCH_EVENTS if name)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a guest's PMU by ``guest.*``; None: what there is.

    ``perfmon_v2`` and ``perfctr_core`` are of AMD's CPUID, the rest but ``gp_counters`` of Intel's.
    """

    pmu_version: int | None = None
    gp_counters: int | None = None
    fixed_counters: int | None = None
    gp_width: int | None = None
    fixed_width: int | None = None
    fw_write: bool | None = None
    pdcm: bool | None = None
    arch_events: int | None = None
    unavailable_events: int | None = None
    pebs: bool | None = None
    lbr: bool | None = None
    perfmon_v2: bool | None = None
    perfctr_core: bool | None = None

    @classmethod
    def of(cls, settings: Settings) -> Asked:
        """Return what the settings ask."""
        return cls(**{f.name: settings.given(f"guest.{f.name}") for f in fields(cls)})


INTELS_OWN = (
    "pmu_version",
    "gp_width",
    "fixed_width",
    "fw_write",
    "pdcm",
    "arch_events",
    "unavailable_events",
    "pebs",
    "lbr",
)


def _limited(key: str, wanted: int | None, least: int, most: int, who: str) -> int:
    """Return what is wanted, or the most; UsageError beyond."""
    if wanted is None:
        return most
    if not least <= wanted <= most:
        raise UsageError(f"guest.{key}={wanted}: {who} {least} to {most}")
    return wanted


def guest_pmu(cpu: CpuModel, *, mode: Mode, asked: Asked, max_gp: int, max_fixed: int) -> Pmu:
    """Return the PMU that a guest finds, natively the one that the silicon has then.

    ``max_gp`` and ``max_fixed`` are KVM's own limits. UsageError for what cannot be.
    """
    hw = cpu.pmu
    native = mode is Mode.NATIVE
    who = f"{cpu.name} has" if native else f"KVM offers a guest on {cpu.name}"
    if native:
        version = _limited("pmu_version", asked.pmu_version, 0, hw.version, who)
        max_gp, max_fixed = hw.nr_gp, hw.nr_fixed
    elif asked.pmu_version is None:
        version = min(hw.version, KVM_MAX_VERSION)
    else:
        version = _limited("pmu_version", asked.pmu_version, 0, MOST_VERSION, "KVM keeps")
    if not version:
        _none_of(asked, "guest.pmu_version=0 leaves no PMU", INTELS_OWN[1:])
        _none_of(asked, "guest.pmu_version=0 leaves no PMU", ("gp_counters", "fixed_counters"))
        return Pmu(vendor=cpu.maker)
    if version == 1:
        _none_of(asked, "guest.pmu_version=1: fixed counters came with version 2", ("fixed_width",))
        if asked.fixed_counters:
            _none_of(
                asked,
                "guest.pmu_version=1: fixed counters came with version 2",
                ("fixed_counters",),
            )
        max_fixed = 0
        asked = replace(asked, fixed_counters=None)
    nr_gp = _limited("gp_counters", asked.gp_counters, 0, min(hw.nr_gp, max_gp), who)
    nr_fixed = _limited("fixed_counters", asked.fixed_counters, 0, min(hw.nr_fixed, max_fixed), who)
    gp_width = _limited("gp_width", asked.gp_width, LEAST_WIDTH, hw.gp_width, who)
    fixed_width = _limited("fixed_width", asked.fixed_width, LEAST_WIDTH, hw.fixed_width, who)
    pdcm = hw.pdcm if asked.pdcm is None else asked.pdcm
    fw_write = hw.fw_write and pdcm if asked.fw_write is None else asked.fw_write
    if pdcm and not hw.pdcm:
        raise UsageError(f"guest.pdcm=1: {cpu.name} has no PERF_CAPABILITIES")
    if fw_write and not pdcm:
        raise UsageError(
            "guest.fw_write=1: it is a bit of PERF_CAPABILITIES, and guest.pdcm=0 has none"
        )
    if fw_write and not hw.fw_write:
        raise UsageError(f"guest.fw_write=1: {cpu.name} has no full-width writes")
    arch_events = _limited(
        "arch_events", asked.arch_events, 0, cpu.silicon.nr_arch_events, f"{cpu.name} has"
    )
    unavailable = asked.unavailable_events or 0
    if unavailable >> arch_events:
        raise UsageError(
            f"guest.unavailable_events={unavailable:#x}: CPUID 0xA has {arch_events} events, bits "
            f"0 to {arch_events - 1}; one beyond them is not there anyway"
        )
    records = branch_records.wanted(cpu, mode, asked, version=version, pdcm=pdcm)
    return Pmu(
        version=version,
        nr_gp=nr_gp,
        nr_fixed=nr_fixed,
        gp_width=gp_width,
        fixed_width=fixed_width if version > 1 else 0,
        fw_write=fw_write,
        rtm=hw.rtm,
        pdcm=pdcm,
        perf_capabilities=_perf_capabilities(hw, pdcm=pdcm, fw_write=fw_write) | records,
        vendor=cpu.maker,
        arch_events=arch_events,
        unavailable_events=unavailable,
        lbr_depth=cpu.silicon.lbr_depth if records & branch_records.LBR_FMT else 0,
        pebs_ept=native and hw.pebs_ept,
        pdist=hw.pdist if native else bool(records & branch_records.PEBS and cpu.silicon.kvm_pdist),
    )


def _perf_capabilities(hw: Pmu, *, pdcm: bool, fw_write: bool) -> int:
    if not pdcm:
        return 0
    others = hw.perf_capabilities & MODELLED_PERF_CAPABILITIES & ~PERF_CAP_FW_WRITE
    return others | (PERF_CAP_FW_WRITE if fw_write else 0)


def _none_of(asked: Asked, why: str, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(asked, name)
        if value is not None:
            raise UsageError(f"{why}; guest.{name}={int(value)} means nothing then")


def refuse_on_amd(cpu: CpuModel, asked: Asked) -> None:
    """Raise UsageError for what only Intel's CPUID can say."""
    for name in INTELS_OWN:
        if getattr(asked, name) is not None:
            raise UsageError(f"guest.{name}: {cpu.name} is an AMD CPU; CPUID leaf 0xA is Intel's")


def unavailable_codes(shape: Pmu) -> frozenset[int]:
    """Return the encodings of architectural events that CPUID takes away from a PMU."""
    return frozenset(
        code
        for bit, (_, code) in enumerate(ARCH_EVENTS)
        if bit >= shape.arch_events or shape.unavailable_events >> bit & 1
    )


def silicon_maps(maps: Iterable[EventMap], shape: Pmu) -> tuple[EventMap, ...]:
    """Return the event maps of silicon whose GP counters lack events that CPUID takes away."""
    gone = unavailable_codes(shape)
    fixed = -1 << FIXED_SHIFT
    return tuple(
        replace(entry, counters=entry.counters & fixed) if entry.config & 0xFFFF in gone else entry
        for entry in maps
    )


def leaf_a(cpu: CpuModel, shape: Pmu, mode: Mode) -> Cpuid:
    """Return CPUID leaf 0xA."""
    if not shape.version:
        return Cpuid(0xA, None, (0, 0, 0, 0))
    deprecated = cpu.silicon.anythread_deprecated or mode is not Mode.NATIVE
    return Cpuid(
        0xA,
        None,
        (
            shape.version | shape.nr_gp << 8 | shape.gp_width << 16 | shape.arch_events << 24,
            shape.unavailable_events,
            (1 << shape.nr_fixed) - 1 if shape.version >= 5 else 0,
            shape.nr_fixed | shape.fixed_width << 5 | deprecated << 15,
        ),
    )
