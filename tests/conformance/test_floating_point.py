# SPDX-License-Identifier: Apache-2.0
"""A guest in ordinary C, compiled with SSE and vectorized, computes what the host computes."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import guest_asm as asm
import pytest

from pmupass.cli import main

SOURCE = Path(__file__).with_name("floating_point.c")
GUEST = ("-ffreestanding", "-nostdlib", "-static", "-no-pie", "-fno-stack-protector")

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def compile_c(target: Path, *options: str) -> Path:
    """Compile the source; the same code generation for guest and host."""
    command = ["gcc", *options, "-Wall", "-Werror", "-o", str(target), str(SOURCE)]
    # What a sanitizer run preloads is not for the compiler.
    env = {k: v for k, v in os.environ.items() if k not in {"LD_PRELOAD", "PYTHONMALLOC"}}
    subprocess.run(command, env=env, check=True, timeout=60)
    return target


@pytest.mark.parametrize("optimize", ["-O2", "-O3"])
def test_results_are_those_of_the_host(
    optimize: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = compile_c(tmp_path / "host", optimize, "-ffreestanding", "-DHOST")
    guest = compile_c(tmp_path / "guest.elf", optimize, *GUEST)
    code = subprocess.run(["objdump", "-d", guest], capture_output=True, text=True, check=True)
    # Otherwise it would test nothing: packed and scalar SSE, and x87.
    for mnemonic in ("cvttsd2si", "movups", "divsd", "sqrtsd", "fdiv"):
        assert mnemonic in code.stdout, mnemonic
    if optimize == "-O3":
        assert "divpd" in code.stdout
    expected = subprocess.run([host], capture_output=True, text=True, check=True).stdout
    assert len(expected.splitlines()) > 60

    instructions = set()
    for mode in asm.MODES:
        assert main(["run", str(guest), "--mode", mode, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["guest"]["serial"] == expected
        instructions.add(document["guest"]["instructions"])
    assert len(instructions) == 1
