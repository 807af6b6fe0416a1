# SPDX-License-Identifier: Apache-2.0
"""The interpreter judges itself: nothing depends on how a run is cut."""

import os
import subprocess
from pathlib import Path

import pytest


def judge(program: Path, *, programs: int, seed: int) -> None:
    """Run the judge on random programs; what it prints explains a failure."""
    done = subprocess.run(
        [program, str(programs), str(seed)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"},
    )
    print(done.stdout)
    if done.returncode != 0:
        pytest.fail(f"status {done.returncode}\n{done.stdout}", pytrace=False)


def test_idle_loops_advance_in_one_step_unseen(judge_build: Path) -> None:
    """A hundred and fifty programs on two CPUs in lock-step, one of them executing all of it."""
    judge(judge_build / "judge_idle", programs=150, seed=1)


@pytest.mark.slow
def test_idle_loops_advance_in_one_step_unseen_in_many_programs(judge_build: Path) -> None:
    """Another seed, eight times as many."""
    judge(judge_build / "judge_idle", programs=1200, seed=2)


def test_landings_do_not_depend_on_cuts(judge_build: Path) -> None:
    """Sixty programs, six runs each."""
    judge(judge_build / "judge_cuts", programs=60, seed=1)


@pytest.mark.slow
def test_landings_do_not_depend_on_cuts_in_many_programs(judge_build: Path) -> None:
    """Another seed, twenty times as many."""
    judge(judge_build / "judge_cuts", programs=1200, seed=2)
