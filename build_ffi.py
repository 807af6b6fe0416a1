# SPDX-License-Identifier: Apache-2.0
"""The cffi side of pmupass._core: its cdef is the marked region of the public header.

One text for the compiler and for Python, so that no width can differ between them. meson runs this
file through `python -m cffi.gen_src exec-python`, which takes the `ffibuilder`.
"""

import re
from pathlib import Path

from cffi import FFI

HEADER = Path(__file__).parent / "csrc" / "pmupass.h"
REGION = re.compile(r"/\* cffi: begin \*/(.*?)/\* cffi: end \*/", re.DOTALL)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def cdef(header: str) -> str:
    """Return the declarations between the cffi marks, without comments."""
    regions = REGION.findall(header)
    if not regions:
        raise ValueError(f"{HEADER}: no text between 'cffi: begin' and 'cffi: end'")
    return COMMENT.sub(" ", "\n".join(regions))


ffibuilder = FFI()
ffibuilder.cdef(cdef(HEADER.read_text(encoding="utf-8")))
ffibuilder.set_source("pmupass._core", '#include "pmupass.h"')
