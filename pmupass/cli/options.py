# SPDX-License-Identifier: Apache-2.0
"""Options that several commands take, and what becomes of them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, TypeVar

import click

from pmupass.costs import read_settings
from pmupass.errors import UsageError
from pmupass.options import DEFAULT_CPU, Options, parse_filters, parse_time
from pmupass.settings import SWITCH_POLICIES, from_guest_cpuid

OF_A_VM = (
    "A further VM takes a workload, -e, -F, -c, --time, --filter, --guest-cpuid and --set; what is "
    "the host's stands beside --vm"
)
Function = TypeVar("Function", bound=Callable[..., Any])


def stacked(*decorators: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """Return one decorator for several options, shown in the order given."""

    def apply(function: Function) -> Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


cpu = click.option(
    "--cpu", metavar="NAME", default=DEFAULT_CPU, show_default=True, help="CPU model."
)
settings = click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a setting (pmupass list settings); may be repeated.",
)
guest_cpuid = click.option(
    "--guest-cpuid",
    metavar="NAME=VALUE,...",
    multiple=True,
    help="The PMU in the guest's CPUID, as a VMM sets it: pmu_version, gp_counters, gp_width, "
    "fw_write, ...; short for --set guest.NAME=VALUE. Natively the silicon is like that.",
)
costs = click.option(
    "--costs",
    "costs_from",
    metavar="FILE",
    multiple=True,
    help="Costs in place of ours, a TOML file (wrmsr = 90); of several the last one that has a "
    "cost, and --set cost.NAME goes before them.",
)
json = click.option(
    "--json",
    "json_to",
    metavar="[FILE]",
    is_flag=False,
    flag_value="-",
    default=None,
    help="Write the document as JSON: to stdout in place of the tables, or to --json=FILE.",
)
flamegraph = click.option(
    "--flamegraph",
    "flamegraph_to",
    metavar="FILE",
    help="Draw where the host's time goes, as an SVG.",
)
folded = click.option(
    "--folded",
    "folded_to",
    metavar="FILE",
    help="Write the host's cycles by call stack, a line each, for flamegraph.pl or speedscope; "
    "- for stdout in place of the tables.",
)
no_host = click.option(
    "--no-host", is_flag=True, help="Leave facts of this computer out of the JSON."
)

workload = click.argument("workload", metavar="WORKLOAD", required=False)
perf = (
    click.option(
        "-e",
        "--event",
        "events",
        metavar="EVENTS",
        multiple=True,
        help="Events, as perf writes them; may be repeated.",
    ),
    click.option(
        "-F", "--freq", "frequency", metavar="HZ", type=int, help="Sample at a frequency."
    ),
    click.option(
        "-c", "--count", "period", metavar="PERIOD", type=int, help="Sample every so many."
    ),
    click.option(
        "--time",
        metavar="TIME",
        help="Guest time a built-in workload works (default 100ms); a limit for other images.",
    ),
    click.option(
        "--filter",
        "filters",
        metavar="FILE[@TIME]",
        multiple=True,
        help="KVM PMU event filter: a TOML file, or one of ours by name (pmupass list filters); "
        "with a time (20ms) it replaces the one before then. May be repeated.",
    ),
)

experiment = stacked(
    workload,
    cpu,
    *perf,
    click.option(
        "--vm",
        "vms",
        metavar="'WORKLOAD ...'",
        multiple=True,
        help="A further VM on the host: in one argument, what its guest runs and the options -e, "
        "-F, -c, --time (default: until the run ends), --filter, --guest-cpuid and --set of its "
        "own. The run ends with the first VM; native has no others. May be repeated.",
    ),
    click.option(
        "--host-perf",
        metavar="SPEC",
        multiple=True,
        help="A perf session of the host: cycles:D counts on all CPUs, from before the VM. Takes "
        "perf's -c, -F, -e, groups '{a,b}', -t vcpu0 or task0, and times: "
        "'-F 4000 cycles:H@10ms-30ms'. May be repeated.",
    ),
    click.option(
        "--host",
        "scenario",
        metavar="NAME",
        default="idle",
        show_default=True,
        help="A load of the host: watchdog, perf-top, monitoring-agent, ... (pmupass list hosts).",
    ),
    click.option(
        "--switch",
        metavar="POLICY",
        default="upstream",
        show_default=True,
        help=f"Where the PMU changes hands: {', '.join(SWITCH_POLICIES)}.",
    ),
    guest_cpuid,
    costs,
    settings,
    click.option("--seed", metavar="N", type=int, default=1, show_default=True, help="Seed."),
    no_host,
    flamegraph,
    folded,
    json,
)


@click.command(name="--vm", add_help_option=False)
@stacked(workload, *perf, guest_cpuid, settings)
def _vm(**given: Any) -> Options:
    """Return the options of a further VM."""
    return collect(**given)


def parse_vm(text: str) -> Options:
    """Return the options of a further VM from what stands after ``--vm``."""
    try:
        words = shlex.split(text)
        context = _vm.make_context("--vm", words)
        options: Options = _vm.invoke(context)
    except ValueError as error:
        raise UsageError(f"--vm {text}: {error}") from None
    except click.UsageError as error:
        raise UsageError(f"--vm {text}: {error.format_message()}\n{OF_A_VM}") from None
    except UsageError as error:
        raise UsageError(f"--vm {text}: {error}") from None
    return options


def collect(
    *,
    workload: str | None,
    events: tuple[str, ...],
    frequency: int | None,
    period: int | None,
    time: str | None,
    filters: tuple[str, ...],
    guest_cpuid: tuple[str, ...],
    costs_from: tuple[str, ...] = (),
    settings: tuple[str, ...],
    cpu: str = DEFAULT_CPU,
    host_perf: tuple[str, ...] = (),
    scenario: str = "idle",
    switch: str = "upstream",
    seed: int = 1,
    no_host: bool = False,
    vms: tuple[str, ...] = (),
) -> Options:
    """Return the options of an experiment; UsageError for those that contradict each other."""
    if not workload:
        raise UsageError(
            "WORKLOAD is missing: a built-in name (pmupass list workloads) or the path of an image"
        )
    filter_file, filter_changes = parse_filters(filters)
    costs = tuple(cost for path in costs_from for cost in read_settings(path))
    return Options(
        workload=workload,
        cpu=cpu,
        events=",".join(events) if events else None,
        frequency=frequency,
        period=period,
        time_ns=None if time is None else parse_time(time),
        filter=filter_file,
        filter_changes=filter_changes,
        host_perf=host_perf,
        scenario=scenario,
        switch=switch,
        settings=(*costs, *from_guest_cpuid(guest_cpuid), *settings),
        seed=seed,
        host=not no_host,
        vms=tuple(parse_vm(text) for text in vms),
    )
