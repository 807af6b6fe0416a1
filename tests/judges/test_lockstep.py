# SPDX-License-Identifier: Apache-2.0
"""Unicorn judges the interpreter in kernel mode: random kernels, both in lock step."""

import re
from pathlib import Path

import pytest
import unicorn_judge

SUMMARY = re.compile(
    r"^# (\d+) instructions, .* (\d+) at CPL 3, (\d+) in 32-bit code$", re.MULTILINE
)
VECTOR = re.compile(r"^# vector (\d+): (\d+)$", re.MULTILINE)
CORRECTION = re.compile(r"^# corrected (\d+) times: (.*)$", re.MULTILINE)


def judge(program: Path, *, programs: int, seed: int, stride: int = 1) -> str:
    """Run the judge and return what it printed, which has the seed of what differed."""
    done = unicorn_judge.run(program, programs, seed, stride)
    if done.status != 0:
        pytest.fail(f"status {done.status}\n{done.text}", pytrace=False)
    print(done.text)
    return done.text


def judged(text: str) -> tuple[int, int, int]:
    """Return how many instructions there were, in all, at CPL 3 and in 32-bit code."""
    found = SUMMARY.search(text)
    assert found is not None, text
    return int(found[1]), int(found[2]), int(found[3])


def test_kernels_as_in_unicorn(judge_build: Path) -> None:
    """Thirty kernels, compared after each instruction."""
    total, user, narrow = judged(judge(judge_build / "judge_lockstep", programs=30, seed=1))
    assert total > 50_000
    assert user > 2_000
    assert narrow > 500


def test_blocks_as_in_unicorn(judge_build: Path) -> None:
    """Twenty other kernels; the interpreter runs in blocks and lands where they are compared."""
    text = judge(judge_build / "judge_lockstep", programs=20, seed=1001, stride=60)
    assert judged(text)[0] > 30_000


@pytest.mark.slow
def test_many_kernels_as_in_unicorn(judge_build: Path) -> None:
    """Some millions of instructions; each exception, and each correction of Unicorn, comes up."""
    text = judge(judge_build / "judge_lockstep", programs=1500, seed=2001)
    assert judged(text)[0] > 3_000_000
    assert {0, 6, 8, 11, 13, 14} <= {int(vector) for vector, _ in VECTOR.findall(text)}
    assert [reason for times, reason in CORRECTION.findall(text) if times == "0"] == []


@pytest.mark.slow
def test_blocks_of_many_kernels_as_in_unicorn(judge_build: Path) -> None:
    """As many in blocks."""
    text = judge(judge_build / "judge_lockstep", programs=1500, seed=5001, stride=60)
    assert judged(text)[0] > 3_000_000
