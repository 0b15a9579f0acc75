"""The mixtures worth considering: a polytope inside the simplex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mixopt.constraint import LinearConstraint as LinearConstraint
from mixopt.emptiness import Limit, explain
from mixopt.errors import ConfigError, EmptySpace
from mixopt.mixture import Domain, Mixture
from mixopt.polytope import project, vertex

INSIDE = 1e-8  # a hundred times what sampling and projecting leave, far below what a weight means


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """The mixtures of `domains` within their bounds, the linear constraints, and the epochs allowed in `tokens`.

    tokens: of the training that max_epochs refers to (None: max_epochs of the domains does not bind).
    EmptySpace says which numbers leave nothing, and what would open it.
    """

    domains: tuple[Domain, ...]
    constraints: tuple[LinearConstraint, ...] = ()
    tokens: int | None = None

    def __post_init__(self) -> None:
        if not self.domains or len(set(self.names)) < self.d:
            raise ConfigError(f"a space needs domains, each of its own name; got {list(self.names)}")
        for constraint in self.constraints:
            unknown = sorted(set(constraint.coefficients) - set(self.names))
            if unknown:
                known = sorted(self.names)
                raise ConfigError(f"constraint {constraint.text!r} names unknown domains {unknown}; known: {known}")
        reason = explain(self._limits, self.d)
        if reason is not None:
            raise EmptySpace(reason)

    @property
    def names(self) -> tuple[str, ...]:
        """The domains' names: the order of every array here."""
        return tuple(domain.name for domain in self.domains)

    @property
    def d(self) -> int:
        """The number of domains."""
        return len(self.domains)

    @cached_property
    def lower(self) -> NDArray[np.float64]:
        """The least weights, `d`."""
        return np.array([floor(domain) for domain in self.domains])

    @cached_property
    def upper(self) -> NDArray[np.float64]:
        """The largest weights, `d`: max_weight, pinned weight and max_epochs, whichever is least."""
        return np.array([cap(domain, self.tokens) for domain in self.domains])

    @cached_property
    def A(self) -> NDArray[np.float64]:  # noqa: N802  # as papers call it
        """Rows of the linear constraints, `k x d`: `A @ w <= b`. Bounds and sum(w) = 1 are not among them."""
        return np.array([limit.row for limit in self._linear]).reshape(-1, self.d)

    @cached_property
    def b(self) -> NDArray[np.float64]:
        """Limits of the linear constraints, `k`."""
        return np.array([limit.bound for limit in self._linear])

    @property
    def center(self) -> Mixture:
        """A mixture strictly within everything that is not an equality: the mean of the extreme vertices."""
        return Mixture.from_array(self.names, self.vertices.mean(axis=0))

    @cached_property
    def vertices(self) -> NDArray[np.float64]:
        """Vertices that span the space, `v x d`: for every weight and constraint, one where it is largest and least."""
        if self._is_plain:
            return np.eye(self.d)
        goals = np.vstack([-np.eye(self.d), np.eye(self.d), self.A])
        found = [self._vertex(goal) for goal in goals]
        return np.unique(np.round(found, 15), axis=0)

    def __contains__(self, mixture: object) -> bool:
        if not isinstance(mixture, Mapping) or not set(mixture) <= set(self.names):
            return False
        w = np.array([mixture.get(name, 0.0) for name in self.names])
        bounded = np.all(w >= self.lower - INSIDE) and np.all(w <= self.upper + INSIDE) and abs(w.sum() - 1.0) <= INSIDE
        return bool(bounded and np.all(self.A @ w <= self.b + INSIDE))

    def uniform(self) -> Mixture:
        """Return the mixture of the space that is nearest to equal weights."""
        return self.project(np.full(self.d, 1.0 / self.d))

    def project(self, array: NDArray[np.float64]) -> Mixture:
        """Return the mixture of the space that is nearest to `array`, `d`, with exact zeros where it lies on a face."""
        point = np.asarray(array, dtype=np.float64)
        return self._mixture(project(point, A=self.A, b=self.b, lower=self.lower, upper=self.upper))

    def corners(self) -> list[Mixture]:
        """Return, for each domain in order, the mixture with as much of it as there can be; none twice."""
        found = [self._mixture(self._vertex(-goal)) for goal in np.eye(self.d)]
        return list(dict.fromkeys(found))

    def sample(self, n: int, rng: np.random.Generator) -> list[Mixture]:
        """Return `n` mixtures that fill the space: uniform, central, peaked ones; faces and edges with exact zeros."""
        inner = self._uniform(2 * n, rng)
        first, second = inner[:n], inner[n:]
        pool = self._pool(rng)
        rows = []
        for i in range(n):
            kind = i % 8
            if kind in (0, 3, 5):
                rows.append(first[i])
            elif kind == 2:
                rows.append(0.5 * (first[i] + second[i]))
            elif kind == 6:
                rows.append(0.4 * first[i] + 0.6 * pool[rng.integers(len(pool))])
            else:  # a face; every eighth an edge
                count = 2 if kind == 1 else int(rng.integers(2, max(3, min(len(pool), self.d))))
                chosen = rng.choice(len(pool), size=min(count, len(pool)), replace=False)
                rows.append(rng.dirichlet(np.ones(len(chosen))) @ pool[chosen])
        return [self._mixture(row) for row in rows]

    @property
    def _is_plain(self) -> bool:
        return not self.constraints and not self.lower.any() and bool(np.all(self.upper >= 1.0))

    @cached_property
    def _linear(self) -> tuple[Limit, ...]:
        return tuple(limit for limit in self._limits if limit.kind == "linear")

    @cached_property
    def _limits(self) -> tuple[Limit, ...]:
        bounds = [limit for i in range(self.d) for limit in bound_limits(self.domains, i, self.tokens)]
        return (*bounds, *(limit for c in self.constraints for limit in linear_limits(c, self.names)))

    def _vertex(self, goal: NDArray[np.float64]) -> NDArray[np.float64]:
        found = vertex(goal, A=self.A, b=self.b, lower=self.lower, upper=self.upper)
        assert found is not None, "a space that exists is not empty"
        return found

    def _mixture(self, w: NDArray[np.float64]) -> Mixture:
        snapped = np.where(np.abs(w - self.lower) < 1e-12, self.lower, w)
        snapped = np.where(np.abs(w - self.upper) < 1e-12, self.upper, snapped)
        return Mixture.from_array(self.names, np.clip(snapped, self.lower, np.maximum(self.upper, self.lower)))

    def _pool(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return vertices to draw faces from: the extreme ones, and as many of random directions."""
        if self._is_plain or self.d == 1:
            return self.vertices
        random = [self._vertex(goal) for goal in rng.standard_normal((2 * self.d, self.d))]
        return np.unique(np.round(np.vstack([self.vertices, random]), 15), axis=0)

    def _uniform(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return `n` uniform points, `n x d`: Dirichlet on the whole simplex, hit-and-run elsewhere (Smith 1984)."""
        if self._is_plain:
            return rng.dirichlet(np.ones(self.d), size=n)
        spread = self.vertices - self.vertices.mean(axis=0)
        points = rng.dirichlet(np.ones(len(spread)), size=n) @ self.vertices
        rows = np.vstack([self.A, np.eye(self.d), -np.eye(self.d)])
        limits = np.concatenate([self.b, self.upper, -self.lower])
        for _ in range(20 + 4 * self.d):
            direction = rng.standard_normal((n, len(spread))) @ spread
            speed = direction @ rows.T
            room = np.maximum(limits - points @ rows.T, 0.0)
            with np.errstate(divide="ignore", invalid="ignore"):
                times = room / speed
            ahead = np.where(speed > 1e-12, times, np.inf).min(axis=1)
            behind = np.where(speed < -1e-12, times, -np.inf).max(axis=1)
            still = ~(np.isfinite(ahead) & np.isfinite(behind))  # a direction without length: the space is a point
            ahead[still], behind[still] = 0.0, 0.0
            points = points + rng.uniform(behind, np.maximum(ahead, behind))[:, None] * direction
        return points


def floor(domain: Domain) -> float:
    """Return the least weight of a domain."""
    return domain.min_weight if domain.weight is None else domain.weight


def cap(domain: Domain, tokens: int | None) -> float:
    """Return the largest weight of a domain in a training of `tokens`."""
    own = domain.max_weight if domain.weight is None else domain.weight
    if tokens is None or domain.max_epochs is None or domain.available_tokens is None:
        return own
    return min(own, domain.max_epochs * domain.available_tokens / tokens)


def bound_limits(domains: Sequence[Domain], i: int, tokens: int | None) -> list[Limit]:
    """Return the limits that the bounds of domain `i` set, floor before cap, where they say anything."""
    domain, row, limits = domains[i], np.eye(len(domains))[i], []
    name, low, high = domain.name, floor(domain), cap(domain, tokens)
    key = "min_weight" if domain.weight is None else "weight"
    if low > 0.0:
        opening = f"lower {key} of {name} to {{}}"
        limits.append(
            Limit(kind="floor", row=-row, bound=-low, words=f"{name} {low:.4g} ({key})", opening=opening, scale=-1)
        )
    if high >= 1.0:
        return limits
    key, scale, note = "max_weight" if domain.weight is None else "weight", 1.0, ""
    if high < (domain.max_weight if domain.weight is None else domain.weight):
        assert tokens is not None, "max_epochs bind where the tokens are known"
        assert domain.available_tokens is not None, "a domain with max_epochs has available_tokens"
        assert domain.max_epochs is not None, "nothing else lowers a cap"
        key, scale = "max_epochs", tokens / domain.available_tokens
        note = f" {domain.max_epochs:.4g} x {domain.available_tokens:.4g} tokens / {tokens:.4g}"
    words, opening = f"{name} {high:.4g} ({key}{note})", f"raise {key} of {name} to {{}}"
    return [*limits, Limit(kind="cap", row=row, bound=high, words=words, opening=opening, scale=scale)]


def linear_limits(constraint: LinearConstraint, names: Sequence[str]) -> list[Limit]:
    """Return the one or two limits that a linear constraint sets."""
    row = np.array([constraint.coefficients.get(name, 0.0) for name in names])
    words, limits = f"`{constraint.text}`", []
    if constraint.upper < np.inf:
        opening = f"raise the upper limit in {words} to {{}}"
        limits.append(Limit(kind="linear", row=row, bound=constraint.upper, words=words, opening=opening))
    if constraint.lower > -np.inf:
        opening = f"lower the lower limit in {words} to {{}}"
        limits.append(Limit(kind="linear", row=-row, bound=-constraint.lower, words=words, opening=opening, scale=-1))
    return limits
