# SPDX-License-Identifier: Apache-2.0
"""SPEC_CTRL (0x48) and PRED_CMD (0x49): an IBPB forgets what branches were trained to.

Rules (Linux 7.0): a guest whose CPUID has IBPB writes PRED_CMD without an exit; SPEC_CTRL exits
until a value other than 0 is written, then it is the guest's.
"""

from __future__ import annotations

import guest_asm as asm
import pytest

each_mode = pytest.mark.parametrize("mode", asm.MODES)
each_cpu = pytest.mark.parametrize("cpu", asm.CPUS)


@each_mode
@each_cpu
def test_an_ibpb_forgets_branches(mode: str, cpu: str) -> None:
    """An indirect jump misses while its target is unknown, a conditional one until it was taken.

    The predictor starts weakly not taken: one taken turn is enough to train it.
    """
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	wr	0x38f, 0
	wr	0x186, {asm.EN | asm.OS | asm.EVENTS["branch-misses"]}
	wr	0x4c1, 0
	wr	0x38f, 1
	call	piece
	keep_pmc 0, 0
	call	piece
	keep_pmc 1, 0
	wr	0x49, 0			/* not an IBPB */
	call	piece
	keep_pmc 2, 0
	wr	0x49, 1
	call	piece
	keep_pmc 3, 0
	call	piece
	keep_pmc 4, 0
	movl	$7, %eax
	cpuid
	keep	5, %rdx
	finish
piece:	movq	$1f, %rax
	jmp	*%rax
	nop
1:	xorl	%eax, %eax
	jz	2f
	nop
2:	ret
"""
    ran = asm.run(source.replace("cpuid", "xorl %ecx, %ecx\n\tcpuid"), mode=mode, cpu=cpu)
    assert ran.results(5) == [2, 2, 2, 4, 4]
    assert ran.result(5) >> 26 & 1  # CPUID says that there is one
    (counter,) = ran.counters().values()
    assert counter.true_count == counter.counted


@each_mode
@pytest.mark.parametrize(
    ("values", "exits"),
    [((), 0), ((0, 0), 2), ((0, 1), 2), ((1, 0, 1, 4), 1)],
)
def test_spec_ctrl_exits_until_it_is_set(mode: str, values: tuple[int, ...], exits: int) -> None:
    writes = "\n".join(f"\twr 0x48, {value}" for value in values)
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup
	{{writes}}
	wr	0x49, 1
	rd	0x48
	keep	0
	finish
"""
    plain = asm.run(source.format(writes=""), mode=mode, cpu="skylake-sp")
    ran = asm.run(source.format(writes=writes), mode=mode, cpu="skylake-sp")
    assert ran.result(0) == (values[-1] if values else 0)
    if mode == "native":
        assert ran.exits() == {}
        return
    assert ran.exits()["MSR_WRITE"] - plain.exits()["MSR_WRITE"] == exits
    # RDMSR exits as long as WRMSR does.
    assert ran.exits().get("MSR_READ", 0) == (0 if any(values) else 1)


@each_mode
def test_reserved_bits(mode: str) -> None:
    ops = [("wr", 0x48, 8), ("wr", 0x48, 7), ("rd", 0x48), ("wr", 0x49, 2), ("rd", 0x49)]
    expected = [asm.GP, 0, 7, asm.GP, asm.GP]
    assert asm.run_script(ops, mode=mode, cpu="sapphire-rapids") == expected
