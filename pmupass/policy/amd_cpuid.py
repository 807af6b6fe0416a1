# SPDX-License-Identifier: Apache-2.0
"""What a guest is told by CPUID on an AMD CPU: its PMU as KVM clamps it, and the leaves.

Announced is what the guest CPU implements, as :mod:`pmupass.policy.guest_cpuid` says. AMD's own:
no leaves 0x15 and 0x16, the core extension in 0x80000001, PerfMonV2 in 0x80000022, and nothing but
zeros in leaves that are not there. TSC deadline and TSC_ADJUST are KVM's to emulate; AMD's APIC and
TSC have neither.

A guest's counters follow from its CPUID as in Linux 7.0: with PerfMonV2 as many as 0x80000022 says,
else 6 with the core extension, else the 4 of K7; never more than the host has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmupass.config import Cpuid, Mode, Pmu, Vendor
from pmupass.errors import UsageError
from pmupass.policy.cpuid_leaves import (
    CLFLUSHOPT,
    FSGSBASE,
    HYPERVISOR,
    KVM_LEAVES,
    LEAF1_ECX,
    SMEP,
    TSC_ADJUST,
    TSC_DEADLINE,
    apic_id_bits,
    brand_leaves,
    leaf_1_ebx,
    leaf_1_edx,
    topology_leaves,
    words,
)

if TYPE_CHECKING:
    from pmupass.cpus.model import CpuModel

NR_COUNTERS_CORE = 6
NR_COUNTERS_K7 = 4
NO_PMU = Pmu(vendor=Vendor.AMD)

_LAST_LEAF = 0x10
_LAST_EXTENDED_LEAF = 0x80000022
# CPUID.80000001H ECX; CMP_LEGACY: leaf 1 counts cores, not threads
_LAHF64, _CMP_LEGACY, _ABM, _PERFCTR_CORE = 1 << 0, 1 << 1, 1 << 5, 1 << 23
_SYSCALL, _NX, _PAGES_1GB, _RDTSCP, _LM = 1 << 11, 1 << 20, 1 << 26, 1 << 27, 1 << 29
_SPECULATION = 1 << 12 | 1 << 14 | 1 << 15 | 1 << 24  # IBPB, IBRS, STIBP, SSBD: 80000008H EBX
_PERFMON_V2 = 1 << 0  # CPUID.80000022H EAX
_INVARIANT_TSC = 1 << 8


def guest_pmu(
    cpu: CpuModel,
    *,
    gp_counters: int | None,
    perfmon_v2: bool | None,
    perfctr_core: bool | None,
    max_gp: int,
) -> Pmu:
    """Return the PMU of a KVM guest. UsageError for what its CPUID cannot say or KVM not offer."""
    hw = cpu.pmu
    v2 = hw.version >= 2 if perfmon_v2 is None else perfmon_v2
    core = hw.perfctr_core if perfctr_core is None else perfctr_core
    if v2 and hw.version < 2:
        raise UsageError(f"guest.perfmon_v2=1: {cpu.name} has no PerfMonV2 to offer")
    most = min(hw.nr_gp, max_gp)
    given = NR_COUNTERS_CORE if core else NR_COUNTERS_K7
    if v2:
        if gp_counters is not None and not 0 <= gp_counters <= most:
            raise UsageError(
                f"guest.gp_counters={gp_counters}: KVM offers a guest on {cpu.name} 0 to {most}"
            )
        given = most if gp_counters is None else gp_counters
    elif gp_counters is not None:
        raise UsageError(
            f"guest.gp_counters={gp_counters}: an AMD guest's CPUID has a number of counters with "
            f"PerfMonV2 only; without, there are {NR_COUNTERS_CORE}, or {NR_COUNTERS_K7} with "
            "guest.perfctr_core=0"
        )
    return Pmu(
        version=2 if v2 else 1,
        nr_gp=min(given, most),
        gp_width=hw.gp_width,
        vendor=Vendor.AMD,
        perfctr_core=core,
    )


def cpuid_entries(cpu: CpuModel, shape: Pmu, mode: Mode, cpus: int = 1) -> list[Cpuid]:
    """Return the CPUID leaves of a guest's CPU with APIC id 0; registers EAX, EBX, ECX, EDX."""
    b, d, c = words(cpu.vendor)
    virtual = mode is not Mode.NATIVE
    kvm_leaf_1 = TSC_DEADLINE | HYPERVISOR if virtual else 0
    kvm_leaf_7 = TSC_ADJUST if virtual else 0
    leaf_1 = (
        cpu.signature.eax,
        leaf_1_ebx(cpus),
        LEAF1_ECX | kvm_leaf_1,
        leaf_1_edx(cpus),
    )
    cores = apic_id_bits(cpus) << 12 | cpus - 1
    extended = _LAHF64 | _ABM | (_CMP_LEGACY if cpus > 1 else 0)
    extended |= _PERFCTR_CORE if shape.version and shape.perfctr_core else 0
    return [
        Cpuid(0, None, (_LAST_LEAF, b, c, d)),
        Cpuid(1, None, leaf_1),
        Cpuid(7, 0, (0, FSGSBASE | SMEP | CLFLUSHOPT | kvm_leaf_7, 0, 0)),
        *topology_leaves(cpus),
        *(KVM_LEAVES if virtual else ()),
        Cpuid(0x80000000, None, (_LAST_EXTENDED_LEAF, b, c, d)),
        Cpuid(
            0x80000001,
            None,
            (cpu.signature.eax, 0, extended, _SYSCALL | _NX | _PAGES_1GB | _RDTSCP | _LM),
        ),
        *brand_leaves(cpu),
        Cpuid(0x80000007, None, (0, 0, 0, _INVARIANT_TSC)),
        Cpuid(0x80000008, None, (cpu.physical_address_bits | 48 << 8, _SPECULATION, cores, 0)),
        Cpuid(0x80000022, None, _leaf_22(shape)),
    ]


def _leaf_22(shape: Pmu) -> tuple[int, int, int, int]:
    """PerfMonV2 and the number of core counters."""
    if shape.version < 2:
        return (0, 0, 0, 0)
    return (_PERFMON_V2, shape.nr_gp, 0, 0)
