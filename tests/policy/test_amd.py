# SPDX-License-Identifier: Apache-2.0
"""Policy on AMD's CPUs: counters and leaves of CPUID, interception, refusals."""

from __future__ import annotations

import pytest

from pmupass import cpus
from pmupass.config import Mode, Pmu, Vendor
from pmupass.errors import UsageError
from pmupass.policy import interception, machine_msrs
from pmupass.policy.enablement import check
from pmupass.policy.guest_cpuid import cpuid_entries, guest_pmu

ALL = ("zen2", "zen3", "zen4", "zen5")
K7_CTL, K7_CTR, CTL, CTR = 0xC0010000, 0xC0010004, 0xC0010200, 0xC0010201
GLOBALS = (0xC0000300, 0xC0000301, 0xC0000302, 0xC0000303)


def amd(version: int = 2, nr_gp: int = 6, *, perfctr_core: bool = True) -> Pmu:
    return Pmu(
        version=version, nr_gp=nr_gp, gp_width=48, vendor=Vendor.AMD, perfctr_core=perfctr_core
    )


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("settings", "v2", "v1"),
    [
        ({}, amd(2, 6), amd(1, 6)),
        ({"perfmon_v2": False}, amd(1, 6), amd(1, 6)),
        ({"perfmon_v2": False, "perfctr_core": False}, amd(1, 4, perfctr_core=False), None),
        ({"perfctr_core": False}, amd(2, 6, perfctr_core=False), amd(1, 4, perfctr_core=False)),
        ({"gp_counters": 3}, amd(2, 3), None),
        ({"gp_counters": 0}, amd(2, 0), None),
        ({"max_gp": 4}, amd(2, 4), amd(1, 4)),
    ],
)
def test_counters_follow_from_cpuid(name: str, settings: dict, v2: Pmu, v1: Pmu | None) -> None:
    """With PerfMonV2 as many as the leaf says, else 6 or 4; KVM's and the host's limits hold."""
    expected = v2 if name in ("zen4", "zen5") else v1
    if expected is not None:
        assert guest_pmu(cpus.load(name), mode=Mode.EMULATED, **settings) == expected


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("zen3", {"perfmon_v2": True}, "zen3 has no PerfMonV2"),
        ("zen3", {"gp_counters": 4}, "with PerfMonV2 only"),
        ("zen4", {"gp_counters": 7}, "0 to 6"),
        ("zen4", {"fixed_counters": 1}, "0 to 0"),
        ("zen4", {"perfmon_v2": False, "gp_counters": 2}, "with PerfMonV2 only"),
        ("skylake-sp", {"perfmon_v2": False}, "no AMD CPU"),
        ("skylake-sp", {"perfctr_core": True}, "no AMD CPU"),
    ],
)
def test_what_cpuid_cannot_say(name: str, settings: dict, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        guest_pmu(cpus.load(name), mode=Mode.EMULATED, **settings)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("mode", list(Mode))
def test_leaves(name: str, mode: Mode) -> None:
    cpu = cpus.load(name)
    shape = guest_pmu(cpu, mode=mode)
    entries = cpuid_entries(cpu, shape, mode)
    leaves = {(e.leaf, e.subleaf or 0): e.regs for e in entries}
    assert len(leaves) == len(entries), "no leaf twice"
    text = b"".join(leaves[0, 0][i].to_bytes(4, "little") for i in (1, 3, 2))
    assert text == b"AuthenticAMD"
    assert leaves[0, 0][0] == 0x10
    assert (0xA, 0) not in leaves
    assert (0x15, 0) not in leaves
    v2 = name in ("zen4", "zen5")
    assert leaves[0x80000022, 0] == ((1, 6, 0, 0) if v2 else (0, 0, 0, 0))
    assert leaves[0x80000001, 0][2] >> 23 & 1, "the core extension"
    virtual = mode is not Mode.NATIVE
    assert leaves[1, 0][2] >> 24 & 1 == virtual, "TSC deadline is KVM's"
    assert leaves[1, 0][2] >> 31 == virtual
    assert leaves[7, 0][1] >> 1 & 1 == virtual, "so is TSC_ADJUST"
    assert ((0x40000000, 0) in leaves) == virtual


@pytest.mark.parametrize(
    ("name", "eax"),
    [("zen2", 0x830F10), ("zen3", 0xA00F11), ("zen4", 0xA10F11), ("zen5", 0xB00F21)],
)
def test_signatures(name: str, eax: int) -> None:
    """Family 15 and the extended family; the model's upper half in the extended model."""
    assert cpus.load(name).signature.eax == eax


def decided(mode: Mode, guest: Pmu, **given: object) -> tuple[dict[int, bool], bool]:
    """Return whether each MSR exits, and RDPMC."""
    rows = interception.table(amd(), guest, mode=mode, **given)  # type: ignore[arg-type]
    assert all(row.reason for row in rows)
    assert all(row.read == row.write for row in rows)
    exits = {msr: row.write for row in rows for msr in row.numbers}
    assert len(exits) == sum(len(row.numbers) for row in rows), "no register twice"
    return exits, interception.rdpmc_intercepted(rows)


def test_a_mediated_guest_with_everything() -> None:
    exits, rdpmc = decided(Mode.MEDIATED, amd())
    for n in range(6):
        assert exits[CTL + 2 * n]
        assert not exits[CTR + 2 * n]
    for n in range(4):
        assert exits[K7_CTL + n]
        assert not exits[K7_CTR + n]
    assert not any(exits[msr] for msr in GLOBALS)
    assert not rdpmc
    assert len(exits) == 12 + 8 + 4


@pytest.mark.parametrize(
    ("guest", "arrangement", "global_exits", "rdpmc_exits"),
    [
        (amd(2, 5), "upstream", True, True),
        (amd(2, 5), "rfc2024", False, False),
        (amd(1, 6), "upstream", True, False),  # all counters, but nothing global
        (amd(1, 6), "rfc2024", True, False),
        (amd(1, 4, perfctr_core=False), "upstream", True, True),
    ],
)
def test_what_decides(
    guest: Pmu, arrangement: interception.Arrangement, *, global_exits: bool, rdpmc_exits: bool
) -> None:
    exits, rdpmc = decided(Mode.MEDIATED, guest, arrangement=arrangement)
    assert {exits[msr] for msr in GLOBALS} == {global_exits}
    assert rdpmc == rdpmc_exits
    for n in range(6):
        there = guest.perfctr_core and n < guest.nr_gp
        assert exits[CTR + 2 * n] != there, "beyond the guest's counters always"
        assert exits[CTL + 2 * n]
    for n in range(4):
        assert exits[K7_CTR + n] != (n < guest.nr_gp)


def test_the_backdoor_takes_rdpmc() -> None:
    assert decided(Mode.MEDIATED, amd(), rdpmc_backdoor=True)[1]


def test_emulated_everything_exits_and_natively_nothing() -> None:
    for mode, exits_all in ((Mode.EMULATED, True), (Mode.NATIVE, False)):
        exits, rdpmc = decided(mode, amd())
        assert set(exits.values()) == {exits_all}
        assert rdpmc == exits_all


def test_selectors_cannot_be_direct() -> None:
    with pytest.raises(UsageError, match="GuestOnly"):
        interception.table(amd(), amd(), mode=Mode.MEDIATED, arrangement="none")


@pytest.mark.parametrize("name", ALL)
def test_mediated_needs_perfmon_v2(name: str) -> None:
    cpu = cpus.load(name)
    for mode in (Mode.NATIVE, Mode.EMULATED):
        assert check(cpu, mode=mode) is None
    refusal = check(cpu, mode=Mode.MEDIATED)
    assert (refusal is None) == (name in ("zen4", "zen5"))
    if refusal is not None:
        assert "no PerfMonV2" in str(refusal)
        assert "--mode emulated" in str(refusal)


def test_msrs_beside_the_pmus() -> None:
    """What is Intel's is not there, and what is KVM's is not there natively.

    System call registers are direct, as VMLOAD and VMSAVE switch them.
    """
    kvm = {
        msr: row for row in machine_msrs.rows(apicv=True, vendor=Vendor.AMD) for msr in row.numbers
    }
    native = {
        msr
        for row in machine_msrs.rows(apicv=True, native=True, vendor=Vendor.AMD)
        for msr in row.numbers
    }
    assert kvm[0xC0000082].direct
    assert kvm[0x10].read
    assert not kvm[0x80B].write, "EOI is the AVIC's"
    assert not kvm[0x834].write, "LVTPC: written, then an exit"
    assert kvm[0x839].read
    assert 0x3A not in kvm
    assert {0x3B, 0xCE, 0x1A0, 0x6E0} == kvm.keys() - native
    without = machine_msrs.rows(apicv=False, vendor=Vendor.AMD)
    assert next(row for row in without if 0x834 in row.numbers).write
