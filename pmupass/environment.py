# SPDX-License-Identifier: Apache-2.0
"""The environment file of an image: KEY=value lines that it gets as its multiboot module.

The bytes reach the guest as they stand in the file. Empty lines and lines that begin with # are
let through: what they mean is the image's affair.
"""

from __future__ import annotations

from pmupass import text_file
from pmupass.errors import InputError

MAX_BYTES = 0xFFFF  # LOADER_MODULE_MAX of csrc/platform/loader.h


def read(name: str) -> bytes:
    """Return the file's bytes. InputError names the file and the line that is no KEY=value."""
    try:
        with text_file.place(name).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"--set guest.env_file: {name}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"--set guest.env_file: {name}: more than the {MAX_BYTES} bytes that fit")
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip() or line.startswith(b"#"):
            continue
        key, equals, _ = line.partition(b"=")
        if not equals or not key.strip() or b"\0" in line:
            start = line[:40].decode(errors="replace")
            raise InputError(
                f"--set guest.env_file: {name}, line {number}: {start!r} is no KEY=value"
            )
    return data
