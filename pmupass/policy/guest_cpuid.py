# SPDX-License-Identifier: Apache-2.0
"""What a guest is told by CPUID: its PMU as KVM clamps it, and the leaves.

Announced is what the guest CPU implements, no more: of SIMD that is SSE and SSE2 on XMM registers,
not MMX. FPU is announced although the interpreter stops at x87's transcendental functions, SSE
although it stops at RCPPS and RSQRTPS. Caches are not described (leaves 2 and 4 are absent).

The PMU's part is in :mod:`pmupass.policy.intel_cpuid` and :mod:`pmupass.policy.amd_cpuid`.
"""

from __future__ import annotations

from pmupass.config import Cpuid as CpuidEntry, Mode, Pmu as PmuShape, Vendor
from pmupass.cpus.model import PERF_CAP_FW_WRITE, CpuModel
from pmupass.errors import UsageError
from pmupass.policy import amd_cpuid, branch_records, intel_cpuid
from pmupass.policy.cpuid_leaves import (
    CLFLUSHOPT,
    DS,
    DTES64,
    FSGSBASE,
    HYPERVISOR,
    KVM_LEAVES,
    LEAF1_ECX,
    PDCM,
    RTM,
    SMEP,
    TSC_ADJUST,
    TSC_DEADLINE,
    brand_leaves,
    leaf_1_ebx,
    leaf_1_edx,
    topology_leaves,
    words,
)
from pmupass.policy.intel_cpuid import Asked

__all__ = [
    "Asked",
    "CpuidEntry",
    "PmuShape",
    "cpuid_entries",
    "guest_pmu",
    "offered_perf_capabilities",
]

KVM_MAX_GP = 8
KVM_MAX_FIXED = 3


def offered_perf_capabilities(cpu: CpuModel, mode: Mode) -> int:
    """Return the PERF_CAPABILITIES that KVM offers in a mode.

    FW_WRITE always. The emulated vPMU adds the legacy LBR format, and PEBS without its adaptive
    records where it goes through EPT; the mediated one neither. A guest here gets LBR and PEBS if
    ``guest.lbr`` and ``guest.pebs`` ask for them.
    """
    return PERF_CAP_FW_WRITE | branch_records.offered(cpu, mode)


def guest_pmu(
    cpu: CpuModel,
    *,
    mode: Mode,
    max_gp: int = KVM_MAX_GP,
    max_fixed: int = KVM_MAX_FIXED,
    asked: Asked | None = None,
    vpmu: bool = True,
    **ask: int | None,
) -> PmuShape:
    """Return the PMU that a guest finds.

    Under KVM ``max_gp`` and ``max_fixed`` are KVM's own limits (KVM_MAX_NR_INTEL_*_COUNTERS),
    ``asked`` (or single fields of it) is what this VM is configured for, and without ``vpmu`` there
    is none (version 0). Natively it is the silicon's, and on Intel ``asked`` says what silicon it
    is. UsageError for more than there is.
    """
    asked = asked or Asked(**ask)  # type: ignore[arg-type]
    amd = cpu.maker is Vendor.AMD
    if amd:
        intel_cpuid.refuse_on_amd(cpu, asked)
    else:
        for key in ("perfmon_v2", "perfctr_core"):
            if getattr(asked, key) is not None:
                raise UsageError(f"guest.{key}: {cpu.name} is no AMD CPU; it has no such CPUID bit")
    if mode is Mode.NATIVE and amd:
        return cpu.pmu
    if mode is not Mode.NATIVE and not vpmu:
        return PmuShape(vendor=cpu.maker)
    if not amd:
        return intel_cpuid.guest_pmu(
            cpu, mode=mode, asked=asked, max_gp=max_gp, max_fixed=max_fixed
        )
    if asked.fixed_counters:
        raise UsageError(
            f"guest.fixed_counters={asked.fixed_counters}: KVM offers a guest on {cpu.name} 0 to 0"
        )
    return amd_cpuid.guest_pmu(
        cpu,
        gp_counters=asked.gp_counters,
        perfmon_v2=asked.perfmon_v2,
        perfctr_core=asked.perfctr_core,
        max_gp=max_gp,
    )


