"""Finished runs as one table: read with an audit, written, and turned into problems and observations."""

from mixopt.errors import TableError as TableError
from mixopt.runs_table.formats import FORMATS as FORMATS
from mixopt.runs_table.reading import read_runs as read_runs
from mixopt.runs_table.values import RunsTable as RunsTable
from mixopt.runs_table.values import TableRun as TableRun
from mixopt.runs_table.writing import table_text as table_text
from mixopt.runs_table.writing import write_runs as write_runs
