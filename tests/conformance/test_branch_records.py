# SPDX-License-Identifier: Apache-2.0
"""What KVM does not offer a guest here: branch records and PEBS.

PERF_CAPABILITIES has no LBR format and no PEBS format in any mode, so that their registers do not
exist (#GP).
"""

from __future__ import annotations

import guest_asm as asm
import pytest
from guest_asm import GP, run_script

EMULATED, MEDIATED = asm.MODES[1:]
each_vpmu = pytest.mark.parametrize("mode", [EMULATED, MEDIATED])
each_cpu = pytest.mark.parametrize("cpu", [*asm.CPUS, *asm.MORE_CPUS])
PERF_CAPABILITIES = 0x345
LBR_FMT, PEBS_FORMAT = 0x3F, 0xF00

# LBR_SELECT, TOS, the first and last of FROM, TO and INFO; the architectural ones
LBR_MSRS = (0x1C8, 0x1C9, 0x680, 0x69F, 0x6C0, 0x6DF, 0xDC0, 0xDDF)
ARCH_LBR_MSRS = (0x14CE, 0x14CF, 0x1500, 0x1600, 0x1200)
# PEBS_ENABLE, PEBS_DATA_CFG, DS_AREA, PEBS_LD_LAT, PEBS_FRONTEND
PEBS_MSRS = (0x3F1, 0x3F2, 0x600, 0x3F6, 0x3F7)


@each_cpu
@each_vpmu
def test_perf_capabilities_announce_neither(mode: str, cpu: str) -> None:
    (value,) = run_script([("rd", PERF_CAPABILITIES)], mode=mode, cpu=cpu)
    assert value != GP
    assert not int(value) & (LBR_FMT | PEBS_FORMAT)


@each_cpu
@each_vpmu
@pytest.mark.parametrize(
    "msrs", [LBR_MSRS, ARCH_LBR_MSRS, PEBS_MSRS], ids=["lbr", "arch-lbr", "pebs"]
)
def test_their_registers_are_not_there(mode: str, cpu: str, msrs: tuple[int, ...]) -> None:
    ops = [("rd", msr) for msr in msrs] + [("wr", msr, 0) for msr in msrs]
    assert run_script(ops, mode=mode, cpu=cpu) == [GP] * len(ops)
