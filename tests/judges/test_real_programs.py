# SPDX-License-Identifier: Apache-2.0
"""Unicorn judges programs of real mode: segment loads, far transfers, IRET, and what is between.

What the processor cannot judge, since it runs nothing in real mode for a program. The programs
are random sequences of snippets; registers, flags, selectors, IP and 128 KB of memory are compared
at their end. Interrupts are not in them: Unicorn does not deliver any.
"""

import random
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

unicorn = pytest.importorskip("unicorn", reason="unicorn is a development dependency")
x86 = pytest.importorskip("unicorn.x86_const")

CODE_BASE, DATA_BASE, DATA_BYTES = 0x10000, 0x20000, 0x20000
HALF = 1024
HEADER = struct.Struct("<9I6H")
ENDING = struct.Struct("<11I6HQ")
HALTED = 4  # CPU_STOP_HALT
SNIPPETS = 40
# Whatever the offset, the linear address is in the data.
SELECTORS = (0x2000, 0x2001, 0x2345, 0x2ABC, 0x2FFF)
# CF PF AF ZF SF IF DF OF IOPL NT: what POPF may load here, and what is compared
FLAGS = 0x7ED5

REGISTERS = [
    getattr(x86, f"UC_X86_REG_E{name}") for name in ["AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI"]
]
SEGMENTS = [getattr(x86, f"UC_X86_REG_{n}") for n in ["ES", "CS", "SS", "DS", "FS", "GS"]]
ES, CS, SS, DS, FS, GS = range(6)
OVERRIDES = [b"", b"", b"", b"\x26", b"\x36", b"\x3e", b"\x64", b"\x65"]
# The second half of the code: near and far callees at fixed places.
NEAR_RET, NEAR_RET_4, FAR_RET, FAR_RET_4, FAR_RET_32 = 0, 4, 8, 12, 16
CALLEES = b"\x40\xc3".ljust(4, b"\x90") + b"\x41\xc2\x04\x00" + b"\x42\xcb".ljust(4, b"\x90")
CALLEES += b"\xca\x04\x00\x90" + b"\x66\x43\x66\xcb"


def word(value: int) -> bytes:
    """Return 16 bits as they stand in code."""
    return (value & 0xFFFF).to_bytes(2, "little")


