"""RegMix's files as a table of runs: made ones of the same form, and the published ones where they are."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from mixopt.errors import TableError
from mixopt.runs_table import FORMATS, read_runs, write_runs

PUBLISHED = os.environ.get("MIXOPT_REGMIX", "")
PARTS = (("train", "1m", 5), ("test", "1m", 4), ("test", "60m", 4), ("test", "1B", 3))
DOMAINS, SETS = ("arxiv", "pile_cc"), ("arxiv", "pile_cc", "github")


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files as RegMix has them; the losses stand in another order than the mixtures, and tell index and weight."""
    for head, size, n in PARTS:
        weights = [[i, round(0.1 * i, 3), round(1.002 - 0.1 * i, 3)] for i in range(1, n + 1)]
        write_csv(
            tmp_path / f"{head}_mixture_{size}.csv", ["index", *(f"train_the_pile_{d}" for d in DOMAINS)], weights
        )
        losses = [[i, 3.0 - 0.1 * i, 2.0 + 0.1 * i, float(i)] for i in range(n, 0, -1)]
        names = [f"metric/the_pile_{s}_val_loss" for s in SETS]
        write_csv(tmp_path / f"{head}_pile_loss_{size}.csv", ["index", *names], losses)
    return tmp_path


def test_runs_are_joined_by_index_and_renormalised(folder: Path) -> None:
    table = FORMATS["regmix"](folder)
    assert table.domains == DOMAINS
    assert table.sets == SETS
    assert table.fidelities == ("1m", "60m", "1b")
    assert [rung.cost_flops for rung in table.ladder] == [0.001, 0.06, 1.0]
    assert len(table.rows("1m", "train")) == 5
    assert len(table.rows("1m", "test")) == 4
    index = table.values[:, 2]
    assert table.weights[:, 0] == pytest.approx(0.1 * index / 1.002)
    assert table.values[:, 0] == pytest.approx(3.0 - 0.1 * index)
    assert any("1.002" in warning for warning in table.warnings)


def test_the_table_of_regmix_reads_back(folder: Path) -> None:
    table = FORMATS["regmix"](folder)
    write_runs(table, folder / "table.csv")
    assert read_runs(folder / "table.csv").runs == table.runs


def test_an_index_in_one_file_only_is_left_out_and_said(folder: Path) -> None:
    path = folder / "test_mixture_1B.csv"
    path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[:-1]) + "\n", encoding="utf-8")
    table = FORMATS["regmix"](folder)
    assert len(table.rows("1b")) == 2
    assert any("1b" in warning and "index 3" in warning for warning in table.warnings)


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"train_mixture_1m\.csv"):
        FORMATS["regmix"](tmp_path)


@pytest.mark.skipif(not PUBLISHED, reason="MIXOPT_REGMIX names no folder with RegMix's files")
def test_the_published_files_make_a_table_of_all_their_runs(tmp_path: Path) -> None:
    table = FORMATS["regmix"](Path(PUBLISHED))
    counts = [len(table.rows("1m", "train")), len(table.rows("1m", "test")), len(table.rows("60m"))]
    assert [*counts, len(table.rows("1b"))] == [512, 256, 256, 64]
    assert (len(table.domains), len(table.sets)) == (17, 13)
    assert np.isfinite(table.values).all()
    assert table.weights.sum(axis=1) == pytest.approx(1.0, abs=1e-12)
    assert table.weights[table.rows("60m")] == pytest.approx(table.weights[table.rows("1m", "test")])
    write_runs(table, tmp_path / "regmix.csv")
    assert read_runs(tmp_path / "regmix.csv").runs == table.runs
