# SPDX-License-Identifier: Apache-2.0
"""Which accesses to MSRs beside the PMU's leave an AMD guest, and why; both vPMU designs alike.

What Linux 7.0 passes through on SVM, among the MSRs that the machine has. VMLOAD and VMSAVE switch
the registers of system calls, so that these are the guest's. With AVIC in x2APIC mode most writes
complete first and exit then (avic_unaccelerated_access).
"""

from __future__ import annotations

from pmupass.policy.interception import InterceptRow
from pmupass.policy.machine_msrs import (
    NO_HYPERVISOR,
    OWN_VALUE,
    X2APIC_BASE,
    X2APIC_EOI,
    X2APIC_READABLE,
    X2APIC_SELF_IPI,
    X2APIC_TMCCT,
    X2APIC_TPR,
)

SWITCHED = "VMRUN, VMLOAD and VMSAVE switch them"


def _row(
    name: str, numbers: tuple[int, ...], reason: str, *, read: bool, write: bool
) -> InterceptRow:
    return InterceptRow(name, numbers, read=read, write=write, reason=reason)


# What silicon has as well, and what KVM has for its guests only.
_BOTH = (
    _row("TSC", (0x10,), "KVM adds the VM's offset; a write changes it", read=True, write=True),
    _row("APIC_BASE", (0x1B,), "the local APIC is KVM's model", read=True, write=True),
    _row(
        "SPEC_CTRL",
        (0x48,),
        "until the guest writes something else than 0; direct from then on",
        read=True,
        write=True,
    ),
    _row(
        "PRED_CMD",
        (0x49,),
        "a command, write only; the barrier is the guest's own",
        read=True,
        write=False,
    ),
    _row("PATCH_LEVEL", (0x8B,), OWN_VALUE, read=True, write=True),
    _row("SYSENTER_CS, ESP, EIP", (0x174, 0x175, 0x176), SWITCHED, read=False, write=False),
    _row(
        "EFER",
        (0xC0000080,),
        "KVM checks the bits and loads the register at VMRUN",
        read=True,
        write=True,
    ),
    _row(
        "STAR, LSTAR, CSTAR, SFMASK",
        (0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084),
        SWITCHED,
        read=False,
        write=False,
    ),
    _row(
        "FS_BASE, GS_BASE, KERNEL_GS_BASE",
        (0xC0000100, 0xC0000101, 0xC0000102),
        SWITCHED,
        read=False,
        write=False,
    ),
    _row(
        "TSC_AUX",
        (0xC0000103,),
        "KVM loads it before it enters and the host's before it returns to user space",
        read=True,
        write=True,
    ),
)
_KVM = (
    _row("IA32_TSC_ADJUST", (0x3B,), "it stands beside the TSC offset", read=True, write=True),
    _row("MSR_PLATFORM_INFO", (0xCE,), OWN_VALUE, read=True, write=True),
    _row("IA32_MISC_ENABLE", (0x1A0,), OWN_VALUE, read=True, write=True),
    _row(
        "IA32_TSC_DEADLINE",
        (0x6E0,),
        "the timer is KVM's; a write is served in the fastpath",
        read=True,
        write=True,
    ),
)


def _x2apic(*, avic: bool) -> list[InterceptRow]:
    if not avic:
        numbers = tuple(range(X2APIC_BASE, X2APIC_BASE + 0x40))
        return [_row("x2APIC", numbers, "no AVIC: KVM models the APIC", read=True, write=True)]
    return [
        _row(
            "x2APIC TPR, EOI, SELF_IPI",
            (X2APIC_TPR, X2APIC_EOI, X2APIC_SELF_IPI),
            "x2AVIC does them by itself",
            read=False,
            write=False,
        ),
        _row(
            "x2APIC current count",
            (X2APIC_TMCCT,),
            "KVM computes it when it is read",
            read=True,
            write=True,
        ),
        _row(
            "x2APIC, other registers",
            X2APIC_READABLE,
            "x2AVIC: a write is done, and exits then (avic_unaccelerated_access)",
            read=False,
            write=False,
        ),
    ]


def rows(*, apicv: bool, native: bool) -> tuple[InterceptRow, ...]:
    """Return the rows of all MSRs that the machine has beside the PMU's."""
    x2apic = _x2apic(avic=apicv)
    if not native:
        return (*_BOTH, *_KVM, *x2apic)
    return tuple(
        _row(row.name, row.numbers, NO_HYPERVISOR, read=False, write=False)
        for row in (*_BOTH, *x2apic)
    )
