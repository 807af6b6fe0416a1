# SPDX-License-Identifier: Apache-2.0
"""``pmupass bench``."""

from __future__ import annotations

from pathlib import Path

import click

from pmupass.bench import DEFAULT, PICTURES, SUITES
from pmupass.cli import options, output
from pmupass.errors import ExitStatus, UsageError
from pmupass.settings import near
from pmupass.workloads import BUILT_IN


@click.command(name="bench")
@click.argument("suites", metavar="[SUITE]...", nargs=-1)
@options.no_host
@click.option(
    "--svg",
    "svg_to",
    metavar="FILE",
    help="Draw what sensitivity found: a plot for each conclusion.",
)
@options.json
def command(
    *, suites: tuple[str, ...], no_host: bool, svg_to: str | None, json_to: str | None
) -> int:
    """Measure how fast this program is, and what the modes cost in the model.

    \b
    Suites: speed (guest MIPS, host ns per access, PMI and switch)
            modes (VM-exits of perf-record, by CPU, and a vPMU that is left idle)
            published (published figures beside the model's, pass or fail within 20 %)
            sensitivity (which conclusions hold over the ranges of all costs; minutes)
            watchdog (lockup detectors of the host, and what they mean for guests)
    Without one, speed and modes run, in under a minute.
    """
    output.check_target(json_to, (*SUITES, *BUILT_IN), "pmupass bench speed --json")
    for suite in suites:
        if suite not in SUITES:
            raise UsageError(
                f"no suite {suite!r}{near(suite, SUITES)}\nSuites: {', '.join(SUITES)}"
            )
    _check_picture(suites, svg_to, json_to)
    import importlib
    import time

    from msgspec import UNSET, UnsetType

    from pmupass import readout
    from pmupass.cli.watching import Watching
    from pmupass.machine import InterruptedRunError
    from pmupass.report import bench as report
    from pmupass.results import Bench, Measurement, Sensitivity

    started = time.perf_counter()
    results: list[Measurement] = []
    sensitivity: Sensitivity | UnsetType = UNSET
    complete = True
    with Watching() as watch:
        try:
            for suite in dict.fromkeys(suites or DEFAULT):
                module = importlib.import_module(f"pmupass.bench.{suite}")
                for found in module.measure(watch):
                    if isinstance(found, Sensitivity):
                        sensitivity = found
                    else:
                        results.append(found)
        except InterruptedRunError:
            complete = False
    host = UNSET if no_host else readout.host_facts(time.perf_counter() - started)
    bench = Bench(complete=complete, results=results, sensitivity=sensitivity, host=host)
    if svg_to is not None and isinstance(sensitivity, Sensitivity):
        from pmupass.pictures import tornado

        output.write_whole(Path(svg_to), tornado.draw(sensitivity).encode())
    output.emit(bench, json_to, lambda console: report.render(console, bench))
    return int(ExitStatus.OK if complete else ExitStatus.INTERRUPTED)


def _check_picture(suites: tuple[str, ...], svg_to: str | None, json_to: str | None) -> None:
    """Refuse a picture of nothing, or one that cannot be written: UsageError, InputError."""
    if svg_to is None:
        return
    if not set(suites) & set(PICTURES):
        raise UsageError(f"--svg: name a suite that draws a picture: {', '.join(PICTURES)}")
    if svg_to == output.STDOUT:
        raise UsageError("--svg -: a picture goes to a file, as in --svg sensitivity.svg")
    if svg_to in SUITES:
        raise UsageError(f"--svg took {svg_to!r} as the file to write; put --svg FILE at the end")
    output.check_file("--svg", svg_to)
    if svg_to == json_to:
        raise UsageError(f"--svg and --json: {svg_to} is named twice")