# CPUID.7 EDX: IBRS and IBPB, STIBP, SSBD, which are MSRs 0x48 and 0x49
_SPEC_CTRL = 1 << 26 | 1 << 27 | 1 << 31
_LAHF64, _ABM = 1 << 0, 1 << 5  # CPUID.80000001H ECX and EDX
_SYSCALL, _NX, _PAGES_1GB, _RDTSCP, _LM = 1 << 11, 1 << 20, 1 << 26, 1 << 27, 1 << 29
_INVARIANT_TSC = 1 << 8
LAST_LEAF = 0x16
LAST_EXTENDED_LEAF = 0x80000008


def _leaf_1(cpu: CpuModel, shape: PmuShape, mode: Mode, cpus: int) -> CpuidEntry:
    ecx = LEAF1_ECX | TSC_DEADLINE
    if shape.pdcm:
        ecx |= PDCM
    if mode is not Mode.NATIVE:
        ecx |= HYPERVISOR
    edx = leaf_1_edx(cpus)
    if shape.perf_capabilities & branch_records.PEBS:
        ecx, edx = ecx | DTES64, edx | DS
    return CpuidEntry(1, None, (cpu.signature.eax, leaf_1_ebx(cpus), ecx, edx))


def _leaf_7(cpu: CpuModel) -> CpuidEntry:
    ebx = FSGSBASE | TSC_ADJUST | SMEP | CLFLUSHOPT
    if cpu.silicon.rtm:
        ebx |= RTM
    return CpuidEntry(7, 0, (0, ebx, 0, _SPEC_CTRL))


def _clock_leaves(cpu: CpuModel) -> list[CpuidEntry]:
    clock = cpu.clock
    crystal_khz, bus_khz = clock.crystal_khz or 0, clock.bus_khz or 0
    numerator = clock.tsc_khz * 2 // crystal_khz
    crystal_hz = crystal_khz * 1000 if clock.crystal_enumerated else 0
    return [
        CpuidEntry(0x15, None, (2, numerator, crystal_hz, 0)),
        CpuidEntry(
            0x16,
            None,
            (clock.tsc_khz // 1000, clock.max_khz // 1000, bus_khz // 1000, 0),
        ),
    ]


def cpuid_entries(cpu: CpuModel, shape: PmuShape, mode: Mode, cpus: int = 1) -> list[CpuidEntry]:
    """Return the CPUID leaves of a guest's CPU with APIC id 0; registers EAX, EBX, ECX, EDX."""
    return _ENTRIES[cpu.maker](cpu, shape, mode, cpus)


def _intel_entries(cpu: CpuModel, shape: PmuShape, mode: Mode, cpus: int) -> list[CpuidEntry]:
    b, d, c = words(cpu.vendor)
    entries = [
        CpuidEntry(0, None, (LAST_LEAF, b, c, d)),
        _leaf_1(cpu, shape, mode, cpus),
        _leaf_7(cpu),
        intel_cpuid.leaf_a(cpu, shape, mode),
        *topology_leaves(cpus),
        *_clock_leaves(cpu),
    ]
    if mode is not Mode.NATIVE:
        entries += KVM_LEAVES
    entries += [
        CpuidEntry(0x80000000, None, (LAST_EXTENDED_LEAF, 0, 0, 0)),
        CpuidEntry(
            0x80000001,
            None,
            (0, 0, _LAHF64 | _ABM, _SYSCALL | _NX | _PAGES_1GB | _RDTSCP | _LM),
        ),
        *brand_leaves(cpu),
        CpuidEntry(0x80000007, None, (0, 0, 0, _INVARIANT_TSC)),
        CpuidEntry(0x80000008, None, (cpu.physical_address_bits | 48 << 8, 0, 0, 0)),
    ]
    return entries


_ENTRIES = {Vendor.INTEL: _intel_entries, Vendor.AMD: amd_cpuid.cpuid_entries}
