# SPDX-License-Identifier: Apache-2.0
"""Guests that never end, stopped from outside: Ctrl-C and ``--time``, on real processes.

A guest must not be able to hold the command: neither by one endless instruction, nor by exits or
interrupts that come so densely that none of its instructions gets on.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import guest_asm as asm
import pytest

# What is promised is 0.2 s on a computer with nothing else to do; a test has to live with others.
MARGIN_SECONDS = 2.0
SPIN_SECONDS = 0.6  # of the processor, Python's start among them

# A handler that does nothing but ask for the next interrupt at once.
_TIMER = r"""
_start:	kernel_setup
	gate	0x40, on_timer
	wr	0x832, 0x40040		/* TSC deadline */
	sti
	wr	0x6e0, 1
1:	{body}
	jmp	1b
on_timer:
	wr	0x80b
	rdtsc
	addl	$1, %eax
	adcl	$0, %edx
	movl	$0x6e0, %ecx
	wrmsr
	iretq
"""
# Every instruction overflows the counter; the handler's last deed is to have its IRETQ do so again.
_PMI = r"""
_start:	kernel_setup
	gate	2, on_pmi
	gate	0x41, on_pmi
	wr	0x834, {lvtpc}
	wr	0x186, 0x5300c0
	wr	0x38f, 1
	wr	0xc1, -1
	sti
1:	incq	RESULTS
	jmp	1b
on_pmi:	wr	0x38f, 0
	wr	0x390, 1
	wr	0x834, {lvtpc}
	wr	0x80b
	wr	0xc1, -1
	wr	0x38f, 1
	iretq
"""
_SETUP = "_start:\tkernel_setup\n"
GUESTS = {
    # Not a jump to itself, which goes to the end of the clock in one step.
    "stores": "_start: incq RESULTS; jmp _start",
    "loops": "_start: movl $1000, %ecx; 1: incq RESULTS; loop 1b; jmp _start",
    "cpuid-storm": "_start: xorl %eax, %eax; cpuid; jmp _start",
    "port-storm": "_start: inb $0x71, %al; jmp _start",
    "rdmsr-storm": "_start: movl $0x186, %ecx; rdmsr; jmp _start",
    "wrmsr-storm": "_start: wr 0x186, 0x4300c0; wr 0x186, 0x4300c4; jmp _start",
    "page-faults": _SETUP + "gate 14, fault; movabsq 0x400000000000, %rax\n"
    "fault: addq $8, %rsp; iretq",
    "faulting-handler": _SETUP + "gate 6, fault; fault: movq $kernel_stack_top, %rsp; ud2",
    "moving-gigabytes": "_start: movl $0x2000000, %esi; movl $0x4000000, %edi\n"
    "movl $0x8000000, %ecx; rep movsb; jmp _start",
    "moving-for-ever": "_start: movl $0x400000, %esi; movl $0xf0000000, %edi; movq $-1, %rcx\n"
    "1: lodsb; rep scasb; movq $-1, %rcx; xorl %edi, %edi; jmp 1b",
    "storing-to-a-device": "_start: movl $0xf0000000, %edi; movl $0xc000000, %ecx\n"
    "rep stosb; jmp _start",
    "halt": _SETUP + "gate 0x40, tick; wr 0x83e, 0xb; wr 0x832, 0x20040; wr 0x838, 1\n"
    "sti; 1: hlt; jmp 1b\n tick: wr 0x80b; iretq",
    "halt-with-a-timer-nobody-hears": _SETUP + "wr 0x83e, 0xb; wr 0x832, 0x30040\n"
    "wr 0x838, 1; sti; 1: hlt; jmp 1b",
    "self-modifying": "_start: movb $0x90, 1f(%rip); 1: nop; jmp _start",
    "flushing-its-page-tables": "_start: movq %cr3, %rax; movq %rax, %cr3; jmp _start",
    "work-in-pieces": "_start: incq RESULTS; movl $1000, %ecx; movl $1, %eax\n"
    "nopl 0x504d5501(%rax); jmp _start",
    "pmi-storm": _PMI.format(lvtpc="0x41"),
    "nmi-storm": _PMI.format(lvtpc="0x400"),
    "timer-storm": _TIMER.format(body="nop"),
    "timer-storm-in-halt": _TIMER.format(body="hlt"),
}


def cases(first: int) -> list[object]:
    """Return guests with modes: each other guest in one mode, all in all by `pytest -m slow`."""
    return [
        pytest.param(
            name,
            mode,
            marks=() if n % 2 == first and n // 2 % len(asm.MODES) == k else pytest.mark.slow,
        )
        for n, name in enumerate(GUESTS)
        for k, mode in enumerate(asm.MODES)
    ]


@pytest.fixture
def command(tmp_path: Path, guest: str, mode: str) -> list[str]:
    """Return the command that runs the guest."""
    image = tmp_path / "guest.elf"
    image.write_bytes(asm.assemble(asm.PRELUDE + GUESTS[guest]))
    start = "import sys; from pmupass.cli import main; sys.exit(main())"
    return [sys.executable, "-P", "-c", start, "run", str(image), "--mode", mode, "--json"]


@pytest.mark.parametrize(("guest", "mode"), cases(0))
def test_ctrl_c_ends_a_guest_that_spins(command: list[str]) -> None:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started = time.monotonic()
    while _cpu_seconds(process.pid) < SPIN_SECONDS and time.monotonic() - started < 20:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    latency = time.monotonic() - sent
    print(f"ended {latency * 1000:.0f} ms after SIGINT")
    assert process.returncode == 130, err
    document = json.loads(out)
    assert document["complete"] is False
    assert document["guest"]["stop"] == "interrupted"
    assert document["guest"]["tsc_cycles"] > 0
    assert latency < MARGIN_SECONDS


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.parametrize(("guest", "mode"), cases(1))
def test_a_time_limit_ends_a_guest_that_spins(command: list[str]) -> None:
    """100 us of guest time are nothing for the host, however the guest spends them."""
    started = time.monotonic()
    done = subprocess.run(
        [*command, "--time", "100us"], capture_output=True, text=True, check=False, timeout=60
    )
    print(f"ended after {(time.monotonic() - started) * 1000:.0f} ms")
    assert done.returncode == 0, done.stderr
    guest = json.loads(done.stdout)["guest"]
    assert guest["stop"] == "time"
