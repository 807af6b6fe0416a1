# SPDX-License-Identifier: Apache-2.0
"""Images that are none: one line that says what is wrong and where, status 3, never a traceback."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pmupass.bench import images

GOOD = images.elf(images.EXIT_ZERO)
# Offsets of ELF64: e_machine 18, e_entry 24, e_phoff 32, e_phnum 56; the program header is at 64.
PH_OFFSET, PH_VADDR, PH_FILESZ, PH_MEMSZ = 64 + 8, 64 + 16, 64 + 32, 64 + 40


def changed(*changes: tuple[int, str, int]) -> bytes:
    """Return the good image with fields changed: offset, format, value."""
    image = bytearray(GOOD)
    for offset, kind, value in changes:
        struct.pack_into(f"<{kind}", image, offset, value)
    return bytes(image)


def two_segments(second: int) -> bytes:
    """Return the good image with another segment of one page at an address."""
    segment = struct.pack("<IIQQQQQQ", 1, 6, 0, second, second, 0, 0x1000, 0x1000)
    head = bytearray(GOOD[:64])
    struct.pack_into("<H", head, 56, 2)
    struct.pack_into("<Q", head, 24, images.BASE + 176)
    first = bytearray(GOOD[64:120])
    size = len(GOOD) + 56
    struct.pack_into("<QQ", first, 32, size, size)
    return bytes(head + first) + segment + GOOD[120:]


def bz_image() -> bytes:
    """Return what a bzImage begins with: a boot sector with its signature, then HdrS."""
    image = bytearray(4096)
    image[0:2] = b"MZ"
    image[0x1FE:0x200] = b"\x55\xaa"
    image[0x202:0x206] = b"HdrS"
    return bytes(image)


CASES = {
    "empty": (b"", "the file is empty"),
    "text": (b"#!/bin/sh\necho hello\n", "not an ELF image"),
    "binary": (bytes(range(256)), "not an ELF image"),
    "bzimage": (bz_image(), "not an ELF image"),
    "header-truncated": (GOOD[:40], "ELF header truncated: the image has 40 of 64 bytes"),
    "program-header-truncated": (GOOD[:100], "reach past the end of the image (100 bytes)"),
    "segment-truncated": (GOOD[:-2], "reaches past the end of the image"),
    "aarch64": (changed((18, "H", 183)), "ELF machine 183 is not x86-64"),
    "big-endian": (changed((5, "B", 2)), "not little endian"),
    "elf32": (changed((4, "B", 1)), "32-bit ELF without a multiboot header"),
    "shared-object": (changed((16, "H", 3)), "-static -no-pie"),
    "object-file": (changed((16, "H", 1)), "is an object file"),
    "core-dump": (changed((16, "H", 4)), "ELF type 4 is not an executable"),
    "no-program-headers": (changed((56, "H", 0)), "no program headers"),
    "nothing-to-load": (changed((64, "I", 4)), "no loadable segment"),
    "dynamic": (changed((64, "I", 3)), "wants a dynamic linker"),
    "huge-memsz": (changed((PH_MEMSZ, "Q", 1 << 40)), "link the image there"),
    "memsz-wraps": (changed((PH_MEMSZ, "Q", (1 << 64) - 1)), "wraps around"),
    "more-memory-than-there-is": (changed((PH_MEMSZ, "Q", 1 << 30)), "set guest.memory_mb to 1026"),
    "filesz-above-memsz": (changed((PH_MEMSZ, "Q", 8)), "more bytes in the file"),
    "in-the-kernels-half": (
        changed((PH_VADDR, "Q", 0xFFFFFFFF80000000)),
        "link the image there",
    ),
    "segments-overlap": (two_segments(images.BASE), "segments 0 and 1 overlap at 0x100000"),
    "entry-outside": (changed((24, "Q", 0x200000)), "entry 0x200000 is not inside the code"),
    "no-entry": (changed((24, "Q", 0)), "no entry"),
}


@pytest.mark.parametrize("command", ["run", "diff-modes"])
@pytest.mark.parametrize("name", CASES)
def test_it_is_refused(pmupass: Callable, tmp_path: Path, name: str, command: str) -> None:
    data, says = CASES[name]
    path = tmp_path / "guest.elf"
    path.write_bytes(data)
    outcome = pmupass(command, str(path))
    assert outcome.status == 3, outcome.err
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith(f"pmupass: {path}: malformed guest image: ")
    assert says in outcome.err


def test_the_images_that_these_are_made_of_are_good(pmupass: Callable, tmp_path: Path) -> None:
    path = tmp_path / "guest.elf"
    for image in (GOOD, two_segments(images.DATA)):
        path.write_bytes(image)
        assert pmupass("run", str(path)).status == 0


def test_a_folder_is_no_image(pmupass: Callable, tmp_path: Path) -> None:
    outcome = pmupass("run", str(tmp_path))
    assert outcome.status == 3
    assert outcome.err.startswith(f"pmupass: {tmp_path}: Is a directory")
    assert len(outcome.err.splitlines()) == 1


def test_an_endless_file_is_no_image(pmupass: Callable) -> None:
    outcome = pmupass("run", "/dev/zero")
    assert outcome.status == 3
    assert "MiB, no guest image" in outcome.err


def test_a_file_that_may_not_be_read(pmupass: Callable, tmp_path: Path) -> None:
    path = tmp_path / "guest.elf"
    path.write_bytes(GOOD)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    outcome = pmupass("run", str(path))
    assert outcome.status == 3
    assert outcome.err.startswith(f"pmupass: {path}: Permission denied")
    assert len(outcome.err.splitlines()) == 1


def test_names_in_bytes_that_are_no_text(pmupass: Callable, tmp_path: Path) -> None:
    """The document could not be written: status 4, "surrogates not allowed"."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.elf")
    rules = os.fsdecode(os.fsencode(tmp_path) + b"/\xfe.toml")
    Path(path).write_bytes(GOOD)
    Path(rules).write_text('action = "deny"\nevents = ["branches"]\nfixed = []\n', encoding="utf-8")
    outcome = pmupass("run", path, "--filter", rules, "--json")
    assert outcome.status == 0
    assert outcome.document["workload"] == f"{tmp_path}/\\xff.elf"
    assert outcome.document["settings"]["filter"] == f"{tmp_path}/\\xfe.toml"
