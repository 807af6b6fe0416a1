# SPDX-License-Identifier: Apache-2.0
"""Hold pmupass against Unicorn: the same guests, in turns, on this computer.

pmupass runs them natively with the shipped timing model, the truth on and eleven counters armed.
Unicorn runs them with hooks in C that only count: on every instruction, on every instruction and
every memory access, and on every basic block. The last one is no peer (it neither stops on an exact
instruction nor counts loads); its ratio is printed without a claim.

Times are CPU time of this process, so that others on the computer disturb less. Both sides must
execute the same number of instructions and end with the same registers, or the run fails.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import math
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import images
from images import MIXES, Guest

from pmupass.config import Mode
from pmupass.core import Machine
from pmupass.options import Options
from pmupass.plan import Plan
from pmupass.records import Stop
from pmupass.workloads import Workload

CPU = "sapphire-rapids"
CHECK_SHARE = 200  # a check runs this part of a guest's rounds
COUNTERS = 11
CLAIMS = {"insn": 2.5, "insn+mem": 3.0}
KINDS = ("insn", "insn+mem", "block")
PT_LOAD = 1
SLICE = 1 << 18


@dataclasses.dataclass
class Outcome:
    """What one side did."""

    seconds: float
    instructions: int
    registers: tuple[int, ...]


# pmupass


def run_pmupass(image: bytes) -> Outcome:
    """Run a guest under the shipped model; the time is that of the run alone."""
    plan = Plan(Options("bench", cpu=CPU, host=False), Workload("bench", "", data=image))
    machine = Machine(plan.config(Mode.NATIVE))
    started = time.process_time()
    while (stop := machine.run(SLICE)) is Stop.BUDGET:
        pass
    seconds = time.process_time() - started
    if stop is not Stop.EXIT:
        raise SystemExit(f"pmupass stopped at {machine.guest().rip:#x}: {stop.name.lower()}")
    registers = struct.unpack("<16Q", machine.physical(images.REGISTERS, 128))
    # The guest never reads its counters: each leaves one interval that nobody read.
    armed = sum(counter.unread for counter in machine.counters())
    outcome = Outcome(seconds, machine.guest().instructions, registers)
    machine.close()
    if armed != COUNTERS:
        raise SystemExit(f"{armed} counters were armed, not {COUNTERS}")
    return outcome


# Unicorn


class Counts(ctypes.Structure):
    """struct counts of hooks.c."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("calls", "distinct", "last", "accesses")]


class Unicorn:
    """The other side, with hooks that were compiled for it."""

    def __init__(self, folder: Path) -> None:
        import unicorn
        from unicorn.unicorn_py3.unicorn import uclib

        library = folder / "hooks.so"
        source = Path(__file__).with_name("hooks.c")
        command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)]
        subprocess.run(command, check=True)
        self._unicorn = unicorn
        self._uclib = uclib
        self._hooks = ctypes.CDLL(str(library))
        self.version = unicorn.__version__

    def run(self, image: bytes, kind: str) -> Outcome:
        """Run a guest with the hooks of one kind."""
        u = self._unicorn
        uc = u.Uc(u.UC_ARCH_X86, u.UC_MODE_64)
        uc.mem_map(0, images.MEMORY)
        entry = self._load(uc, image)
        counts = Counts()
        if kind == "check":
            self._hook(uc, u.UC_HOOK_CODE, "on_distinct_insn", counts)
        if kind in {"insn", "insn+mem"}:
            self._hook(uc, u.UC_HOOK_CODE, "on_insn", counts)
        if kind == "insn+mem":
            self._hook(uc, u.UC_HOOK_MEM_READ | u.UC_HOOK_MEM_WRITE, "on_access", counts)
        if kind == "block":
            self._hook(uc, u.UC_HOOK_BLOCK, "on_insn", counts)
        started = time.process_time()
        uc.emu_start(entry, images.DONE)
        seconds = time.process_time() - started
        registers = struct.unpack("<16Q", uc.mem_read(images.REGISTERS, 128))
        return Outcome(seconds, counts.distinct or counts.calls, registers)

    @staticmethod
    def _load(uc: Any, image: bytes) -> int:
        """Put the segments of an ELF64 into memory and return its entry."""
        entry, headers = struct.unpack_from("<QQ", image, 24)
        size, number = struct.unpack_from("<HH", image, 54)
        for n in range(number):
            kind, _, offset, _, address, length = struct.unpack_from(
                "<IIQQQQ", image, headers + n * size
            )
            if kind == PT_LOAD:
                uc.mem_write(address, image[offset : offset + length])
        return int(entry)

    def _hook(self, uc: Any, kind: int, function: str, counts: Counts) -> None:
        handle = ctypes.c_size_t()
        everywhere = (ctypes.c_uint64(1), ctypes.c_uint64(0))
        status = self._uclib.uc_hook_add(
            uc._uch,  # noqa: SLF001 - hook_add() takes Python functions only
            ctypes.byref(handle),
            kind,
            ctypes.cast(getattr(self._hooks, function), ctypes.c_void_p),
            ctypes.addressof(counts),
            *everywhere,
        )
        if status:
            raise SystemExit(f"uc_hook_add: error {status}")


