# SPDX-License-Identifier: Apache-2.0
"""The interception table, against expectations derived by hand from the predicates of Linux 7.0.

ANY: emulated, or guest GP count != hardware's, or guest fixed count != hardware's. GLOBAL_* exit on
ANY or version <= 1; RDPMC on the VMware backdoor, ANY, or narrower counters; counters when emulated
(the full-width alias also without FW_WRITE); selectors and FIXED_CTR_CTRL always.
"""

from dataclasses import replace

import pytest

from pmupass import cpus
from pmupass.config import Mode, MsrIntercept, Pmu
from pmupass.policy import interception
from pmupass.policy.guest_cpuid import guest_pmu

SPR, SKX = cpus.load("sapphire-rapids"), cpus.load("skylake-sp")
CLX, ICX = cpus.load("cascadelake-sp"), cpus.load("icelake-sp")
EMR, GNR = cpus.load("emerald-rapids"), cpus.load("granite-rapids")
SRF = cpus.load("sierra-forest")
ALL = [SPR, SKX, CLX, ICX, EMR, GNR, SRF]
COUNTERS = ("IA32_PERFCTRn", "IA32_PMCn", "IA32_FIXED_CTRn")
SELECTORS = ("IA32_PERFEVTSELn", "IA32_FIXED_CTR_CTRL")
GLOBALS = ("IA32_PERF_GLOBAL_STATUS", "IA32_PERF_GLOBAL_CTRL", "IA32_PERF_GLOBAL_OVF_CTRL")
OWN = {*COUNTERS, *SELECTORS, *GLOBALS, "RDPMC"}
FULL = {*COUNTERS, *GLOBALS, "RDPMC"}  # all that the talk's table passes through


def mediated(cpu, arrangement="upstream", backdoor=False, guest=None, **shape):
    guest = guest or guest_pmu(cpu, mode=Mode.MEDIATED, **shape)
    return interception.table(
        cpu.pmu, guest, mode=Mode.MEDIATED, arrangement=arrangement, rdpmc_backdoor=backdoor
    )


def direct(rows) -> set[str]:
    """Return the names of direct rows; nothing is half direct."""
    for row in rows:
        assert row.read == row.write, row.name
        assert row.reason
    return {row.name for row in rows if row.direct}


def reason(rows, name: str) -> str:
    return next(row.reason for row in rows if row.name == name)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # 3 of 4 fixed counters: ANY holds.
        pytest.param(mediated(SPR), set(COUNTERS), id="sapphire-rapids"),
        # 4 of 4, 3 of 3: it does not.
        pytest.param(mediated(SPR, max_fixed=4), FULL, id="sapphire-rapids, 4 fixed"),
        pytest.param(mediated(SKX), FULL, id="skylake-sp"),
        # 3 of 3 on Cascade Lake; 3 of 4 on all since Ice Lake, whatever a VM-exit can save.
        pytest.param(mediated(CLX), FULL, id="cascadelake-sp"),
        pytest.param(mediated(ICX), set(COUNTERS), id="icelake-sp"),
        pytest.param(mediated(ICX, max_fixed=4), FULL, id="icelake-sp, 4 fixed"),
        pytest.param(mediated(EMR), set(COUNTERS), id="emerald-rapids"),
        pytest.param(mediated(EMR, max_fixed=4), FULL, id="emerald-rapids, 4 fixed"),
        pytest.param(mediated(GNR), set(COUNTERS), id="granite-rapids"),
        pytest.param(mediated(GNR, max_fixed=4), FULL, id="granite-rapids, 4 fixed"),
        # 8 of 8 GP and 3 of 3 fixed counters.
        pytest.param(mediated(SRF), FULL, id="sierra-forest"),
        # Fewer counters than the hardware's, whoever hides them.
        pytest.param(mediated(SKX, gp_counters=2), set(COUNTERS), id="2 of 4 GP"),
        pytest.param(mediated(SKX, fixed_counters=2), set(COUNTERS), id="2 of 3 fixed"),
        pytest.param(mediated(SKX, max_gp=3), set(COUNTERS), id="KVM's limit 3 GP"),
        pytest.param(mediated(SPR, max_fixed=4, gp_counters=6), set(COUNTERS), id="6 of 8 GP"),
        # Version 1 has no GLOBAL_*; RDPMC does not mind.
        pytest.param(
            mediated(SKX, guest=replace(SKX.pmu, version=1)), FULL - {*GLOBALS}, id="version 1"
        ),
        # No FW_WRITE: the alias does not exist.
        pytest.param(
            mediated(SKX, guest=replace(SKX.pmu, version=2, fw_write=False)),
            FULL - {"IA32_PMCn"},
            id="no FW_WRITE",
        ),
        # Narrower counters or the backdoor: RDPMC alone.
        pytest.param(
            mediated(SKX, guest=replace(SKX.pmu, version=2, gp_width=40)), FULL - {"RDPMC"}, id="40"
        ),
        pytest.param(
            mediated(SKX, guest=replace(SKX.pmu, version=2, fixed_width=40)),
            FULL - {"RDPMC"},
            id="fixed 40",
        ),
        pytest.param(mediated(SKX, backdoor=True), FULL - {"RDPMC"}, id="backdoor"),
        # The other arrangements look at nothing but what exists.
        pytest.param(mediated(SPR, "rfc2024"), FULL, id="rfc2024"),
        pytest.param(mediated(SPR, "rfc2024", gp_counters=4), FULL, id="rfc2024, 4 GP"),
        pytest.param(mediated(SPR, "none"), OWN, id="none"),
        pytest.param(mediated(SKX, "none"), OWN, id="none, skylake-sp"),
        pytest.param(
            mediated(SKX, "none", guest=replace(SKX.pmu, version=1)), OWN - {*GLOBALS}, id="none, 1"
        ),
    ],
)
def test_what_is_direct(rows, expected: set[str]) -> None:
    assert direct(rows) == expected


