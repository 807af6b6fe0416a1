# SPDX-License-Identifier: Apache-2.0
"""Host perf schedules as the reference says, whatever comes and goes."""

from __future__ import annotations

import difflib
import functools
import os
import subprocess
from typing import TYPE_CHECKING

import hypothesis
import pytest
from mistakes import MISTAKES
from plans import Plan, Writer, plans
from scheduling import Perf, Script

if TYPE_CHECKING:
    from pathlib import Path

QUICK, PARTS, A_PART, ENOUGH = 200, 12, 1000, 500


def expected(plan: Plan, make: type[Perf] = Perf) -> tuple[list[str], list[str]]:
    """Return a plan's commands, and the reference's answers."""
    script, writer = Script(make), Writer(plan)
    sent: list[str] = []
    said: list[str] = []

    def tell(commands: list[str]) -> None:
        for command in commands:
            answers = script.command(command)
            for answer in answers:
                writer.answered(answer)
            sent.append(command)
            said.extend(answers)

    tell(writer.start())
    for step in plan.steps:
        tell(writer.commands(step))
    tell(["show"])
    return sent, said


def answers(program: Path, commands: list[str]) -> list[str]:
    """Return what host perf answers."""
    environment = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "PYTHONMALLOC")}
    done = subprocess.run(
        [program],
        input="\n".join(commands) + "\n",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return [*done.stdout.splitlines(), *done.stderr.splitlines()[:5]]


def agree(program: Path, plan: Plan) -> None:
    """Both say the same, or the commands up to the first difference are shown."""
    commands, wanted = expected(plan)
    got = answers(program, commands)
    if got == wanted:
        return
    script, place = Script(), 0
    for number, command in enumerate(commands):
        said = script.command(command)
        seen = got[place : place + len(said)]
        place += len(said)
        if said != seen:
            differ = ["- reference, + csrc/perf", *difflib.ndiff(said, seen)]
            pytest.fail("\n".join([*commands[: number + 1], *differ]))
    pytest.fail("\n".join([*commands, "and then", *got[place:]]))


@pytest.fixture(scope="module")
def program(c_build: Path) -> Path:
    """Return the program that carries out commands."""
    return c_build / "perf_script"


def run(program: Path, number: int, seed: int) -> None:
    """So many plans."""

    @hypothesis.settings(max_examples=number, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.seed(seed)
    @hypothesis.given(plans())
    def sequences(plan: Plan) -> None:
        agree(program, plan)

    sequences()


def test_scheduling(program: Path) -> None:
    """The quick form."""
    run(program, QUICK, 0)


# In parts: hypothesis remembers every example of a run.
@pytest.mark.slow
@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_scheduling_at_length(program: Path, part: int) -> None:
    """The slow form."""
    run(program, A_PART, part)


@functools.cache
def some_plans() -> list[Plan]:
    """Return the plans that a mistake has to show in."""
    drawn: list[Plan] = []

    @hypothesis.settings(
        max_examples=ENOUGH,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(plans())
    def draw(plan: Plan) -> None:
        drawn.append(plan)

    draw()
    return drawn


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_found(mistake: type[Perf]) -> None:
    """A reference with one rule wrong says something else within 500 plans."""
    assert any(differs(plan, mistake) for plan in some_plans())


def differs(plan: Plan, mistake: type[Perf]) -> bool:
    """Return whether a mistake shows in a plan."""
    commands, wanted = expected(plan)
    script = Script(mistake)
    try:
        return [answer for command in commands for answer in script.command(command)] != wanted
    except KeyError:  # an event that the mistake has refused
        return True
