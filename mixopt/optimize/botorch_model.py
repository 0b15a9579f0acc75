"""The product's surrogate as a BoTorch model, so that BoTorch's acquisitions work on it.

Notation: X: `... x q x (d + 1)`, weights in the space's order of domains, the last column the place of a rung observed,
cheap to expensive. The objective is minimized; BoTorch maximizes, so values are minus the objective.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.model import Model
from botorch.posteriors.gpytorch import GPyTorchPosterior
from botorch.posteriors.posterior import Posterior
from gpytorch.distributions import MultivariateNormal

from mixopt.optimize.encoding import Array
from mixopt.optimize.surrogate import Surrogate

JITTER = 1e-8  # of the variance's mean: keeps near copies of a mixture factorable


class SurrogateModel(Model):
    """Joint posteriors of minus the objective over mixtures and rungs; gradients are not known."""

    def __init__(self, surrogate: Surrogate) -> None:
        super().__init__()
        self.surrogate = surrogate

    @property
    def num_outputs(self) -> int:
        """One: minus the objective."""
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        """None: one model."""
        return torch.Size()

    def posterior(
        self,
        X: torch.Tensor,
        output_indices: Sequence[int] | None = None,
        observation_noise: bool | torch.Tensor = False,
        posterior_transform: PosteriorTransform | Callable[[Posterior], Posterior] | None = None,
    ) -> Posterior:
        """Return the joint posterior of the q points of every batch; `observation_noise`: of what trials would show."""
        points = X.detach().double().numpy()
        batches = points.reshape(-1, *points.shape[-2:])
        found = [self._joint(batch, noisy=observation_noise is not False) for batch in batches]
        mean = torch.as_tensor(np.array([mean for mean, _ in found]).reshape(points.shape[:-1]))
        covariance = torch.as_tensor(np.array([joint for _, joint in found]).reshape(*points.shape[:-1], -1))
        posterior = GPyTorchPosterior(MultivariateNormal(mean, covariance))
        return posterior if posterior_transform is None else posterior_transform(posterior)

    def _joint(self, points: Array, *, noisy: bool) -> tuple[Array, Array]:
        """Return mean, `q`, and covariance, `q x q`, of minus the objective."""
        weights, rungs = points[:, :-1], np.rint(points[:, -1]).astype(np.intp)
        mean, joint = self.surrogate.posterior(self.surrogate.encoding.inputs(weights))
        places = rungs * len(points) + np.arange(len(points))
        covariance = joint[np.ix_(places, places)]
        extra = JITTER * covariance.trace() / len(points) * np.ones(len(points))
        if noisy:
            extra += np.array([self.surrogate.rungs[rung].noise_sd ** 2 for rung in rungs])
        return -mean[rungs, np.arange(len(points))], covariance + np.diag(extra)
