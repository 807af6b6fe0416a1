# SPDX-License-Identifier: Apache-2.0
"""The processor judges the interpreter: random user-mode instructions, one by one."""

import os
import re
import subprocess
from pathlib import Path

import pytest

SUMMARY = re.compile(r"^# (\d+) instructions judged, (\d+) forms, 0 not covered$", re.MULTILINE)
SLOW_INSTRUCTIONS = 10_000_000


def judge(program: Path, *, instructions: int, seeds: list[int]) -> list[str]:
    """Run the judge, one process a seed, and return what each printed."""
    running = [
        subprocess.Popen(
            [program, str(instructions), str(seed)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"},
        )
        for seed in seeds
    ]
    texts = [process.communicate()[0] for process in running]
    for process, text in zip(running, texts, strict=True):
        if text.startswith("1..0 # SKIP "):
            pytest.skip(text.partition("SKIP ")[2].strip())
        if process.returncode != 0:
            pytest.fail(f"status {process.returncode}\n{text}", pytrace=False)
    return texts


def judged(text: str) -> int:
    """Return how many instructions were judged; every form must have been."""
    summary = SUMMARY.search(text)
    assert summary is not None, text
    assert int(summary[2]) > 5000, "forms of the interpreter have gone"
    print(text)
    return int(summary[1])


def test_instructions_as_on_the_processor(judge_build: Path) -> None:
    """Every implemented form, some thirty times each."""
    (text,) = judge(judge_build / "judge_native", instructions=150_000, seeds=[1])
    assert judged(text) >= 150_000


@pytest.mark.slow
def test_ten_million_instructions_as_on_the_processor(judge_build: Path) -> None:
    """Other seeds, a share of the ten million for each processor, four at most."""
    seeds = list(range(2, 2 + min(4, os.cpu_count() or 1)))
    each = -(-SLOW_INSTRUCTIONS // len(seeds))
    texts = judge(judge_build / "judge_native", instructions=each, seeds=seeds)
    assert sum(judged(text) for text in texts) >= SLOW_INSTRUCTIONS
