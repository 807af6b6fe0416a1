# SPDX-License-Identifier: Apache-2.0
"""The scripts of bench/ are no package: they are loaded from their files."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def load_script(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return a function that loads ``bench/NAME.py``."""
    monkeypatch.syspath_prepend(str(root / "bench"))

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, root / "bench" / f"{name}.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)  # dataclasses look there
        spec.loader.exec_module(module)
        return module

    return load
