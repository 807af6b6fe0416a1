# SPDX-License-Identifier: Apache-2.0
"""How soon Ctrl-C stops a guest that spins: the worst guests there are.

For each guest a ``pmupass run`` gets SIGINT after a second and a half; the time is from there to
the end of the process, the result it prints included. Exit status 1 if one is above the limit.

``--time`` needs no such measurement: it is a limit of guest time, and the run ends at the first
instruction behind it.
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

from images import WORST

LIMIT_SECONDS = 0.2
BEFORE_SECONDS = 1.5
MODES = {"exits": ("emulated", "mediated"), "device": ("emulated",)}
INTERRUPTED = 130


def interrupt(image: Path, mode: str) -> float | None:
    """Return the seconds from SIGINT to the end, None for a guest that ended by itself before."""
    command = [sys.executable, "-m", "pmupass", "run", str(image), f"--mode={mode}", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
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


def main() -> int:
    """Print a line a guest and mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS)
    arguments = parser.parse_args()
    status = 0
    print(f"{'guest':12}{'mode':12}{'Ctrl-C':>14}")
    with tempfile.TemporaryDirectory(prefix="pmupass-bench-") as folder:
        for guest in WORST.values():
            image = Path(folder) / f"{guest.name}.elf"
            image.write_bytes(guest.image())
            for mode in MODES.get(guest.name, ("native",)):
                stopped = interrupt(image, mode)
                slow = (stopped or 0) > arguments.limit
                pressed = "ended before" if stopped is None else f"{stopped:.3f} s"
                print(
                    f"{guest.name:12}{mode:12}{pressed:>14}{'  TOO LONG' if slow else ''}",
                    flush=True,
                )
                status |= slow
    return status


if __name__ == "__main__":
    sys.exit(main())
