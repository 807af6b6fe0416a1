# SPDX-License-Identifier: Apache-2.0
"""Which accesses to MSRs beside the PMU's leave a guest, and why; both vPMU designs alike.

    rows = [*interception.table(...), *machine_msrs.rows(apicv=True)]

What Linux 7.0 passes through on Intel, among the MSRs that the machine has; all others exit and
become #GP. Two rows change while a VM runs, and the core does that: the x2APIC rows are in force
while the guest's APIC is in x2APIC mode (until then these MSRs exit), and SPEC_CTRL becomes direct
with the first write of something else than zero.

AMD: :mod:`pmupass.policy.amd_machine_msrs`.

Not modelled: IPI virtualization, which lets ICR writes through; without APICv, the TPR shadow
(writes of the TPR exit here).
"""

from __future__ import annotations

from pmupass.config import Vendor
from pmupass.policy.interception import InterceptRow

X2APIC_BASE = 0x800
X2APIC_TPR, X2APIC_EOI, X2APIC_TMCCT, X2APIC_SELF_IPI = 0x808, 0x80B, 0x839, 0x83F
# ID, version, PPR, LDR, SVR, ISR, TMR and IRR, ESR, LVT CMCI, ICR, the LVTs, initial count, divide
# configuration: what can be read but the TPR and the current count.
X2APIC_READABLE = (
    *(0x802, 0x803, 0x80A, 0x80D, 0x80F),
    *range(0x810, 0x829),
    *(0x82F, 0x830),
    *range(0x832, 0x839),
    0x83E,
)
NO_HYPERVISOR = "native: there is no hypervisor"
OWN_VALUE = "KVM serves a value of its own"

_FIXED = (
    InterceptRow(
        "IA32_TSC",
        (0x10,),
        read=False,
        write=True,
        reason="reads see the TSC with the VM's offset; a write changes the offset",
    ),
    InterceptRow(
        "IA32_APIC_BASE", (0x1B,), read=True, write=True, reason="the local APIC is KVM's model"
    ),
    InterceptRow("IA32_FEAT_CTL", (0x3A,), read=True, write=True, reason=OWN_VALUE),
    InterceptRow(
        "IA32_TSC_ADJUST", (0x3B,), read=True, write=True, reason="it stands beside the TSC offset"
    ),
    InterceptRow(
        "IA32_SPEC_CTRL",
        (0x48,),
        read=True,
        write=True,
        reason="until the guest writes something else than 0; direct from then on",
    ),
    InterceptRow(
        "IA32_PRED_CMD",
        (0x49,),
        read=True,
        write=False,
        reason="a command, write only; the barrier is the guest's own",
    ),
    InterceptRow("IA32_UCODE_REV", (0x8B,), read=True, write=True, reason=OWN_VALUE),
    InterceptRow("MSR_PLATFORM_INFO", (0xCE,), read=True, write=True, reason=OWN_VALUE),
    InterceptRow("IA32_MISC_ENABLE", (0x1A0,), read=True, write=True, reason=OWN_VALUE),
    InterceptRow(
        "IA32_DEBUGCTL",
        (0x1D9,),
        read=True,
        write=True,
        reason="a VMCS field that KVM checks: it offers no freezing on a PMI",
    ),
    InterceptRow(
        "IA32_TSC_DEADLINE",
        (0x6E0,),
        read=True,
        write=True,
        reason="the timer is KVM's; a write is served in the fastpath",
    ),
    InterceptRow(
        "IA32_SYSENTER_CS, ESP, EIP",
        (0x174, 0x175, 0x176),
        read=False,
        write=False,
        reason="VMCS fields that a VM-entry and a VM-exit switch",
    ),
    InterceptRow(
        "IA32_EFER",
        (0xC0000080,),
        read=True,
        write=True,
        reason="KVM checks the bits and loads the register at VM-entry",
    ),
    InterceptRow(
        "IA32_STAR, LSTAR, CSTAR, FMASK",
        (0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084),
        read=True,
        write=True,
        reason="KVM loads them before it enters and the host's before it returns to user space",
    ),
    InterceptRow(
        "IA32_FS_BASE, GS_BASE, KERNEL_GS_BASE",
        (0xC0000100, 0xC0000101, 0xC0000102),
        read=False,
        write=False,
        reason="a VM-entry and a VM-exit switch the first two, a vCPU load the third",
    ),
    InterceptRow(
        "IA32_TSC_AUX",
        (0xC0000103,),
        read=True,
        write=True,
        reason="KVM loads it before it enters and the host's before it returns to user space",
    ),
)


def _x2apic(*, apicv: bool) -> list[InterceptRow]:
    if not apicv:
        numbers = tuple(range(X2APIC_BASE, X2APIC_BASE + 0x40))
        why = "no APICv: KVM models the APIC"
        return [InterceptRow("x2APIC", numbers, read=True, write=True, reason=why)]
    return [
        InterceptRow(
            "x2APIC TPR",
            (X2APIC_TPR,),
            read=False,
            write=False,
            reason="APICv: task priority is in the virtual-APIC page",
        ),
        InterceptRow(
            "x2APIC EOI, SELF_IPI",
            (X2APIC_EOI, X2APIC_SELF_IPI),
            read=True,
            write=False,
            reason="APICv delivers virtual interrupts by itself; both are write only",
        ),
        InterceptRow(
            "x2APIC current count",
            (X2APIC_TMCCT,),
            read=True,
            write=True,
            reason="KVM computes it when it is read",
        ),
        InterceptRow(
            "x2APIC, other registers",
            X2APIC_READABLE,
            read=False,
            write=True,
            reason="APICv: reads come from the virtual-APIC page, writes have effects",
        ),
    ]


def rows(
    *, apicv: bool, native: bool = False, vendor: Vendor = Vendor.INTEL
) -> tuple[InterceptRow, ...]:
    """Return the rows of all MSRs that the machine has beside the PMU's."""
    if vendor is Vendor.AMD:
        from pmupass.policy import amd_machine_msrs

        return amd_machine_msrs.rows(apicv=apicv, native=native)
    table = (*_FIXED, *_x2apic(apicv=apicv))
    if not native:
        return table
    return tuple(
        InterceptRow(row.name, row.numbers, read=False, write=False, reason=NO_HYPERVISOR)
        for row in table
    )
