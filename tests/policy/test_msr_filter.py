# SPDX-License-Identifier: Apache-2.0
"""Files for KVM_X86_SET_MSR_FILTER: what they say, and what is refused with file and line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pmupass.config import MsrFilter, MsrRange
from pmupass.errors import InputError
from pmupass.policy import msr_filter

if TYPE_CHECKING:
    from pathlib import Path


def load(tmp_path: Path, text: str) -> MsrFilter:
    """Read a file with this text."""
    path = tmp_path / "filter.toml"
    path.write_text(text, "utf-8")
    return msr_filter.load(str(path))


def test_what_a_file_says(tmp_path: Path) -> None:
    text = """
default = "deny"
denied = "user"
[[range]]
base = 0x186
count = 4
access = "w"
allow = [0x187, 0x189]
[[range]]
base = 0xc1
"""
    assert load(tmp_path, text) == MsrFilter(
        True, True, (MsrRange(0x186, 4, 2, frozenset({0x187, 0x189})), MsrRange(0xC1, 1, 3))
    )


def test_an_empty_file_allows_everything(tmp_path: Path) -> None:
    assert load(tmp_path, "") == MsrFilter()


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('default = "maybe"', 1, "'allow' or 'deny'"),
        ('denied = "trap"', 1, "'gp' or 'user'"),
        ('\ndefault = "deny"', 2, "allows nothing at all"),
        ("range = 1", 1, "write [[range]]"),
        ("ranges = 1", 1, "no key 'ranges'"),
        ("range = [1]", 1, "write [[range]]"),
        ("[[range]]\ncount = 1", 1, "base is the number of an MSR"),
        ("[[range]]\nbase = -1", 1, "base is the number of an MSR"),
        ("[[range]]\nbase = 1\n[[range]]\nbase = 1\ncount = 0", 3, "count is a number of MSRs"),
        ("[[range]]\nbase = 1\ncount = 12289", 1, "from 1 to 12288"),
        ("[[range]]\nbase = 0xffffffff\ncount = 2", 1, "count is a number"),
        ('[[range]]\nbase = 1\naccess = "x"', 1, '"r", "w" or "rw"'),
        ("[[range]]\nbase = 1\nallow = 1", 1, "allow is a list"),
        ("[[range]]\nbase = 1\nallow = [2]", 1, "2 is no MSR of the range"),
        ("[[range]]\nbase = 1\nallow = [true]", 1, "True is no MSR of the range"),
        ("[[range]]\nbase = 1\nmsrs = 1", 1, "no key 'msrs'"),
        ("[[range]]\nbase = 1\n" * 17, 33, "KVM takes 16 at most"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, text)
    assert f"filter.toml, line {line}:" in str(caught.value)
    assert says in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    for text in ("default = ", "\x00"):
        with pytest.raises(InputError, match=r"filter\.toml"):
            load(tmp_path, text)
    with pytest.raises(InputError, match=r"missing\.toml: No such file"):
        msr_filter.load(str(tmp_path / "missing.toml"))
