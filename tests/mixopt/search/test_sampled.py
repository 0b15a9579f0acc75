"""A sample of the experts' tokens is drawn where mixtures are weighed, and nowhere else."""

import pickle

import numpy as np
import pytest

from mixopt.search.experts import SAMPLE_ERROR, SAMPLED_FROM, Sampled, sample_of
from proxies.experts import Ensemble, GoldTokens

D = 4


def ensemble(tokens: int) -> Ensemble:
    """Experts that agree on which tokens are hard, and differ by little else."""
    rng = np.random.default_rng(0)
    logs = -rng.exponential(1.0, tokens) + 0.1 * rng.normal(size=(D, tokens))
    gold = GoldTokens(probabilities=np.exp(np.minimum(logs, 0.0)).astype(np.float32), nats=np.full(tokens, 1 / tokens))
    return Ensemble(domains=tuple("abcd"), gold={"prose": gold})


def test_few_tokens_are_asked_themselves() -> None:
    assert sample_of(ensemble(SAMPLED_FROM - 1)) is None


@pytest.mark.parametrize("travels", [False, True])  # to the process that thinks
def test_nothing_is_drawn_before_a_mixture_is_weighed(travels: bool) -> None:
    whole = ensemble(SAMPLED_FROM)
    sampled = sample_of(whole)
    assert isinstance(sampled, Sampled)
    if travels:
        sampled = pickle.loads(pickle.dumps(sampled))
    assert "way" not in vars(sampled)
    mixtures = np.random.default_rng(1).dirichlet(np.ones(D), 50)
    found = sampled.losses(mixtures)
    assert sampled.way is not whole
    assert np.abs(found - whole.losses(mixtures)).max() <= SAMPLE_ERROR
    assert (sampled.domains, sampled.sets) == (whole.domains, whole.sets)
