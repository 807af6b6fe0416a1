# SPDX-License-Identifier: Apache-2.0
"""The judges of the guest CPU (docs/testing.md)."""

import sys
from pathlib import Path

# What these files share; in importlib mode nothing else puts it within their reach.
sys.path.append(str(Path(__file__).resolve().parent))
