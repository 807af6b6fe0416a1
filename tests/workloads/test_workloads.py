# SPDX-License-Identifier: Apache-2.0
"""Workloads: by name, by path, and errors that say how to name one."""

import os
from pathlib import Path

import pytest

from pmupass import workloads
from pmupass.errors import InputError, UsageError


@pytest.mark.parametrize("name", workloads.BUILT_IN)
def test_built_in_guests_are_installed(name: str) -> None:
    image = workloads.find(name).image()
    assert image.startswith(b"\x7fELF\x02")
    assert workloads.find(name).builtin


def test_near_matches_and_how_to_write_a_path() -> None:
    with pytest.raises(UsageError) as caught:
        workloads.find("perf-recrod")
    text = str(caught.value)
    assert "did you mean perf-record" in text
    assert "needs a slash (./perf-recrod)" in text


def test_an_existing_file_needs_no_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").write_bytes(b"\x7fELF")
    monkeypatch.chdir(tmp_path)
    found = workloads.find("mine")
    assert not found.builtin
    assert found.image() == b"\x7fELF"


def test_a_built_in_name_comes_before_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "perf-stat").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert workloads.find("perf-stat").builtin
    assert not workloads.find("./perf-stat").builtin


def test_files_that_are_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(5000)
    monkeypatch.setattr(workloads, "MAX_IMAGE", 4096)
    for path, says in (
        (tmp_path / "absent", "No such file"),
        (tmp_path, "Is a directory"),
        (empty, "the file is empty"),
        (large, "larger than"),
    ):
        with pytest.raises(InputError, match=says):
            workloads.find(str(path)).image()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_must_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        workloads.find(str(path)).image()
