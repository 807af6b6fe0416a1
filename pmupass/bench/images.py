# SPDX-License-Identifier: Apache-2.0
"""Small guest images for the benchmark, put together here: ELF64, one loop, then the exit port.

The CPU starts in long mode at CPL 0 with the first 4 GiB identity-mapped (docs/design.md).
"""

from __future__ import annotations

import struct

BASE = 0x100000
DATA = 0x180000
PERFEVTSEL0 = 0x186
FIXED_CTR_CTRL = 0x38D
GLOBAL_CTRL = 0x38F
ENABLE_ALL = 0x430000  # EN, OS, USR

WRMSR = b"\x0f\x30"
RDPMC = b"\x0f\x33"
CPUID = b"\x0f\xa2"
WORK = bytes.fromhex("0f1f8001554d50")  # the work instruction: RCX instructions of profile RAX
EXIT_ZERO = b"\x31\xc0\xe7\xf4"  # xor eax,eax; out 0xf4,eax

# Ten or eleven plain instructions: loads, stores, arithmetic, and a branch now and then.
PLAIN = bytes.fromhex(
    "488b03"  # mov rax,[rbx]
    "4801c8"  # add rax,rcx
    "48894308"  # mov [rbx+8],rax
    "48ffc1"  # inc rcx
    "4831d0"  # xor rax,rdx
    "488d1402"  # lea rdx,[rdx+rax]
    "a807"  # test al,7
    "7503"  # jnz over
    "48ffc2"  # inc rdx
)


def elf(code: bytes) -> bytes:
    """Return an ELF64 image of one segment whose entry is the first byte of the code."""
    head = 64 + 56
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0"),
        2,  # ET_EXEC
        62,  # EM_X86_64
        1,
        BASE + head,
        64,
        0,
        0,
        64,
        56,
        1,
        0,
        0,
        0,
    )
    size = head + len(code)
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0, BASE, BASE, size, size, 0x1000)
    return header + segment + code


def loop(count: int, body: bytes, before: bytes = b"") -> bytes:
    """Return an image that runs ``body`` so many times; ESI counts, the body leaves it alone."""
    back = len(body) + 2 + 6
    again = body + b"\xff\xce" + b"\x0f\x85" + struct.pack("<i", -back)  # dec esi; jnz
    return elf(before + _load(0xBE, count) + again + EXIT_ZERO)


def plain(count: int, *, armed: bool = False) -> bytes:
    """Return the plain loop; ``armed`` enables eight GP and three fixed counters before it."""
    before = b""
    if armed:
        for i, event in enumerate((0xC0, 0x3C, 0xC4, 0xC5, 0xC0, 0x3C, 0xC4, 0xC5)):
            before += wrmsr(PERFEVTSEL0 + i, ENABLE_ALL | event)
        before += wrmsr(FIXED_CTR_CTRL, 0x333)
        before += wrmsr(GLOBAL_CTRL, 7 << 32 | 0xFF)
    return loop(count, PLAIN, before + _load(0xBB, DATA))


def selector_writes(count: int) -> bytes:
    """Return a loop of WRMSRs that change a disabled selector each time."""
    before = _load(0xB9, PERFEVTSEL0) + _load(0xB8, 0x3C) + _load(0xBA, 0)
    return loop(count, b"\x83\xf0\x01" + WRMSR, before)  # xor eax,1; wrmsr


def counter_reads(count: int) -> bytes:
    """Return a loop of RDPMCs of GP counter 0."""
    return loop(count, RDPMC, _load(0xB9, 0))


def cpuid(count: int) -> bytes:
    """Return a loop of CPUIDs, each of which exits to KVM and leaves the inner run loop."""
    return loop(count, b"\x31\xc0" + CPUID)


def empty(count: int) -> bytes:
    """Return the loop with nothing in it."""
    return loop(count, b"")


def work(count: int) -> bytes:
    """Return code that retires so many instructions of the first profile, in one step."""
    return _load(0xB8, 0) + _load(0xB9, count) + WORK


def wrmsr(msr: int, value: int) -> bytes:
    """Return code that writes one MSR."""
    return _load(0xB9, msr) + _load(0xB8, value & 0xFFFFFFFF) + _load(0xBA, value >> 32) + WRMSR


def _load(opcode: int, value: int) -> bytes:
    """Return mov r32, imm32."""
    return struct.pack("<BI", opcode, value)
