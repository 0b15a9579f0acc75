"""How a budget is split over rungs: what known beliefs must lead to."""

import numpy as np
import pytest

from mixopt.optimize.acquisition import Belief
from mixopt.optimize.stages import Offer, best_split, finalists, first_stage

COSTS = (0.01, 1.0)


def offer(
    covariance: np.ndarray,
    *,
    mean: np.ndarray | None = None,
    costs: tuple[float, ...] = COSTS,
    seen: tuple[int, ...] = (8, 2),
    noise: float = 1e-4,
) -> Offer:
    """Return an offer of every mixture at every rung, `covariance` `R B x R B`."""
    rungs = len(costs)
    count = len(covariance) // rungs
    top = np.zeros(count) if mean is None else mean
    return Offer(
        belief=Belief(mean=np.tile(top, (rungs, 1)), covariance=covariance, noise=np.full(rungs, noise)),
        mixtures=np.tile(np.arange(count), rungs),
        rungs=np.repeat(np.arange(rungs), count),
        costs=np.repeat(costs, count),
        shippable=np.arange(count),
        seen=np.array(seen),
    )


def two_rungs(share: float, *, count: int = 12) -> np.ndarray:
    """Return the covariance of independent mixtures whose cheap rung explains `share` of the top's variance."""
    cross = np.sqrt(share) * np.eye(count)
    return np.block([[np.eye(count), cross], [cross, np.eye(count)]])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_one_trial_of_a_mixture_that_may_be_better_is_worth_the_closed_form() -> None:
    gains = offer(np.diag([1e-12, 1.0]), costs=(1.0,), seen=(3,), noise=1e-12)
    alone = Offer(
        belief=gains.belief,
        mixtures=gains.mixtures[1:],
        rungs=gains.rungs[1:],
        costs=gains.costs[1:],
        shippable=gains.shippable,
        seen=gains.seen,
    )
    split = best_split(alone, budget=1.0, rng=rng())
    assert split.finalists == 1
    assert split.expected == pytest.approx(-1.0 / np.sqrt(2.0 * np.pi), abs=0.06)  # E min(z, 0), by 32 draws


def test_a_cheap_rung_that_knows_the_top_gets_the_money() -> None:
    split = best_split(offer(two_rungs(0.999)), budget=1.0, rng=rng())
    assert split.finalists == 0
    assert split.money == pytest.approx((1.0,))


def test_a_cheap_rung_that_says_nothing_of_the_top_gets_none() -> None:
    found = offer(two_rungs(0.0), costs=(0.1, 1.0))
    assert best_split(found, budget=4.0, rng=rng()).finalists == 4
    assert first_stage(found, budget=4.0, part=0.5, rng=rng()).rung == 1


def test_one_trial_where_the_level_is_unknown_tells_nothing() -> None:
    covariance = two_rungs(0.5, count=2)
    unseen, seen = (best_split(offer(covariance, seen=(8, n)), budget=1.0, rng=rng()) for n in (0, 2))
    assert unseen.finalists == 0
    assert unseen.expected > seen.expected - 0.05
    one = offer(np.eye(4), costs=(1.0,), seen=(0,))
    assert best_split(one, budget=1.0, rng=rng()).expected == pytest.approx(0.0, abs=0.01)
    assert best_split(one, budget=2.0, rng=rng()).expected < -0.3  # two trials tell a difference


def test_a_rung_that_only_some_of_three_are_told_by_is_the_one_that_pays() -> None:
    eye, none = np.eye(10), np.zeros((10, 10))
    cross = 0.95 * eye
    covariance = np.block([[eye, none, none], [none, eye, cross], [none, cross, eye]])
    split = best_split(offer(covariance, costs=(0.01, 0.1, 2.0), seen=(8, 2, 2)), budget=1.0, rng=rng())
    assert split.money[1] > split.money[0]
    assert split.finalists == 0


@pytest.mark.parametrize("budget", [0.03, 0.5, 1.0, 3.7])
def test_a_split_costs_no_more_than_the_budget(budget: float) -> None:
    for share in (0.1, 0.6, 0.95):
        split = best_split(offer(two_rungs(share)), budget=budget, rng=rng())
        assert sum(split.money) + split.finalists * COSTS[1] <= budget * (1.0 + 1e-9)


def test_what_could_never_be_shipped_is_not_asked_first() -> None:
    mean = np.array([5.0, 0.0, 0.1, 5.0])
    stage = first_stage(offer(two_rungs(0.9, count=4), mean=mean), budget=0.02, part=0.02, rng=rng())
    assert stage.rung == 0
    assert {int(place) for place in stage.trials} == {1, 2}


def test_the_last_stage_is_half_of_the_finalists_first_the_least_means() -> None:
    mean = 0.1 * np.arange(12.0)
    found = offer(two_rungs(0.0), mean=mean, costs=(0.9, 1.0))
    stage = first_stage(found, budget=4.0, part=4.0, rng=rng())
    assert (stage.rung, stage.count) == (1, 2)
    assert [int(found.mixtures[place]) for place in stage.trials] == [0, 1]
    assert finalists(found, 2) == stage.trials


def test_the_same_draws_give_the_same_split() -> None:
    found = offer(two_rungs(0.6))
    assert best_split(found, budget=3.0, rng=rng()) == best_split(found, budget=3.0, rng=rng())
