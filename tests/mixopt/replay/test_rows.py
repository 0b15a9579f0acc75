"""Which rows the command line means."""

from pathlib import Path

import numpy as np
import pytest

from mixopt.errors import MixoptError, ReplayError
from mixopt.replay.objectives import read_objective
from mixopt.replay.rows import RowChoice
from tests.mixopt.replay.small_tables import small_table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("small", RowChoice(fidelity="small")),
        ("small:train", RowChoice(fidelity="small", split="train")),
        ("large@16", RowChoice(fidelity="large", count=16)),
        ("small:test@4", RowChoice(fidelity="small", split="test", count=4)),
    ],
)
def test_rows_are_chosen_by_fidelity_split_and_count(text: str, expected: RowChoice) -> None:
    assert RowChoice.parse(text, small_table()) == expected


def test_a_choice_draws_its_split_and_its_count() -> None:
    table = small_table(cheap=40)
    truth = table.truth(table.mean())
    rows = RowChoice.parse("small:test@4", table).draw(table, truth, np.random.default_rng(0))
    assert len(set(rows)) == 4
    assert {(table.runs[i].fidelity, table.runs[i].split) for i in rows} == {("small", "test")}


@pytest.mark.parametrize("text", ["medium", "small:valid", "small@many", "large@17"])
def test_rows_that_are_not_there_are_refused_with_their_name(text: str) -> None:
    table = small_table(top=16)
    with pytest.raises(MixoptError, match=r"medium|valid|many|17"):
        RowChoice.parse(text, table).draw(table, table.truth(table.mean()), np.random.default_rng(0))


def test_objectives_are_a_mean_a_set_or_weights(tmp_path: Path) -> None:
    table = small_table()
    path = tmp_path / "weights.json"
    path.write_text('{"x": 3, "z": 1}', encoding="utf-8")
    assert dict(read_objective("mean", table).weights) == pytest.approx(dict.fromkeys("xyz", 1 / 3))
    assert dict(read_objective("set:y", table).weights) == {"y": 1.0}
    assert dict(read_objective(f"weights:{path}", table).weights) == {"x": 0.75, "z": 0.25}
    for wrong in ("median", "set:", f"weights:{tmp_path / 'none.json'}"):
        with pytest.raises(ReplayError):
            read_objective(wrong, table)
    path.write_text('{"x": "much"}', encoding="utf-8")
    with pytest.raises(ReplayError, match="numbers"):
        read_objective(f"weights:{path}", table)
