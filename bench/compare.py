# SPDX-License-Identifier: Apache-2.0
"""Compare two documents of ``pmupass bench --json``: the model exactly, host times roughly."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

FASTER_IS_MORE = {"MIPS"}
FASTER_IS_LESS = {"host ns"}


def load(path: Path) -> dict[str, Any]:
    """Return a bench document; SystemExit for anything else."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"{path}: {error}")
    if document.get("schema") != "pmupass.bench/1":
        sys.exit(f"{path}: not a document of pmupass bench --json")
    return document


def verdict(before: dict[str, Any], after: dict[str, Any], tolerance: float) -> tuple[str, bool]:
    """Return what became of one figure, and whether it is bad."""
    old, new, unit = before["value"], after["value"], after["unit"]
    if unit not in FASTER_IS_MORE | FASTER_IS_LESS:
        return ("equal", False) if old == new else ("MODEL CHANGED", True)
    if not old or not new:
        return "not comparable", False
    speed = new / old if unit in FASTER_IS_MORE else old / new
    if speed < 1 - tolerance:
        return f"slower, {speed:.2f} times as fast", True
    if speed > 1 + tolerance:
        return f"faster, {speed:.2f} times as fast", False
    return f"within tolerance, {speed:.2f}", False


def main() -> int:
    """Print a line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.15, help="of host figures")
    parser.add_argument("--other-machine", action="store_true")
    arguments = parser.parse_args()
    before, after = load(arguments.before), load(arguments.after)
    computers = [document.get("host", {}).get("cpu") for document in (before, after)]
    if computers[0] != computers[1] and not arguments.other_machine:
        print(f"two computers, {computers[0]} and {computers[1]}: give --other-machine to compare")
        return 2
    old = {figure["name"]: figure for figure in before["results"]}
    bad = 0
    for figure in after["results"]:
        name = figure["name"]
        if name not in old:
            print(f"{name}: new, {figure['value']:,} {figure['unit']}")
            continue
        text, is_bad = verdict(old[name], figure, arguments.tolerance)
        bad += is_bad
        values = f"{old[name]['value']:,} -> {figure['value']:,} {figure['unit']}"
        print(f"{name}: {values}, {text}")
    for name in old.keys() - {figure["name"] for figure in after["results"]}:
        print(f"{name}: gone")
        bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
