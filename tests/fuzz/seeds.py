# SPDX-License-Identifier: Apache-2.0
"""Write the inputs that fuzzing begins with: ``python tests/fuzz/seeds.py FOLDER``.

One folder for each target, one file for each input, named after what it shows. What the bytes mean
stands at the head of each target (machine: program.h). They are written here rather than kept as
files, so that one can read them; what fuzzing has found is kept in ``found/``.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

# ---- loader: a good image, and what is changed in it ----

ELF32, MULTIBOOT = 2, 4
CMDLINE_LONGEST, CMDLINE_TOO_LONG = 2 << 5, 3 << 5
E_TYPE, E_MACHINE, E_ENTRY, E_PHOFF, E_PHNUM = 16, 18, 24, 32, 56
PH0, PH1 = 64, 120
P_OFFSET, P_VADDR, P_PADDR, P_FILESZ, P_MEMSZ = 8, 16, 24, 32, 40
GIVEN = 31  # the value follows


def put(where: int, value: int, width: int = 8) -> bytes:
    """Return a change: a value of 1, 2, 4 or 8 bytes at an offset of the image."""
    size = width.bit_length() - 1
    return struct.pack("<HBQ", where, GIVEN << 2 | size, value)


def cut(where: int) -> bytes:
    """Return a change: the image ends there."""
    return struct.pack("<HB", where, 0x80)


def loader() -> dict[str, bytes]:
    """Return images, good and bad."""
    return {
        "good-elf64": bytes([0]),
        "good-elf64-multiboot": bytes([MULTIBOOT]),
        "good-elf32-multiboot": bytes([ELF32 | MULTIBOOT]),
        "elf32-without-multiboot": bytes([ELF32]),
        "longest-command-line": bytes([CMDLINE_LONGEST]),
        "command-line-too-long": bytes([CMDLINE_TOO_LONG]),
        "no-memory-beside-the-loader": bytes([3 << 3]),
        "empty": bytes([1]),
        "text-file": b"\x01#!/bin/sh\n",
        "header-cut-off": bytes([0]) + cut(40),
        "program-headers-cut-off": bytes([0]) + cut(100),
        "segment-cut-off": bytes([0]) + cut(0x310),
        "other-machine": bytes([0]) + put(E_MACHINE, 183, 2),
        "position-independent": bytes([0]) + put(E_TYPE, 3, 2),
        "huge-memsz": bytes([0]) + put(PH1 + P_MEMSZ, 1 << 40),
        "memsz-wraps": bytes([0]) + put(PH1 + P_MEMSZ, -0x2000 & (1 << 64) - 1),
        "offset-wraps": bytes([0]) + put(PH1 + P_OFFSET, -0x10 & (1 << 64) - 1),
        "filesz-above-memsz": bytes([0]) + put(PH0 + P_MEMSZ, 0x80),
        "segments-overlap": bytes([0]) + put(PH1 + P_VADDR, 0x1080),
        "segment-in-the-loaders-area": bytes([0]) + put(PH1 + P_VADDR, 3 << 20),
        "segment-ends-at-the-loaders-area": bytes([0]) + put(PH1 + P_VADDR, (3 << 20) - 0x1000),
        "entry-outside": bytes([0]) + put(E_ENTRY, 0x3000),
        "entry-zero": bytes([0]) + put(E_ENTRY, 0),
        "program-headers-at-the-end": bytes([0]) + put(E_PHOFF, 0x400 - 56),
        "65535-program-headers": bytes([0]) + put(E_PHNUM, 0xFFFF, 2),
        "multiboot-physical-addresses": bytes([MULTIBOOT]) + put(PH1 + P_PADDR, 0x5000),
    }


# ---- decoder: mode, then bytes ----


def decoder() -> dict[str, bytes]:
    """Return instructions of all sorts, in 64-, 32- and 16-bit code."""
    codes = {
        "nop": "90",
        "mov-sib-disp32": "488b849112345678",
        "rip-relative": "488b0512345678",
        "gs-and-address-size": "65678b4508",
        "movabs": "48b8efcdab8967452301",
        "lock-cmpxchg16b": "f0480fc70b",
        "rep-movsq": "f348a5",
        "jcc-near": "0f8400000080",
        "far-jump": "ea00000100800008",
        "fifteen-bytes": "6666666666666666 2e 81 8018",
        "sixteen-bytes": "66" * 12 + "81801234",
        "prefixes-only": "66" * 15,
        "lock-without-memory": "f001c0",
        "truncated-modrm": "8b",
        "truncated-immediate": "c780112233",
        "pusha": "60",
        "address16": "678b4712",
        "work": "0f1f8001554d50",
        "forced-emulation": "0f0b6b766d0fa2",
        "sse": "0f28c1",
        "vex": "c5f877",
        "x87": "d9e8",
    }
    return {
        f"{name}-{bits}": bytes([mode]) + bytes.fromhex(code)
        for mode, bits in enumerate((64, 32, 16))
        for name, code in codes.items()
    }


# ---- cpu: mode, slice, step, injections, registers, patches, code ----

KERNEL, USER, PROTECTED, COMPATIBLE, REAL, PSE, PAE = range(7)
FAULTS_STAY, INTERCEPTS, INTERCEPT_FAULTS, INTERCEPT_MOST, EMULATE = 8, 0x10, 0x20, 0x30, 0x40
IRQS, NMIS, FAULTS, MIXED = 0x55, 0xAA, 0xFF, 0xE4
# A nibble each: RAX = 8, RCX = 8, RDX = device, RBX = data, RSI = code, RDI = data, others 0 or 1
REGISTERS = bytes([0x22, 0x38, 0x05, 0x36, 0x10, 0x00, 0x01, 0x00])


def run(
    code: str,
    mode: int = KERNEL,
    *,
    step: int = 500,
    injections: int = 0,
    other: int = 0,
    patches: tuple[tuple[int, int], ...] = (),
) -> bytes:
    """Return a guest: its code, and what happens to it."""
    head = struct.pack("<BBHB", mode, 2, step, injections)
    head += REGISTERS[:2] + bytes([REGISTERS[2] & 0xF0 | other]) + REGISTERS[3:]
    changes = b"".join(struct.pack("<HQ", address, value) for address, value in patches)
    return head + bytes([len(patches)]) + changes + bytes.fromhex(code)


def cpu() -> dict[str, bytes]:
    """Return guests that spin, fault, change their code and their page tables."""
    changed = "c605f9ffffff90 ebf7"  # mov byte [rip - 7], 0x90; jmp back
    return {
        "halt": run("f4"),
        "jump-to-itself": run("ebfe"),
        "loop-to-itself": run("b9ffffffff e2fe f4"),
        "arithmetic": run("4801c8 4829d3 480fafc2 48f7e1 48c1e005 480fbec0 9c58 f4"),
        "loads-and-stores": run("488b03 48894310 488703 f0480fc103 ff33 8f4308 f4"),
        "device": run("8b02 8902 480102 f4"),
        "repeated-strings": run("b940000000 fc f3a4 f348ab f3a6 f2ae fd f3a5 f4"),
        "self-modifying": run(changed),
        "faults-are-skipped": run("0f0b f4 31c9f7f1 48a1000000000000ff7f cc f4"),
        "fault-on-end": run("0f0b", KERNEL | FAULTS_STAY),
        "page-fault-on-end": run("48a10000000000400000", KERNEL | FAULTS_STAY),
        "double-fault": run("0f0b f4", patches=((0x9060, 0), (0x90D0, 0))),
        "triple-fault": run("0f0b", patches=((0x9060, 0), (0x90D0, 0), (0x9080, 0))),
        "interrupts": run("fb ebfe", injections=IRQS),
        "nmis": run("fb ebfe", injections=NMIS),
        "exceptions-injected": run("ebfe", injections=FAULTS),
        "all-events-in-user-mode": run("4801c8 ebfb", USER, injections=MIXED),
        "interrupts-in-halt": run("fbf4 ebfc", injections=IRQS),
        "system-call": run("0f05 ebfc", USER),
        "user-reads-kernel": run("fa 0f01f8 0f20c0 f4", USER),
        "protected-mode": run("60 61 50 ff33 8f03 c9 c3", PROTECTED, injections=IRQS),
        "compatibility-mode": run("40 48 60 61 cd40 67 8b07", COMPATIBLE, injections=IRQS),
        "page-table-in-code": run("c60425000001 90", patches=((0x4080, 0x10007),)),
        "no-page-tables": run("0f22d8 f4", patches=((0x1000, 0),)),
        "stack-in-nowhere": run("bc00000000 50 f4"),
        "flush": run("0fae3b 488b03 0f01f9 0f31 ebf4"),
        "intercepted": run("0fa2 0f01c1 f4 ebf7", KERNEL | INTERCEPTS),
        "msrs": run("b902400000 0f30 b903400000 0f30 0f32 0f33 ebec"),
        "real-mode": run("b81000 8ed8 50 1f cd40 6631c0 a10000 f4", REAL, injections=IRQS),
        "real-to-protected": run("0f20c0 0c01 0f22c0 ea16000000 0800 f4", REAL),
        "four-megabyte-pages": run("a100001000 a300001000 0f22d8 f4", PSE, injections=IRQS),
        "pae": run("a100001000 a300001000 0f22d8 0f01f9 f4", PAE, injections=NMIS),
        "single-steps": run("9c 66810c240001 9d 90 b905000000 f3a4 f4"),
        "breakpoints": run("b8000010000f23c0 b8030f03000f23f8 8903 8b03 48ff03 f4"),
        "debug-registers-exit": run("0f21f8 0f23f8 f4", KERNEL | INTERCEPT_FAULTS),
        "faults-exit": run("0f0b cc f1 31c9f7f1 48a10000000000400000 f4", INTERCEPT_MOST),
        "emulated": run("0f0b 0fa2 0f32 0f21f8 ecf1 f4", INTERCEPT_MOST | EMULATE),
        "starts-again-in-real-mode": run("ebfe", injections=FAULTS, other=2),
        "debug-exceptions-injected": run("ebfe", injections=FAULTS, other=1),
        "sse": run("660f6e03 0f28c8 0f58c8 660fefd2 0f5eca 0f2e0b 0f114b20 0fae5b40 ebe8"),
        "sse-exceptions": run("c74304000000000fae5304 0f57c0 f30f5ec0 f20f2c0b f4"),
        "sse-in-32-bit-code": run("0f100f 660fd4c8 f30f7f4f11 0f2bcf 660fe70f eb", PROTECTED),
        "masked-move": run("8d7b3c 660f76c0 660ff7c8 57 660ff7c1 ebf5"),
        "x87": run("d9e8 d9eb dec9 dd1b dd03 d8f0 df3b d9ee def9 dfe0 9b d8d1 dbf1 ebe5"),
        "x87-exceptions": run("c7033f030000 d92b d9e8 d9ee def9 d91b dfe0 dbe2 9b f4"),
        "fxsave": run("d9e8 0fae4340 0f57c0 dbe3 0fae4b40 d97310 dd7320 dd6320 d96310 ebe2"),
        "x87-in-user-mode": run("d9e8 d91f 0fae07 0fae0f dd3f f4", USER, injections=MIXED),
        "task-switched": run("0f06 0f28c0 0f20c0 0c08 0f22c0 d9e8 0f28c8 f4"),
        "single-steps-into-strings": run("9c 66810c240001 9d b912000000 f3ab d9e8 0f58c1 ebfe"),
        "idle-loops": run("b900100000 ffc9 75fc b900100000 9090 e2fc 8b03 85c0 74fa f4"),
        "idle-loops-and-interrupts": run("fb b900000100 ffc9 75fc 833b00 74fb f4", injections=IRQS),
        "strings-that-meet-themselves": run("8d7b08 89de b9c8000000 fc f3a4 8d7b01 f348ab ebec"),
        "strings-compare": run("89df 8d7340 b940000000 fc f3a6 b940000000 f266af b164 f3af ebe6"),
        "pusha-over-itself": run("60 bc10000100 bbf4f4f4f4 ebf3", PAE),
        "frames-with-levels": run("89e5 c8100003 60 c8000104 c9 c9 ebf2", PROTECTED),
        "far-transfers": run("6a086a00 48cb 0f01d0 48cf"),
    }


# ---- machine: machine, how, slice, on_interrupt, program ----

WRMSR, RDMSR, RDPMC, ANY_MSR, APIC_WRITE, APIC_READ, OUT, IN, WORK, CPUID = range(10)
HLT, STI, CODE, TO_USER, TO_KERNEL, INT, MEMORY, DEADLINE, VMCALL, AGAIN = range(10, 20)
LOOP, LVTPC, FAULT, PMU_ON = range(20, 24)
CLI = STI | 0x80
FOR_EVER, LIMIT_20K, LIMIT_200K, LIMIT_2M, TRACE, NO_SKID, PAUSES = 1, 2, 4, 6, 8, 16, 64
TWO_VMS = 128
ACK, UNMASK, EOI, REARM = 1, 2, 4, 8
ALL = ACK | UNMASK | EOI
FIXED, NMI = 0, 0x80  # delivery modes of LVTPC, in units of 8
APIC_BASE, X2APIC_LVTT = 41, 48  # where program.c has them
X2APIC_ON = bytes([WRMSR, APIC_BASE, 0xCD])
TSC_DEADLINE = X2APIC_ON + bytes([WRMSR, X2APIC_LVTT, 0xE4])

BODIES: dict[str, tuple[int, int, bytes]] = {
    "nothing": (0, 0, b""),
    "spins": (FOR_EVER | LIMIT_200K, 0, bytes([LOOP, 100])),
    "counts-instructions": (0, 0, bytes([PMU_ON, 0, 0xC0, 0, 0, LOOP, 50, RDPMC, 0])),
    "overflow-each-instruction": (
        FOR_EVER | LIMIT_2M,
        ALL | REARM,
        bytes([LVTPC, NMI, PMU_ON, 0, 0xC0, 1, 0, LOOP, 200]),
    ),
    "pmi-storm": (
        FOR_EVER | LIMIT_200K | NO_SKID,
        ALL,
        bytes([STI, LVTPC, FIXED, PMU_ON, 8, 0, 1, 0, LOOP, 9]),
    ),
    "timer-storm": (FOR_EVER | LIMIT_200K, ALL, TSC_DEADLINE + bytes([STI, DEADLINE, 0, 0, HLT])),
    "deadline-and-halt": (0, EOI, TSC_DEADLINE + bytes([DEADLINE, 255, 0, HLT])),
    "halt-for-ever": (0, 0, bytes([CLI, CODE, 1, 0xF4])),
    "user-mode": (LIMIT_200K, ALL, bytes([TO_USER, LOOP, 10, RDPMC, 0, TO_KERNEL])),
    "work": (LIMIT_2M, 0, bytes([PMU_ON, 1, 0xC4, 0, 0, WORK, 1, 0, 255, RDPMC, 1])),
    "faults": (LIMIT_200K, 0, b"".join(bytes([FAULT, n]) for n in range(16))),
    "copies-for-ever": (LIMIT_2M, 0, bytes([CODE, 10]) + bytes.fromhex("48c7c1ffffffff31ffff")),
    "ports": (0, 0, b"".join(bytes([OUT, n, 65, IN, n]) for n in range(14))),
    "exits": (LIMIT_200K, 0, bytes([CPUID, 10, VMCALL, CPUID, 0, RDMSR, 200, OUT, 0, 65])),
    "apic": (0, ALL, bytes([APIC_WRITE, 0x30, 0x40, 0, 4, 0, APIC_READ, 2, STI, LOOP, 5])),
    "x2apic": (0, ALL, X2APIC_ON + bytes([RDMSR, X2APIC_LVTT, APIC_READ, 2])),
    "every-msr": (0, 0, b"".join(bytes([RDMSR, n, WRMSR, n, 1]) for n in range(140))),
    "self-modifying": (LIMIT_200K, 0, bytes([CODE, 9]) + bytes.fromhex("c605f9ffffff90ebf7")),
}
# CPU models come sorted, three modes each: see configs.py.
MACHINES = (0, 1, 2, 15, 16, 17, 18, 21, 25, 38)


def machine() -> dict[str, bytes]:
    """Return each program on some machines, so that each machine has some; once with two VMs."""
    found = {}
    for n, (name, (how, on_interrupt, program)) in enumerate(BODIES.items()):
        for k, more in enumerate((0, TRACE, TRACE | PAUSES, TRACE | TWO_VMS)):
            number = MACHINES[(n + 3 * k) % len(MACHINES)]
            head = bytes([number, how | more, 3 * k, on_interrupt])
            found[f"{name}-{number}"] = head + program
    return found


TARGETS = {"loader": loader, "decoder": decoder, "cpu": cpu, "machine": machine}


def write(folder: Path) -> None:
    """Write all of them."""
    for target, seeds in TARGETS.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, data in seeds().items():
            (folder / target / name).write_bytes(data)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
