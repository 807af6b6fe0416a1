# SPDX-License-Identifier: Apache-2.0
"""The bare-metal test images of tests/images, in every mode: each judges itself.

docs/guest-machine.md lists what the machine offers such an image, row by row, with the image that
exercises it; the list must be complete both ways.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import guest_amd as amd
import guest_asm as asm
import pytest

from pmupass import cpus
from pmupass.cli import main
from pmupass.config import Mode
from pmupass.policy import guest_cpuid
from pmupass.records import Stop

if TYPE_CHECKING:
    from pathlib import Path

# How an image ends that does not end by the exit port.
ENDS = {"end_halt": Stop.HALTED}
FAILING = "failing"  # its checks fail, for the tests below

SETTINGS = ("guest.memory_mb=512",)
# One that does not end is stopped and fails; the longest takes a twentieth of it.
TIME_LIMIT_CYCLES = 1_000_000_000

# What an image finds otherwise than on silicon, by mode: what it must then say, and no other does.
# docs/guest-machine.md explains each.
DIFFERS = {
    ("debug", "emulated"): {"port-breakpoint-lost"},
    ("debug", "mediated"): {"port-breakpoint-lost"},
    ("pmu_overflow", "emulated"): {"period-of-one"},
    ("pmu_registers", "emulated"): {"fixed-counter-truncates"},
    ("pmu_threshold", "emulated"): {"credit-ignores-threshold"},
    ("pmu_threshold", "mediated"): {"credit-ignores-threshold"},
    ("timer", "emulated"): {"shortest-period"},
    ("timer", "mediated"): {"shortest-period"},
}
# Besides those of the PMU: images that find other things on a CPU of another vendor.
OF_A_VENDOR = {"caches", "cpuid", "forced_emulation", "msrs", "timer", "transactions", "tsc"}
# What is a silent error of the arrangement by that, by cause.
SILENT = {"credit-ignores-threshold": "uncredited"}


def image_names(root: Path) -> list[str]:
    """Return the images that are built, in order."""
    text = (root / "tests" / "images" / "meson.build").read_text(encoding="utf-8")
    found = re.search(r"image_names = \[(.*?)\]", text, re.DOTALL)
    assert found
    return re.findall(r"'([a-z0-9_]+)'", found[1])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that takes an image every image."""
    names = image_names(metafunc.config.rootpath)
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", names)
    if "amd_case" in metafunc.fixturenames:
        # What knows neither PMU nor vendor is the same on all of them.
        cases = [
            (name, cpu, mode)
            for name in names
            for cpu, mode in amd.PAIRS
            if cpu == "zen4" or name in OF_A_VENDOR or name.startswith("pmu_")
        ]
        metafunc.parametrize("amd_case", cases, ids="-".join)


