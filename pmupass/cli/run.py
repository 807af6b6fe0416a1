# SPDX-License-Identifier: Apache-2.0
"""``pmupass run``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from pmupass.bench import SUITES
from pmupass.cli import options, output
from pmupass.cli.pictures import Pictures
from pmupass.errors import ExitStatus
from pmupass.options import MODES, check_modes

if TYPE_CHECKING:
    from pmupass.results import Result


@click.command(name="run")
@options.experiment
@click.option(
    "--mode",
    metavar="|".join(MODES),
    default="mediated",
    show_default=True,
    help="How the PMU is arranged.",
)
def command(
    mode: str,
    json_to: str | None,
    flamegraph_to: str | None,
    folded_to: str | None,
    **experiment: Any,
) -> int:
    """Run a guest image in one mode.

    WORKLOAD is a built-in name (pmupass list workloads) or the path of an ELF image. The report
    says what the guest counted, what was true, where the loss comes from, and what it all cost.

    \b
    pmupass run perf-record -e cycles,instructions -F 1000
    pmupass run perf-stat --mode emulated --host-perf cycles:D --json
    """
    from pmupass import workloads

    output.check_target(json_to, (*workloads.BUILT_IN, *SUITES), "pmupass run perf-stat --json")
    pictures = Pictures(flamegraph_to, folded_to)
    pictures.check(json_to)
    (mode,) = check_modes([mode])
    from pmupass.cli.watching import Watching
    from pmupass.machine import BrokenRunError, Session
    from pmupass.report import run as report

    with Watching() as watch:
        session = Session(options.collect(**experiment), watch)
        for warning in session.plan.warnings([mode]):
            click.echo(f"pmupass: {warning}", err=True)
        broken: BrokenRunError | None = None
        try:
            result = session.run(mode)
        except BrokenRunError as error:
            broken, result = error, cast("Result", error.document)
    for note in session.notes:
        click.echo(f"pmupass: {note}", err=True)
    title = f"{result.workload}, {result.mode} on {result.cpu}: where the host's time goes"
    pictures.write(title, {result.mode: result}, by_mode=False)
    output.emit(
        result,
        json_to,
        lambda console: report.render(console, result),
        tables=not pictures.replace_tables,
    )
    if broken is not None:
        raise broken
    if not result.complete:
        return int(ExitStatus.INTERRUPTED)
    return int(ExitStatus.GUEST_FAILURE if result.failed else ExitStatus.OK)
