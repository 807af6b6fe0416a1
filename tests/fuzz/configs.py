# SPDX-License-Identifier: Apache-2.0
"""Write the machines that fuzz_machine.c builds: ``python tests/fuzz/configs.py FILE``.

They are those of the command line: CPU models, modes, arrangements, event filter, host events,
faults of host perf, taken through the same code. For each, the file has the bytes of a ``struct
pp_config`` and then of the arrays that it points to, in the order of configs.c; the target puts
pointers and image in. It belongs to this build of the core, so it is made anew each time.
"""

from __future__ import annotations

import struct
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pmupass import core, cpus
from pmupass.bench import images
from pmupass.config import Mode
from pmupass.options import Options
from pmupass.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pmupass.config import MachineConfig

MAGIC = 0x31464350
MEMORY = 4 << 20

FILTER = """
action = "deny"
events = ["branches", "0xd0"]
fixed = [1]
"""
# What the machines differ in besides CPU and mode.
ARRANGEMENTS: tuple[dict[str, object], ...] = (
    {"settings": ("kvm.interception=none",)},
    {"settings": ("kvm.interception=rfc2024",)},
    {"settings": ("kvm.apicv=0",)},
    {"settings": ("guest.gp_counters=2", "guest.fixed_counters=1")},
    {"filter": FILTER},
    {"settings": ("kvm.force_emulation_prefix=3", "cpu.rtm=1")},
)
CONTENTION: tuple[dict[str, object], ...] = (
    {"host_perf": ("cycles:D", "instructions:D", "branches:D", "branches:D")},
    {"host_perf": ("cycles", "loads:u", "stores:k", "cache-misses:H")},
    {"host_perf": ("-F 20000 {cycles:H,instructions:H}", "-c 3000 branches:uH")},
)
# Faults, in an emulated guest.
FAULTS: tuple[dict[str, object], ...] = (
    {"settings": ("host.fault_late_reprogram=1", "kvm.fault_counter_write=31-bit")},
    {"settings": ("host.fault_overflow=2", "host.fault_event_period=2")},
    {"settings": ("host.fault_event_create=2", "kvm.in_txcp_period=1", "cpu.rtm=1")},
)


def options(folder: Path) -> Iterator[tuple[Options, Mode]]:
    """Return one machine after the other."""
    image = folder / "guest.elf"
    image.write_bytes(images.empty(1))
    rules = folder / "filter.toml"
    rules.write_text(FILTER, encoding="utf-8")
    kept: dict[str, object] = {"workload": str(image)}
    for cpu in cpus.names():
        for mode in Mode:
            yield Options(**kept, cpu=cpu), mode  # type: ignore[arg-type]
    for arrangement in ARRANGEMENTS:
        given = {k: rules if k == "filter" else v for k, v in arrangement.items()}
        for cpu in ("sapphire-rapids", "skylake-sp"):
            for mode in (Mode.EMULATED, Mode.MEDIATED):
                yield Options(**kept, cpu=cpu, **given), mode  # type: ignore[arg-type]
    for arrangement in (*CONTENTION, *FAULTS):
        yield Options(**kept, **arrangement), Mode.EMULATED  # type: ignore[arg-type]


def record(made: MachineConfig, memory: int = MEMORY) -> bytes:
    """Return one machine: the size of what follows, the struct, its arrays."""
    built = core._Config(made)
    config = built.struct
    config.memory = memory
    parts = [bytes(core.ffi.buffer(config))]
    for pointer, count in (
        (config.cpuid, config.nr_cpuid),
        (config.event_maps, config.nr_event_maps),
        (config.profiles, config.nr_profiles),
        (config.host_events, config.nr_host_events),
        (config.costs, config.nr_costs),
        (config.kvm.intercepts, config.kvm.nr_intercepts),
        (config.kvm.msrs_to_save, config.kvm.nr_msrs_to_save),
        (config.kvm.filter.entries, config.kvm.filter.nr_entries),
    ):
        size = count * core.ffi.sizeof(core.ffi.typeof(pointer).item)
        data = bytes(core.ffi.buffer(pointer, size)) if size else b""
        parts.append(data + bytes(-len(data) % 8))
    body = b"".join(parts)
    return struct.pack("<Q", len(body)) + body


def write_records(target: Path, records: list[bytes]) -> int:
    """Write the file of some machines; return how many there are."""
    size = core.ffi.sizeof("struct pp_config")
    target.write_bytes(struct.pack("<III4x", MAGIC, len(records), size) + b"".join(records))
    return len(records)


def write(target: Path) -> int:
    """Write the file; return how many machines there are."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = [(Plan(option), mode) for option, mode in options(Path(folder))]
        # Zen 2 and Zen 3 have no mediated vPMU.
        records = [record(plan.config(mode)) for plan, mode in wanted if not plan.refusal(mode)]
    return write_records(target, records)


if __name__ == "__main__":
    print(f"{write(Path(sys.argv[1]))} machines")
