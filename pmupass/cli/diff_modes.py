# SPDX-License-Identifier: Apache-2.0
"""``pmupass diff-modes``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from pmupass.bench import SUITES
from pmupass.cli import options, output
from pmupass.cli.pictures import Pictures
from pmupass.errors import ExitStatus
from pmupass.options import MODES, check_modes

if TYPE_CHECKING:
    from pmupass.results import Diff


@click.command(name="diff-modes")
@options.experiment
@click.option(
    "--modes",
    metavar="MODE,...",
    default=None,
    help=f"The modes to compare (default {','.join(MODES)}).",
)
def command(
    modes: str | None,
    json_to: str | None,
    flamegraph_to: str | None,
    folded_to: str | None,
    **experiment: Any,
) -> int:
    """Run a guest image in several modes and say how they differ, and why.

    A mode that KVM refuses (-EBUSY, say) is reported beside the others; the exit status is 3 only
    if it was named in --modes or if no mode ran.

    \b
    pmupass diff-modes perf-record
    pmupass diff-modes perf-record --modes emulated,mediated --cpu skylake-sp
    """
    from pmupass import workloads

    output.check_target(
        json_to, (*workloads.BUILT_IN, *SUITES), "pmupass diff-modes perf-record --json"
    )
    pictures = Pictures(flamegraph_to, folded_to)
    pictures.check(json_to)
    chosen = MODES if modes is None else check_modes(modes.split(","))
    from pmupass.cli.watching import Watching
    from pmupass.machine import BrokenRunError, Session
    from pmupass.report import diff as report

    with Watching() as watch:
        session = Session(options.collect(**experiment), watch)
        for warning in session.plan.warnings(chosen):
            click.echo(f"pmupass: {warning}", err=True)
        broken: BrokenRunError | None = None
        try:
            diff = session.diff_modes(chosen)
        except BrokenRunError as error:
            broken, diff = error, cast("Diff", error.document)
    for note in session.notes:
        click.echo(f"pmupass: {note}", err=True)
    title = f"{diff.workload} on {experiment['cpu']}: where the host's time goes"
    pictures.write(title, diff.results, by_mode=True)
    output.emit(
        diff,
        json_to,
        lambda console: report.render(console, diff),
        tables=not pictures.replace_tables,
    )
    if broken is not None:
        raise broken
    if not diff.complete:
        return int(ExitStatus.INTERRUPTED)
    if not diff.results or (modes is not None and diff.refusals):
        return int(ExitStatus.INPUT)
    failed = any(result.failed for result in diff.results.values())
    return int(ExitStatus.GUEST_FAILURE if failed else ExitStatus.OK)
