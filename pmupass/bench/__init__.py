# SPDX-License-Identifier: Apache-2.0
"""What ``pmupass bench`` measures: suites of figures, each with its unit.

Host times are medians of several runs, taken in turn so that a slow moment of the computer hits all
of them. Model figures (ratios, shares) are exact.
"""

SUITES: dict[str, str] = {
    "speed": "how fast this program is: guest MIPS, host ns per intercepted access, PMI and switch",
    "modes": "what the modes cost in the model: VM-exits of perf-record by CPU, an idle vPMU",
    "published": "published figures beside the model's: the sampling table of 2024, exits, PMIs",
    "sensitivity": "which conclusions hold whatever the costs are in their ranges",
    "watchdog": "the host's hard lockup detectors: what each leaves to guests, and costs",
}
DEFAULT = ("speed", "modes")  # without a suite's name
PICTURES = ("sensitivity",)  # that --svg draws
