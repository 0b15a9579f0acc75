"""For trainers that draw rows: how often to draw from a domain, so that it makes up its weight of the tokens.

Weights are shares of the tokens. Drawn with those as probabilities, a domain whose rows are ten times as long as
another's would make up ten times too much; so rows are drawn with probability p ~ weight / tokens a row.
"""

from __future__ import annotations

from collections.abc import Mapping

from mixopt.errors import ExportError
from mixopt.export.paths import Part, parts_of, tokens_a_row
from mixopt.export.provenance import Export, apportion

ROW_GRID = 1_000_000_000  # rows of books and of questions differ ten thousandfold: six decimals would be too coarse


def row_parts(export: Export, paths: Mapping[str, object], *, trainer: str) -> list[Part]:
    """Return the data sets of the mixture, weighed in rows.

    Raises:
        ExportError: the tokens a row are not known, or leave a domain with no probability to speak of.
    """
    lengths = tokens_a_row(export, paths, trainer=trainer)
    counts = apportion({name: export.millionths[name] / tokens for name, tokens in lengths.items()}, ROW_GRID)
    lost = [name for name, count in counts.items() if count == 0]
    if lost:
        raise ExportError(
            f"rows of {lost} are so long that they would be drawn less than once in {ROW_GRID:,}; cut them into "
            "shorter ones, or leave these domains out of the mixture"
        )
    return parts_of(export, paths, counts, ROW_GRID)


def row_note(export: Export, paths: Mapping[str, object], *, trainer: str) -> str:
    """Return a line that says what rows were taken to hold."""
    lengths = tokens_a_row(export, paths, trainer=trainer)
    return f"Weights of rows, at tokens a row: {', '.join(f'{name} {tokens:g}' for name, tokens in lengths.items())}."
