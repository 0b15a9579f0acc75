"""Tables of runs: what reads back, what is mended and said, what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mixopt.errors import TableError
from mixopt.runs_table import RunsTable, read_runs, write_runs
from mixopt.runs_table.values import AMPLE, UNKNOWN
from tests.mixopt.small_tables import DOMAINS, SETS, law, rows, write

Cells = list[dict[str, object]]


def setting(place: int, **cells: object) -> Callable[[Cells], Cells]:
    """Return what changes cells of one row; `a__b` names the column `a/b`."""

    def change(table: Cells) -> Cells:
        table[place] |= {name.replace("__", "/"): value for name, value in cells.items()}
        return table

    return change


def full_table() -> Cells:
    cells = rows()
    for i, row in enumerate(cells):
        row |= {"split": "train" if i % 2 else "test", "accuracy/quiz": i / 11, "items/quiz": 200 + i}
        row |= {"parameters": 10**6 if row["fidelity"] == "small" else 10**8, "tokens": 3 * 10**9}
        row |= {f"available/{name}": 10 ** (8 + k) for k, name in enumerate(DOMAINS)}
    cells[3].pop("loss/python")
    return cells


def test_a_table_with_every_column_reads_back_bit_for_bit(tmp_path: Path) -> None:
    table = read_runs(write(tmp_path / "a.csv", full_table()))
    write_runs(table, tmp_path / "b.csv")
    again = read_runs(tmp_path / "b.csv")
    assert again == table
    assert not table.warnings
    assert table.runs[3].losses.keys() == {"prose"}
    assert table.runs[4].accuracies == {"quiz": 4 / 11}
    assert table.runs[4].items == {"quiz": 204}
    write_runs(again, tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_arrays_are_the_cells_and_the_mean_is_the_mean_of_the_losses(tmp_path: Path) -> None:
    table = read_runs(write(tmp_path / "a.csv", rows()))
    for fidelity in ("small", "large"):
        place = table.rows(fidelity)
        expected = law(table.weights[place], fidelity)
        assert table.values[place] == pytest.approx(expected, abs=1e-12)
        assert table.truth(table.mean())[place] == pytest.approx(expected.mean(axis=1))
    assert table.weights.sum(axis=1) == pytest.approx(1.0, abs=1e-12)


def test_a_missing_loss_leaves_the_objective_unknown_only_where_it_counts(tmp_path: Path) -> None:
    table = read_runs(write(tmp_path / "a.csv", full_table()))
    assert np.isnan(table.truth(table.mean())).nonzero()[0].tolist() == [3]
    assert np.isfinite(table.values[:, table.sets.index(table.set_named("prose"))]).all()


def test_accuracies_count_as_the_share_of_wrong_answers(tmp_path: Path) -> None:
    table = read_runs(write(tmp_path / "a.csv", full_table()))
    name = table.set_named("accuracy/quiz")
    assert name == table.set_named("quiz")
    column = table.values[:, table.sets.index(name)]
    assert column == pytest.approx([1 - i / 11 for i in range(12)])
    assert table.observations([4])[0].losses[name] == pytest.approx(7 / 11)


def test_the_problem_has_what_the_table_tells(tmp_path: Path) -> None:
    table = read_runs(write(tmp_path / "a.csv", full_table()))
    problem = table.problem(table.mean(), "large")
    assert [(r.name, r.cost_flops, r.parameters) for r in problem.ladder] == [
        ("small", 1.0, 10**6),
        ("large", 20.0, 10**8),
    ]
    assert problem.natural.array(DOMAINS) == pytest.approx(np.array([1, 10, 100]) / 111)
    assert problem.sets == (*SETS, "error/quiz")
    assert [r.name for r in table.problem(table.mean(), "small").ladder] == ["small"]
    assert [r.name for r in table.problem(table.mean(), "large", only=[]).ladder] == ["large"]


def test_what_the_table_does_not_tell_is_uniform_ample_and_unknown(tmp_path: Path) -> None:
    table = read_runs(write(tmp_path / "a.csv", rows()))
    problem = table.problem(table.mean())
    assert problem.natural.array(DOMAINS) == pytest.approx(1 / 3)
    assert set(problem.available_tokens.values()) == {AMPLE}
    assert {rung.tokens for rung in problem.ladder} == {UNKNOWN}
    assert table.available("large") == {}


def test_a_split_and_a_fidelity_are_found_by_name(tmp_path: Path) -> None:
    table = read_runs(write(tmp_path / "a.csv", full_table()))
    assert table.rows("small", "train").tolist() == [1, 3, 5]
    with pytest.raises(TableError, match=r"'medium'.*small"):
        table.rows("medium")
    with pytest.raises(TableError, match=r"'dev'.*test"):
        table.rows("small", "dev")


def nan_and_infinity(cells: Cells) -> Cells:
    cells[1]["loss/prose"], cells[2]["loss/prose"] = "nan", "-inf"
    return cells


def rounded(cells: Cells) -> Cells:
    for row, total in zip(cells, (0.996, 1.003, 0.999, 1.001, 1.0, 1.0), strict=False):
        row |= {f"weight/{name}": total * float(str(row[f"weight/{name}"])) for name in DOMAINS}
    return cells


MENDED: dict[str, tuple[Callable[[Cells], Cells], list[str]]] = {
    "sums": (rounded, ["4 runs", "0.996 to 1.003", "renormalised"]),
    "not finite": (nan_and_infinity, ["loss/prose", "NaN or infinite", "small-1", "small-2"]),
    "unknown column": (setting(0, wieght__web=1, colour="red"), ["wieght/web", "weight/web", "colour"]),
    "repeated row": (lambda cells: [*cells, dict(cells[2])], ["twice", "small-2"]),
    "copied row": (lambda cells: [*cells, cells[2] | {"run_id": "x"}], ["copies", "'x' of 'small-2'"]),
    "single fidelity": (lambda _: rows(fidelities=("small",)), ["single fidelity", "'small'"]),
    "few rows": (lambda cells: [cells[0], cells[7]], ["fewer runs (2) than domains (3)"]),
    "diverged": (setting(2, loss__prose="", loss__python="nan"), ["diverged", "small-2"]),
    "seed": (setting(2, seed=-7), ["seed", "-7", "small-2"]),
    "empty set": (setting(0, loss__poems=""), ["loss/poems", "nobody"]),
    "empty domain": (lambda cells: [row | {"weight/law": 0} for row in cells], ["no run has any of law"]),
    "part of available": (lambda cells: [row | {"available/web": 5} for row in cells], ["code", "unknown"]),
    "one cost": (lambda cells: [row | {"cost": 3} for row in cells], ["cost the same", "'large'"]),
}


@pytest.mark.parametrize("fault", MENDED)
def test_what_can_be_mended_is_said_and_leaves_a_sound_table(tmp_path: Path, fault: str) -> None:
    spoil, words = MENDED[fault]
    table = read_runs(write(tmp_path / "a.csv", spoil(rows())))
    assert any(all(word in warning for word in words) for warning in table.warnings), table.warnings
    assert table.weights.sum(axis=1) == pytest.approx(1.0, abs=1e-12)
    problem = table.problem(table.mean())
    seen = table.observations(range(len(table)))
    assert all(np.isfinite(list(o.losses.values())).all() and o.mixture in problem.space for o in seen)
    assert len(seen) + len(table.failures(range(len(table)))) == len(table)


def without(*columns: str) -> Callable[[Cells], Cells]:
    return lambda cells: [{name: cell for name, cell in row.items() if name not in columns} for row in cells]


REFUSED: dict[str, tuple[Callable[[Cells], Cells], list[str]]] = {
    "sum": (setting(2, weight__web=0.9), ["sum to 1", "small-2", "0.01"]),
    "missing domain": (without("weight/web"), ["sum to 1", "and 7 more"]),
    "negative weight": (setting(2, weight__web=-0.1), ["weight/web", "-0.1", "small-2"]),
    "one id, two runs": (setting(2, run_id="small-0"), ["small-0", "different runs"]),
    "no id": (setting(2, run_id=" "), ["run_id", "empty"]),
    "no cost": (setting(2, cost=""), ["cost", "missing", "small-2"]),
    "free": (setting(2, cost=0), ["cost", "positive", "small-2"]),
    "accuracy in percent": (setting(2, accuracy__quiz=63.2), ["accuracy/quiz", "[0, 1]", "63.2", "small-2"]),
    "negative accuracy": (setting(2, accuracy__quiz=-0.1), ["accuracy/quiz", "-0.1"]),
    "no number": (setting(2, loss__prose="high"), ["loss/prose", "'high'", "small-2"]),
    "no columns": (without("run_id", "cost"), ["run_id, cost", "missing"]),
    "no weights": (without(*(f"weight/{name}" for name in DOMAINS)), ["weight/<domain>"]),
    "nothing measured": (without("loss/prose", "loss/python"), ["loss/<evaluation set>"]),
    "all diverged": (lambda cells: [row | {"loss/prose": "nan", "loss/python": ""} for row in cells], ["no run"]),
    "reserved": (setting(0, loss__objective=1), ["loss/objective"]),
    "no rows": (lambda cells: [dict.fromkeys(cells[0], "")], ["no runs"]),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_makes_a_table_unusable_is_refused_in_one_line(tmp_path: Path, fault: str) -> None:
    spoil, words = REFUSED[fault]
    path = write(tmp_path / "a.csv", spoil(rows()))
    with pytest.raises(TableError) as refused:
        read_runs(path)
    message = str(refused.value)
    assert "\n" not in message
    assert all(word in message for word in [*words, "a.csv"]), message


def test_a_refusal_names_every_fault_at_once(tmp_path: Path) -> None:
    cells = setting(1, cost=-1)(setting(2, weight__web=0.9)(setting(3, loss__prose="?", accuracy__quiz=2)(rows())))
    with pytest.raises(TableError) as refused:
        read_runs(write(tmp_path / "a.csv", cells))
    assert all(word in str(refused.value) for word in ("cost", "sum to 1", "loss/prose", "accuracy/quiz"))


@pytest.mark.parametrize(
    ("content", "word"),
    [(None, "no such file"), (b"", "no runs"), (b"\xff\xfe\x00", "UTF-8"), (b"run_id,cost\na,1,2\n", "row 2")],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes | None, word: str) -> None:
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TableError, match=word):
        read_runs(path)


def test_renormalising_keeps_the_proportions(tmp_path: Path) -> None:
    plain = read_runs(write(tmp_path / "a.csv", rows()))
    scaled = read_runs(write(tmp_path / "b.csv", rounded(rows())))
    assert scaled.weights == pytest.approx(plain.weights, abs=1e-12)


def test_a_table_without_ids_of_its_own_cannot_be_made(tmp_path: Path) -> None:
    table = read_runs(write(tmp_path / "a.csv", rows()))
    with pytest.raises(TableError, match="run_id"):
        RunsTable.of([*table.runs, table.runs[0]])
