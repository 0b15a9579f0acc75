"""The additive law in epochs: every domain's benefit saturates, and its harm rises (REPETITION 10.7, one floor a set).

f = phi + exp(c - sum_i a_i b(E_i) + sum_i g_i h(E_i)) + z-slope * z with b(E) = 1 - exp(-(rho E)^p) and
h(E) = softplus(log(1 + E) - tau)^2. Benefit counts epochs in units of what a mean domain would have alone, so that one
prior of rho serves runs that see little of every domain and runs that repeat all; harm counts epochs as they are.
Harm is next to nothing until rows say otherwise.

Shapes: L problems, n rows, d domains; rows X `n x 2d`: epochs in those units, then epochs.
"""

import numpy as np

from mixopt.optimize.encoding import Array
from mixopt.optimize.laws import Law

ONSET, ONSET_SD = 2.0, 0.5  # of tau: from about six epochs on (10.7 has 1 to 6 to choose from)
HARM, HARM_SD = -5.0, 2.0  # of log g: a hundredth of the standardised deficit or less
BEFORE = 6  # parameters before those of domains


def rows(weights: Array, passes: Array) -> Array:
    """Return X of mixtures, `n x 2d`; passes `d`: epochs of a domain that has all the weight."""
    epochs = weights * passes
    unit = np.exp(np.mean(np.log(passes)))
    columns: Array = np.hstack([epochs / unit, epochs])
    return columns


def benefit(epochs: Array, rate: Array | float, power: Array | float) -> Array:
    """Return b(E), 0 at none and 1 at many epochs."""
    saturated: Array = -np.expm1(-np.exp(power * np.log(np.maximum(rate * epochs, 1e-12))))
    return saturated


def harm(epochs: Array, onset: Array | float) -> Array:
    """Return h(E), which rises from about `onset` in log(1 + E)."""
    risen: Array = np.logaddexp(0.0, np.log1p(epochs) - onset) ** 2
    return risen


def epochs_law(theta: Array, x: Array, z: Array) -> tuple[Array, Array]:
    """Return values `L x n` and slopes `L x n x p`; theta = (phi, b, c, log rho, log p, tau, log a, log g)."""
    d = x.shape[1] // 2
    logs = theta[:, 3, None, None] + np.log(np.maximum(x[:, :d], 1e-12))
    shape = np.exp(theta[:, 4, None, None])
    powers = np.exp(np.minimum(shape * logs, 50.0))
    decays = np.exp(-powers)
    worth, harms = np.exp(theta[:, None, BEFORE : BEFORE + d]), np.exp(theta[:, None, BEFORE + d :])
    above = np.log1p(x[:, d:]) - theta[:, 5, None, None]
    risen = np.logaddexp(0.0, above)
    total = (harms * risen**2).sum(-1) - (worth * (1.0 - decays)).sum(-1)
    term = np.exp(np.clip(theta[:, 2, None] + total, -20.0, 20.0))
    steep = worth * decays * powers * shape
    later = -2.0 * (harms * risen / (1.0 + np.exp(-above))).sum(-1)
    fixed = [np.ones_like(term), z, term, -term * steep.sum(-1), -term * (steep * logs).sum(-1), term * later]
    parts = [np.stack(fixed, -1), -term[..., None] * worth * (1.0 - decays), term[..., None] * harms * risen**2]
    return theta[:, 0, None] + theta[:, 1, None] * z + term, np.concatenate(parts, axis=-1)


def prior(columns: int) -> tuple[Array, Array]:
    """Return means and standard deviations of theta for X of so many columns; benefits as in the additive law."""
    d = columns // 2
    mean = np.concatenate([[-1.5, 0.0, 1.3, 0.0, -0.6, ONSET], np.full(d, -4.0), np.full(d, HARM)])
    sd = np.concatenate([[1.0, 0.4, 0.5, 0.7, 0.25, ONSET_SD], np.full(d, 3.0), np.full(d, HARM_SD)])
    return mean, sd


def harm_of(theta: Array, epochs: Array) -> Array:
    """Return sum_i g_i h(E_i) of every problem at rows of epochs `n x d`, `L x n`."""
    d = epochs.shape[1]
    total: Array = (np.exp(theta[:, None, BEFORE + d :]) * harm(epochs, theta[:, 5, None, None])).sum(-1)
    return total


EPOCHS = Law(evaluate=epochs_law, prior=prior)
