# SPDX-License-Identifier: Apache-2.0
"""The C tests: one case for each TEST() of tests/c, by the TAP line its program prints for it."""

import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCES = sorted((Path(__file__).resolve().parent / "c").glob("test_*.c"))
TEST = re.compile(r"^TEST\((\w+)\)", re.MULTILINE)
TAP = re.compile(r"^(ok|not ok) \d+ - (\w+)$")

# Of use in a sanitizer build only: every finding ends the program, leaks included.
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:halt_on_error=1:abort_on_error=0",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
}


class Tap(NamedTuple):
    """What one program printed: the verdict of each test with the remarks before it."""

    verdicts: dict[str, tuple[str, str]]
    status: int
    text: str


def names(source: Path) -> list[str]:
    """Return the tests of one C file, in its order."""
    return TEST.findall(source.read_text(encoding="utf-8"))


CASES = [
    pytest.param(source.stem, name, id=f"{source.stem.removeprefix('test_')}-{name}")
    for source in SOURCES
    for name in names(source)
]


@cache
def run(program: Path) -> Tap:
    """Run one program, once in a session."""
    environment = os.environ | SANITIZERS
    for preload in ("LD_PRELOAD", "PYTHONMALLOC"):
        environment.pop(preload, None)
    done = subprocess.run(
        [program],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=600,
        encoding="utf-8",
        errors="replace",
    )
    return Tap(parse(done.stdout), done.returncode, done.stdout)


def parse(text: str) -> dict[str, tuple[str, str]]:
    """Return each test's verdict and the lines printed since the verdict before it."""
    verdicts = {}
    remarks: list[str] = []
    for line in text.splitlines():
        verdict = TAP.match(line)
        if verdict is None:
            remarks.append(line)
            continue
        verdicts[verdict[2]] = (verdict[1], "\n".join(remarks))
        remarks = []
    return verdicts


@pytest.fixture
def tap(c_build: Path, program: str) -> Tap:
    """Run the C program of this case."""
    path = c_build / program
    if not path.exists():
        pytest.fail(f"tests/c/meson.build does not name {program}.c", pytrace=False)
    return run(path)


@pytest.mark.parametrize(("program", "name"), CASES)
def test_c(tap: Tap, name: str) -> None:
    """The program ran the test and found it good."""
    if name not in tap.verdicts:
        pytest.fail(f"no verdict; exit status {tap.status}\n{tap.text}", pytrace=False)
    verdict, remarks = tap.verdicts[name]
    if verdict != "ok":
        pytest.fail(remarks, pytrace=False)


@pytest.mark.parametrize("program", [source.stem for source in SOURCES])
def test_c_program(tap: Tap, root: Path, program: str) -> None:
    """The program ran to its end, ran each of its tests and no other, and says so by its status."""
    expected = names(root / "tests" / "c" / f"{program}.c")
    assert expected, f"{program}.c has no TEST()"
    assert sorted(tap.verdicts) == sorted(expected), tap.text
    assert f"1..{len(expected)}" in tap.text.splitlines()
    failed = any(verdict != "ok" for verdict, _ in tap.verdicts.values())
    assert tap.status == int(failed), tap.text


def test_parse_keeps_the_remarks_of_a_failure() -> None:
    """A failing line owns the remarks before it, and only those."""
    text = "1..3\nok 1 - first\n# x.c:3: want 1, got 2\nnot ok 2 - second\nok 3 - third\n"
    assert parse(text) == {
        "first": ("ok", "1..3"),
        "second": ("not ok", "# x.c:3: want 1, got 2"),
        "third": ("ok", ""),
    }
