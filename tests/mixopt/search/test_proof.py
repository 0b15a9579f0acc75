"""The proof's statistics against closed forms and tables."""

import pytest

from mixopt.evidence import Prediction
from mixopt.mixture import Mixture
from mixopt.search.proof import Rival, paired, prove

GUESS = Prediction(mean=2.0, sd=0.1)
RECOMMENDED = Rival(names=("recommended",), mixture=Mixture({"a": 0.6, "b": 0.4}), allowed=True)
NATURAL = Rival(names=("natural", "uniform"), mixture=Mixture({"a": 0.5, "b": 0.5}), allowed=True)
SINGLE = Rival(names=("a alone",), mixture=Mixture({"a": 1.0, "b": 0.0}), allowed=False)


def test_the_paired_interval_is_that_of_students_t() -> None:
    # differences 1, 2, 3: mean 2, standard error 1 / sqrt(3); t(0.975, 2) = 4.30265, P(T > 2 sqrt(3)) = 0.03709
    found = paired({0: 2.0, 1: 4.0, 2: 6.0}, {0: 1.0, 1: 2.0, 2: 3.0})
    assert found is not None
    mean, low, high, below = found
    assert mean == pytest.approx(2.0)
    assert high - mean == pytest.approx(4.30265 / 3**0.5, rel=1e-5)
    assert mean - low == pytest.approx(high - mean)
    assert below == pytest.approx(0.03709, abs=1e-5)


def test_only_shared_seeds_are_paired() -> None:
    assert paired({0: 1.0, 1: 1.0}, {1: 0.5, 2: 0.5}) is None


def test_a_clear_gain_is_proven() -> None:
    losses = [{0: 2.0, 1: 2.1, 2: 2.05}, {0: 2.1, 1: 2.21, 2: 2.14}, {0: 2.2, 1: 2.29, 2: 2.26}]
    proof = prove([RECOMMENDED, NATURAL, SINGLE], losses, [GUESS] * 3)
    assert proof.holds
    assert proof.best_measured == "recommended"
    assert proof.rows[1].difference == pytest.approx(0.1)
    assert proof.rows[0].beats_natural is not None
    assert proof.rows[0].beats_natural > 0.99


def test_a_gain_within_the_noise_is_not_proven_and_says_against_whom() -> None:
    losses = [{0: 2.0, 1: 2.1}, {0: 2.01, 1: 2.09}]
    proof = prove([RECOMMENDED, NATURAL], losses, [GUESS] * 2)
    assert not proof.holds
    assert "natural = uniform" in proof.verdict


def test_a_better_single_domain_that_is_forbidden_is_named_and_never_recommended() -> None:
    losses = [{0: 2.0, 1: 2.1, 2: 2.05}, {0: 2.1, 1: 2.21, 2: 2.14}, {0: 1.8, 1: 1.91, 2: 1.84}]
    proof = prove([RECOMMENDED, NATURAL, SINGLE], losses, [GUESS] * 3)
    assert proof.holds
    assert "not allowed: a alone" in proof.verdict
    assert proof.best_measured == "recommended"


def test_a_better_single_domain_that_is_allowed_takes_the_recommendations_place() -> None:
    losses = [{0: 2.0, 1: 2.1, 2: 2.05}, {0: 2.1, 1: 2.21, 2: 2.14}, {0: 1.8, 1: 1.91, 2: 1.84}]
    allowed = Rival(names=SINGLE.names, mixture=SINGLE.mixture, allowed=True)
    proof = prove([RECOMMENDED, NATURAL, allowed], losses, [GUESS] * 3)
    assert not proof.holds
    assert proof.best_measured == "a alone"


def test_a_single_domain_within_the_noise_does_not_fail_the_proof() -> None:
    losses = [{0: 2.0, 1: 2.1, 2: 2.05}, {0: 2.1, 1: 2.21, 2: 2.14}, {0: 2.01, 1: 2.09, 2: 2.05}]
    allowed = Rival(names=SINGLE.names, mixture=SINGLE.mixture, allowed=True)
    assert prove([RECOMMENDED, NATURAL, allowed], losses, [GUESS] * 3).holds


def test_the_best_measured_takes_the_place_of_a_recommendation_that_lost() -> None:
    losses = [{0: 2.2, 1: 2.3, 2: 2.25}, {0: 2.1, 1: 2.21, 2: 2.14}]
    proof = prove([RECOMMENDED, NATURAL], losses, [GUESS] * 2)
    assert not proof.holds
    assert proof.best_measured == "natural = uniform"


def test_a_rival_whose_trainings_failed_leaves_the_claim_unproven() -> None:
    proof = prove([RECOMMENDED, NATURAL], [{0: 2.0, 1: 2.1}, {}], [GUESS] * 2)
    assert not proof.holds
    assert "too few seeds" in proof.verdict


def test_where_nothing_was_measured_nothing_measured_best() -> None:
    proof = prove([RECOMMENDED, NATURAL], [{}, {}], [GUESS] * 2)
    assert not proof.holds
    assert proof.verdict.endswith("; best measured: nothing")


def test_only_rivals_beaten_outside_the_noise_are_called_beaten() -> None:
    losses = [{0: 2.0, 1: 2.1, 2: 2.05}, {0: 2.1, 1: 2.21, 2: 2.14}, {0: 2.01, 1: 2.09, 2: 2.05}]
    allowed = Rival(names=SINGLE.names, mixture=SINGLE.mixture, allowed=True)
    verdict = prove([RECOMMENDED, NATURAL, allowed], losses, [GUESS] * 3).verdict
    assert "beats natural = uniform by 0.1000 bits per byte" in verdict
    assert "not told apart from: a alone" in verdict


def test_without_an_allowed_rival_nothing_is_proven() -> None:
    assert not prove([RECOMMENDED, SINGLE], [{0: 2.0, 1: 2.1}, {0: 3.0, 1: 3.1}], [GUESS] * 2).holds
