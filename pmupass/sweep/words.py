# SPDX-License-Identifier: Apache-2.0
"""Options of ``pmupass run`` by name, and the command that they are together.

Every option is here that makes a difference to the result; what it may say is decided where the
command line decides it.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from pmupass.errors import UsageError
from pmupass.options import check_modes
from pmupass.settings import BY_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pmupass.options import Options

WORKLOAD = "workload"
SET = "set"
OF_THE_OUTPUT = ("json_to", "flamegraph_to", "folded_to", "no_host")
Words = tuple[str, ...]  # of one option, which is given once for each
Given = dict[str, Words]  # by the option's long name, a setting's as set.KEY


def _command() -> click.Command:
    from pmupass.cli.run import command

    return command


@functools.cache
def options() -> dict[str, click.Parameter]:
    """Return the options by their long names, and the workload."""
    found: dict[str, click.Parameter] = {}
    for parameter in _command().params:
        longs = [name[2:] for name in parameter.opts if name.startswith("--")]
        if parameter.name == WORKLOAD:
            found[WORKLOAD] = parameter
        elif longs and parameter.name not in OF_THE_OUTPUT:
            found[longs[0]] = parameter
    return found


def long_name(short: str) -> str | None:
    """Return the name of an option that somebody calls by its letter."""
    for name, parameter in options().items():
        if f"-{short}" in parameter.opts:
            return name
    return None


def repeats(name: str) -> bool:
    """Return whether an option may be given several times."""
    parameter = options().get(name)
    return isinstance(parameter, click.Option) and parameter.multiple


@functools.cache
def _defaults() -> dict[str, Any]:
    context = _command().make_context("run", ["perf-stat"])
    return {name: context.params[p.name] for name, p in options().items() if p.name}


def default(name: str) -> Words | None:
    """Return what an option says that is not given, None if that depends on the workload."""
    if name.startswith(f"{SET}."):
        setting = BY_KEY.get(name.partition(".")[2])
        if setting is None or setting.default is None:
            return None
        return (setting.show(setting.default),)
    value = None if name == WORKLOAD else _defaults()[name]
    if isinstance(value, tuple):
        return value
    return None if value is None else (str(value),)


def command(given: Mapping[str, Words]) -> Words:
    """Return what stands behind ``pmupass run``: workload, options in their order, settings."""
    words = list(given.get(WORKLOAD, ()))
    for name in options():
        if name not in (WORKLOAD, SET):
            words += [f"--{name}={word}" for word in given.get(name, ())]
    for name, values in given.items():
        if name.startswith(f"{SET}."):
            words += [f"--set={name.partition('.')[2]}={word}" for word in values]
    return tuple(words)


def parse(words: Iterable[str]) -> tuple[str, Options]:
    """Return mode and options of a command; UsageError, InputError as the command line's."""
    from pmupass.cli.options import collect

    try:
        context = _command().make_context("run", list(words))
    except click.UsageError as error:
        raise UsageError(error.format_message()) from None
    params = {k: v for k, v in context.params.items() if k not in OF_THE_OUTPUT}
    (mode,) = check_modes([params.pop("mode")])
    return mode, collect(**params, no_host=True)
