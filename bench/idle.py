# SPDX-License-Identifier: Apache-2.0
"""A guest of three billion instructions, of which one billion are ``loop .``: its time by mode.

Exit status 1 if a mode takes longer than the limit, or if one executes another number of
instructions than the others.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time

from images import IDLE_MIX

from pmupass.config import Mode
from pmupass.core import Machine
from pmupass.options import Options
from pmupass.plan import Plan
from pmupass.records import Stop
from pmupass.workloads import Workload

LIMIT_SECONDS = 15.0
LEAST = 3_000_000  # instructions a round


def run(image: bytes, mode: Mode, *, one_by_one: bool = False) -> tuple[float, float, int]:
    """Return the seconds of a run, those of CPU time, and its instructions."""
    plan = Plan(Options("bench", host=False), Workload("bench", "", data=image))
    machine = Machine(dataclasses.replace(plan.config(mode), one_by_one=one_by_one))
    started, cpu = time.perf_counter(), time.process_time()
    while (stop := machine.run(1 << 30)) is Stop.BUDGET:
        pass
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    if stop is not Stop.EXIT:
        raise SystemExit(f"stopped at {machine.guest().rip:#x}: {stop.name.lower()}")
    instructions = machine.guest().instructions
    machine.close()
    return seconds, cpu, instructions


def main() -> int:
    """Print a line a mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=IDLE_MIX.rounds)
    parser.add_argument(
        "--limit", type=float, default=LIMIT_SECONDS, help="seconds a mode may take"
    )
    parser.add_argument(
        "--one-by-one", action="store_true", help="execute every iteration, for comparison"
    )
    arguments = parser.parse_args()
    image, status, executed = IDLE_MIX.image(arguments.rounds), 0, set()
    for mode in Mode:
        seconds, cpu, instructions = run(image, mode, one_by_one=arguments.one_by_one)
        executed.add(instructions)
        slow = seconds > arguments.limit
        print(
            f"{mode.name.lower():10}{instructions:>16,} instructions"
            f"{seconds:8.2f} s, CPU {cpu:.2f} s"
            f"{'  TOO LONG' if slow else ''}",
            flush=True,
        )
        status |= slow or instructions < LEAST * arguments.rounds
    if len(executed) != 1:
        print("the modes executed different numbers of instructions")
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
