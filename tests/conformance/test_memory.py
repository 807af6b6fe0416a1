# SPDX-License-Identifier: Apache-2.0
"""What a machine takes of the host's memory: its RAM as touched, and a rest that is bounded.

The bound stands in docs/model.md; no guest can make a machine grow past it.
"""

import subprocess
import sys
from pathlib import Path

import guest_asm as asm
import pytest

MB = 1 << 20
GUEST_MB = 64
# docs/model.md: 24 bytes for each page of RAM, and 24 MiB.
BOUND = GUEST_MB * MB + GUEST_MB * MB // 4096 * 24 + 24 * MB

# Touches all RAM but the loader's megabyte, writes code everywhere and runs it, sends more to the
# serial port than is kept, and makes page tables of its own again and again.
HOSTILE = r"""
_start:	kernel_setup
	gate	2, on_nmi
	movl	$0x1000000, %edi	/* RET in each byte of 16 MB up to the loader's part */
	movl	$(63 << 20) - 0x1000000, %ecx
	movb	$0xc3, %al
	rep	stosb
	movl	$0x1000000, %ebx
1:	call	*%rbx			/* more blocks than the pool has: one each 64 bytes */
	addl	$64, %ebx
	cmpl	$63 << 20, %ebx
	jb	1b
	movl	$0x3f8, %edx
	movl	$0x1000000, %esi
	movl	$5 << 20, %ecx
2:	outb	%al, %dx
	decl	%ecx
	jnz	2b
	movl	$2000, %r12d		/* silent errors, if the mode makes any; PMIs; selectors */
3:	wr	0x834, 0x400
	wr	0x186, 0x5300c0
	wr	0xc1, -5
	wr	0x38f, 1
	movl	$0, %ecx
	rdpmc
	movl	%r12d, %eax
	movzbl	%al, %eax
	shll	$8, %eax
	orl	$0x4300c4, %eax
	xorl	%edx, %edx
	movl	$0x187, %ecx
	wrmsr
	cpuid
	decl	%r12d
	jnz	3b
	finish
on_nmi:	wr	0x38f, 0
	wr	0x390, 1
	iretq
"""
MEASURE = """
import sys
from pathlib import Path
from pmupass.machine import Session
from pmupass.options import Options
from pmupass.core import Machine
from pmupass.config import Mode
import dataclasses, resource

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

session = Session(Options(sys.argv[1], settings=(f"guest.memory_mb={sys.argv[3]}",)))
config = session.plan.config(Mode[sys.argv[2].upper()])
before = resident()
machine = Machine(dataclasses.replace(config, trace_records=0))
made = resident()
stop = machine.run(1 << 62)
print(stop.name, made - before, resident() - before)
"""


@pytest.mark.parametrize("mode", asm.MODES)
def test_a_hostile_guest_stays_within_the_bound(tmp_path: Path, mode: str) -> None:
    image = tmp_path / "guest.elf"
    image.write_bytes(asm.assemble(asm.PRELUDE + HOSTILE))
    done = subprocess.run(
        [sys.executable, "-P", "-c", MEASURE, str(image), mode, str(GUEST_MB)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    stop, made, after = done.stdout.split()
    print(f"made {int(made) >> 10} KiB, after the run {int(after) >> 10} KiB")
    assert stop == "EXIT"
    # It has touched most of its RAM, or this measures nothing; RAM comes as it is touched.
    assert int(after) > (GUEST_MB - 20) * MB
    assert int(made) < 8 * MB
    if "libasan" not in Path("/proc/self/maps").read_text(encoding="ascii", errors="replace"):
        assert int(after) < BOUND