class Maker:
    """Makes the code of one program."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.code = b""

    def pick(self, *choices: Any) -> Any:
        """Return one of the choices."""
        return self.chance.choice(choices)

    def selector(self) -> int:
        """Return a selector of the data."""
        return self.chance.choice(SELECTORS)

    def memory(self, reg: int) -> bytes:
        """Return ModRM and displacement of a memory operand."""
        mod, rm = self.chance.randrange(3), self.chance.randrange(8)
        size = 2 if mod == 2 or (mod, rm) == (0, 6) else mod
        return bytes([mod << 6 | reg << 3 | rm]) + self.chance.randbytes(size)

    def known_flags(self) -> bytes:
        """Compare AX with something: every arithmetic flag is defined."""
        return b"\x3d" + self.chance.randbytes(2)

    def arithmetic(self) -> bytes:
        """ADD, ADC, SUB, SBB, CMP, MOV, XCHG with memory or register, with overrides and 66."""
        opcode = self.pick(0x00, 0x10, 0x18, 0x28, 0x38) + self.chance.randrange(4)
        opcode = self.pick(opcode, opcode, 0x88, 0x89, 0x8A, 0x8B, 0x86, 0x87)
        reg = self.pick(0, 1, 2, 3, 5, 6, 7) if opcode & 1 else self.chance.randrange(8)
        if self.chance.randrange(3):
            operand = self.memory(reg)
        else:
            operand = bytes([0xC0 | reg << 3 | self.pick(0, 1, 2, 3)])
        return self.pick(*OVERRIDES) + self.pick(b"", b"\x66") + bytes([opcode]) + operand

    def move(self) -> bytes:
        """Put a constant into a register of 16 or 32 bits, but not into the stack pointer."""
        reg = self.pick(0, 1, 2, 3, 5, 6, 7)
        if self.chance.randrange(2):
            return bytes([0xB8 | reg]) + self.chance.randbytes(2)
        return bytes([0x66, 0xB8 | reg]) + self.chance.randbytes(4)

    def wide_address(self) -> bytes:
        """Use a 32-bit address below 64 KB: MOVZX of SI, then MOV through it."""
        return b"\x66\x0f\xb7\xf6" + b"\x67\x8b" + bytes([self.pick(0x06, 0x0E, 0x16)])

    def load_segment(self) -> bytes:
        """Load a data segment register: by MOV, by POP, by LES and its like."""
        segment = self.pick(ES, SS, DS, FS, GS)
        value = word(self.selector())
        push, pop = {
            ES: (b"\x06", b"\x07"),
            SS: (b"\x16", b"\x17"),
            DS: (b"\x1e", b"\x1f"),
            FS: (b"\x0f\xa0", b"\x0f\xa1"),
            GS: (b"\x0f\xa8", b"\x0f\xa9"),
        }[segment]
        way = self.chance.randrange(4)
        if way == 0:
            return b"\xb8" + value + bytes([0x8E, 0xC0 | segment << 3])
        if way == 1:
            return b"\x68" + value + pop
        if way == 2:  # and read it back
            return b"\xba" + value + bytes([0x8E, 0xC2 | segment << 3]) + push + b"\x59"
        load = {ES: b"\xc4", SS: b"\x0f\xb2", DS: b"\xc5", FS: b"\x0f\xb4", GS: b"\x0f\xb5"}
        store = b"\xc7\x06" + word(0x1234) + self.chance.randbytes(2)
        return store + b"\xc7\x06" + word(0x1236) + value + load[segment] + b"\x1e\x34\x12"

    def stack(self) -> bytes:
        """Push and pop, as much as was pushed."""
        return self.pick(
            b"\x50\x5a",
            b"\x66\x53\x66\x5f",
            b"\x68" + self.chance.randbytes(2) + b"\x5e",
            b"\x60\x61",
            b"\x66\x60\x66\x61",
            b"\xc8\x20\x00\x00\xc9",
            b"\x54\x58",
            b"\x6a\x80\x59",
            b"\xff\x36\x00\x40\x8f\x06\x02\x40",
        )

    def near(self) -> bytes:
        """Call near, in both ways; jump over an instruction; loop."""
        at = len(self.code) + 3
        return self.pick(
            b"\xe8" + word(0x8000 + NEAR_RET - at),
            b"\x51\x51\xe8" + word(0x8000 + NEAR_RET_4 - at - 2),
            b"\xba" + word(0x8000 + NEAR_RET) + b"\xff\xd2",
            bytes([0x70 | self.chance.randrange(16), 1, 0x4B]),
            b"\xb9\x05\x00\x4f\xe2\xfd",
            b"\xeb\x01\xf4",
            b"\xe3\x01\x46",
        )

    def far(self) -> bytes:
        """Call far, direct and through memory, with operands of both sizes; jump far."""
        segment, base = self.pick((0x1000, 0x8000), (0x1800, 0), (0x1400, 0x4000))
        direct = b"\x9a" + word(base + FAR_RET) + word(segment)
        drop = b"\x51\x51\x9a" + word(base + FAR_RET_4) + word(segment)
        wide = b"\x66\x9a" + word(base + FAR_RET_32) + b"\0\0" + word(segment)
        store = b"\xc7\x06" + word(0x3000) + word(base + FAR_RET)
        store += b"\xc7\x06" + word(0x3002) + word(segment)
        jump = b"\xea" + word(len(self.code) + 5) + word(0x1000)
        return self.pick(direct, drop, wide, store + b"\xff\x1e" + word(0x3000), jump)

    def flags(self) -> bytes:
        """Store and load FLAGS; return from an interrupt that was none, to the next instruction."""
        value = word(self.chance.getrandbits(16) & FLAGS | 2)
        if self.chance.randrange(2):
            return self.known_flags() + b"\x9c\x58" + b"\x68" + value + b"\x9d"
        after = word(len(self.code) + 8)
        return b"\x68" + value + b"\x0e\x68" + after + b"\xcf"

    def string(self) -> bytes:
        """Run string instructions, in both directions, repeated or not."""
        head = self.pick(b"\xfc", b"\xfd") + b"\xb9" + word(self.chance.randrange(20))
        one = bytes([self.pick(0xA4, 0xA5, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF)])
        repeat = self.pick(b"", b"\xf3", b"\xf2" if one[0] in b"\xa6\xa7\xae\xaf" else b"\xf3")
        return head + self.pick(*OVERRIDES) + self.pick(b"", b"\x66") + repeat + one

    def make(self) -> bytes:
        """Return the first half of the code."""
        makers = [self.arithmetic] * 6 + [self.move, self.wide_address, self.stack, self.string]
        makers += [self.load_segment, self.near, self.far, self.flags] * 2
        for _ in range(SNIPPETS):
            self.code += self.chance.choice(makers)()
        self.code += b"\xfc" + self.known_flags() + b"\xf4"
        assert len(self.code) <= HALF
        return self.code.ljust(HALF, b"\xf4")


def program(seed: int) -> bytes:
    """Return a random struct program of judge_real.c."""
    chance = random.Random(seed)  # noqa: S311
    regs = [chance.getrandbits(32) for _ in REGISTERS]
    regs[4] &= 0xFFFF
    selectors = [chance.choice(SELECTORS) for _ in SEGMENTS]
    selectors[CS] = CODE_BASE >> 4
    flags = chance.getrandbits(16) & 0x8D5 | 2
    code = Maker(chance).make() + CALLEES.ljust(HALF, b"\xf4")
    return HEADER.pack(*regs, flags, *selectors) + code + chance.randbytes(DATA_BYTES)


def in_unicorn(raw: bytes) -> tuple[list[int], bytes]:
    """Run a program; return registers, flags, IP and selectors, and the data behind it."""
    fields = HEADER.unpack_from(raw)
    code = raw[HEADER.size : HEADER.size + 2 * HALF]
    engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_16)
    engine.mem_map(0, 0x80000)
    engine.mem_write(CODE_BASE, code[:HALF])
    engine.mem_write(CODE_BASE + 0x8000, code[HALF:])
    engine.mem_write(DATA_BASE, raw[HEADER.size + 2 * HALF :])
    for register, value in zip(SEGMENTS, fields[9:], strict=True):
        engine.reg_write(register, value)
    for register, value in zip(REGISTERS, fields[:8], strict=True):
        engine.reg_write(register, value)
    engine.reg_write(x86.UC_X86_REG_EFLAGS, fields[8])
    engine.emu_start(CODE_BASE, 0xFFFFFFFF, count=100_000)
    state = [engine.reg_read(r) for r in REGISTERS]
    state.append(engine.reg_read(x86.UC_X86_REG_EFLAGS) & FLAGS)
    state.append(engine.reg_read(x86.UC_X86_REG_EIP))
    state += [engine.reg_read(r) for r in SEGMENTS]
    return state, bytes(engine.mem_read(DATA_BASE, DATA_BYTES))


def compare(program_path: Path, seeds: range) -> None:
    """Run the programs on both sides."""
    raws = [program(seed) for seed in seeds]
    done = subprocess.run(
        [program_path], input=b"".join(raws), capture_output=True, check=True, timeout=300
    )
    size = ENDING.size + DATA_BYTES
    for index, (seed, raw) in enumerate(zip(seeds, raws, strict=True)):
        answer = done.stdout[index * size : (index + 1) * size]
        fields = ENDING.unpack_from(answer)
        assert fields[10] == HALTED, f"seed {seed}: stop {fields[10]} at {fields[9]:#x}"
        ours = [*fields[:8], fields[8] & FLAGS, fields[9], *fields[11:17]]
        theirs, data = in_unicorn(raw)
        assert [hex(v) for v in ours] == [hex(v) for v in theirs], f"seed {seed}"
        assert answer[ENDING.size :] == data, f"seed {seed}: memory differs"
        assert fields[17] > SNIPPETS, f"seed {seed}: only {fields[17]} instructions"


def test_real_mode_as_unicorn(judge_build: Path) -> None:
    """Some thousand snippets."""
    compare(judge_build / "judge_real", range(60))


@pytest.mark.slow
def test_more_of_real_mode_as_unicorn(judge_build: Path) -> None:
    """Eighty thousand snippets."""
    for first in range(1000, 3000, 100):
        compare(judge_build / "judge_real", range(first, first + 100))
