# SPDX-License-Identifier: Apache-2.0
"""How soon Ctrl-C and ``--time`` stop a guest that spins: the worst guests there are.

For each guest a ``pmupass run`` gets SIGINT after half a second; the time is from there to the end
of the process, the result it prints included. Exit status 1 if one takes longer than the limit.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from images import MIXES, WORST

LIMIT_SECONDS = 0.2
BEFORE_SECONDS = 0.5
# At 2 GHz; a work instruction or a string is in the middle of its iterations then.
TIME = "1ms"
MODES = {"exits": ("emulated", "mediated"), "device": ("emulated",)}
INTERRUPTED = 130


def command(image: Path, mode: str, *more: str) -> list[str]:
    """Return the command that runs an image."""
    return [sys.executable, "-m", "pmupass", "run", str(image), f"--mode={mode}", "--json", *more]


def interrupt(image: Path, mode: str) -> float | None:
    """Return the seconds from SIGINT to the end, None for a guest that ended by itself before."""
    with subprocess.Popen(
        command(image, mode), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
    ) as process:
        time.sleep(BEFORE_SECONDS)
        pressed = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        status = process.wait()
        seconds = time.monotonic() - pressed
    if status == 0:
        return None
    if status != INTERRUPTED:
        raise SystemExit(f"{image.name}, {mode}: status {status}")
    return seconds


def limited(image: Path, mode: str, *more: str) -> float:
    """Return the seconds of a run with a limit."""
    started = time.monotonic()
    subprocess.run(command(image, mode, *more), stdout=subprocess.DEVNULL, check=True, cwd="/")
    return time.monotonic() - started


def main() -> int:
    """Print a line a guest and mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS)
    arguments = parser.parse_args()
    status = 0
    print(f"{'guest':12}{'mode':12}{'Ctrl-C':>10}{'--time ' + TIME:>14}")
    with tempfile.TemporaryDirectory(prefix="pmupass-bench-") as folder:
        empty = Path(folder) / "empty.elf"
        empty.write_bytes(MIXES[0].image(1))
        base = min(limited(empty, "native") for _ in range(3))
        for guest in WORST.values():
            image = Path(folder) / f"{guest.name}.elf"
            image.write_bytes(guest.image())
            for mode in MODES.get(guest.name, ("native",)):
                stopped = interrupt(image, mode)
                timed = max(limited(image, mode, f"--time={TIME}") - base, 0)
                slow = max(stopped or 0, timed) > arguments.limit
                pressed = "ended before" if stopped is None else f"{stopped:.3f} s"
                print(
                    f"{guest.name:12}{mode:12}{pressed:>10}{timed:12.3f} s"
                    f"{'  TOO LONG' if slow else ''}",
                    flush=True,
                )
                status |= slow
    return status


if __name__ == "__main__":
    sys.exit(main())
