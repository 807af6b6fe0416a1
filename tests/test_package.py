# SPDX-License-Identifier: Apache-2.0
"""The installed package: complete, with a compiled core that agrees with its declarations."""

import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points, metadata, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import pytest

from pmupass._core import ffi, lib

STRUCTS = ffi.list_types()[1]
OPAQUE = {"pp_machine"}
GUESTS = ["exit-storm", "perf-record", "perf-stat", "self-monitor"]


def walk(folder: Traversable, prefix: str = "") -> Iterator[str]:
    """Yield the name of every file below a folder of the installed package, bytecode apart."""
    for entry in folder.iterdir():
        if entry.name == "__pycache__":
            continue
        if entry.is_dir():
            yield from walk(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name


def test_every_file_of_the_package_is_installed(root: Path) -> None:
    """Every module, table and schema of the source tree is there, and nothing stale beside it."""
    source = root / "pmupass"
    kinds = {".py", ".toml", ".json"}
    expected = {
        path.relative_to(source).as_posix() for path in source.rglob("*") if path.suffix in kinds
    }
    installed = {name for name in walk(files("pmupass")) if Path(name).suffix in kinds}
    assert expected
    assert installed == expected


def test_nothing_but_the_product_is_installed() -> None:
    """No build definition, bytecode of a source tree or C source goes along."""
    kinds = {Path(name).suffix for name in walk(files("pmupass"))}
    assert kinds <= {".py", ".toml", ".json", ".so", ".elf", ".typed"}


def test_the_guest_images_are_installed() -> None:
    """Each built-in workload has its image, and each is an executable for x86-64."""
    images = files("pmupass").joinpath("guests")
    assert sorted(image.name for image in images.iterdir()) == [f"{name}.elf" for name in GUESTS]
    for image in images.iterdir():
        head = image.read_bytes()[:20]
        assert head[:5] == b"\x7fELF\x02", image.name  # 64 bits
        assert int.from_bytes(head[16:18], "little") == 2, image.name  # ET_EXEC: no relocation
        assert int.from_bytes(head[18:20], "little") == 62, image.name  # EM_X86_64


def test_the_core_is_built_for_the_stable_abi() -> None:
    """One file serves every Python from 3.11 on."""
    cores = [name for name in walk(files("pmupass")) if name.startswith("_core.")]
    assert [name for name in cores if name.endswith(".so")] == ["_core.abi3.so"]


def test_the_public_header_is_the_cdef() -> None:
    """The parser saw the structs: an empty list would make the next test pass on nothing."""
    assert {"pp_config", "pp_error", "pp_counter_result", "pp_trace_record"} <= set(STRUCTS)


@pytest.mark.parametrize("name", sorted(set(STRUCTS) - OPAQUE))
def test_every_struct_has_the_size_that_c_gives_it(name: str) -> None:
    """cffi compares a struct with the compiler's at first use: use each."""
    assert ffi.sizeof(f"struct {name}") > 0


@pytest.mark.parametrize("name", sorted(set(STRUCTS) - OPAQUE))
def test_no_struct_has_holes(name: str) -> None:
    """Padding is written out, so that equal records are equal bytes."""
    fields = ffi.typeof(f"struct {name}").fields
    assert ffi.sizeof(f"struct {name}") == sum(ffi.sizeof(field.type) for _, field in fields)


def test_a_machine_is_opaque() -> None:
    """Only the core knows what is in it."""
    with pytest.raises(ffi.error):
        ffi.sizeof("struct pp_machine")


def test_every_declared_function_is_in_the_core() -> None:
    """A name that the header declares and nobody defines would fail at its first call."""
    functions = [name for name in dir(lib) if callable(getattr(lib, name))]
    assert "pp_machine_new" in functions
    assert all(name.startswith("pp_") for name in functions)


def test_the_version_is_that_of_the_build(root: Path) -> None:
    """meson.build says it, and nobody else."""
    build = (root / "meson.build").read_text(encoding="utf-8")
    assert f"version: '{version('pmupass')}'" in build


def test_the_command_is_declared() -> None:
    """`pmupass` starts pmupass.cli:main."""
    (command,) = entry_points(group="console_scripts", name="pmupass")
    assert command.value == "pmupass.cli:main"


def test_the_command_runs() -> None:
    """The console script works from outside the source tree."""
    done = subprocess.run(
        ["pmupass", "--help"], cwd="/", capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "diff-modes" in done.stdout


def test_the_licence_is_named() -> None:
    """As an SPDX expression, with its text."""
    assert metadata("pmupass")["License-Expression"] == "Apache-2.0"
    assert metadata("pmupass")["License-File"] == "LICENSE"


def test_the_c_formatter_is_held_to_a_version(root: Path) -> None:
    """Its minor versions format differently; whether the checks pass must not depend on that."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tests = project["optional-dependencies"]["test"]
    assert any(requirement.startswith("clang-format==") for requirement in tests)
