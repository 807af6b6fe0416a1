# SPDX-License-Identifier: Apache-2.0
"""A user's own C program, built as the README says, runs in every mode."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING

import guest_asm as asm
import pytest

import pmupass
from pmupass.cli import main
from pmupass.errors import ExitStatus

if TYPE_CHECKING:
    from pathlib import Path

FLAGS = ("-O2", "-ffreestanding", "-mgeneral-regs-only", "-nostdlib", "-static")
_PRELOADED = ("LD_PRELOAD", "PYTHONMALLOC", "ASAN_OPTIONS", "UBSAN_OPTIONS")

# Sorts and sums, prints with the serial port, counts its own instructions and branches.
PROGRAM = r"""
typedef unsigned long long u64;
typedef unsigned int u32;

static inline void outb(u32 port, unsigned char value)
{
	__asm__ volatile("outb %0, %w1" : : "a"(value), "d"(port));
}

static inline void wrmsr(u32 msr, u64 value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static inline u64 rdpmc(u32 counter)
{
	u32 low, high;

	__asm__ volatile("rdpmc" : "=a"(low), "=d"(high) : "c"(counter) : "memory");
	return low | (u64)high << 32;
}

static void print(const char *text)
{
	for (; *text; text++)
		outb(0x3f8, (unsigned char)*text);
}

static void print_number(u64 n)
{
	char digits[21];
	int i = 20;

	digits[20] = 0;
	do
		digits[--i] = (char)('0' + n % 10);
	while (n /= 10);
	print(digits + i);
}

static u32 table[500];

static u32 sorted_sum(void)
{
	u32 sum = 0, seed = 1;
	int i, j;

	for (i = 0; i < 500; i++)
		table[i] = seed = seed * 1664525u + 1013904223u;
	for (i = 1; i < 500; i++)
		for (j = i; j > 0 && table[j - 1] > table[j]; j--) {
			u32 t = table[j];

			table[j] = table[j - 1];
			table[j - 1] = t;
		}
	for (i = 0; i < 500; i++)
		sum = sum * 31 + table[i];
	for (i = 1; i < 500; i++)
		if (table[i - 1] > table[i])
			return 0;
	return sum;
}

void _start(void)
{
	u64 instructions, branches, sum;

	wrmsr(0x38f, 0);
	wrmsr(0x186, 0x4300c0);
	wrmsr(0x187, 0x4300c4);
	wrmsr(0x38f, 3);
	sum = sorted_sum();
	wrmsr(0x38f, 0);
	instructions = rdpmc(0);
	branches = rdpmc(1);
	print("sum ");
	print_number(sum);
	print(" instructions ");
	print_number(instructions);
	print(" branches ");
	print_number(branches);
	print("\n");
	__asm__ volatile("outl %0, $0xf4" : : "a"(EXIT_VALUE));
	for (;;)
		__asm__ volatile("hlt");
}
"""


def build(folder: Path, source: str, *flags: str) -> Path:
    """Compile a C program and return the image."""
    (folder / "guest.c").write_text(source, encoding="utf-8")
    done = subprocess.run(
        ["gcc", *flags, "-o", "guest", "guest.c"],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k not in _PRELOADED},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return folder / "guest"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program, built with the flags of the README and no others."""
    return build(tmp_path_factory.mktemp("user"), PROGRAM, *FLAGS, "-DEXIT_VALUE=0")


def expected_sum() -> int:
    """Return what the program must print: the same in Python."""
    seed, table = 1, []
    for _ in range(500):
        seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
        table.append(seed)
    total = 0
    for value in sorted(table):
        total = (total * 31 + value) & 0xFFFFFFFF
    return total


@pytest.mark.parametrize("cpu", asm.CPUS)
def test_a_c_program_in_all_modes(cpu: str, image: Path) -> None:
    diff = pmupass.diff_modes(image, modes=asm.MODES, cpu=cpu)
    assert list(diff.results) == list(asm.MODES)
    seen = set()
    for result in diff.results.values():
        assert result.complete
        assert result.guest.stop == "exit"
        assert result.guest.exit_value == 0
        assert result.overhead is None
        match = re.fullmatch(r"sum (\d+) instructions (\d+) branches (\d+)\n", result.guest.serial)
        assert match, result.guest.serial
        total, instructions, branches = map(int, match.groups())
        assert total == expected_sum()
        counters = {c.event: c for c in result.counters}
        assert set(counters) == {"instructions", "branches"}
        assert counters["instructions"].true == counters["instructions"].counted == instructions
        assert counters["branches"].true == counters["branches"].counted == branches
        assert counters["instructions"].reads == 1
        # 500 values, insertion sort: n^2 / 4 steps on average.
        assert instructions > 100_000
        assert 10_000 < branches < instructions // 2
        seen.add((instructions, branches, result.guest.instructions))
    # The same guest: every mode counts the same.
    assert len(seen) == 1


@pytest.mark.parametrize("mode", asm.MODES)
def test_the_exit_value_is_the_programs(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guest = build(tmp_path, PROGRAM, *FLAGS, "-DEXIT_VALUE=42")
    status = main(["run", str(guest), "--mode", mode, "--json", "--no-host"])
    assert status == ExitStatus.GUEST_FAILURE
    document = json.loads(capsys.readouterr().out)
    assert document["guest"]["exit_value"] == 42
    assert document["guest"]["serial"].startswith(f"sum {expected_sum()} ")


def test_the_command_line_says_what_the_guest_printed(
    image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(image), "--mode", "emulated"]) == ExitStatus.OK
    assert f"sum {expected_sum()} instructions" in capsys.readouterr().out


@pytest.mark.parametrize("mode", asm.MODES)
def test_avx_stops_with_bytes_and_address(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """AVX is not there: never a silent wrong result."""
    source = """
        volatile double a = 1.5, b = 2.25;
        void _start(void)
        {
            a = a * b;
            __asm__ volatile("outl %0, $0xf4" : : "a"(0));
        }
    """
    guest = build(tmp_path, source, "-O2", "-mavx", "-ffreestanding", "-nostdlib", "-static")
    status = main(["run", str(guest), "--mode", mode])
    captured = capsys.readouterr()
    assert status == ExitStatus.MODEL == 4
    match = re.search(r"unimplemented instruction at (0x[0-9a-f]+): ([0-9a-f ]+)", captured.err)
    assert match, captured.err
    # vmovsd xmm, m64 is c5 fb 10; the address lies in the text that objdump would show.
    assert match[2].startswith("c5 fb 10")
    text = subprocess.run(
        ["objdump", "-d", str(guest)], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert re.search(rf"^\s*{int(match[1], 16):x}:\s+{match[2][:8]}", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("-static-pie", "-fPIE"), "position independent"),
        (("-shared", "-fPIC"), "position independent"),
        (("-pie", "-fPIE"), "position independent"),
    ],
    ids=["static-pie", "shared", "pie"],
)
def test_a_position_independent_image_is_refused_with_a_hint(
    flags: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = 'void _start(void) { __asm__ volatile("outl %0, $0xf4" : : "a"(0)); }'
    guest = build(
        tmp_path, source, "-O2", "-ffreestanding", "-mgeneral-regs-only", "-nostdlib", *flags
    )
    assert main(["run", str(guest)]) == ExitStatus.INPUT == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert says in captured.err
    assert "-static -no-pie" in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_an_object_file_and_a_script_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path, "void _start(void) {}", "-c")
    assert main(["run", str(tmp_path / "guest")]) == ExitStatus.INPUT
    assert "ET_REL" in capsys.readouterr().err
    script = tmp_path / "script.sh"
    script.write_text("#!/bin/sh\n", encoding="utf-8")
    assert main(["run", str(script)]) == ExitStatus.INPUT
    assert "not an ELF image" in capsys.readouterr().err
