# SPDX-License-Identifier: Apache-2.0
"""What VMCALL answers under KVM. Natively it is #UD."""

from __future__ import annotations

import guest_asm as asm
import pytest


@pytest.mark.parametrize("mode", ["emulated", "mediated"])
def test_hypercalls(mode: str) -> None:
    """-ENOSYS (KVM's own 1000) for what KVM does not know, 0 for the poll that does nothing.

    -EPERM for any of them at CPL 3.
    """
    source = f"""
	{asm.PRELUDE}
_start:	kernel_setup 1
	movl	$99, %eax
	vmcall
	keep	0
	movl	$1, %eax
	vmcall
	keep	1
	user_frame user
	iretq
user:	movl	$1, %eax
	vmcall
	syscall
syscall_entry:
	keep	2
	finish
"""
    ran = asm.run(source, mode=mode, cpu="skylake-sp")
    assert ran.results(3) == [2**64 - 1000, 0, 2**64 - 1]
