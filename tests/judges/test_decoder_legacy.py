# SPDX-License-Identifier: Apache-2.0
"""Capstone judges the decoder of 16- and 32-bit code, as test_decoder.py has it for 64-bit code."""

from pathlib import Path

import pytest
from test_decoder import Accepted, at_random, compare, systematic, unexplained

PREFIXES = [
    b"",
    b"\x66",
    b"\xf2",
    b"\xf3",
    b"\xf0",
    b"\x67",
    b"\x66\x67",
    b"\x26",
    b"\x2e\x67",
    b"\x36",
    b"\x3e\x66",
    b"\x64",
    b"\x65\x67",
]
QUICK_PREFIXES = [b"", b"\x66", b"\xf3", b"\x67", b"\x36"]
# Each mod with an operand of one register, of two, and with none; and registers.
MODRM = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x44, 0x46, 0x84, 0x82, 0xC0, 0xC3]
QUICK_MODRM = [0x06, 0x42, 0xC3]
BITS = (16, 32)

# As in 64-bit code, but for what says otherwise.
ACCEPTED = [
    Accepted("ours", ".*", {0xF0}, "LOCK is #UD on what is not a locked update of memory"),
    Accepted("ours", "0f0[157ef]|0f37|0f7[89]|0faa", set(), "of other CPUs or of modes: #UD"),
    Accepted("ours", "0f2[0-3]", set(), "control and debug registers that do not exist: #UD"),
    Accepted("ours", "0fc3", {0x66, 0xF2, 0xF3}, "MOVNTI has no such prefixes"),
    Accepted("ours", "8f", set(), "XOP, of AMD: #UD"),
    Accepted("ours", "8e|8c", set(), "MOV to CS, and of segment registers 6 and 7: #UD"),
    Accepted("ours", "0fa[67]", set(), "of VIA's CPUs: #UD"),
    Accepted("ours", "c[67]", set(), "XABORT, XBEGIN: there is no RTM"),
    Accepted("theirs", "0f0d|0f1[89a-f]", set(), "hinted NOPs, whatever follows"),
    Accepted("theirs", "0fae", set(), "fences, whatever ModRM.rm says"),
    Accepted("theirs", "0fb[8cd]|90", set(), "prefixes that the processor ignores"),
    Accepted("theirs", "0f..", {0x67}, "Capstone forgets opcodes behind F2 or F3 and then 67"),
    Accepted(
        "memory", "0f01|0f0d|0f1[89a-f]|0fae", set(), "INVLPG flushes all, the others nothing"
    ),
    Accepted("memory", "0ff7", set(), "MASKMOVDQU: Capstone does not list what EDI points to"),
    Accepted("memory", "8f", set(), "POP adds its size to ESP before it is a base"),
]
# In 16-bit code Capstone takes 66 for the operand size alone, and not for a part of the opcode.
MANDATORY = [
    Accepted("ours", "0f1[26]", {0x66}, "MOVLPD, MOVHPD between registers: #UD"),
    Accepted("theirs", "0f6[cd]|0f73|0fd6|0fe6", {0x66}, "instructions that MMX has not"),
]
# A near branch with a distance of four bytes, where addresses have 16 bits.
CUT = {
    16: Accepted("control flow", "0f8.|e9", {0x66}, "Capstone cuts the distance to 16 bits"),
    32: Accepted("control flow", "0f8.|e9", {0x67}, "Capstone cuts the distance to 16 bits"),
}


@pytest.mark.parametrize("bits", BITS)
def test_decoder_of_legacy_code_as_capstone(judge_build: Path, bits: int) -> None:
    """All opcodes behind the prefixes that matter most, and some random bytes."""
    codes = [*systematic(QUICK_PREFIXES, QUICK_MODRM), *at_random(10_000, 1)]
    kinds, differences = compare(judge_build / "judge_decoder", codes, bits)
    print(kinds)
    assert kinds["same"] > 30_000
    assert not unexplained(differences, [*ACCEPTED, *MANDATORY, CUT[bits]])[:20]


@pytest.mark.slow
@pytest.mark.parametrize("bits", BITS)
def test_decoder_of_legacy_code_with_all_prefixes(judge_build: Path, bits: int) -> None:
    """All opcodes, prefixes and addressing forms, and half a million random cases."""
    codes = [*systematic(PREFIXES, MODRM), *at_random(500_000, 2)]
    kinds, differences = compare(judge_build / "judge_decoder", codes, bits)
    print(kinds)
    assert not unexplained(differences, [*ACCEPTED, *MANDATORY, CUT[bits]])[:20]
