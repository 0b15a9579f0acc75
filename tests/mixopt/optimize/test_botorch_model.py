"""The surrogate as a BoTorch model: the same numbers, and stock acquisitions that find what they should."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from botorch.acquisition import LogExpectedImprovement, qLogNoisyExpectedImprovement
from botorch.sampling import SobolQMCNormalSampler
from scipy.special import ndtr

from mixopt.optimize.botorch_model import SurrogateModel
from mixopt.optimize.fitting import fit
from mixopt.optimize.surrogate import Surrogate

Bench = Callable[..., Any]


@pytest.fixture(scope="module")
def model(bench: Bench) -> Surrogate:
    world = bench()
    found = fit(world.evidence(cheap=20, top=6), world.problem)
    assert found is not None
    return found


def _at(weights: np.ndarray, rung: int) -> torch.Tensor:
    return torch.as_tensor(np.column_stack([weights, np.full(len(weights), float(rung))]))


def test_posteriors_are_the_surrogates_over_mixtures_and_rungs(model: Surrogate) -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(7), 4)
    mean, joint = model.posterior(model.encoding.inputs(rows))
    wrapped = SurrogateModel(model)
    found = wrapped.posterior(torch.cat([_at(rows, 0), _at(rows, 1)]))
    assert found.mean[:, 0].numpy() == pytest.approx(-mean.ravel(), abs=1e-9)
    assert found.distribution.covariance_matrix.numpy() == pytest.approx(joint, rel=1e-5, abs=1e-7 * joint.max())
    noisy = wrapped.posterior(_at(rows, 1), observation_noise=True).variance[:, 0].numpy()
    assert noisy == pytest.approx(joint.diagonal()[4:] + model.rungs[1].noise_sd ** 2, rel=1e-5)
    batched = wrapped.posterior(torch.stack([_at(rows, 0), _at(rows, 1)]))
    assert batched.mean[..., 0].numpy() == pytest.approx(-mean, abs=1e-9)


def test_stock_expected_improvement_is_the_closed_form_of_the_posterior(model: Surrogate) -> None:
    rows = np.random.default_rng(1).dirichlet(np.ones(7), 20)
    mean, joint = model.posterior(model.encoding.inputs(rows))
    sd, best = np.sqrt(joint.diagonal()[20:]), float(mean[1].min())
    z = (best - mean[1]) / sd
    expected = np.log(sd * (z * ndtr(z) + np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)))
    stock = LogExpectedImprovement(SurrogateModel(model), best_f=-best)
    plain = z > -4.0  # below, the closed form loses its digits
    assert plain.sum() > 3
    assert stock(_at(rows, 1)[:, None]).numpy()[plain] == pytest.approx(expected[plain], abs=1e-3)


def test_a_stock_batch_acquisition_prefers_better_mixtures(bench: Bench, model: Surrogate) -> None:
    rows = np.random.default_rng(2).dirichlet(np.ones(7), 60)
    baseline = _at(np.random.default_rng(3).dirichlet(np.ones(7), 6), 1)
    stock = qLogNoisyExpectedImprovement(
        SurrogateModel(model),
        baseline,
        sampler=SobolQMCNormalSampler(torch.Size([64]), seed=0),
        cache_root=False,
        prune_baseline=False,
    )
    with torch.no_grad():
        picked = int(stock(_at(rows, 1)[:, None]).argmax())
    assert bench().true(rows)[picked] <= np.quantile(bench().true(rows), 0.1)