@pytest.mark.parametrize("cpu", asm.CPUS + asm.MORE_CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
def test_an_image_passes(image_build: Path, name: str, mode: str, cpu: str) -> None:
    check(image_build, name, mode, cpu)


def test_an_image_passes_on_amd(image_build: Path, amd_case: tuple[str, str, str]) -> None:
    """In the modes that the CPU has."""
    name, cpu, mode = amd_case
    check(image_build, name, mode, cpu)


@pytest.mark.parametrize("mode", asm.MODES)
def test_a_module(image_build: Path, tmp_path: Path, mode: str) -> None:
    """A file with KEY=value lines stands in memory as the image's module."""
    file = tmp_path / "env"
    file.write_text("NR=7\nWHAT=a b\n", encoding="utf-8")
    serial = check(image_build, "boot", mode, "skylake-sp", (f"guest.env_file={file}",))
    assert "# module: NR=7; WHAT=a b\n" in serial


@pytest.mark.parametrize("mode", asm.MODES)
@pytest.mark.parametrize("on", [False, True])
def test_forced_emulation_as_it_is_set(image_build: Path, mode: str, on: bool) -> None:
    """The image finds it where the setting is on, and where there is a KVM."""
    settings = (f"kvm.force_emulation_prefix={int(on)}",)
    serial = check(image_build, "forced_emulation", mode, "skylake-sp", settings)
    found = "on" if on and mode != "native" else "off"
    assert serial.startswith(f"# forced emulation is {found}\n")


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
@pytest.mark.parametrize("on", [False, True])
def test_transactions_as_they_are_set(image_build: Path, mode: str, cpu: str, on: bool) -> None:
    """The image finds RTM where the setting is on."""
    serial = check(image_build, "transactions", mode, cpu, (f"cpu.rtm={int(on)}",))
    assert serial.startswith(f"# RTM is {'on' if on else 'off'}\n")


# Besides those of the PMU: images that natively find other things than under KVM (no hypervisor).
NATIVE_IS_OTHER = {"cpuid", "debug", "timer", "tsc"}


@pytest.mark.parametrize("cpu", asm.CPUS)
def test_the_modes_say_the_same(image_build: Path, name: str, cpu: str) -> None:
    """Line by line; where an arrangement is known to differ, what is left of it does."""
    said = {mode: check(image_build, name, mode, cpu) for mode in asm.MODES}
    if DIFFERS.get((name, "emulated")) == DIFFERS.get((name, "mediated")):
        assert said["emulated"] == said["mediated"]
    if not name.startswith("pmu_") and name not in NATIVE_IS_OTHER:
        assert said["native"] == said["mediated"]


SMALLER = {
    "2 GP, 1 fixed": {"nr_gp": 2, "nr_fixed": 1},
    "1 GP, none fixed": {"nr_gp": 1, "nr_fixed": 0},
    "version 1": {"version": 1, "nr_fixed": 0, "fixed_width": 0},
    "no full-width writes": {"fw_write": False, "perf_capabilities": 0},
}
PMU_IMAGES = [
    "cpuid",
    "msrs",
    "pmu_emulated",
    "pmu_events",
    "pmu_interrupt",
    "pmu_overflow",
    "pmu_privilege",
    "pmu_rdpmc",
    "pmu_registers",
    "pmu_registers_amd",
    "pmu_threshold",
    "pmu_writes",
    "tsc",
]


@pytest.mark.parametrize("mode", ["emulated", "mediated"])
@pytest.mark.parametrize(
    ("image", "shape"),
    [(image, shape) for image in PMU_IMAGES for shape in SMALLER],
)
def test_an_image_adapts_to_a_smaller_pmu(
    image_build: Path, image: str, mode: str, shape: str
) -> None:
    """Fewer counters, version 1, no full-width writes: CPUID says so, and the images follow."""
    cpu = "sapphire-rapids"
    made = asm.config(b"", mode=mode, cpu=cpu)
    guest = dataclasses.replace(made.guest, **SMALLER[shape])
    cpuid = guest_cpuid.cpuid_entries(cpus.load(cpu), guest, Mode(made.mode))
    check(
        image_build, image, mode, cpu, guest=guest, kvm=asm.kvm_for(made, guest), cpuid=tuple(cpuid)
    )


AMD_SHAPES = {
    "2 counters": ("guest.gp_counters=2",),
    "no PerfMonV2": ("guest.perfmon_v2=0",),
    "K7": ("guest.perfmon_v2=0", "guest.perfctr_core=0"),
}


@pytest.mark.parametrize("mode", ["emulated", "mediated"])
@pytest.mark.parametrize("shape", AMD_SHAPES)
@pytest.mark.parametrize("image", PMU_IMAGES)
def test_an_image_adapts_to_a_smaller_pmu_of_amd(
    image_build: Path, image: str, mode: str, shape: str
) -> None:
    """CPUID without what Zen 4 has: fewer counters, nothing global, the four of K7."""
    check(image_build, image, mode, "zen4", AMD_SHAPES[shape])


def check(
    folder: Path,
    name: str,
    mode: str,
    cpu: str,
    settings: tuple[str, ...] = (),
    **changes: object,
) -> str:
    """Run an image, hold what it says against what it must, and return it."""
    image = (folder / f"{name}.elf").read_bytes()
    assert image[:5] == b"\x7fELF\x01", "an image is ELF32"
    given = SETTINGS + settings
    limit = TIME_LIMIT_CYCLES
    ran = asm.run_image(image, mode=mode, cpu=cpu, settings=given, time_limit=limit, **changes)
    info, serial = ran.machine.guest(), ran.machine.serial()
    said = f"\n{serial}"
    assert ran.stop is ENDS.get(name, Stop.EXIT), (
        f"{ran.stop!r} at {info.rip:#x} {info.bytes.hex(' ')}{said}"
    )
    assert info.exit_value == 0, said
    check_report(serial)
    found = set(re.findall(r"^# differs: (\S+)$", serial, re.MULTILINE))
    expected = DIFFERS.get((name, mode), set())
    if not ran.config.guest.nr_fixed:
        expected = expected - {"fixed-counter-truncates"}
    if ran.config.guest.version < 2:
        expected = expected - {"period-of-one"}  # there is no status to see it by
    assert found == expected, said
    errors = ran.machine.silent_errors()
    assert {e.cause for e in errors} == {SILENT[d] for d in found & SILENT.keys()}, (
        f"{errors}{said}"
    )
    return serial


def check_report(serial: str) -> None:
    """Every check passed, and the plan says how many there were."""
    lines = [line for line in serial.splitlines() if not line.startswith("#")]
    *checks, plan = lines
    for number, line in enumerate(checks, 1):
        assert line.startswith(f"ok {number} - "), serial
    assert plan == f"1..{len(checks)}", serial


@pytest.mark.parametrize("mode", asm.MODES)
def test_an_image_that_fails(
    image_build: Path, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit value is 1, the command's status too, and the text says what was wrong."""
    path = image_build / f"{FAILING}.elf"
    ran = asm.run_image(path.read_bytes(), mode=mode, cpu="skylake-sp", settings=SETTINGS)
    assert (ran.stop, ran.machine.guest().exit_value) == (Stop.EXIT, 1)
    assert ran.machine.serial().splitlines() == [
        "ok 1 - what is right",
        "not ok 2 - what is wrong: expected 4, got 3",
        "not ok 3 - what is outside: expected 1 to 2, got 0x123456789",
        "not ok 4 - a step: expected 6, got 5",
        "1..4",
        "# 3 of 4 failed",
    ]
    with pytest.raises(AssertionError, match="not ok 2 - what is wrong"):
        check(image_build, FAILING, mode, "skylake-sp")
    assert main(["run", str(path), "--mode", mode]) == 1
    assert "not ok 4 - a step" in capsys.readouterr().out


def test_the_list_of_the_machine_is_complete(root: Path) -> None:
    """Every row names its images, every image that is built stands in a row, none is missing."""
    text = (root / "docs" / "guest-machine.md").read_text(encoding="utf-8")
    text, differences = text.split("## What differs from silicon")
    rows = table(text)
    built = image_names(root)
    listed: set[str] = set()
    for what, _, images in rows:
        named = re.findall(r"`([a-z0-9_]+)`", images)
        assert named, f"{what}: no image"
        assert set(named) <= set(built), f"{what}: {named}"
        listed |= set(named)
    assert listed == set(built)
    sources = {path.stem for path in (root / "tests" / "images").glob("*.c")}
    runtime = {"apic", "page_tables", "pmu", "report", "runtime", "trap"}
    assert sources - runtime - {FAILING} == set(built)
    told = {name: set(where.split(", ")) for name, where, _ in table(differences)}
    found: dict[str, set[str]] = {}
    for (_, mode), names in DIFFERS.items():
        for name in names:
            found.setdefault(name, set()).add(mode)
    assert told == found


def table(text: str) -> list[tuple[str, str, str]]:
    """Return the rows of the tables of three columns, without heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [re.fullmatch(r"\| ([^|]+) \| ([^|]+) \| ([^|]+) \|", line) for line in lines]
    assert all(rows), lines
    cells = [(row[1], row[2], row[3]) for row in rows if row]
    return [row for row in cells if row[0] not in ("what", "name")]
