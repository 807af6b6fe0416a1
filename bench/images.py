# SPDX-License-Identifier: Apache-2.0
"""The guests of the comparisons: ``bench/guests/NAME.[Sc]`` linked behind ``start.S``.

Freestanding ELF64 images that run in long mode without page tables of their own; ``rounds`` says
how much they do. A guest ends at :data:`END` in the exit port and leaves its registers at
:data:`REGISTERS`.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "guests"
TEXT = 0x100000
END = 0x1F0000  # xor eax,eax; out 0xf4,eax; and then DONE
DONE = END + 4
REGISTERS = 0x200000  # sixteen of 64 bits
MEMORY = 64 << 20

FLAGS = [
    "-O2",
    "-Wall",
    "-Wextra",
    "-ffreestanding",
    "-mgeneral-regs-only",
    "-mno-red-zone",
    "-fno-pic",
    "-no-pie",
    "-fno-stack-protector",
    "-fcf-protection=none",
    "-fno-asynchronous-unwind-tables",
    "-nostdlib",
    "-static",
]


@dataclass(frozen=True)
class Guest:
    """A source, and the rounds that take pmupass some tenths of a second.

    ``parts`` are further sources; the ``run`` of ``NAME.S`` is called ``run_NAME`` in the guest.
    """

    name: str
    source: str
    rounds: int
    doc: str
    parts: tuple[str, ...] = ()

    def image(self, rounds: int | None = None) -> bytes:
        """Return the image; SystemExit with the compiler's words if there is none."""
        given = self.rounds if rounds is None else rounds
        with tempfile.TemporaryDirectory(prefix="pmupass-bench-") as folder:
            out = Path(folder) / "guest.elf"
            objects = []
            for part in self.parts:
                stem = Path(part).stem
                objects.append(str(Path(folder) / f"{stem}.o"))
                self._compile("-c", f"-Drun=run_{stem}", str(FOLDER / part), "-o", objects[-1])
            self._compile(
                f"-Wl,--defsym=ROUNDS={given},-Ttext={TEXT:#x}",
                f"-Wl,--section-start=.end={END:#x},--section-start=.results={REGISTERS:#x}",
                "-Wl,-Tdata=0x210000,--build-id=none,-z,noexecstack,--no-warn-rwx-segments",
                str(FOLDER / "start.S"),
                str(FOLDER / self.source),
                *objects,
                "-o",
                str(out),
            )
            return out.read_bytes()

    def _compile(self, *arguments: str) -> None:
        command = ["gcc", *FLAGS, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{self.source} does not compile:\n{done.stderr}")


MIXES = (
    Guest("alu", "alu.S", 1_700_000, "register arithmetic, shifts, SETcc, CMOVcc"),
    Guest("branches", "branches.S", 2_200_000, "random conditional and indirect branches"),
    Guest("calls", "calls.S", 20_000, "recursion, saved registers, calls through a table"),
    Guest("memory", "memory.S", 1_500, "an array: loads, stores, read-modify-write, unaligned"),
    Guest("chase", "chase.S", 700, "a linked list in scattered order"),
    Guest("strings", "strings.S", 40_000, "REP MOVS, STOS, SCAS, CMPS; LODSB and STOSB"),
    Guest("muldiv", "muldiv.S", 2_000_000, "multiplications and divisions"),
    Guest("sort", "sort.c", 60, "C: quicksort of 4096 integers"),
    Guest("hash", "hash.c", 1_000, "C: CRC-32, FNV-1a, a hash table"),
    Guest("matrix", "matrix.c", 65, "C: integer matrices of 48 by 48"),
    Guest("lexer", "lexer.c", 10_000, "C: tokens of a piece of C"),
)

# A million iterations of LOOP and two million instructions of the rest, each round.
IDLE_MIX = Guest(
    "idle-mix",
    "idle_mix.S",
    1000,
    "LOOP instructions that jump to themselves, and ordinary code",
    parts=("alu.S", "memory.S", "calls.S", "sort.c", "lexer.c"),
)

# Guests without an end; their number is what start.S takes for the rounds.
WORST = {
    name: Guest(name, "worst.S", number, "")
    for number, name in enumerate(
        (
            "jump",
            "loop",
            "string",
            "work",
            "fault",
            "rewrite",
            "exits",
            "device",
            "unaligned",
            "flush",
        )
    )
}
