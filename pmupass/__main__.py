# SPDX-License-Identifier: Apache-2.0
"""``python -m pmupass``."""

import sys

from pmupass.cli import main

if __name__ == "__main__":
    sys.exit(main())
