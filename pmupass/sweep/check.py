# SPDX-License-Identifier: Apache-2.0
"""What can be said against an option, or a command, before anything runs.

Whether it goes with the other options of its cell (an event that the CPU has, a VM that KVM makes)
shows when the cell runs, and is its result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmupass import costs, cpus, host_perf, hosts, profiles, settings, text_file, workloads
from pmupass.errors import InputError, UsageError
from pmupass.events import EventTable
from pmupass.options import DEFAULT_CPU
from pmupass.policy import event_filter
from pmupass.sweep import words
from pmupass.sweep.words import SET, WORKLOAD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pmupass.cpus import CpuModel
    from pmupass.options import Options
    from pmupass.sweep.words import Words

FILES = ("kvm.msr_filter", "guest.env_file")  # settings that name one


def option(name: str, values: Words) -> None:
    """UsageError, InputError for what an option can never say."""
    words.parse(words.command({WORKLOAD: ("perf-stat",), name: values}))
    for value in values:
        if name.startswith(f"{SET}."):
            _setting(name.partition(".")[2], value)
        elif name == WORKLOAD:
            workloads.find(value)
        elif name == "cpu":
            cpus.load(value)
        elif name == "switch":
            settings.check_switch_policy(value)
        elif name == "host":
            hosts.sessions(value, cpus.load(DEFAULT_CPU))
    if name == "event" and values:
        _some_cpu(lambda cpu: EventTable(cpu).parse(",".join(values)))
    if name == "host-perf":
        _some_cpu(lambda cpu: host_perf.parse_all(values, EventTable(cpu)))


def _setting(key: str, value: str) -> None:
    overrides = settings.resolve([f"{key}={value}"])
    costs.load(overrides.namespace("cost"))
    profiles.load_all(overrides.namespace("profile"))
    if of_cpu := overrides.namespace("cpu"):
        _some_cpu(lambda cpu: cpus.load(cpu.name, of_cpu))


def _some_cpu(takes: Callable[[CpuModel], object]) -> None:
    """UsageError for what no CPU model takes: which one it is for shows in the cell."""
    refusal: UsageError | None = None
    for name in (DEFAULT_CPU, *cpus.names()):
        try:
            takes(cpus.load(name))
        except UsageError as error:
            refusal = refusal or error
        else:
            return
    if refusal is not None:
        raise refusal


def command(given: Words) -> Iterator[str]:
    """Return the user's files that a command names.

    UsageError, InputError for options that contradict each other, or a file that is not there.
    """
    _, options = words.parse(given)
    paths = [word.partition("=")[2] for word in given if word.startswith("--costs=")]
    paths += map(str, _files_of(options))
    for path in paths:
        if not text_file.place(path).is_file():
            hint = settings.near(path, event_filter.shipped())
            raise InputError(f"{path}: no such file{hint}")
    return iter(paths)


def _files_of(options: Options) -> Iterator[Path | str]:
    workload = workloads.find(options.workload)
    if workload.path is not None:
        yield workload.path
    filters = [options.filter, *(change.path for change in options.filter_changes)]
    for path in filters:
        if path is None:
            continue
        if text_file.place(path).exists() or str(path) not in event_filter.shipped():
            yield path
    for assignment in options.settings:
        key, _, value = assignment.partition("=")
        if key.strip() in FILES:
            yield value.strip()
    for vm in options.vms:
        yield from _files_of(vm)
