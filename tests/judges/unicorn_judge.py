# SPDX-License-Identifier: Apache-2.0
"""How the judges that load Unicorn's library are called."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Said:
    """What a judge said, and its exit status."""

    status: int
    text: str


def library() -> Path:
    """Return Unicorn's shared library, which the judges load themselves."""
    found = importlib.util.find_spec("unicorn")
    if found is None or found.origin is None:
        pytest.skip("unicorn is a development dependency")
    return Path(found.origin).parent / "lib" / "libunicorn.so.2"


def run(program: Path, *words: object) -> Said:
    """Run a judge; skip where it cannot use the library."""
    done = subprocess.run(
        [program, library(), *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"},
    )
    if done.stdout.startswith("1..0 # SKIP "):
        pytest.skip(done.stdout.partition("SKIP ")[2].strip())
    return Said(done.returncode, done.stdout)
