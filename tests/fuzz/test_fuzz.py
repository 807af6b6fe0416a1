# SPDX-License-Identifier: Apache-2.0
"""The fuzz targets on known inputs and on random ones; docs/testing.md says how to go on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TARGETS = ("loader", "decoder", "cpu", "machine")
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:halt_on_error=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
}


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write seeds and machines by the scripts beside this file; return the folder."""
    folder = tmp_path_factory.mktemp("fuzz")
    for script, target in (("seeds.py", folder), ("configs.py", folder / "configs")):
        subprocess.run([sys.executable, HERE / script, target], check=True, cwd=folder)
    return folder


def files_of(target: str, inputs: Path) -> list[Path]:
    """Return seeds and what has been found, sorted."""
    found = HERE / "found" / target
    return sorted((inputs / target).iterdir()) + (sorted(found.iterdir()) if found.exists() else [])


def fuzz(program: Path, inputs: Path, *arguments: object) -> str:
    """Run a target; what it prints explains a failure."""
    environment = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "PYTHONMALLOC")}
    done = subprocess.run(
        [program, *map(str, arguments)],
        env=environment | SANITIZERS | {"PMUPASS_FUZZ_CONFIGS": str(inputs / "configs")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode != 0:
        pytest.fail(f"status {done.returncode}\n{done.stdout[-5000:]}", pytrace=False)
    return done.stdout


@pytest.mark.parametrize("target", TARGETS)
def test_known_inputs(fuzz_build: Path, inputs: Path, target: str) -> None:
    """Each seed, and each input that once found a mistake."""
    files = files_of(target, inputs)
    assert f"# {len(files)} inputs" in fuzz(fuzz_build / f"fuzz_{target}", inputs, *files)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "count"),
    [("loader", 20000), ("decoder", 1000000), ("cpu", 5000), ("machine", 8000)],
)
def test_random_inputs(fuzz_build: Path, inputs: Path, target: str, count: int) -> None:
    """The same ones in every run."""
    files = files_of(target, inputs)
    text = fuzz(fuzz_build / f"fuzz_{target}", inputs, "-random", 1, count, *files)
    assert f"# {count} random inputs" in text
