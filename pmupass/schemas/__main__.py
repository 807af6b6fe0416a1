# SPDX-License-Identifier: Apache-2.0
"""Write the JSON Schemas into a folder, by default that of the source tree one works in."""

import json
import sys
from pathlib import Path

from pmupass.results import DOCUMENTS, schema

if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "pmupass/schemas")
    for name in DOCUMENTS:
        text = json.dumps(schema(name), indent=2) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
