# SPDX-License-Identifier: Apache-2.0
"""A guest's PMU as a VMM configures it by CPUID, and natively silicon that is like that.

Expected values follow from Intel's manual (which version brought which register) and from Linux
7.0's KVM, which keeps the version it is given, knows two kinds only (version 1, and above), serves
no more counters than it offers, and does not look at the events that leaf 0xA takes away. Every
test runs on every Intel CPU model.
"""

from __future__ import annotations

import guest_asm as asm
import pytest
from guest_asm import GP, run_script

from pmupass.errors import UsageError

NATIVE, EMULATED, MEDIATED = asm.MODES
each_mode = pytest.mark.parametrize("mode", asm.MODES)
each_vpmu = pytest.mark.parametrize("mode", [EMULATED, MEDIATED])
INTEL_CPUS = [
    "sapphire-rapids",
    "skylake-sp",
    "cascadelake-sp",
    "icelake-sp",
    "emerald-rapids",
    "granite-rapids",
    "sierra-forest",
]
each_cpu = pytest.mark.parametrize("cpu", INTEL_CPUS)
SKYLAKES = ("skylake-sp", "cascadelake-sp")

STATUS_SET, INUSE, PERF_CAPABILITIES = 0x391, 0x392, 0x345
FIXED_TYPE = 0x40000000
ANY_THREAD = 1 << 21
FW_WRITE = 1 << 13
LOOP = 1000


def silicon_version(cpu: str) -> int:
    """Return the version of a CPU model: Skylakes have 4, the others 5."""
    return 4 if cpu in SKYLAKES else 5


def cpuid(leaf: int) -> str:
    """Return a guest that leaves a CPUID leaf in slots 0 to 3."""
    return f"""
	{asm.PRELUDE}
_start:	movl	${leaf}, %eax
	xorl	%ecx, %ecx
	cpuid
	movl	%eax, RESULTS
	movl	%ebx, RESULTS + 8
	movl	%ecx, RESULTS + 16
	movl	%edx, RESULTS + 24
	finish
"""


def leaf(number: int, *, mode: str, cpu: str, settings: tuple[str, ...]) -> list[int]:
    """Return EAX, EBX, ECX and EDX of a leaf."""
    return asm.run(cpuid(number), mode=mode, cpu=cpu, settings=settings).results(4)


# ---- versions ----


@each_cpu
@each_mode
@pytest.mark.parametrize("version", [0, 1, 2, 3, 4, 5])
def test_versions(mode: str, cpu: str, version: int) -> None:
    """Each version has the registers that it brought; under KVM all above 1 are alike.

    Version 0: nothing. 1: GP counters and selectors. 2: GLOBAL_*, fixed counters. 3: AnyThread (and
    gone again with 5); 4: STATUS_SET, INUSE. KVM keeps the number and serves version 2.
    """
    settings = (f"guest.pmu_version={version}",)
    if mode == NATIVE and version > silicon_version(cpu):
        with pytest.raises(UsageError, match=f"{cpu} has 0 to 4"):
            leaf(0xA, mode=mode, cpu=cpu, settings=settings)
        return
    eax, _, _, edx = leaf(0xA, mode=mode, cpu=cpu, settings=settings)
    assert eax & 0xFF == version
    assert (edx & 0x1F > 0) == (version > 1)
    ops = [
        ("wr", asm.EVTSEL0, asm.EN | asm.OS | 0xC4),
        ("rd", asm.PERFCTR0),
        ("pmc", 0),
        ("rd", asm.GLOBAL_CTRL),
        ("rd", asm.GLOBAL_STATUS),
        ("wr", asm.OVF_CTRL, 0),
        ("rd", asm.FIXED_CTR_CTRL),
        ("rd", asm.FIXED_CTR0),
        ("pmc", FIXED_TYPE),
        ("wr", STATUS_SET, 0),
        ("rd", INUSE),
        ("wr", asm.EVTSEL0, ANY_THREAD),
    ]
    found = run_script(ops, mode=mode, cpu=cpu, settings=settings)
    native = mode == NATIVE
    faults = [version < 1] * 3 + [version < 2] * 6
    faults += [not (native and version >= 4)] * 2
    faults += [not (native and version in (3, 4))]
    assert [value == GP for value in found] == faults


