"""Scores against numbers worked out by hand, and against scipy."""

import math

import numpy as np
import pytest
from scipy.stats import norm, spearmanr

from mixopt.replay.score import Mean, coverage, least, rank_correlation, score_pick


def test_rank_correlation_is_one_less_six_squared_differences() -> None:
    predicted, truth = np.array([1.0, 2.0, 3.0, 4.0]), np.array([10.0, 30.0, 20.0, 40.0])
    assert rank_correlation(predicted, truth) == pytest.approx(1.0 - 6.0 * 2.0 / (4.0 * 15.0))


def test_rank_correlation_with_ties_is_scipys() -> None:
    rng = np.random.default_rng(0)
    predicted, truth = rng.integers(5, size=40).astype(float), rng.integers(9, size=40).astype(float)
    assert rank_correlation(predicted, truth) == pytest.approx(float(spearmanr(predicted, truth).statistic))


def test_a_constant_prediction_ranks_nothing() -> None:
    truth = np.array([1.0, 2.0, 3.0])
    assert rank_correlation(np.full(3, 2.7), truth) == 0.0
    assert rank_correlation(np.array([0.1 + 0.2, 0.3, 0.3]), truth) == 0.0  # float error is no opinion


def test_coverage_of_true_normal_intervals_is_ninety_percent() -> None:
    truth = norm.ppf((np.arange(1000) + 0.5) / 1000)
    assert coverage(np.zeros(1000), np.ones(1000), truth) == pytest.approx(0.9, abs=1e-3)


def test_coverage_leaves_out_what_was_not_measured_and_is_nan_without_errors() -> None:
    truth = np.array([0.0, np.nan, 5.0])
    assert coverage(np.zeros(3), np.ones(3), truth) == 0.5
    assert math.isnan(coverage(np.zeros(3), np.full(3, np.nan), truth))


def test_regret_and_rank_by_hand() -> None:
    truth = np.array([3.0, 1.0, 2.0, 5.0, 4.0])
    pick = score_pick(least(np.array([0.0, 1.0, -1.0, 1.0, 1.0])), truth)
    assert (pick.regret, pick.regret_iqr, pick.rank) == (1.0, 0.5, 2.0)  # quartiles 2 and 4


def test_picks_that_share_the_least_score_count_as_their_mean() -> None:
    truth = np.array([3.0, 1.0, 2.0, 5.0, 4.0])
    assert score_pick(least(np.zeros(5)), truth).regret == pytest.approx(2.0)
    assert score_pick(least(np.zeros(5)), truth).rank == pytest.approx(3.0)
    assert score_pick(least(np.array([np.inf, np.inf, 7.0, np.inf, 7.0])), truth).rank == pytest.approx(3.0)


def test_nothing_observed_is_a_choice_among_all() -> None:
    assert list(least(np.full(3, np.inf))) == [0, 1, 2]


def test_equal_truths_share_the_best_rank() -> None:
    assert score_pick(np.array([1]), np.array([2.0, 1.0, 1.0])).rank == 1.0


def test_the_standard_error_is_that_of_the_mean() -> None:
    mean = Mean.of([1.0, 2.0, 3.0, 4.0])
    assert mean.value == 2.5
    assert mean.error == pytest.approx(math.sqrt(5.0 / 3.0) / 2.0)
    assert math.isnan(Mean.of([1.0]).error)
