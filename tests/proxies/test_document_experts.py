"""Mixtures a document: closed forms where the author is certain, MixMin's own iteration, and the ensemble of tokens."""

import numpy as np
import pytest
from numpy.typing import NDArray

from proxies.document_experts import DocumentEnsemble, Documents
from proxies.errors import ProxyError
from proxies.experts import Ensemble, GoldTokens
from proxies.polytope_newton import Polytope


def tokens(count: int = 300, seed: int = 0) -> GoldTokens:
    rng = np.random.default_rng(seed)
    return GoldTokens(probabilities=np.exp(-rng.exponential(1.0, (3, count))), nats=np.full(count, 1.0 / count))


def documents_of(lengths: list[int]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(lengths)), lengths)


def ensemble(gold: GoldTokens, lengths: list[int]) -> DocumentEnsemble:
    return DocumentEnsemble(domains=("a", "b", "c"), documents={"s": Documents.of(gold, documents_of(lengths))})


def test_documents_of_one_token_are_the_ensemble_of_tokens() -> None:
    gold = tokens()
    single = ensemble(gold, [1] * 300)
    plain = Ensemble(domains=("a", "b", "c"), gold={"s": gold})
    weights = np.random.default_rng(1).dirichlet(np.ones(3), 10)
    assert single.losses(weights) == pytest.approx(plain.losses(weights), rel=1e-12)
    assert single.gradients(weights, {"s": 2.0}) == pytest.approx(plain.gradients(weights, {"s": 2.0}), rel=1e-12)
    assert single.optimum({"s": 1.0})[0] == pytest.approx(plain.optimum({"s": 1.0})[0], abs=1e-6)


def test_a_single_expert_has_its_own_loss_however_long_the_documents() -> None:
    gold = tokens()
    long = ensemble(gold, [200, 100])
    own = -np.log(gold.probabilities).mean(1)
    assert long.losses(np.eye(3))[:, 0] == pytest.approx(own, rel=1e-12)
    mixed = long.losses(np.full((1, 3), 1 / 3))[0, 0]
    assert mixed <= own.min() + np.log(3) * 2 / 300 + 1e-12


def test_where_the_author_is_certain_weights_are_the_shares_of_documents() -> None:
    owners, lengths = [0, 0, 0, 1, 2, 2, 0, 1], [40] * 8
    probabilities = np.full((3, 320), 1e-3)
    probabilities[np.repeat(owners, lengths), np.arange(320)] = 0.9
    gold = GoldTokens(probabilities=probabilities, nats=np.full(320, 1 / 320))
    weights, gap = ensemble(gold, lengths).optimum({"s": 1.0})
    assert weights == pytest.approx([0.5, 0.25, 0.25], abs=1e-6)
    assert gap <= 1e-9
    value = ensemble(gold, lengths).losses(weights[None])[0, 0]
    entropy = -(0.5 * np.log(0.5) + 0.5 * np.log(0.25))
    assert value == pytest.approx(-np.log(0.9) + entropy * 8 / 320, abs=1e-9)


def test_the_optimum_is_that_of_exponentiated_gradients() -> None:
    lengths = np.random.default_rng(2).multinomial(280, np.full(20, 0.05)) + 1
    found = ensemble(tokens(), lengths.tolist())
    weights, gap = found.optimum({"s": 1.0})
    point = np.full(3, 1 / 3)
    for _ in range(4_000):  # MixMin's iteration
        point = point * np.exp(-found.gradients(point[None], {"s": 1.0})[0])
        point /= point.sum()
    assert gap <= 1e-9
    assert found.losses(weights[None])[0, 0] <= found.losses(point[None])[0, 0] + 1e-12
    assert weights == pytest.approx(point, abs=1e-3)


def test_limits_hold() -> None:
    found = ensemble(tokens(), [30] * 10)
    upper = np.array([0.4, 0.4, 0.4])
    within = Polytope(A=np.zeros((0, 3)), b=np.zeros(0), lower=np.zeros(3), upper=upper, inside=np.full(3, 1 / 3))
    weights, gap = found.optimum({"s": 1.0}, within)
    draws = np.random.default_rng(0).dirichlet(np.full(3, 20.0), 2_000)
    best = found.losses(draws[(draws <= 0.4).all(1)]).min()
    assert (weights <= 0.4).all()
    assert gap <= 1e-9
    assert found.losses(weights[None])[0, 0] <= best


def test_a_name_is_needed_for_every_token() -> None:
    with pytest.raises(ProxyError, match="4 documents' names for 300 scored tokens"):
        Documents.of(tokens(), np.zeros(4, dtype=np.int64))
