"""The rivals on RegMix's published runs: what their authors, and others, found there."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from mixopt.errors import ConfigError
from mixopt.evidence import Evidence, History
from mixopt.optimize.baselines.rivals import RIVAL_SURROGATES
from mixopt.runs_table import FORMATS, RunsTable

PUBLISHED = os.environ.get("MIXOPT_REGMIX", "")
pytestmark = pytest.mark.skipif(not PUBLISHED, reason="MIXOPT_REGMIX names no folder with RegMix's files")


@pytest.fixture(scope="module")
def table() -> RunsTable:
    return FORMATS["regmix"](Path(PUBLISHED))


def rank_agreement(table: RunsTable, name: str, rows: np.ndarray) -> float:
    """Return Spearman's correlation on the 256 test runs of 1M parameters, of a model fitted to `rows`."""
    objective = table.mean()
    evidence = Evidence(history=History(observations=table.observations(rows)))
    held_out = table.rows("1m", "test")
    model = RIVAL_SURROGATES[name](evidence, table.problem(objective))
    mean = model.predict(table.weights[held_out], "1m").mean
    return float(spearmanr(mean, table.truth(objective)[held_out])[0])


def test_lightgbm_on_rows_as_published_agrees_with_a_plain_run_of_it() -> None:
    regmix = pytest.importorskip("mixopt.optimize.baselines.regmix", exc_type=ConfigError)
    parts = [("train", "1m"), ("test", "1m"), ("test", "60m"), ("test", "1B")]
    weights = [pd.read_csv(Path(PUBLISHED, f"{head}_mixture_{size}.csv"), index_col=0) for head, size in parts]
    losses = [pd.read_csv(Path(PUBLISHED, f"{head}_pile_loss_{size}.csv"), index_col=0) for head, size in parts]
    means = [loss.loc[weight.index].to_numpy().mean(axis=1) for weight, loss in zip(weights, losses, strict=True)]
    predict = regmix.trees(weights[0].to_numpy(), means[0][:, None]).predict
    pairs = zip(weights[1:], means[1:], strict=True)
    found = [spearmanr(predict(rows.to_numpy())[:, 0], truth)[0] for rows, truth in pairs]
    assert found == pytest.approx([0.9596, 0.9167, 0.6948], abs=1e-4)


@pytest.mark.parametrize(("name", "least"), [("marin", 0.96), ("log-linear", 0.83), ("admire", 0.70)])
def test_sixty_four_runs_rank_as_others_found(table: RunsTable, name: str, least: float) -> None:
    rows = np.random.default_rng(0).permutation(table.rows("1m", "train"))[:64]
    assert rank_agreement(table, name, rows) > least
