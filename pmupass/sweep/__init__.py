# SPDX-License-Identifier: Apache-2.0
"""``pmupass sweep``: a grid of runs on all cores, or on a Dask cluster.

- :mod:`words`: options of ``pmupass run`` as a file says them; a cell is one such command.
- :mod:`grid`: from a TOML file to cells.
- :mod:`figures`: what of a cell's result document is kept.
- :mod:`cell`: runs one cell, in whatever process, and returns its line.
- :mod:`processes` and :mod:`cluster`: who runs the cells.
- :mod:`journal`: what is complete, on disk at every moment; the file that it becomes.
- :mod:`conduct`: all of it together.

A line depends on its cell alone: not on who ran it, when, or beside what. Lines are written in the
order of the cells once all are there, so the file is the same bytes for any number of workers.
"""