@pytest.mark.parametrize("cpu", ALL, ids=lambda cpu: cpu.name)
def test_emulated_intercepts_everything(cpu) -> None:
    guest = guest_pmu(cpu, mode=Mode.EMULATED)
    for arrangement in interception.ARRANGEMENTS:
        rows = interception.table(cpu.pmu, guest, mode=Mode.EMULATED, arrangement=arrangement)
        assert direct(rows) == set()
        assert interception.rdpmc_intercepted(rows)
        assert not interception.selectors_direct(rows)


def test_native_intercepts_nothing() -> None:
    rows = interception.table(SPR.pmu, SPR.pmu, mode=Mode.NATIVE)
    assert direct(rows) == OWN
    assert not interception.rdpmc_intercepted(rows)


@pytest.mark.parametrize("mode", [Mode.EMULATED, Mode.MEDIATED])
def test_without_a_vpmu_everything_faults(mode: Mode) -> None:
    rows = interception.table(SPR.pmu, Pmu(), mode=mode)
    assert direct(rows) == set()
    assert reason(rows, "RDPMC") == "the VM has no vPMU: the access faults (#GP)"


def test_skylake_matches_the_talk_and_sapphire_rapids_does_not() -> None:
    assert interception.differs(mediated(SKX), mediated(SKX, "rfc2024")) == ()
    assert interception.differs(mediated(CLX), mediated(CLX, "rfc2024")) == ()
    differing = interception.differs(mediated(SPR), mediated(SPR, "rfc2024"))
    assert [upstream.name for upstream, _ in differing] == [*GLOBALS, "RDPMC"]
    for upstream, rfc in differing:
        assert upstream.reason.startswith("guest has 3 of 4 fixed counters")
        assert rfc.reason == "rfc2024: direct, although guest has 3 of 4 fixed counters"
    four = {"max_fixed": 4}
    assert interception.differs(mediated(SPR, **four), mediated(SPR, "rfc2024", **four)) == ()


@pytest.mark.parametrize(
    ("rows", "name", "text"),
    [
        (
            mediated(SPR),
            "RDPMC",
            "guest has 3 of 4 fixed counters: RDPMC would show the hidden one",
        ),
        (
            mediated(SPR),
            "IA32_PERF_GLOBAL_CTRL",
            "guest has 3 of 4 fixed counters: a direct write could enable the hidden one",
        ),
        (
            mediated(SKX, gp_counters=2),
            "IA32_PERF_GLOBAL_STATUS",
            "guest has 2 of 4 GP counters: a direct read would show the hidden ones",
        ),
        (mediated(SKX), "RDPMC", "guest has all 4 GP and 3 fixed counters"),
        (mediated(SKX), "IA32_PERFEVTSELn", "KVM holds the event against the filter"),
        (
            mediated(SKX, guest=replace(SKX.pmu, version=2, gp_width=40)),
            "RDPMC",
            "guest's GP counters have 40 bits, the hardware's 48: RDPMC would show the rest",
        ),
        (
            mediated(SKX, guest=replace(SKX.pmu, version=1)),
            "IA32_PERF_GLOBAL_CTRL",
            "guest PMU version is 1: GLOBAL_* starts with version 2",
        ),
        (
            mediated(SKX, guest=replace(SKX.pmu, version=2, fw_write=False)),
            "IA32_PMCn",
            "guest lacks FW_WRITE: it does not have these registers",
        ),
    ],
)
def test_the_reason_names_what_decided(rows, name: str, text: str) -> None:
    assert reason(rows, name) == text


