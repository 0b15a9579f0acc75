"""A table of runs whose losses follow a known law, to be read, spoiled and imported."""

import csv
import io
from pathlib import Path

import numpy as np

DOMAINS = ("web", "code", "math")
SETS = ("prose", "python")
COSTS = {"small": 1.0, "large": 20.0}


def law(weights: np.ndarray, fidelity: str) -> np.ndarray:
    """Losses of the sets, `n x 2`: prose falls with web, python with code; the large fidelity is better by a fifth."""
    scale = 1.0 if fidelity == "small" else 0.8
    return scale * np.column_stack([3.0 + np.exp(-4.0 * weights[:, 0]), 2.0 + np.exp(-6.0 * weights[:, 1])])


def rows(n: int = 6, *, fidelities: tuple[str, ...] = ("small", "large")) -> list[dict[str, object]]:
    """`n` runs at each fidelity, of the same mixtures, as {column: cell}."""
    weights = np.random.default_rng(0).dirichlet(np.ones(3), size=n)
    found = []
    for fidelity in fidelities:
        for i, (w, losses) in enumerate(zip(weights, law(weights, fidelity), strict=True)):
            row = {"run_id": f"{fidelity}-{i}", "fidelity": fidelity, "cost": COSTS[fidelity], "seed": i}
            row |= {f"weight/{name}": float(v) for name, v in zip(DOMAINS, w, strict=True)}
            row |= {f"loss/{name}": float(v) for name, v in zip(SETS, losses, strict=True)}
            found.append(row)
    return found


def write(path: Path, cells: list[dict[str, object]]) -> Path:
    """Write rows of cells as CSV, columns as they come up; a missing cell is empty."""
    columns = list(dict.fromkeys(name for row in cells for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells)
    path.write_text(text.getvalue(), encoding="utf-8")
    return path
