# SPDX-License-Identifier: Apache-2.0
"""Hold one commit's speed against another's: ``pmupass bench speed`` of both, in turns.

Each commit is installed into an environment of its own in a temporary folder. In every round both
run the suite, in changing order; a figure's ratio is how many times as fast the newer one was. The
median over the rounds decides: exit status 1 if a figure got worse by more than the tolerance.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from compare import FASTER_IS_LESS, FASTER_IS_MORE

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str | Path) -> str:
    """Return what a command prints; SystemExit with its words if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def install(revision: str, folder: Path) -> Path:
    """Install what a commit has into a new environment; return its pmupass command."""
    source, environment = folder / "source", folder / "environment"
    source.mkdir(parents=True)
    archive = folder / "source.tar"
    run("git", "-C", ROOT, "archive", "-o", archive, revision)
    run("tar", "-xf", archive, "-C", source)
    run(sys.executable, "-m", "venv", environment)
    run(environment / "bin" / "pip", "install", "--quiet", source)
    return environment / "bin" / "pmupass"


def figures(command: Path) -> dict[str, tuple[float, str]]:
    """Run the suite once: value and unit by name."""
    document = json.loads(run(command, "bench", "speed", "--json", "--no-host"))
    return {result["name"]: (result["value"], result["unit"]) for result in document["results"]}


def ratio(old: float, new: float, unit: str) -> float | None:
    """Return how many times as fast the new figure is, None where the clock saw nothing."""
    if not old or not new or unit not in FASTER_IS_MORE | FASTER_IS_LESS:
        return None
    return new / old if unit in FASTER_IS_MORE else old / new


def quartiles(values: list[float]) -> list[float]:
    """Return the three quartiles, also of a single value."""
    if len(values) == 1:
        return values * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def verdict(ratios: dict[str, list[float]], tolerance: float) -> int:
    """Print median, quartiles and extremes of each figure; return the exit status."""
    status = 0
    print(f"{'times as fast':46}{'median':>8}{'quartiles':>16}{'extremes':>16}")
    for name, values in ratios.items():
        median = statistics.median(values)
        worse = median < 1 - tolerance
        low, _, high = quartiles(values)
        spread = f"{low:7.2f} -{high:6.2f} {min(values):8.2f} -{max(values):6.2f}"
        print(f"{name:46}{median:8.3f} {spread}{'  WORSE' if worse else ''}")
        status |= worse
    return status


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="the older commit")
    parser.add_argument("head", nargs="?", default="HEAD", help="the newer one; what is committed")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--tolerance", type=float, default=0.05)
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds must be 1 or more")
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="pmupass-bench-") as folder:
        base = install(arguments.base, Path(folder) / "base")
        head = install(arguments.head, Path(folder) / "head")
        for round_ in range(arguments.rounds):
            order = (base, head) if round_ % 2 == 0 else (head, base)
            measured = {command: figures(command) for command in order}
            for name, (new, unit) in measured[head].items():
                old, _ = measured[base].get(name, (0, unit))
                found = ratio(old, new, unit)
                if found is not None:
                    ratios.setdefault(name, []).append(found)
            print(f"round {round_ + 1} of {arguments.rounds}", file=sys.stderr)
    return verdict(ratios, arguments.tolerance)


if __name__ == "__main__":
    sys.exit(main())
