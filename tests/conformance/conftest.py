# SPDX-License-Identifier: Apache-2.0
"""Conformance: what a guest sees, in every mode, held against counts and rules derived by hand."""

import sys
from pathlib import Path

# guest_asm.py is shared by these files; in importlib mode nothing else puts it within their reach.
sys.path.append(str(Path(__file__).resolve().parent))
