# SPDX-License-Identifier: Apache-2.0
"""What a guest is told: KVM's clamps, and the CPUID leaves."""

import dataclasses

import pytest

from pmupass import cpus, settings
from pmupass.config import Mode, Pmu
from pmupass.errors import UsageError
from pmupass.policy import intel_cpuid
from pmupass.policy.guest_cpuid import Asked, cpuid_entries, guest_pmu, offered_perf_capabilities

SPR, SKX = cpus.load("sapphire-rapids"), cpus.load("skylake-sp")
CLX, ICX = cpus.load("cascadelake-sp"), cpus.load("icelake-sp")
EMR, GNR = cpus.load("emerald-rapids"), cpus.load("granite-rapids")
SRF = cpus.load("sierra-forest")
VIRTUAL = (Mode.EMULATED, Mode.MEDIATED)
FW_WRITE = 1 << 13


def counts(pmu: Pmu) -> tuple[int, int, int]:
    return pmu.version, pmu.nr_gp, pmu.nr_fixed


def leaves(cpu, mode: Mode, **shape) -> dict[tuple[int, int | None], tuple[int, int, int, int]]:
    guest = guest_pmu(cpu, mode=mode, **shape)
    return {(e.leaf, e.subleaf): e.regs for e in cpuid_entries(cpu, guest, mode)}


def test_native_is_the_silicon() -> None:
    """KVM's limits and a VM without a vPMU mean nothing; the guest's CPUID says what silicon."""
    guest = guest_pmu(SPR, mode=Mode.NATIVE, max_fixed=1, vpmu=False)
    assert guest == SPR.pmu
    assert counts(guest) == (5, 8, 4)
    assert counts(guest_pmu(SPR, mode=Mode.NATIVE, gp_counters=2)) == (5, 2, 4)


