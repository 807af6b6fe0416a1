# SPDX-License-Identifier: Apache-2.0
"""Property tests draw the same examples however the package is installed and whatever else runs."""

import sys
import types
from pathlib import Path

from hypothesis import given, settings, strategies as st

PLANTED = (0x5EED_0F_C0DE, 0x5EED_0F_BEEF, 0x5EED_0F_FACE)


def drawn(seen: list[int]) -> None:
    """Draw some numbers, the same in every call: the seed is this function's text."""

    @settings(max_examples=300)
    @given(st.integers(0, 1 << 48))
    def property_test(number: int) -> None:
        seen.append(number)

    property_test()


def test_constants_of_the_program_are_not_drawn(tmp_path: Path) -> None:
    """Modules outside of site-packages, as an editable install's, once gave their constants."""
    before: list[int] = []
    drawn(before)
    folder = tmp_path / "program"
    folder.mkdir()
    source = folder / "planted.py"
    source.write_text(f"NUMBERS = {PLANTED}\n", encoding="utf-8")
    module = types.ModuleType("planted_constants")
    module.__file__ = str(source)
    sys.modules["planted_constants"] = module
    try:
        after: list[int] = []
        drawn(after)
    finally:
        del sys.modules["planted_constants"]
    assert len(before) >= 100
    assert after == before
    assert not set(PLANTED) & set(after)
