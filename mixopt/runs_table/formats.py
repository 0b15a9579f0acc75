"""The formats that tables of runs are read from."""

from collections.abc import Callable, Mapping
from pathlib import Path

from mixopt.runs_table.reading import read_runs
from mixopt.runs_table.regmix import regmix
from mixopt.runs_table.values import RunsTable

FORMATS: Mapping[str, Callable[[Path], RunsTable]] = {"table": read_runs, "regmix": regmix}
