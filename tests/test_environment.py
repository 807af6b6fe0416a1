# SPDX-License-Identifier: Apache-2.0
"""``guest.env_file``: what is let through and what is refused."""

from pathlib import Path

import pytest

from pmupass import environment
from pmupass.errors import InputError


def write(folder: Path, data: bytes) -> str:
    path = folder / "env"
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize(
    "data", [b"", b"A=1\n", b"A=1\nB=\n\n# note\nC=x=y", b"A=1\r\n", b"K=" + b"v" * 0xFFFD]
)
def test_the_bytes_are_handed_over_as_they_are(tmp_path: Path, data: bytes) -> None:
    assert environment.read(write(tmp_path, data)) == data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"A=1\nB\n", r"env, line 2: 'B' is no KEY=value"),
        (b"=1\n", r"line 1: '=1' is no KEY=value"),
        (b"A=\0\n", r"line 1"),
        (b"K=" + b"v" * 0xFFFE, "more than the 65535 bytes that fit"),
    ],
)
def test_what_is_no_environment_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        environment.read(write(tmp_path, data))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"guest.env_file: .*missing: No such file"):
        environment.read(str(tmp_path / "missing"))


def test_the_limit_is_the_loaders(root: Path) -> None:
    text = (root / "csrc" / "platform" / "loader.h").read_text(encoding="utf-8")
    assert f"#define LOADER_MODULE_MAX {environment.MAX_BYTES:#x}u" in text
