# SPDX-License-Identifier: Apache-2.0
"""Capstone judges the decoder: length, memory operand and control flow.

All one- and two-byte opcodes with every ModRM.reg, some prefixes and addressing forms, and random
bytes. The differences that are accepted stand in ACCEPTED with their reasons; one that no entry
covers fails, and so does an entry that covers nothing.
"""

import os
import random
import re
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

if "libasan" in os.environ.get("LD_PRELOAD", ""):
    # It loads its library with RTLD_DEEPBIND, which AddressSanitizer ends the process for.
    pytest.skip("Capstone cannot be loaded beside AddressSanitizer", allow_module_level=True)

capstone = pytest.importorskip("capstone", reason="capstone is a development dependency")
x86 = pytest.importorskip("capstone.x86_const")

AT = 0x1000
CASE = 16
MAX_LENGTH = 15
ANSWER = struct.Struct("<QQ13B3x")
VALID, INVALID, UNIMPLEMENTED, TOO_LONG = range(4)
NONE = 16  # REG_ZERO
SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_NONE = range(7)
LEGACY = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3}

PREFIXES = [
    b"",
    b"\x66",
    b"\xf2",
    b"\xf3",
    b"\xf0",
    b"\x48",
    b"\x66\x48",
    b"\x48\x66",
    b"\x67",
    b"\x41",
    b"\x46",
    b"\x64",
    b"\x65\x67",
]
QUICK_PREFIXES = PREFIXES[:7]
MODRM = [0x00, 0x05, 0x04, 0x44, 0x84, 0xC0, 0xC3]
QUICK_MODRM = [0x05, 0x44, 0xC3]

REGISTERS = {
    getattr(x86, f"X86_REG_{name}"): number
    for names in (
        "RAX RCX RDX RBX RSP RBP RSI RDI R8 R9 R10 R11 R12 R13 R14 R15",
        "EAX ECX EDX EBX ESP EBP ESI EDI R8D R9D R10D R11D R12D R13D R14D R15D",
        "AX CX DX BX SP BP SI DI",
    )
    for number, name in enumerate(names.split())
}
BRANCH_GROUPS = {
    capstone.CS_GRP_JUMP,
    capstone.CS_GRP_CALL,
    capstone.CS_GRP_RET,
    capstone.CS_GRP_IRET,
    capstone.CS_GRP_INT,
}
SEGMENTS = {
    getattr(x86, f"X86_REG_{name}"): number
    for number, name in enumerate(["ES", "CS", "SS", "DS", "FS", "GS"])
}
MODES = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}


class Answer(NamedTuple):
    """struct answer of judge_decoder.c."""

    displacement: int
    target: int
    kind: int
    length: int
    end: int
    branches: int
    loads: int
    stores: int
    memory: int
    base: int
    index: int
    scale: int
    segment: int
    address32: int
    address16: int


@dataclass
class Case:
    """The bytes, the interpreter's answer, Capstone's, and what stands where."""

    code: bytes
    ours: Answer
    theirs: Any  # CsInsn, None: not an instruction
    prefixes: bytes
    opcode: str
    modrm: int
    bits: int = 64

    @property
    def mnemonic(self) -> str:
        """Capstone's name for it."""
        return str(self.theirs.mnemonic) if self.theirs is not None else ""


def systematic(prefixes: list[bytes], modrms: list[int]) -> Iterator[bytes]:
    """Yield all one- and two-byte opcodes, and 0f 38 f0 and f1."""
    chance = random.Random(1)  # noqa: S311
    escapes = [(b"", range(256)), (b"\x0f", range(256)), (b"\x0f\x38", (0xF0, 0xF1))]
    for escape, opcodes in escapes:
        for opcode in opcodes:
            for prefix in prefixes:
                for reg in range(8):
                    for modrm in modrms:
                        head = prefix + escape + bytes([opcode, modrm | reg << 3])
                        yield (head + chance.randbytes(CASE))[:CASE]


def at_random(count: int, seed: int) -> Iterator[bytes]:
    """Yield random bytes behind up to two random prefixes."""
    chance = random.Random(seed)  # noqa: S311
    choice = sorted(LEGACY) + list(range(0x40, 0x50))
    for _ in range(count):
        head = bytes(chance.choices(choice, k=chance.randrange(3)))
        yield (head + chance.randbytes(CASE))[:CASE]


