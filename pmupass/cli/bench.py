# SPDX-License-Identifier: Apache-2.0
"""``pmupass bench``."""

from __future__ import annotations

import click

from pmupass.bench import DEFAULT, SUITES
from pmupass.cli import options, output
from pmupass.errors import ExitStatus, UsageError
from pmupass.settings import near
from pmupass.workloads import BUILT_IN


@click.command(name="bench")
@click.argument("suites", metavar="[SUITE]...", nargs=-1)
@options.no_host
@options.json
def command(*, suites: tuple[str, ...], no_host: bool, json_to: str | None) -> int:
    """Measure how fast this program is, and what the modes cost in the model.

    \b
    Suites: speed (guest MIPS, host ns per access, PMI and switch)
            modes (VM-exits of perf-record, by CPU, and a vPMU that is left idle)
            published (published figures beside the model's, pass or fail within 20 %)
    Without one, speed and modes run, in under a minute.
    """
    output.check_target(json_to, (*SUITES, *BUILT_IN), "pmupass bench speed --json")
    for suite in suites:
        if suite not in SUITES:
            raise UsageError(
                f"no suite {suite!r}{near(suite, SUITES)}\nSuites: {', '.join(SUITES)}"
            )
    import importlib
    import time

    from msgspec import UNSET

    from pmupass import readout
    from pmupass.cli.watching import Watching
    from pmupass.machine import InterruptedRunError
    from pmupass.report import bench as report
    from pmupass.results import Bench, Measurement

    started = time.perf_counter()
    results: list[Measurement] = []
    complete = True
    with Watching() as watch:
        try:
            for suite in dict.fromkeys(suites or DEFAULT):
                module = importlib.import_module(f"pmupass.bench.{suite}")
                results.extend(module.measure(watch))
        except InterruptedRunError:
            complete = False
    host = UNSET if no_host else readout.host_facts(time.perf_counter() - started)
    bench = Bench(complete=complete, results=results, host=host)
    output.emit(bench, json_to, lambda console: report.render(console, bench))
    return int(ExitStatus.OK if complete else ExitStatus.INTERRUPTED)
