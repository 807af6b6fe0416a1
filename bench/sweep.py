# SPDX-License-Identifier: Apache-2.0
"""How much faster a sweep is with two workers than with one, and that it makes the same bytes.

The sweep has 500 cells: perf-record on five CPUs, two modes, five switch policies, two rates and
five tick rates. Each round runs it once with each number of workers, in turns, from the start of
the command to its end: what is claimed is about what a user waits for, start-up and table included.
Exit status 1 if the median of the rounds' ratios is below the limit.

On a computer that does other work, workers wait for processors, and two of them wait more than one
does. Each round shows how much processor time others took of all there was, so that rounds in which
this decided can be told; --quiet leaves them out.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SWEEP = """
columns = []
[common]
workload = "perf-record"
time = "{time}"
[grid]
cpu = ["skylake-sp", "icelake-sp", "sapphire-rapids", "zen4", "zen5"]
mode = ["emulated", "mediated"]
switch = ["upstream", "entry-exit", "vcpu-loop", "lazy", "enlightened"]
freq = [1000, 4000]
set.guest.hz = [100, 250, 300, 500, 1000]
"""
CELLS = 500
LIMIT = 1.7
QUIET = 0.1


@dataclass(frozen=True)
class Taken:
    """What one run of the sweep took: seconds by the clock, and others' share of the processors."""

    seconds: float
    others: float


def _busy() -> tuple[int, int]:
    """Return ticks of processor time that were used, and all that there were."""
    line = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0]
    ticks = [int(word) for word in line.split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def run(folder: Path, workers: int) -> Taken:
    """Run the sweep anew."""
    import resource

    before, mine = _busy(), resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pmupass", "sweep", str(folder / "sweep.toml"), "--restart"),
            *(f"--workers={workers}", f"--output={folder}/{workers}.jsonl"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    seconds = time.perf_counter() - started
    if done.returncode or done.stderr != f"pmupass: {CELLS} cells: {CELLS} ok\n":
        raise SystemExit(f"{workers} workers: status {done.returncode}: {done.stderr}")
    after, ours = _busy(), resource.getrusage(resource.RUSAGE_CHILDREN)
    used = ours.ru_utime + ours.ru_stime - mine.ru_utime - mine.ru_stime
    share = (after[0] - before[0]) / max(after[1] - before[1], 1)
    processors = len(Path("/proc/stat").read_text(encoding="utf-8").split("cpu")) - 2
    return Taken(seconds, max(share - used / (seconds * processors), 0.0))


def main() -> int:
    """Print a line a round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--time", default="100ms", help="guest time of a cell; as run has it")
    parser.add_argument("--limit", type=float, default=LIMIT)
    parser.add_argument("--quiet", action="store_true", help="count undisturbed rounds alone")
    arguments = parser.parse_args()
    ratios = []
    print(f"{'':8}{'1 worker':>10}{f'{arguments.workers} workers':>12}{'ratio':>8}{'others':>10}")
    with tempfile.TemporaryDirectory(prefix="pmupass-bench-") as name:
        folder = Path(name)
        text = SWEEP.format(time=arguments.time)
        (folder / "sweep.toml").write_text(text, encoding="utf-8")
        for number in range(1, arguments.rounds + 1):
            one, more = run(folder, 1), run(folder, arguments.workers)
            if (folder / "1.jsonl").read_bytes() != (
                folder / f"{arguments.workers}.jsonl"
            ).read_bytes():
                print("the two numbers of workers made different results")
                return 1
            ratio, others = one.seconds / more.seconds, max(one.others, more.others)
            counts = not arguments.quiet or others <= QUIET
            if counts:
                ratios.append(ratio)
            print(
                f"round {number:<2}{one.seconds:>8.2f} s{more.seconds:>10.2f} s{ratio:>8.2f}"
                f"{others:>10.0%}{'' if counts else '  not counted'}",
                flush=True,
            )
    if not ratios:
        print("no round was undisturbed")
        return 1
    median = statistics.median(ratios)
    print(f"median {median:.2f}, {CELLS / arguments.workers:.0f} cells for each worker")
    return int(median < arguments.limit)


if __name__ == "__main__":
    sys.exit(main())
