# SPDX-License-Identifier: Apache-2.0
"""``pmupass sweep``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pmupass.cli import output
from pmupass.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from pmupass.cli.watching import Watching
    from pmupass.sweep.conduct import Workers
    from pmupass.sweep.grid import Sweep
    from pmupass.sweep.journal import Journal

STATUS = {
    "ok": ExitStatus.OK,
    "guest-failure": ExitStatus.GUEST_FAILURE,
    "refused": ExitStatus.INPUT,
    "usage": ExitStatus.INPUT,
    "input": ExitStatus.INPUT,
    "model": ExitStatus.MODEL,
}


@click.command(name="sweep")
@click.argument("file", metavar="FILE.toml")
@click.option(
    "-o",
    "--output",
    "output_to",
    metavar="FILE",
    help="Where the lines go (default: FILE.jsonl, beside FILE.toml).",
)
@click.option("--workers", metavar="N", type=int, help="Processes that run cells (default: all).")
@click.option("--dask", metavar="ADDRESS", help="Run the cells on a Dask cluster instead.")
@click.option("--restart", is_flag=True, help="Begin anew, whatever is complete.")
@click.option("--dry-run", is_flag=True, help="Print each cell's command, and run none.")
def command(
    file: str,
    output_to: str | None,
    workers: int | None,
    dask: str | None,
    *,
    restart: bool,
    dry_run: bool,
) -> int:
    """Run a grid of settings on all cores, a line of JSON for each run.

    FILE.toml says what differs between the cells of the grid: [grid] has an array of values for
    each option of pmupass run that does. Lines are written in the order of the cells, the same
    bytes for any number of workers; after an interruption the same command goes on with the cells
    that are missing. A table follows.

    \b
    pmupass sweep modes.toml
    pmupass sweep modes.toml --workers 2 -o modes.jsonl
    pmupass sweep modes.toml --dask tcp://127.0.0.1:8786
    """
    if workers is not None and dask is not None:
        raise UsageError("--workers and --dask exclude each other: processes here, or a cluster")
    if workers is not None and not 1 <= workers <= 1024:
        raise UsageError(f"--workers {workers}: a whole number from 1 to 1024")
    from pmupass.sweep import grid

    path = Path(file)
    sweep = grid.load(path)
    if dry_run:
        for job in sweep.jobs:
            click.echo(str(job))
        return int(ExitStatus.OK)
    target = path.with_suffix(".jsonl") if output_to is None else Path(output_to)
    if target.absolute() == path.absolute():
        raise UsageError(f"{target}: the lines would replace the sweep; name another file with -o")
    output.check_file("--output", str(target))
    return _run(sweep, target, workers, dask, restart=restart)


def _run(
    sweep: Sweep, target: Path, workers: int | None, dask: str | None, *, restart: bool
) -> int:
    import msgspec

    from pmupass.cli.watching import Watching
    from pmupass.report import console, sweep as report
    from pmupass.results import SweepLine
    from pmupass.sweep import conduct

    interrupted = False
    with conduct.journal(sweep, target, restart=restart) as journal:
        if journal.complete:
            _say(f"{target}: complete already; --restart begins anew")
        elif journal.lines:
            _say(f"going on: {len(journal.lines):,} of {len(sweep.jobs):,} cells are complete")
        if not journal.complete:
            with Watching(timed=True) as watch:
                interrupted = not _work(sweep, journal, workers, dask, watch)
        if not interrupted:
            journal.finish()
        lines = [msgspec.json.decode(line, type=SweepLine) for line in journal.in_order()]
    report.render(console.make(), sweep.columns, lines)
    for text in report.summary(lines, len(sweep.jobs)):
        _say(text)
    if interrupted:
        _say("interrupted; the same command goes on with the cells that are missing")
        return int(ExitStatus.INTERRUPTED)
    return max(int(STATUS[line.outcome]) for line in lines)


def _work(
    sweep: Sweep,
    journal: Journal,
    workers: int | None,
    dask: str | None,
    watch: Watching,
) -> bool:
    """Run what is missing; return False if the user interrupted it."""
    from pmupass.sweep import conduct

    order = conduct.order(sweep)
    with contextlib.ExitStack() as stack:
        who: Workers
        if dask is not None:
            from pmupass.sweep.cluster import Cluster

            who = cluster = stack.enter_context(Cluster(order, dask))
            if not cluster.threads:
                _say(f"--dask {dask}: the cluster has no workers yet; waiting for them")
        else:
            from pmupass.sweep.processes import Processes

            who = stack.enter_context(Processes(order, workers or conduct.cores()))
        return conduct.run(sweep, journal, who, watch)


def _say(text: str) -> None:
    click.echo(f"pmupass: {text}".replace("\n", "\n" + " " * len("pmupass: ")), err=True)
