# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, and the exit status that says so."""

from __future__ import annotations

import enum


class ExitStatus(enum.IntEnum):
    """Exit statuses of the command line."""

    OK = 0  # silent errors of a vPMU included: they are a result
    GUEST_FAILURE = 1  # the guest reports failure, or a demanded check fails
    USAGE = 2
    INPUT = 3  # bad or refused input, KVM's -EBUSY included
    MODEL = 4  # a broken invariant, or an instruction that the guest CPU does not have
    INTERRUPTED = 130
    CLOSED_OUTPUT = 141  # as a shell shows SIGPIPE


class PmupassError(Exception):
    """Anything that pmupass raises on purpose; its text is written for the user."""

    exit_status = ExitStatus.MODEL


class UsageError(PmupassError):
    """An argument or a setting that means nothing."""

    exit_status = ExitStatus.USAGE


class InputError(PmupassError):
    """A file or an image that is no good, or a virtual machine that KVM refuses."""

    exit_status = ExitStatus.INPUT


class ModelError(PmupassError):
    """A broken invariant of the model, or something that it does not implement."""

    exit_status = ExitStatus.MODEL
