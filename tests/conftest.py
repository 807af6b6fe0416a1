# SPDX-License-Identifier: Apache-2.0
"""What every test stands on: the installed package, the tools of this environment, the C tests."""

import fcntl
import hashlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from hypothesis.internal.conjecture import providers

ROOT = Path(__file__).resolve().parent.parent

# `python -m pytest` puts the working folder on sys.path, and pmupass/ in the source tree has no
# compiled core. The suite tests what is installed, so the source tree must not come first.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

# meson, ninja and the pmupass command of this environment, whether it is activated or not.
BIN = Path(sys.executable).parent
os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"

# The sanitizer pass preloads its runtime into Python; compilers must run without it.
PRELOADED = ("LD_PRELOAD", "PYTHONMALLOC", "ASAN_OPTIONS", "UBSAN_OPTIONS")

# The same examples in every run, however slow the machine; --hypothesis-profile=default explores.
# The version is held in pyproject.toml. No examples from other runs, and none of the constants that
# hypothesis collects from the modules of the program: an editable install is "the program", one in
# site-packages is not, and which modules are there depends on what else the process tests.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")
NO_CONSTANTS = type(providers._local_constants)()
providers._get_local_constants = lambda: NO_CONSTANTS


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the source tree that this suite belongs to."""
    return ROOT


@pytest.fixture(scope="session")
def def_list() -> Callable[[str], list[tuple[str, str]]]:
    """Return a function that reads csrc/base/NAME.def: ID and second field of each entry.

    For tests that hold the compiled core or the package's data against the source.
    """

    def read(name: str) -> list[tuple[str, str]]:
        text = (ROOT / "csrc" / "base" / f"{name}.def").read_text(encoding="utf-8")
        found: list[tuple[str, str]] = re.findall(
            r'^[A-Z_]+\(([A-Z0-9_]+), "?([^",)]*)"?[,)]', text, re.MULTILINE
        )
        assert found, f"{name}.def has no entries"
        return found

    return read


@pytest.fixture(scope="session")
def c_build() -> Path:
    """Build the C test programs once and return the folder they are in.

    PMUPASS_C_BUILD names the build folder (default: build/c-tests in the source tree, kept for the
    next run), PMUPASS_MESON_ARGS further options of `meson setup`.
    """
    return _build("c_tests", "judges", "fuzzers") / "tests" / "c"


@pytest.fixture(scope="session")
def judge_build(c_build: Path) -> Path:
    """Return the folder of the programs of tests/judges, built with the C tests."""
    return c_build.parent / "judges"


@pytest.fixture(scope="session")
def fuzz_build(c_build: Path) -> Path:
    """Return the folder of the programs of tests/fuzz, built with the C tests."""
    return c_build.parent / "fuzz"


@pytest.fixture(scope="session")
def image_build() -> Path:
    """Build the test images once, where the C tests are built, and return their folder."""
    return _build("images") / "tests" / "images"


def _build(*targets: str) -> Path:
    options = shlex.split(os.environ.get("PMUPASS_MESON_ARGS", ""))
    name = "c-tests"
    if options:
        name += "-" + hashlib.sha256(shlex.join(options).encode()).hexdigest()[:8]
    build = Path(os.environ.get("PMUPASS_C_BUILD", ROOT / "build" / name))
    build.mkdir(parents=True, exist_ok=True)
    with (build / ".lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (build / "build.ninja").exists():
            _tool("meson", "setup", *options, str(build), str(ROOT))
        _tool("ninja", "-C", str(build), *targets)
    return build


def _tool(*command: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in PRELOADED}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    if done.returncode != 0:
        pytest.fail(f"{shlex.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)
