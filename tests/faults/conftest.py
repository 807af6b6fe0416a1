# SPDX-License-Identifier: Apache-2.0
"""Faults on purpose: the suite must find each that can be built into the PMU and the vPMU."""

import sys
from pathlib import Path

# fault_build.py is shared with find.py; in importlib mode nothing else puts it within reach.
sys.path.append(str(Path(__file__).resolve().parent))