@each_cpu
@each_mode
def test_version_1_counts(mode: str, cpu: str) -> None:
    """[23] Its counters count, for hardware has them all enabled; selectors alone decide."""
    ops = [
        ("wr", asm.PERFCTR0 + 1, 0),
        ("wr", asm.EVTSEL0 + 1, asm.EN | asm.OS | 0xC4),
        ("spin", LOOP),
        ("wr", asm.EVTSEL0 + 1, asm.OS | 0xC4),
        ("pmc", 1),
    ]
    found = run_script(ops, mode=mode, cpu=cpu, settings=("guest.pmu_version=1",))
    # The loop's branches, and those of the script between the accesses.
    assert LOOP < int(found[4]) < LOOP + 20


@each_cpu
@each_mode
def test_version_1_overflows(mode: str, cpu: str) -> None:
    """It has no status to look at; the PMI comes."""
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	gate	0xf0, pmi
	movq	$0, RESULTS
	wr	0x834, 0xf0
	sti
	wr	0xc1, 0xffffff00
	wr	0x186, {asm.EN | asm.OS | asm.INT | 0xC4}
	movl	$1000, %esi
1:	decl	%esi
	jnz	1b
	wr	0x186, 0
	finish
pmi:	incq	RESULTS
	iretq
"""
    ran = asm.run(source, mode=mode, cpu=cpu, settings=("guest.pmu_version=1",))
    assert ran.result(0) == 1
    assert ran.machine.pmi().delivered == 1


# ---- numbers of counters ----


@each_cpu
@each_mode
def test_fewer_counters(mode: str, cpu: str) -> None:
    """[31] Those behind the last fault; mediated because RDPMC and GLOBAL_CTRL exit then."""
    settings = ("guest.gp_counters=2", "guest.fixed_counters=1")
    eax, _, _, edx = leaf(0xA, mode=mode, cpu=cpu, settings=settings)
    assert (eax >> 8 & 0xFF, edx & 0x1F) == (2, 1)
    ops = [
        ("rd", asm.GLOBAL_CTRL),
        ("pmc", 1),
        ("pmc", FIXED_TYPE),
        ("pmc", 2),
        ("pmc", FIXED_TYPE | 1),
        ("rd", asm.PMC0 + 2),
        ("wr", asm.EVTSEL0 + 2, 0),
        ("wr", asm.GLOBAL_CTRL, 1 << 2),
        ("wr", asm.GLOBAL_CTRL, 1 << 33),
        ("wr", asm.FIXED_CTR_CTRL, 0x10),
    ]
    expected = [3, 0, 0, *[GP] * 7]
    assert run_script(ops, mode=mode, cpu=cpu, settings=settings) == expected


# ---- widths ----

NARROW = ("guest.gp_width=40", "guest.fixed_width=36")


@each_cpu
@each_mode
def test_narrow_counters(mode: str, cpu: str) -> None:
    """A 40-bit GP counter and a 36-bit fixed one.

    Silicon like that, and KVM where it serves the access, cut reads to the width. RDPMC exits
    where the widths differ. A mediated guest's RDMSR and WRMSR of counters reach the real ones of
    48 bits, which KVM lets happen.
    """
    eax, _, _, edx = leaf(0xA, mode=mode, cpu=cpu, settings=NARROW)
    assert (eax >> 16 & 0xFF, edx >> 5 & 0xFF) == (40, 36)
    ops = [
        ("wr", asm.GLOBAL_CTRL, 0),
        ("wr", asm.PERFCTR0, 0x8000_0000),  # sign-extended to the width
        ("rd", asm.PERFCTR0),
        ("pmc", 0),
        ("wr", asm.PMC0, 1 << 40),  # above 40 bits, below 48
        ("pmc", 0),
        ("wr", asm.FIXED_CTR0, 1 << 36 | 5),
        ("pmc", FIXED_TYPE),
    ]
    found = run_script(ops, mode=mode, cpu=cpu, settings=NARROW)
    wide = {NATIVE: 40, EMULATED: 40, MEDIATED: 48}[mode]
    extended = (1 << wide) - (1 << 31)
    assert found[:4] == [0, 0, extended, extended & (1 << 40) - 1]
    if mode == MEDIATED:
        assert found[4:] == [0, 0, 0, 5]
    elif mode == EMULATED:
        # KVM takes a fixed counter's write and cuts it (rule 4).
        assert found[4:] == [GP, extended, 0, 5]
    else:
        assert found[4:] == [GP, extended, GP, 0]


@each_cpu
@each_mode
def test_where_narrow_counters_overflow(mode: str, cpu: str) -> None:
    """40 bits full and ten branches more: a status bit, but not where silicon has 48 bits.

    The mediated guest's counter is the physical one, which does not wrap at 40 bits.
    """
    ops = [
        ("wr", asm.GLOBAL_CTRL, 0),
        ("wr", asm.EVTSEL0, asm.EN | asm.OS | 0xC4),
        ("wr", asm.PMC0, (1 << 40) - 10),
        ("wr", asm.GLOBAL_CTRL, 1),
        ("spin", 500),
        ("wr", asm.GLOBAL_CTRL, 0),
        ("rd", asm.GLOBAL_STATUS),
        ("pmc", 0),
    ]
    found = run_script(ops, mode=mode, cpu=cpu, settings=NARROW)
    assert found[6] == (0 if mode == MEDIATED else 1)
    # RDPMC exits in a mediated guest too, and shows 40 bits of it.
    assert 490 <= int(found[7]) < 520


# ---- PERF_CAPABILITIES ----


@each_cpu
@each_mode
def test_no_full_width_writes(mode: str, cpu: str) -> None:
    """[3] PERF_CAPABILITIES without FW_WRITE: 0x4c1 and on are not there, 0xc1 and on are."""
    settings = ("guest.fw_write=0",)
    assert leaf(1, mode=mode, cpu=cpu, settings=settings)[2] >> 15 & 1
    ops = [
        ("wr", asm.GLOBAL_CTRL, 0),
        ("rd", PERF_CAPABILITIES),
        ("rd", asm.PMC0),
        ("wr", asm.PMC0, 0),
        ("wr", asm.PERFCTR0, 5),
        ("rd", asm.PERFCTR0),
        ("pmc", 0),
    ]
    expected = [0, 0, GP, GP, 0, 5, 5]
    assert run_script(ops, mode=mode, cpu=cpu, settings=settings) == expected


@each_cpu
@each_mode
def test_no_pdcm(mode: str, cpu: str) -> None:
    """CPUID without PDCM: no PERF_CAPABILITIES, and so no full-width writes."""
    settings = ("guest.pdcm=0",)
    assert not leaf(1, mode=mode, cpu=cpu, settings=settings)[2] >> 15 & 1
    ops = [
        ("wr", asm.GLOBAL_CTRL, 0),
        ("rd", PERF_CAPABILITIES),
        ("wr", PERF_CAPABILITIES, 0),
        ("rd", asm.PMC0),
        ("wr", asm.PERFCTR0, 7),
        ("pmc", 0),
    ]
    assert run_script(ops, mode=mode, cpu=cpu, settings=settings) == [0, GP, GP, GP, 0, 7]


@each_cpu
@each_mode
def test_perf_capabilities_has_what_the_guest_has(mode: str, cpu: str) -> None:
    """FW_WRITE. KVM would offer more in the emulated design; the model has no LBR and no PEBS."""
    ops = [("rd", PERF_CAPABILITIES), ("wr", PERF_CAPABILITIES, FW_WRITE)]
    assert run_script(ops, mode=mode, cpu=cpu) == [FW_WRITE, GP]


# ---- architectural events ----


@each_cpu
@each_mode
def test_unavailable_events(mode: str, cpu: str) -> None:
    """CPUID takes branches (bit 5) away: silicon like that has no such event; KVM does not look.

    The fixed counters have enumerations of their own: instructions, taken away as well (bit 1),
    are still counted by fixed counter 0.
    """
    settings = ("guest.unavailable_events=0x22",)
    eax, ebx, _, _ = leaf(0xA, mode=mode, cpu=cpu, settings=settings)
    assert (eax >> 24, ebx) == (7 if cpu in (*SKYLAKES, "sierra-forest") else 8, 0x22)
    ops = [
        ("wr", asm.GLOBAL_CTRL, 0),
        ("wr", asm.EVTSEL0, asm.EN | asm.OS | 0xC4),
        ("wr", asm.EVTSEL0 + 1, asm.EN | asm.OS | 0xC0),
        ("wr", asm.EVTSEL0 + 2, asm.EN | asm.OS | 0x3C),
        ("wr", asm.FIXED_CTR_CTRL, 1),
        ("wr", asm.GLOBAL_CTRL, 1 << 32 | 7),
        ("spin", LOOP),
        ("wr", asm.GLOBAL_CTRL, 0),
        ("pmc", 0),
        ("pmc", 1),
        ("pmc", 2),
        ("pmc", FIXED_TYPE),
    ]
    branches, instructions, cycles, fixed = (
        int(x) for x in run_script(ops, mode=mode, cpu=cpu, settings=settings)[8:]
    )
    assert cycles > LOOP // 4
    assert 2 * LOOP < fixed < 2 * LOOP + 100
    if mode == NATIVE:
        assert (branches, instructions) == (0, 0)
    else:
        assert LOOP < branches < LOOP + 20
        assert instructions == fixed


@each_cpu
@each_mode
def test_a_shorter_list_of_events(mode: str, cpu: str) -> None:
    """EBX's length is EAX[31:24]: what is beyond it is not there either."""
    settings = ("guest.arch_events=3",)
    eax, ebx, _, _ = leaf(0xA, mode=mode, cpu=cpu, settings=settings)
    assert (eax >> 24, ebx) == (3, 0)
    ops = [
        ("wr", asm.GLOBAL_CTRL, 0),
        ("wr", asm.EVTSEL0, asm.EN | asm.OS | 0xC4),
        ("wr", asm.GLOBAL_CTRL, 1),
        ("spin", LOOP),
        ("wr", asm.GLOBAL_CTRL, 0),
        ("pmc", 0),
    ]
    branches = int(run_script(ops, mode=mode, cpu=cpu, settings=settings)[5])
    assert branches == 0 if mode == NATIVE else LOOP < branches < LOOP + 20