def parse(code: bytes, bits: int = 64) -> tuple[bytes, str, int]:
    """Return the prefixes, the opcode in hex with its escapes, and the byte behind it."""
    at = 0
    while at < MAX_LENGTH and (code[at] in LEGACY or (bits == 64 and code[at] & 0xF0 == 0x40)):
        at += 1
    end = at + 1
    if code[at : at + 1] == b"\x0f":
        end += 1 if code[at + 1 : at + 2] not in {b"\x38", b"\x3a"} else 2
    return code[:at], code[at:end].hex(), code[end] if end < CASE else 0


class Accepted(NamedTuple):
    """A reviewed difference: what differs, in which opcodes, behind which prefixes, and why."""

    what: str
    opcodes: str  # regular expression
    prefixes: set[int]  # one of them stands in front; empty: whatever does
    reason: str

    def covers(self, what: str, case: Case) -> bool:
        """Tell whether this entry accepts the difference."""
        return (
            what == self.what
            and re.fullmatch(self.opcodes, case.opcode) is not None
            and (not self.prefixes or not self.prefixes.isdisjoint(case.prefixes))
        )


ACCEPTED = [
    Accepted("ours", ".*", {0xF0}, "LOCK is #UD on what is not a locked update of memory"),
    Accepted("ours", "0f0[1ef]|0f37|0f7[89]|0faa", set(), "of other CPUs or of modes: #UD"),
    Accepted("ours", "0f2[0-3]", set(), "control and debug registers that do not exist: #UD"),
    Accepted("ours", "0fc3", {0x66, 0xF2, 0xF3}, "MOVNTI has no such prefixes"),
    Accepted("ours", "8f", set(), "XOP, of AMD: #UD"),
    Accepted("ours", "0fa[67]", set(), "of VIA's CPUs: #UD"),
    Accepted("ours", "8e|8c", set(), "MOV to CS, and of segment registers 6 and 7: #UD"),
    Accepted("ours", "0f1[26]", {0x66}, "MOVLPD, MOVHPD between registers: #UD, with REX.W, too"),
    Accepted("ours", "c[67]", set(), "XABORT, XBEGIN: there is no RTM"),
    Accepted("theirs", "0f0d|0f1[89a-f]", set(), "hinted NOPs, whatever follows"),
    Accepted("theirs", "0fae", set(), "fences, whatever ModRM.rm says"),
    Accepted("theirs", "0fb[cd]|63|90", set(), "prefixes that the processor ignores"),
    Accepted("theirs", "0f8.", {0x66}, "Jcc: Intel ignores 66"),
    Accepted("length", "0f8[01]", {0x66}, "JO, JNO: Intel ignores 66, as Capstone does elsewhere"),
    Accepted("length", "c2", {0x66}, "RET imm16 has two bytes of immediate"),
    Accepted("memory", ".*", {0x64, 0x65}, "FS, GS stay behind CS.., and LEA has no segment"),
    Accepted(
        "memory", "0f01|0f0d|0f1[89a-f]|0fae", set(), "INVLPG flushes all, the others nothing"
    ),
    Accepted("memory", "0ff7", set(), "MASKMOVDQU: Capstone does not list what RDI points to"),
    Accepted("memory", "8f", set(), "POP adds 8 to RSP before it is a base"),
]


def unexplained(
    differences: list[tuple[str, Case]], accepted: list[Accepted] = ACCEPTED
) -> list[str]:
    """Return the differences that no entry of the table covers, one line each."""
    lines = []
    for what, case in differences:
        if not any(entry.covers(what, case) for entry in accepted):
            theirs = case.theirs and f"{case.theirs.size} {case.mnemonic} {case.theirs.op_str}"
            lines.append(f"{what}: {case.code.hex(' ')}: {case.ours}, Capstone {theirs}")
    return lines


def wrapped(value: int) -> int:
    """Return a number as 64 bits hold it."""
    return value & (1 << 64) - 1


def segment_of(case: Case, mem: Any, base: int) -> int:
    """Return the segment of a memory operand; in legacy code there always is one."""
    segment = SEGMENTS.get(mem.segment, SEG_NONE)
    if case.bits == 64:
        return segment if segment in {SEG_FS, SEG_GS} else SEG_NONE
    if case.opcode == "8d":  # LEA: an offset
        return SEG_NONE
    if segment != SEG_NONE:
        return segment
    return SEG_SS if base in {4, 5} else SEG_DS


