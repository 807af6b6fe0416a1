# SPDX-License-Identifier: Apache-2.0
"""What guests of AMD's CPUs need beside guest_asm: registers, models, the modes of each."""

from __future__ import annotations

import guest_asm as asm
import pytest

K7_EVNTSEL0, K7_PERFCTR0 = 0xC0010000, 0xC0010004
PERF_CTL0, PERF_CTR0 = 0xC0010200, 0xC0010201
GLOBAL_STATUS, GLOBAL_CTL, STATUS_CLR, STATUS_SET = range(0xC0000300, 0xC0000304)
GUESTONLY, HOSTONLY = 1 << 40, 1 << 41
NR = 6
ALL = (1 << NR) - 1
WIDTH = (1 << 48) - 1
INSTRUCTIONS, BRANCHES, CYCLES = 0x00C0, 0x00C2, 0x0076
COUNT = asm.EN | asm.OS | asm.USR

V1, V2 = ("zen2", "zen3"), ("zen4", "zen5")
NATIVE, EMULATED, MEDIATED = asm.MODES
PAIRS = [
    *((cpu, mode) for cpu in V1 for mode in (NATIVE, EMULATED)),
    *((cpu, mode) for cpu in V2 for mode in asm.MODES),
]
each = pytest.mark.parametrize(("cpu", "mode"), PAIRS)
each_v2 = pytest.mark.parametrize(("cpu", "mode"), [pair for pair in PAIRS if pair[0] in V2])
each_v1 = pytest.mark.parametrize(("cpu", "mode"), [pair for pair in PAIRS if pair[0] in V1])
each_vpmu = pytest.mark.parametrize(("cpu", "mode"), [pair for pair in PAIRS if pair[1] != NATIVE])


def ctl(n: int) -> int:
    """Return the selector's MSR of counter n."""
    return PERF_CTL0 + 2 * n


def ctr(n: int) -> int:
    """Return the MSR of counter n."""
    return PERF_CTR0 + 2 * n
