# SPDX-License-Identifier: Apache-2.0
"""The boundary: enums and lists are the core's, codes become exceptions."""

import dataclasses
import re
from pathlib import Path

import pytest

from pmupass import config, core, records
from pmupass._core import ffi
from pmupass.bench import images
from pmupass.config import (
    Filter,
    FilterAction,
    FilterEntry,
    HostEvent,
    HostTask,
    MachineConfig,
    Mode,
)
from pmupass.errors import InputError, ModelError
from pmupass.options import Options
from pmupass.plan import Plan
from pmupass.workloads import Workload

LISTS = {
    "base_events": "base_events.def",
    "exit_reasons": "exit_reasons.def",
    "svm_exit_reasons": "svm_exit_reasons.def",
    "loss_causes": "loss_causes.def",
    "costs": "costs.def",
    "access_kinds": "access_kinds.def",
    "msrs": "msrs.def",
    "trace_records": "trace.def",
    "stats": "stats.def",
}


def make(image: bytes, mode: Mode = Mode.NATIVE, **changes: object) -> MachineConfig:
    """Return the configuration of a machine with an image."""
    workload = Workload("image", "an image of the test", data=image)
    plan = Plan(Options("image", host=False, settings=("guest.memory_mb=16",)), workload)
    return dataclasses.replace(plan.config(mode), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("enum", "prefix", "python"),
    [
        ("pp_mode", "PP_MODE_", config.Mode),
        ("pp_stop", "PP_STOP_", records.Stop),
        ("pp_filter_action", "PP_FILTER_", config.FilterAction),
    ],
)
def test_enums_are_the_cores(enum: str, prefix: str, python: type) -> None:
    elements = ffi.typeof(f"enum {enum}").relements
    assert {f"{prefix}{member.name}": member.value for member in python} == elements


@pytest.mark.parametrize(("name", "file"), LISTS.items())
def test_lists_are_whole(root: Path, name: str, file: str) -> None:
    """As many entries as the .def file, each with a name of its own and a text."""
    text = re.sub(
        r"/\*.*?\*/",
        "",
        (root / "csrc" / "base" / file).read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    entries = core.table(name)
    assert len(entries) == len(re.findall(r"^[A-Z_]+\(", text, re.MULTILINE)) > 0
    assert len(set(core.names(name))) == len(entries)
    assert all(entry.text for entry in entries)


def test_every_field_of_the_timing_is_given() -> None:
    """A field that Python forgot would be 0 subcycles without anybody noticing."""
    given = make(images.empty(1)).timing
    assert set(given) == {name for name, _ in ffi.typeof("struct pp_timing").fields}


def test_a_guest_runs_and_is_read_out() -> None:
    machine = core.Machine(make(images.empty(100)))
    assert machine.run(1 << 20) is records.Stop.EXIT
    info = machine.guest()
    # mov, 100 times dec and jnz, xor, and the OUT that ends the run, which retires natively
    assert info.instructions == 1 + 2 * 100 + 2
    assert info.exited
    assert info.exit_value == 0
    assert machine.report() is None
    assert machine.serial() == ""
    assert machine.counters() == []
    assert machine.exits() == []
    assert set(machine.stats()) == set(core.names("stats"))


def test_physical_memory_holds_the_image() -> None:
    image = images.empty(1)
    machine = core.Machine(make(image))
    assert machine.physical(images.BASE, len(image)) == image
    assert machine.physical((16 << 20) - 2, 2) == b"\0\0"
    assert machine.physical((16 << 20) - 2, 3) == b""


@pytest.mark.parametrize("size", [0, 3, 40, 70, 119])
def test_a_truncated_image_is_refused(size: int) -> None:
    with pytest.raises(InputError, match="malformed guest image") as caught:
        core.Machine(make(images.empty(1)[:size]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"host_tasks": (HostTask(2),)}, "pCPU that is not there"),
        ({"host_tasks": (HostTask(1, 3), HostTask(0), HostTask(1, 2))}, "too many threads"),
        ({"host_tasks": (HostTask(0, (1 << 32) - 1),)}, "too many threads"),
        ({"tick_period": 0}, "tick of the host"),
        ({"tick_period": 2_000_000_001}, "tick of the host"),
    ],
)
def test_a_host_that_the_model_cannot_hold_is_refused(changes: dict, why: str) -> None:
    """Its threads (4 on a pCPU), and its tick: at least once a second, of 2 GHz here."""
    made = dataclasses.replace(make(images.empty(1), Mode.EMULATED, cpus=2), tsc_khz=2_000_000)
    with pytest.raises(ModelError, match=why):
        core.Machine(dataclasses.replace(made, **changes))
    good = {"host_tasks": (HostTask(1, 3), HostTask(1)), "tick_period": 2_000_000_000}
    core.Machine(dataclasses.replace(made, **good)).close()
    core.Machine(dataclasses.replace(made, mode=Mode.NATIVE, **changes)).close()


def test_a_mediated_vm_beside_an_include_guest_event_is_busy() -> None:
    """Python's policy says it first; the core refuses by itself as well."""
    busy = make(images.empty(1), Mode.MEDIATED, host_events=(HostEvent(0x3003C, pinned=True),))
    with pytest.raises(core.VmRefusedError, match="EBUSY"):
        core.Machine(busy)
    apart = HostEvent(0x3003C, pinned=True, exclude_guest=True)
    core.Machine(dataclasses.replace(busy, host_events=(apart,))).close()


def test_what_the_lists_point_to_stays_alive() -> None:
    """Everything that a config points to must outlive the constructor."""
    entries = tuple(FilterEntry(i, 0xFF, i) for i in range(200))
    base = make(images.empty(5), Mode.EMULATED)
    kvm = dataclasses.replace(base.kvm, filter=Filter(FilterAction.DENY, 0, entries))
    machine = core.Machine(dataclasses.replace(base, kvm=kvm))
    assert machine.run(1 << 20) is records.Stop.EXIT


def test_machines_do_not_touch_each_other() -> None:
    first, second = (core.Machine(make(images.empty(n))) for n in (1000, 10))
    first.run(100)
    assert second.run(1 << 20) is records.Stop.EXIT
    assert first.run(1 << 20) is records.Stop.EXIT
    assert first.guest().instructions - second.guest().instructions == 2 * 990