def offset_of(case: Case, displacement: int) -> int:
    """Return a displacement in as many bits as addresses have."""
    if case.bits == 64:
        return wrapped(displacement)
    return displacement & (0xFFFF if case.ours.address16 else 0xFFFFFFFF)


def target_of(case: Case, target: int) -> int:
    """Return a branch target in as many bits as the operand size gives RIP."""
    if case.bits == 64:
        return wrapped(target)
    return target & (0xFFFF if (case.bits == 16) != (0x66 in case.prefixes) else 0xFFFFFFFF)


def memory_of(case: Case) -> tuple[int, ...] | None:
    """Return Capstone's ModRM memory operand as the interpreter puts it, None without one."""
    insn = case.theirs
    operands = [o for o in insn.operands if o.type == x86.X86_OP_MEM]
    if not operands:
        return None
    mem = operands[0].mem
    base = REGISTERS.get(mem.base, NONE)
    displacement = mem.disp
    if mem.base in {x86.X86_REG_RIP, x86.X86_REG_EIP}:
        displacement += AT + insn.size
    index = REGISTERS.get(mem.index, NONE)
    scale = {1: 0, 2: 1, 4: 2, 8: 3}[mem.scale] if index != NONE else 0
    return base, index, scale, offset_of(case, displacement), segment_of(case, mem, base)


def control_of(case: Case) -> tuple[bool, int]:
    """Return whether it branches in Capstone's eyes, and where to if the bytes say it."""
    insn = case.theirs
    branches = bool(BRANCH_GROUPS & set(insn.groups)) or insn.mnemonic.startswith(("loop", "sys"))
    if capstone.CS_GRP_BRANCH_RELATIVE in insn.groups:
        return branches, target_of(case, insn.operands[0].imm)
    return branches, 0


def difference(case: Case) -> str:
    """Return what differs: "", "ours" or "theirs" (is no instruction), "length" and so on."""
    ours = case.ours
    if case.theirs is None:
        return "theirs" if ours.kind == VALID else ""
    if ours.kind in {INVALID, TOO_LONG}:
        return "" if re.fullmatch("ud[012]", case.mnemonic) else "ours"
    if case.theirs.size != ours.length:
        return "length"
    branches, target = control_of(case)
    if branches != bool(ours.branches) or (target and target != ours.target):
        return "control flow"
    displacement = offset_of(case, ours.displacement)
    memory = ours.base, ours.index, ours.scale, displacement, ours.segment
    return "memory" if ours.memory and memory_of(case) != memory else ""


def compare(
    program: Path, codes: list[bytes], bits: int = 64
) -> tuple[Counter[str], list[tuple[str, Case]]]:
    """Return how many of each kind there were, and the differences."""
    answers = subprocess.run(
        [program, str(bits)], input=b"".join(codes), capture_output=True, check=True, timeout=300
    ).stdout
    engine = capstone.Cs(capstone.CS_ARCH_X86, MODES[bits])
    engine.detail = True
    kinds: Counter[str] = Counter()
    differences = []
    for code, fields in zip(codes, ANSWER.iter_unpack(answers), strict=True):
        ours = Answer(*fields)
        if ours.kind == UNIMPLEMENTED:
            kinds["not implemented"] += 1
            continue
        theirs = next(engine.disasm(code[:MAX_LENGTH], AT, 1), None)
        case = Case(code, ours, theirs, *parse(code, bits), bits)
        what = difference(case)
        kinds[what or ("same" if ours.kind == VALID else "both refuse")] += 1
        if what:
            differences.append((what, case))
    return kinds, differences


def test_decoder_as_capstone(judge_build: Path) -> None:
    """All opcodes behind the prefixes that matter most, and some random bytes."""
    codes = [*systematic(QUICK_PREFIXES, QUICK_MODRM), *at_random(20_000, 1)]
    kinds, differences = compare(judge_build / "judge_decoder", codes)
    print(kinds)
    assert kinds["same"] > 60_000
    assert not unexplained(differences)[:20]


@pytest.mark.slow
def test_decoder_as_capstone_with_all_prefixes(judge_build: Path) -> None:
    """All opcodes, prefixes and addressing forms, a million random cases, and no stale entry."""
    codes = [*systematic(PREFIXES, MODRM), *at_random(1_000_000, 2)]
    kinds, differences = compare(judge_build / "judge_decoder", codes)
    print(kinds)
    assert not unexplained(differences)[:20]
    stale = [
        entry.reason
        for entry in ACCEPTED
        if not any(entry.covers(what, case) for what, case in differences)
    ]
    assert not stale