# The comparison


def check(unicorn: Unicorn, guest: Guest, rounds: int) -> int:
    """Return the instructions of a small run; SystemExit unless both sides agree."""
    image = guest.image(rounds)
    ours, theirs = run_pmupass(image), unicorn.run(image, "check")
    if ours.instructions != theirs.instructions:
        raise SystemExit(
            f"{guest.name}: pmupass executed {ours.instructions} instructions, "
            f"Unicorn {theirs.instructions}"
        )
    if ours.registers != theirs.registers:
        raise SystemExit(f"{guest.name}: the registers differ: {ours.registers} {theirs.registers}")
    return ours.instructions


@dataclasses.dataclass
class Row:
    """Medians of one guest over the rounds."""

    name: str
    instructions: int
    mips: float
    ratios: dict[str, float]


def measure(unicorn: Unicorn, guest: Guest, rounds: int, scale: float) -> Row:
    """Run pmupass and each kind of Unicorn in turns, ``rounds`` times."""
    image = guest.image(max(int(guest.rounds * scale), 1))
    seconds = []
    ratios: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        ours = run_pmupass(image)
        seconds.append(ours.seconds)
        for kind in KINDS:
            theirs = unicorn.run(image, kind)
            if theirs.registers != ours.registers:
                raise SystemExit(f"{guest.name}: the registers differ under hook {kind}")
            ratios[kind].append(theirs.seconds / ours.seconds)
    mips = ours.instructions / statistics.median(seconds) / 1e6
    medians = {kind: statistics.median(values) for kind, values in ratios.items()}
    return Row(guest.name, ours.instructions, mips, medians)


def verdict(rows: list[Row]) -> int:
    """Print the geometric means and what they say of the claims; return the exit status."""
    means = {
        kind: math.exp(statistics.fmean(math.log(row.ratios[kind]) for row in rows))
        for kind in KINDS
    }
    print(f"{'geometric mean':14}{'':24}" + "".join(f"{means[kind]:12.2f}" for kind in KINDS))
    status = 0
    for kind, least in CLAIMS.items():
        below = [row.name for row in rows if row.ratios[kind] < least]
        each = "each guest" if not below else f"not {', '.join(below)}"
        held = means[kind] >= least
        print(
            f"{kind}: at least {least} times Unicorn in the geometric mean: "
            f"{'yes' if held else 'NO'}; by itself: {each}"
        )
        status |= not held
    return status


def main() -> int:
    """Print a line a guest; exit status 1 if the claims do not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("guest", nargs="*", help=f"of {', '.join(g.name for g in MIXES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of how much each guest does")
    parser.add_argument("--check", action="store_true", help="only that both sides agree")
    arguments = parser.parse_args()
    chosen = [guest for guest in MIXES if not arguments.guest or guest.name in arguments.guest]
    unknown = set(arguments.guest) - {guest.name for guest in MIXES}
    if unknown:
        parser.error(f"no such guest: {', '.join(sorted(unknown))}")
    rows = []
    with tempfile.TemporaryDirectory(prefix="pmupass-bench-") as folder:
        unicorn = Unicorn(Path(folder))
        if not arguments.check:
            print(f"Unicorn {unicorn.version}: its times by hook, as multiples of those of pmupass")
            kinds = "".join(f"{kind:>12}" for kind in KINDS)
            print(f"{'guest':14}{'instructions':>14}{'MIPS':>10}{kinds}")
        for guest in chosen:
            executed = check(unicorn, guest, max(guest.rounds // CHECK_SHARE, 1))
            if arguments.check:
                print(f"{guest.name}: {executed} instructions, the same registers")
                continue
            row = measure(unicorn, guest, arguments.rounds, arguments.scale)
            ratios = "".join(f"{row.ratios[kind]:12.2f}" for kind in KINDS)
            print(f"{row.name:14}{row.instructions:>14,}{row.mips:>10.1f}{ratios}", flush=True)
            rows.append(row)
    return verdict(rows) if rows else 0


if __name__ == "__main__":
    sys.exit(main())
