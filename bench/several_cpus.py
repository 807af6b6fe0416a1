# SPDX-License-Identifier: Apache-2.0
"""perf-record on eight CPUs against one: instructions of all CPUs a second, by mode.

Both do the same work in all, in turns, and are measured by CPU time; a figure is the median of the
rounds' ratios. Exit status 1 if a mode has less than 60 % of the speed of one CPU, or if a run's
counts change from round to round.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import statistics
import sys
import time

from pmupass.config import Mode
from pmupass.core import Machine
from pmupass.options import Options
from pmupass.plan import Plan
from pmupass.records import Stop

LEAST = 0.6
WORK = 8_000_000_000
CODE = 80_000_000


def run(mode: Mode, cpus: int, work: int, *, code: bool) -> tuple[float, tuple[int, ...]]:
    """Return MIPS by CPU time, and what says that it was the same run."""
    plan = Plan(Options("perf-record", host=False, settings=(f"guest.cpus={cpus}",)))
    config = plan.config(mode, work=work // cpus, perf=True)
    if code:
        # Without such a profile `work` is a NOP, and the guest runs a loop in its place.
        cmdline = re.sub(r"profile=\d+", "profile=999", config.cmdline)
        config = dataclasses.replace(config, cmdline=cmdline, one_by_one=True)
    machine = Machine(config)
    started = time.process_time()
    stop = machine.run(1 << 50)
    seconds = time.process_time() - started
    if stop is not Stop.EXIT:
        raise SystemExit(f"stopped: {stop.name.lower()}")
    guests = [machine.guest(n) for n in range(cpus)]
    counts = tuple(c.counted for n in range(cpus) for c in machine.counters(n))
    machine.close()
    instructions = sum(guest.instructions for guest in guests)
    return instructions / seconds / 1e6, (instructions, *counts)


def main() -> int:
    """Print a line a mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--cpus", type=int, default=8, choices=range(2, 9), metavar="2..8")
    parser.add_argument("--work", type=int, help="instructions of all CPUs together")
    parser.add_argument(
        "--code", action="store_true", help="loops, one iteration after the other, for the work"
    )
    arguments = parser.parse_args()
    cpus, code, status = arguments.cpus, arguments.code, 0
    work = arguments.work or (CODE if code else WORK)
    print(f"{'mode':10}{'1 CPU':>12}{f'{cpus} CPUs':>12}{'ratio':>8}{'lowest':>8}{'highest':>8}")
    for mode in Mode:
        rounds, same = [], set()
        for _ in range(arguments.rounds):
            one, _ = run(mode, 1, work, code=code)
            several, found = run(mode, cpus, work, code=code)
            rounds.append((one, several, several / one))
            same.add(found)
        one, several, ratio = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratios = [r for *_, r in rounds]
        print(
            f"{mode.name.lower():10}{one:7,.0f} MIPS{several:7,.0f} MIPS{ratio:8.2f}"
            f"{min(ratios):8.2f}{max(ratios):8.2f}"
        )
        if len(same) > 1:
            print(f"{mode.name.lower()}: rounds differ")
        status |= len(same) > 1 or ratio < LEAST
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