# ---- what exits then ----

# Settings, and in what the guest is less than the hardware then: the number of counters, the width,
# the version, full-width writes.
SHAPES = {
    "all that KVM offers": ((), ""),
    "narrow": (("guest.gp_width=40",), "width"),
    "narrow fixed": (("guest.fixed_width=40",), "width"),
    "two counters": (("guest.gp_counters=2",), "counters"),
    "two fixed": (("guest.fixed_counters=2",), "counters"),
    "version 1": (("guest.pmu_version=1",), "counters"),
    "version 5": (("guest.pmu_version=5",), ""),
    "legacy writes": (("guest.fw_write=0",), "aliases"),
}


@each_cpu
@pytest.mark.parametrize("shape", SHAPES)
def test_what_exits_of_a_mediated_guest(cpu: str, shape: str) -> None:
    """[31] RDPMC and GLOBAL_* exit where the guest has fewer counters than the hardware.

    RDPMC also where they are narrower. Counters are direct; their full-width names exit where the
    guest does not have them. Silicon with four fixed counters has more than KVM offers.
    """
    settings, less = SHAPES[shape]
    # What exits while a load is put off is another question: test_lazy_load.py.
    settings = (*settings, "kvm.lazy=put")
    hardware_has_four = cpu not in (*SKYLAKES, "sierra-forest")
    lacks = less == "counters" or hardware_has_four
    ops = [
        ("pmc", 0),
        ("rd", asm.GLOBAL_STATUS),
        ("rd", asm.PERFCTR0),
        ("wr", asm.OVF_CTRL, 0),
        ("wr", asm.PERFCTR0, 0),
        ("wr", asm.PMC0, 0),
    ]

    def exits(script: list[tuple]) -> tuple[int, int, int]:
        found = asm.run(asm.script(script), mode=MEDIATED, cpu=cpu, settings=settings).exits()
        return (found.get("RDPMC", 0), found.get("MSR_READ", 0), found.get("MSR_WRITE", 0))

    rdpmc, reads, writes = (b - a for a, b in zip(exits([("pce", 0)]), exits(ops), strict=True))
    assert rdpmc == (lacks or less == "width")
    assert reads == lacks
    assert writes == lacks + (less == "aliases")
