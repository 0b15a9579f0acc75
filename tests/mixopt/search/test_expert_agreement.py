"""How well the data experts rank: among mixtures that nothing chose, and among all."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from mixopt.evidence import Evidence, Experts, History, Observation
from mixopt.mixture import Mixture
from mixopt.search.expert_agreement import expert_agreement
from tests.mixopt.search.small_search import changed, setting_of


@dataclass(frozen=True)
class FirstWeight:
    """An ensemble whose losses are the first domain's weight."""

    domains: tuple[str, ...]
    sets: tuple[str, ...]

    def losses(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.tile(weights[:, :1], (1, len(self.sets)))

    def gradients(self, weights: NDArray[np.float64], set_weights: dict[str, float]) -> NDArray[np.float64]:
        raise NotImplementedError


def test_mixtures_that_a_model_chose_are_counted_apart_from_those_that_opened_the_search() -> None:
    setting = setting_of(changed())
    first, second, *others = setting.names
    shares = np.linspace(0.1, 0.8, 12)
    mixtures = [Mixture({first: x, second: 1.0 - x} | dict.fromkeys(others, 0.0)) for x in shares]
    losses = [*shares[:6], *-shares[6:]]  # as the ensemble has it in the opening, the other way round from then on
    observations = tuple(
        Observation(
            trial=k,
            mixture=mixture,
            fidelity=setting.problem.ladder.cheapest.name,
            seed=0,
            losses=dict.fromkeys(setting.config.sets, float(loss)),
            cost_flops=1.0,
        )
        for k, (mixture, loss) in enumerate(zip(mixtures, losses, strict=True))
    )
    experts = Experts(ensemble=FirstWeight(domains=setting.names, sets=setting.config.sets))
    evidence = Evidence(history=History(observations=observations), experts=experts)
    opening, every = expert_agreement(evidence, setting, None, opening=range(6))
    assert (opening["chosen"], opening["mixtures"], every["chosen"], every["mixtures"]) == (False, 6, True, 12)
    assert opening["ensemble"] == pytest.approx(1.0)
    ranks = np.array([7, 8, 9, 10, 11, 12, 6, 5, 4, 3, 2, 1])
    spearman = 1.0 - 6.0 * float(((ranks - np.arange(1, 13)) ** 2).sum()) / (12 * (12**2 - 1))
    assert every["ensemble"] == pytest.approx(spearman)
    assert [entry["merged"] for entry in (opening, every)] == [None, None]