def test_the_bitmap_of_sapphire_rapids() -> None:
    """By number, for the core: 8 of 8 GP, 3 of 4 fixed counters."""
    by_msr = {i.msr: i for i in interception.msr_intercepts(mediated(SPR))}
    for msr in (*range(0xC1, 0xC9), *range(0x4C1, 0x4C9), 0x309, 0x30A, 0x30B):
        assert by_msr[msr] == MsrIntercept(msr, read=False, write=False), hex(msr)
    for msr in (*range(0x186, 0x18E), 0x30C, 0x38D, 0x38E, 0x38F, 0x390, 0x345, 0x391, 0x392):
        assert by_msr[msr] == MsrIntercept(msr, read=True, write=True), hex(msr)
    for msr in (0x3F1, 0x3F2, 0x600, 0x329, 0x1A6, 0x1A7):
        assert by_msr[msr].read, hex(msr)
    assert list(by_msr) == sorted(by_msr)


def test_counters_beyond_the_guests_stay_intercepted() -> None:
    for arrangement in interception.ARRANGEMENTS:
        rows = mediated(SPR, arrangement, gp_counters=6, fixed_counters=2)
        by_msr = {i.msr: i for i in interception.msr_intercepts(rows)}
        assert not by_msr[0xC6].write
        for msr in (0xC7, 0xC8, 0x4C7, 0x4C8, 0x18C, 0x18D, 0x30B, 0x30C):
            assert by_msr[msr].read, hex(msr)
            assert by_msr[msr].write, hex(msr)


@pytest.mark.parametrize("arrangement", interception.ARRANGEMENTS)
@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("gp", [0, 1, 4])
@pytest.mark.parametrize("fixed", [0, 3])
def test_no_msr_stands_in_two_rows(arrangement, mode: Mode, gp: int, fixed: int) -> None:
    guest = guest_pmu(SKX, mode=mode, gp_counters=gp, fixed_counters=fixed)
    rows = interception.table(SKX.pmu, guest, mode=mode, arrangement=arrangement)
    numbers = [msr for row in rows for msr in row.numbers]
    assert len(numbers) == len(set(numbers))
    assert all(row.numbers for row in rows if row.name != "RDPMC")
    names = [row.name for row in rows]
    assert len(names) == len(set(names))


def test_numbers_are_written_as_a_span() -> None:
    by_name = {row.name: row for row in mediated(SPR)}
    assert by_name["IA32_PERFEVTSELn"].span == "0x186-0x18d"
    assert by_name["IA32_FIXED_CTR_CTRL"].span == "0x38d"
    assert by_name["RDPMC"].span == ""


def test_numbers_agree_with_the_core(root) -> None:
    text = (root / "csrc" / "base" / "msrs.def").read_text(encoding="utf-8")
    for name, number in (
        ("IA32_PERFCTR0", interception.PERFCTR0),
        ("IA32_PERFEVTSEL0", interception.EVTSEL0),
        ("IA32_PMC0", interception.PMC0),
        ("CORE_PERF_FIXED_CTR0", interception.FIXED_CTR0),
        ("CORE_PERF_FIXED_CTR_CTRL", interception.FIXED_CTR_CTRL),
        ("CORE_PERF_GLOBAL_STATUS", interception.GLOBAL_STATUS),
        ("CORE_PERF_GLOBAL_CTRL", interception.GLOBAL_CTRL),
        ("CORE_PERF_GLOBAL_OVF_CTRL", interception.GLOBAL_OVF_CTRL),
    ):
        assert f"MSR({name}, 0x{number:03x}," in text, name
