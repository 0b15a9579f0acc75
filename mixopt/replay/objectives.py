"""What a replay scores: the objective as the command line words it."""

from pathlib import Path

import yaml

from mixopt.errors import ReplayError
from mixopt.objective import Objective
from mixopt.runs_table import RunsTable

GRAMMAR = "mean, set:NAME or weights:FILE"


def read_objective(text: str, table: RunsTable) -> Objective:
    """Return the objective worded by `text`: the plain mean, one set's loss, or weights from a JSON or YAML file."""
    kind, _, rest = text.partition(":")
    if text == "mean":
        return table.mean()
    if kind == "set" and rest:
        return Objective({table.set_named(rest): 1.0})
    if kind == "weights" and rest:
        weights = _read_weights(Path(rest))
        return Objective({table.set_named(name): weight for name, weight in weights.items()})
    raise ReplayError(f"the objective is {GRAMMAR}; got {text!r}")


def _read_weights(path: Path) -> dict[str, float]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ReplayError(f"{path}: weights of the objective cannot be read: {reason}") from None
    if not isinstance(found, dict) or not all(_is_number(weight) for weight in found.values()):
        raise ReplayError(f"{path}: weights of the objective are a mapping of evaluation sets to numbers")
    return {str(name): float(weight) for name, weight in found.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
