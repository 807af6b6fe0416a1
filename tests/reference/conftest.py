# SPDX-License-Identifier: Apache-2.0
"""A reference of what a guest sees of its vPMU, and random sequences that are held against it."""

import sys
from pathlib import Path

# The files here, and the assembly of tests/conformance.
HERE = Path(__file__).resolve().parent
sys.path += [str(HERE), str(HERE.parent / "conformance")]
