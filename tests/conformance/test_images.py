# SPDX-License-Identifier: Apache-2.0
"""The bare-metal test images of tests/images, in every mode: each judges itself.

docs/guest-machine.md lists what the machine offers such an image, row by row, with the image that
exercises it; the list must be complete both ways.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import guest_asm as asm
import pytest

from pmupass.records import Stop

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = ("guest.memory_mb=512",)

# What an image may say that it found otherwise than on silicon, by mode. Each is explained in
# docs/guest-machine.md. An image that says nothing of the kind is not listed.
DIFFERS: dict[tuple[str, str], set[str]] = {}


def image_names(root: Path) -> list[str]:
    """Return the images that are built, in order."""
    text = (root / "tests" / "images" / "meson.build").read_text(encoding="utf-8")
    found = re.search(r"image_names = \[(.*?)\]", text, re.DOTALL)
    assert found
    return re.findall(r"'([a-z0-9_]+)'", found[1])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that takes an image every image."""
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", image_names(metafunc.config.rootpath))


@pytest.mark.parametrize("cpu", asm.CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
def test_an_image_passes(image_build: Path, name: str, mode: str, cpu: str) -> None:
    check(image_build, name, mode, cpu)


@pytest.mark.slow
@pytest.mark.parametrize("cpu", asm.MORE_CPUS)
@pytest.mark.parametrize("mode", asm.MODES)
def test_an_image_passes_on_the_other_cpus(
    image_build: Path, name: str, mode: str, cpu: str
) -> None:
    check(image_build, name, mode, cpu)


def check(folder: Path, name: str, mode: str, cpu: str) -> None:
    """Run an image and hold what it says against what it must."""
    image = (folder / f"{name}.elf").read_bytes()
    assert image[:5] == b"\x7fELF\x01", "an image is ELF32"
    ran = asm.run_image(image, mode=mode, cpu=cpu, settings=SETTINGS)
    info, serial = ran.machine.guest(), ran.machine.serial()
    said = f"\n{serial}"
    assert ran.stop is Stop.EXIT, f"{ran.stop!r} at {info.rip:#x} {info.bytes.hex(' ')}{said}"
    assert info.exit_value == 0, said
    check_report(serial)
    found = set(re.findall(r"^# differs: (\S+)$", serial, re.MULTILINE))
    assert found == DIFFERS.get((name, mode), set()), said
    assert ran.machine.silent_errors() == [], said


def check_report(serial: str) -> None:
    """Every check passed, and the plan says how many there were."""
    lines = [line for line in serial.splitlines() if not line.startswith("#")]
    *checks, plan = lines
    for number, line in enumerate(checks, 1):
        assert line.startswith(f"ok {number} - "), serial
    assert plan == f"1..{len(checks)}", serial


def test_the_list_of_the_machine_is_complete(root: Path) -> None:
    """Every row names its images, every image that is built stands in a row, none is missing."""
    text = (root / "docs" / "guest-machine.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    rows = [row for row in rows if row[0] != "what" and not row[0].startswith("-")]
    assert len(rows) == len(re.findall(r"^\| (?!what|-)", text, re.MULTILINE))
    built = image_names(root)
    listed: set[str] = set()
    for what, _, images in rows:
        named = re.findall(r"`([a-z0-9_]+)`", images)
        assert named, f"{what}: no image"
        assert set(named) <= set(built), f"{what}: {named}"
        listed |= set(named)
    assert listed == set(built)
    sources = {path.stem for path in (root / "tests" / "images").glob("*.c")}
    runtime = {"apic", "paging", "pmu", "report", "runtime", "trap"}
    assert sources - runtime == set(built)
