# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C while processes start: it is their parent's, from the first of them on."""

from __future__ import annotations

import subprocess
import sys

# In a process of its own, in which multiprocessing has not started anything yet. What a child has
# blocked is what it was started with, since begin() only ignores.
SCRIPT = """
import multiprocessing, signal, sys

from pmupass import spawned


def blocked(pipe):
    spawned.begin()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    pipe.send((signal.SIGINT in mask, signal.getsignal(signal.SIGINT) is signal.SIG_IGN))


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    for _ in range(2):
        ours, theirs = context.Pipe()
        with spawned.interrupts_blocked():
            context.Process(target=blocked, args=(theirs,)).start()
        print(*ours.recv())
    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def test_the_first_process_is_started_with_interrupts_blocked_too(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-P", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["True True", "True True", "False"]
