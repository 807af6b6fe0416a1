# SPDX-License-Identifier: Apache-2.0
"""The processor judges the interpreter: random instructions of 16- and 32-bit code, one by one."""

import os
import re
import subprocess
from pathlib import Path

import pytest

SUMMARY = re.compile(r"^# (\d+) instructions judged, (\d+) forms, 0 not covered$", re.MULTILINE)
SLOW_INSTRUCTIONS = 3_000_000


def judge(program: Path, instructions: int, seed: int) -> int:
    """Run the judge and return how many instructions it judged; every form must have been."""
    done = subprocess.run(
        [program, str(instructions), str(seed)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"},
    )
    if done.stdout.startswith("1..0 # SKIP "):
        pytest.skip(done.stdout.partition("SKIP ")[2].strip())
    if done.returncode != 0:
        pytest.fail(f"status {done.returncode}\n{done.stdout}", pytrace=False)
    summary = SUMMARY.search(done.stdout)
    assert summary is not None, done.stdout
    assert int(summary[2]) > 14_000, "forms of the interpreter have gone"
    print(done.stdout)
    return int(summary[1])


def test_legacy_instructions_as_on_the_processor(judge_build: Path) -> None:
    """Every implemented form of integer code, some seven times each."""
    assert judge(judge_build / "judge_legacy", 100_000, 1) >= 100_000


@pytest.mark.slow
def test_millions_of_legacy_instructions_as_on_the_processor(judge_build: Path) -> None:
    """Another seed, and more of them."""
    assert judge(judge_build / "judge_legacy", SLOW_INSTRUCTIONS, 2) >= SLOW_INSTRUCTIONS
