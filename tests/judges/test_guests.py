# SPDX-License-Identifier: Apache-2.0
"""Unicorn judges whole guests: compiled C, multiboot images, all that a machine does for them."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from guests import ROOT, STOP_EXIT, STOP_HALTED, Guest, Judged, judge, script

from pmupass.config import Mode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Judge = Callable[..., Judged]

# Of tests/images; the quick form takes those that are short and differ most.
QUICK = ("boot", "code", "floating_point", "instructions", "interrupts", "modes", "paging")
# Unicorn has code breakpoints of its own, which come twice where KVM hands #DB back.
NOT_UNDER_KVM = {"debug"}
FREESTANDING = ("-ffreestanding", "-nostdlib", "-static", "-no-pie", "-fno-stack-protector")
# A hundredth of the benchmark's rounds, as compiled.
BENCH_SHARE = 100


def image_names() -> list[str]:
    """Return the images that are built."""
    text = (ROOT / "tests" / "images" / "meson.build").read_text(encoding="utf-8")
    found = re.search(r"image_names = \[(.*?)\]", text, re.DOTALL)
    assert found
    return re.findall(r"'([a-z0-9_]+)'", found[1])


@pytest.fixture
def judged(judge_build: Path, tmp_path: Path) -> Judge:
    """Return a function that runs a guest in lock-step to its end and prints the counts."""

    def run(guest: Guest, *, stride: int = 1, stop: int = STOP_EXIT) -> Judged:
        result = judge(judge_build / "judge_guests", tmp_path, guest, stride=stride)
        print(f"{guest.name} {guest.mode}\n{result.text}")
        if result.status != 0:
            pytest.fail(f"{guest.name} {guest.mode}: {result.text}", pytrace=False)
        assert result["stop"] == stop
        assert result["memory"] >= 1
        return result

    return run


@pytest.fixture
def image(image_build: Path) -> Callable[..., Guest]:
    """Return a function that makes a guest of a test image."""

    def make(name: str, mode: Mode = Mode.NATIVE) -> Guest:
        return Guest(name, (image_build / f"{name}.elf").read_bytes(), mode)

    return make


def total(results: list[Judged], name: str) -> int:
    """Return the sum of a count."""
    return sum(result[name] for result in results)


def test_multiboot_images(judged: Judge, image: Callable[..., Guest]) -> None:
    """From 32-bit code to long mode and back, faults, interrupts, paging, SSE and x87."""
    results = [judged(image(name)) for name in QUICK]
    assert total(results, "executed") > 150_000
    assert total(results, "modes") >= 2 * len(QUICK)
    assert total(results, "legacy") > 200
    assert total(results, "user") > 100
    assert total(results, "simd") > 700
    assert total(results, "x87") > 100
    assert total(results, "interrupts") >= 3
    vectors = Counter[int]()
    for result in results:
        vectors.update(result.vectors)
    assert {0, 6, 7, 8, 13, 14} <= vectors.keys()
    # What Unicorn executed itself is nearly all of it.
    assert total(results, "given") < total(results, "executed") // 10


@pytest.mark.parametrize("mode", [Mode.NATIVE, Mode.EMULATED, Mode.MEDIATED])
def test_a_built_in_guest(judged: Judge, mode: Mode) -> None:
    """perf-record with NMIs and timer ticks; its `work` is given, as are MSRs."""
    options = {"events": "cycles,branches", "period": 100_000, "time_ns": 2_000_000}
    result = judged(Guest("perf-record", b"", mode, builtin=options))
    assert result["executed"] > 10_000
    assert result["interrupts"] > 20
    assert result.given["work"] > 5


@pytest.mark.parametrize("optimize", ["-O2", "-O3"])
def test_compiled_floating_point(judged: Judge, tmp_path: Path, optimize: str) -> None:
    """Ordinary C with doubles, floats and long doubles, scalar and vectorized."""
    image, source = tmp_path / "guest.elf", ROOT / "tests" / "conformance" / "floating_point.c"
    command = ["gcc", optimize, *FREESTANDING, "-o", str(image), str(source)]
    # What a sanitizer run preloads is not for the compiler.
    env = {k: v for k, v in os.environ.items() if k not in {"LD_PRELOAD", "PYTHONMALLOC"}}
    subprocess.run(command, env=env, check=True, timeout=60)
    result = judged(Guest("floating_point.c", image.read_bytes()))
    assert result["simd"] > 10_000
    assert result["x87"] > 50


def test_blocks_of_compiled_c(judged: Judge) -> None:
    """The interpreter runs in whole blocks and lands where both are compared."""
    guests = {guest.name: guest for guest in script("bench/images.py").MIXES}
    for name in ("sort", "lexer"):
        guest = guests[name]
        result = judged(Guest(name, guest.image(guest.rounds // 1000 + 1)), stride=100)
        assert result["executed"] > 10_000
        assert result["executed"] > 20 * result["compared"]


@pytest.mark.parametrize("what", ["a register", "an XMM register", "memory"])
def test_a_mistake_is_found(
    judge_build: Path, tmp_path: Path, image: Callable[..., Guest], what: str
) -> None:
    """Unicorn gets something wrong on its way, which the next comparison must say."""
    found = {"a register": "registers", "an XMM register": "XMM registers", "memory": "memory"}
    spoil = (list(found).index(what), 12345)
    result = judge(judge_build / "judge_guests", tmp_path, image("boot"), spoil=spoil)
    assert result.status == 1
    assert f"\nnot ok 1 - a guest in lock-step with Unicorn: {found[what]}\n" in result.text
    assert "# registers differ(s) after 12346 comparisons" in result.text or what != "a register"


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(Mode))
def test_every_image(judged: Judge, image: Callable[..., Guest], mode: Mode) -> None:
    """All test images, in all modes: what KVM completes is given, with its faults."""
    names = [n for n in image_names() if mode is Mode.NATIVE or n not in NOT_UNDER_KVM]
    results = [
        judged(image(name, mode), stop=STOP_HALTED if name == "end_halt" else STOP_EXIT)
        for name in names
    ]
    assert total(results, "executed") > 5_000_000
    print("all together", total(results, "executed"), "given", total(results, "given"))


@pytest.mark.slow
@pytest.mark.parametrize("stride", [1, 200])
def test_the_guests_of_the_benchmark(judged: Judge, stride: int) -> None:
    """Compiled C and assembly in long mode."""
    results = []
    for guest in script("bench/images.py").MIXES:
        rounds = max(guest.rounds // BENCH_SHARE, 1)
        results.append(judged(Guest(guest.name, guest.image(rounds)), stride=stride))
    assert total(results, "executed") > 5_000_000
