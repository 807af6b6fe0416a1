# SPDX-License-Identifier: Apache-2.0
"""A reference of host perf's scheduling, and random commands that are held against it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