@pytest.mark.parametrize("mode", VIRTUAL)
def test_kvm_clamps(mode: Mode) -> None:
    # version min(host, 2), GP min(host, 8), fixed min(host, 3)
    assert counts(guest_pmu(SPR, mode=mode)) == (2, 8, 3)
    assert counts(guest_pmu(SKX, mode=mode)) == (2, 4, 3)
    assert counts(guest_pmu(SPR, mode=mode, max_fixed=4)) == (2, 8, 4)
    assert counts(guest_pmu(SKX, mode=mode, max_fixed=4)) == (2, 4, 3)
    assert counts(guest_pmu(SPR, mode=mode, gp_counters=4, fixed_counters=1)) == (2, 4, 1)
    assert counts(guest_pmu(SPR, mode=mode, max_gp=2)) == (2, 2, 3)
    assert guest_pmu(SPR, mode=mode, vpmu=False) == Pmu()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"gp_counters": 5}, "guest.gp_counters=5: KVM offers a guest on skylake-sp 0 to 4"),
        ({"fixed_counters": 4}, "guest.fixed_counters=4: KVM offers a guest on skylake-sp 0 to 3"),
        ({"gp_counters": 3, "max_gp": 2}, "0 to 2"),
        ({"gp_counters": -1}, "0 to 4"),
    ],
)
def test_more_counters_than_there_are_is_a_usage_error(shape: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        guest_pmu(SKX, mode=Mode.MEDIATED, **shape)


@pytest.mark.parametrize("mode", list(Mode))
def test_what_a_vmm_may_ask(mode: Mode) -> None:
    """Fewer, narrower, without: each by itself, and the rest stays as it is."""
    plain = guest_pmu(SKX, mode=mode)
    for ask, changed in (
        ({"pmu_version": 1}, {"version": 1, "nr_fixed": 0, "fixed_width": 0}),
        ({"gp_width": 40}, {"gp_width": 40}),
        ({"fixed_width": 32}, {"fixed_width": 32}),
        ({"fw_write": False}, {"fw_write": False, "perf_capabilities": 0}),
        ({"pdcm": False}, {"fw_write": False, "perf_capabilities": 0, "pdcm": False}),
        ({"unavailable_events": 0x41}, {"unavailable_events": 0x41}),
        ({"arch_events": 2, "unavailable_events": 3}, {"arch_events": 2, "unavailable_events": 3}),
    ):
        assert guest_pmu(SKX, mode=mode, **ask) == dataclasses.replace(plain, **changed)
    assert guest_pmu(SKX, mode=mode, pmu_version=0) == Pmu()


@pytest.mark.parametrize("mode", VIRTUAL)
def test_kvm_keeps_a_larger_version(mode: Mode) -> None:
    # Version 5 brings the bitmap of fixed counters, ECX.
    assert counts(guest_pmu(SKX, mode=mode, pmu_version=5)) == (5, 4, 3)
    assert leaves(SKX, mode, pmu_version=5)[0xA, None] == (0x07300405, 0, 7, 0x8603)


@pytest.mark.parametrize(
    ("mode", "ask", "words"),
    [
        (Mode.NATIVE, {"pmu_version": 5}, "skylake-sp has 0 to 4"),
        (Mode.MEDIATED, {"pmu_version": 6}, "KVM keeps 0 to 5"),
        (Mode.NATIVE, {"gp_counters": 5}, "skylake-sp has 0 to 4"),
        (Mode.NATIVE, {"gp_width": 49}, "guest.gp_width=49: skylake-sp has 32 to 48"),
        (Mode.EMULATED, {"gp_width": 31}, "guest.gp_width=31: KVM offers a guest on .* 32 to 48"),
        (Mode.EMULATED, {"fixed_width": 63}, "32 to 48"),
        (Mode.EMULATED, {"pdcm": False, "fw_write": True}, "it is a bit of PERF_CAPABILITIES"),
        (Mode.EMULATED, {"arch_events": 8}, "skylake-sp has 0 to 7"),
        (Mode.EMULATED, {"unavailable_events": 0x80}, "CPUID 0xA has 7 events, bits 0 to 6"),
        (Mode.EMULATED, {"arch_events": 1, "unavailable_events": 2}, "has 1 events"),
        (Mode.EMULATED, {"pmu_version": 0, "gp_width": 40}, "no PMU; guest.gp_width=40 means"),
        (Mode.EMULATED, {"pmu_version": 0, "gp_counters": 1}, "guest.gp_counters=1 means nothing"),
        (Mode.EMULATED, {"pmu_version": 1, "fixed_counters": 1}, "fixed counters came with"),
        (Mode.EMULATED, {"pmu_version": 1, "fixed_width": 40}, "fixed counters came with"),
        (Mode.EMULATED, {"perfmon_v2": True}, "is no AMD CPU"),
    ],
)
def test_what_a_vmm_may_not_ask(mode: Mode, ask: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        guest_pmu(SKX, mode=mode, **ask)


def test_amd_has_no_leaf_a() -> None:
    for name in intel_cpuid.INTELS_OWN:
        for mode in Mode:
            with pytest.raises(UsageError, match=f"guest.{name}: zen4 is an AMD CPU"):
                guest_pmu(cpus.load("zen4"), mode=mode, **{name: 1})


def test_the_option_has_a_name_for_each() -> None:
    assert tuple(f.name for f in dataclasses.fields(Asked)) == settings.GUEST_CPUID
    assert all(f"guest.{name}" in settings.BY_KEY for name in settings.GUEST_CPUID)


def test_perf_capabilities() -> None:
    # Mediated: no PEBS, no LBR. Emulated: the legacy LBR format of Skylake (5) without PEBS, for it
    # does not go through EPT; PEBS format 4, TRAP and ARCH_REG on SPR, whose LBR is architectural.
    assert offered_perf_capabilities(SPR, Mode.MEDIATED) == FW_WRITE
    assert offered_perf_capabilities(SKX, Mode.MEDIATED) == FW_WRITE
    assert offered_perf_capabilities(SKX, Mode.EMULATED) == FW_WRITE | 5
    assert offered_perf_capabilities(SPR, Mode.EMULATED) == FW_WRITE | 0x4C0
    # Ice Lake has both: the legacy LBR format and PEBS format 4.
    assert offered_perf_capabilities(CLX, Mode.EMULATED) == FW_WRITE | 5
    assert offered_perf_capabilities(ICX, Mode.EMULATED) == FW_WRITE | 0x4C5
    assert offered_perf_capabilities(EMR, Mode.EMULATED) == FW_WRITE | 0x4C0
    assert offered_perf_capabilities(GNR, Mode.EMULATED) == FW_WRITE | 0x4C0
    # No PEBS through EPT, architectural LBR.
    assert offered_perf_capabilities(SRF, Mode.EMULATED) == FW_WRITE
    # A guest gets what the model has of it.
    for cpu in (SPR, SKX, CLX, ICX, EMR, GNR, SRF):
        for mode in Mode:
            guest = guest_pmu(cpu, mode=mode)
            assert guest.perf_capabilities == FW_WRITE
            assert guest.fw_write


def test_leaf_a() -> None:
    # Native SPR: version 5, 8 GP, 48 bits, 8 architectural events; 4 fixed, 48 bits, no AnyThread.
    assert leaves(SPR, Mode.NATIVE)[0xA, None] == (0x08300805, 0, 0xF, 0x8604)
    assert leaves(SKX, Mode.NATIVE)[0xA, None] == (0x07300404, 0, 0, 0x0603)
    assert leaves(CLX, Mode.NATIVE)[0xA, None] == (0x07300404, 0, 0, 0x0603)
    for cpu in (ICX, EMR, GNR):
        assert leaves(cpu, Mode.NATIVE)[0xA, None] == (0x08300805, 0, 0xF, 0x8604)
    assert leaves(SRF, Mode.NATIVE)[0xA, None] == (0x07300805, 0, 0x7, 0x8603)
    for mode in VIRTUAL:
        assert leaves(SRF, mode)[0xA, None] == (0x07300802, 0, 0, 0x8603)
        for cpu in (SPR, ICX, EMR, GNR):
            assert leaves(cpu, mode)[0xA, None] == (0x08300802, 0, 0, 0x8603)
        for cpu in (SKX, CLX):
            assert leaves(cpu, mode)[0xA, None] == (0x07300402, 0, 0, 0x8603)
        assert leaves(SPR, mode, vpmu=False)[0xA, None] == (0, 0, 0, 0)


def test_the_hypervisor_shows_itself() -> None:
    for mode in VIRTUAL:
        found = leaves(SPR, mode)
        assert found[1, None][2] >> 31
        eax, *signature = found[0x40000000, None]
        assert eax == 0x40000001
        assert b"".join(w.to_bytes(4, "little") for w in signature) == b"KVMKVMKVM\0\0\0"
    native = leaves(SPR, Mode.NATIVE)
    assert not native[1, None][2] >> 31
    assert (0x40000000, None) not in native


def test_identity() -> None:
    found = leaves(SPR, Mode.NATIVE)
    last, b, c, d = found[0, None]
    assert last == 0x16
    assert b"".join(w.to_bytes(4, "little") for w in (b, d, c)) == b"GenuineIntel"
    assert found[1, None][0] == 0x806F8
    text = b"".join(
        word.to_bytes(4, "little") for i in range(3) for word in found[0x80000002 + i, None]
    )
    assert text.rstrip(b"\0").decode() == SPR.brand


@pytest.mark.parametrize(
    ("leaf", "register", "bit", "feature"),
    [
        (1, 2, 13, "CX16"),
        (1, 2, 21, "x2APIC"),
        (1, 2, 23, "POPCNT"),
        (1, 2, 24, "TSC deadline"),
        (1, 3, 4, "TSC"),
        (1, 3, 5, "MSR"),
        (1, 3, 6, "PAE"),
        (1, 3, 9, "APIC"),
        (1, 3, 15, "CMOV"),
        (1, 3, 19, "CLFLUSH"),
        (1, 3, 24, "FXSR"),
        (1, 3, 26, "SSE2"),
        (0x80000001, 3, 11, "SYSCALL"),
        (0x80000001, 3, 20, "NX"),
        (0x80000001, 3, 26, "1 GB pages"),
        (0x80000001, 3, 27, "RDTSCP"),
        (0x80000001, 3, 29, "long mode"),
        (0x80000007, 3, 8, "invariant TSC"),
    ],
)
def test_features_that_there_are(leaf: int, register: int, bit: int, feature: str) -> None:
    for mode in Mode:
        assert leaves(SKX, mode)[leaf, None][register] >> bit & 1, feature


def test_features_that_there_are_not() -> None:
    for mode in Mode:
        found = leaves(SPR, mode)
        ecx, edx = found[1, None][2:]
        assert not edx >> 21 & 1, "DS, so no PEBS"
        assert not edx >> 28 & 1, "HTT"
        for bit in (0, 9, 12, 19, 20, 26, 28):  # SSE3, SSSE3, FMA, SSE4.1, SSE4.2, XSAVE, AVX
            assert not ecx >> bit & 1
        assert found[7, 0][1] & (1 << 4 | 1 << 11) == 0, "HLE and RTM"
        with_rtm = leaves(cpus.load("sapphire-rapids", {"rtm": "1"}), mode)
        assert with_rtm[7, 0][1] & (1 << 4 | 1 << 11) == 1 << 11, "RTM by setting"
        assert found[7, 0][3] == 1 << 26 | 1 << 27 | 1 << 31, "IBRS and IBPB, STIBP, SSBD"


def test_pdcm_comes_with_the_pmu() -> None:
    assert leaves(SPR, Mode.MEDIATED)[1, None][2] >> 15 & 1
    assert not leaves(SPR, Mode.MEDIATED, vpmu=False)[1, None][2] >> 15 & 1


def test_the_tsc_can_be_worked_out() -> None:
    # 0x15: crystal * EBX / EAX; 0x16: MHz
    denominator, numerator, crystal, _ = leaves(SPR, Mode.MEDIATED)[0x15, None]
    assert crystal * numerator // denominator == 2_000_000_000
    denominator, numerator, crystal, _ = leaves(SKX, Mode.MEDIATED)[0x15, None]
    assert crystal == 0, "not enumerated on Skylake-SP"
    assert 25_000_000 * numerator // denominator == 2_700_000_000
    assert leaves(SKX, Mode.MEDIATED)[0x16, None][:3] == (2700, 3700, 100)
    for cpu, hertz in (
        (ICX, 2_300_000_000),
        (EMR, 1_900_000_000),
        (GNR, 2_400_000_000),
        (SRF, 2_200_000_000),
    ):
        denominator, numerator, crystal, _ = leaves(cpu, Mode.MEDIATED)[0x15, None]
        assert crystal == 25_000_000
        assert crystal * numerator // denominator == hertz
    denominator, numerator, crystal, _ = leaves(CLX, Mode.MEDIATED)[0x15, None]
    assert crystal == 0, "nor on Cascade Lake-SP"
    assert 25_000_000 * numerator // denominator == 2_700_000_000


def test_no_leaf_twice() -> None:
    for mode in Mode:
        guest = guest_pmu(SPR, mode=mode)
        found = [(e.leaf, e.subleaf) for e in cpuid_entries(SPR, guest, mode)]
        assert len(found) == len(set(found))
        assert all(0 <= r < 1 << 32 for e in cpuid_entries(SPR, guest, mode) for r in e.regs)
    assert guest_pmu(cpus.load("skylake-sp"), mode=Mode.EMULATED, vpmu=False).version == 0


@pytest.mark.parametrize("name", ["sapphire-rapids", "zen4"])
@pytest.mark.parametrize("cpus_", [1, 2, 3, 8])
def test_topology(name: str, cpus_: int) -> None:
    """Cores of one package without SMT: as the manuals have leaves 1, 0xB and 0x80000008."""
    cpu = cpus.load(name)
    shape = guest_pmu(cpu, mode=Mode.MEDIATED)
    entries = cpuid_entries(cpu, shape, Mode.MEDIATED, cpus_)
    found = {(e.leaf, e.subleaf or 0): e.regs for e in entries}
    several = cpus_ > 1
    assert found[1, 0][1] >> 16 & 0xFF == cpus_, "logical processors"
    assert found[1, 0][3] >> 28 & 1 == several, "HTT: that number means something"
    shift = found[0xB, 1][0]
    assert 1 << shift >= cpus_ > (1 << shift) // 2, "the least shift that leaves the package's ID"
    assert found[0xB, 0][:3] == (0, 1, 1 << 8), "level 0 is SMT: no bit, one processor"
    assert found[0xB, 1][1:3] == (cpus_, 2 << 8 | 1), "level 1 is the core's"
    amd = name.startswith("zen")
    ecx = found[0x80000008, 0][2]
    assert ecx == ((shift << 12 | cpus_ - 1) if amd else 0), "ApicIdSize, NC"
    assert found[0x80000001, 0][2] >> 1 & 1 == (amd and several), "CMP_LEGACY: they are no threads"
