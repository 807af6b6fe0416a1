# SPDX-License-Identifier: Apache-2.0
"""Registers that a vCPU lacks: kvm.ignore_msrs.

KVM tells a register that it does not know for this vCPU from a value, or an access, that one which
is there refuses. Its module parameter ignore_msrs is about the former alone.
"""

from __future__ import annotations

import guest_amd as amd
import guest_asm as asm
import pytest
from guest_amd import ctl, ctr
from guest_asm import GP, run_script
from test_kvm_msrs import machine

each_vpmu = pytest.mark.parametrize("mode", ["emulated", "mediated"])
IGNORE = "kvm.ignore_msrs=1"
UNKNOWN, STATUS_SET, PEBS_ENABLE, PERF_CAPABILITIES = 0x1234, 0x391, 0x3F1, 0x345
FW_WRITE = 1 << 13
# Of a guest with two GP counters and one fixed one: registers of no vCPU, and of bigger ones.
LACKING = (
    *(UNKNOWN, STATUS_SET, PEBS_ENABLE),
    *(asm.PERFCTR0 + 2, asm.PMC0 + 2, asm.EVTSEL0 + 2, asm.FIXED_CTR0 + 1),
)
SMALL = ("guest.gp_counters=2", "guest.fixed_counters=1")


@each_vpmu
def test_what_a_vcpu_lacks_reads_zero_and_takes_anything(mode: str) -> None:
    """[33] For the guest: ignored, where it is #GP otherwise; and nothing stays of the writes."""
    ops = [op for msr in LACKING for op in (("rd", msr), ("wr", msr, 77), ("rd", msr))]
    given = {"mode": mode, "cpu": "sapphire-rapids"}
    assert run_script(ops, settings=SMALL, **given) == [GP] * len(ops)
    assert run_script(ops, settings=(*SMALL, IGNORE), **given) == [0] * len(ops)


@each_vpmu
def test_what_a_register_refuses_is_refused(mode: str) -> None:
    """Reserved bits, a full-width write beyond the width, a read-only register, RDPMC."""
    ops = [
        ("wr", asm.EVTSEL0, 1 << 21),
        ("wr", asm.PMC0, 1 << 48),
        ("wr", asm.GLOBAL_CTRL, 1 << 8),
        ("wr", 0x38E, 0),
        ("pmc", 2),
        # PERF_CAPABILITIES is there, but a guest's write of it is one that KVM does not know.
        ("rd", PERF_CAPABILITIES),
        ("wr", PERF_CAPABILITIES, 0),
        ("rd", PERF_CAPABILITIES),
    ]
    given = {"mode": mode, "cpu": "sapphire-rapids"}
    expected = [GP] * 5 + [FW_WRITE, GP, FW_WRITE]
    assert run_script(ops, settings=SMALL, **given) == expected
    expected[6] = 0
    assert run_script(ops, settings=(*SMALL, IGNORE), **given) == expected


def test_a_bare_machine_has_no_kvm() -> None:
    ops = [("rd", UNKNOWN), ("wr", UNKNOWN, 0)]
    found = run_script(ops, mode="native", cpu="sapphire-rapids", settings=(IGNORE,))
    assert found == [GP, GP]


@each_vpmu
def test_the_vmm_as_well(mode: str) -> None:
    """[33] KVM_GET_MSRS and KVM_SET_MSRS go on; a refused value stops them as ever."""
    made = machine(mode=mode, cpu="sapphire-rapids", settings=(*SMALL, IGNORE))
    assert made.get_msrs(LACKING) == [0] * len(LACKING)
    assert made.set_msrs([(msr, 77) for msr in LACKING]) == len(LACKING)
    assert made.get_msrs(LACKING) == [0] * len(LACKING)
    wrong = 1 << 8
    values = [(asm.PERFCTR0, 5), (UNKNOWN, 1), (asm.GLOBAL_CTRL, wrong), (asm.PERFCTR0, 6)]
    assert made.set_msrs(values) == 2
    assert made.get_msrs([asm.PERFCTR0]) == [5]


@each_vpmu
def test_counters_that_an_amd_guest_lacks_are_refused(mode: str) -> None:
    """K7's registers and the core extension's are known as a whole, whatever number CPUID gives."""
    ops = [("rd", ctr(2)), ("wr", ctl(5), 0), ("rd", amd.K7_PERFCTR0 + 2), ("rd", UNKNOWN)]
    for ignore in (False, True):
        settings = ("guest.gp_counters=2", *((IGNORE,) if ignore else ()))
        found = run_script(ops, mode=mode, cpu="zen4", settings=settings)
        assert found == [GP, GP, GP, 0 if ignore else GP]
        # So the VMM cannot read them as zero either, though they are listed.
        made = machine(mode=mode, cpu="zen4", settings=settings)
        assert ctr(2) in made.msr_index_list()
        assert made.get_msrs([ctr(1), ctr(2)]) == [0]
        assert made.set_msrs([(ctr(2), 0)]) == 0


def test_what_an_amd_guest_lacks_as_a_whole_is_ignored() -> None:
    """The global registers without PerfMonV2, the core extension's without it."""
    ops = [op for msr in (amd.GLOBAL_CTL, ctl(0), ctr(5)) for op in (("wr", msr, 1), ("rd", msr))]
    given = {"mode": "emulated", "cpu": "zen3"}
    none = ("guest.perfctr_core=0",)
    assert run_script(ops, settings=none, **given) == [GP] * 6
    assert run_script(ops, settings=(*none, IGNORE), **given) == [0] * 6
