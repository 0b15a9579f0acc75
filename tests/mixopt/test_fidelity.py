"""Ladders rise."""

import pytest

from mixopt.errors import ConfigError
from mixopt.fidelity import Fidelity, Ladder, Target


def rung(name: str, cost_flops: float) -> Fidelity:
    return Fidelity(name=name, tokens=1_000, parameters=10, cost_flops=cost_flops)


def test_a_ladder_knows_its_ends_and_places() -> None:
    ladder = Ladder(rungs=(rung("small", 1e12), rung("large", 8e12)), target=Target(parameters=7, tokens=9))
    assert (ladder.cheapest.name, ladder.top.name, ladder.index("large"), len(ladder)) == ("small", "large", 1, 2)
    assert "small" in ladder
    assert "medium" not in ladder


@pytest.mark.parametrize("costs", [(), (2.0, 1.0), (1.0, 1.0)])
def test_a_ladder_that_does_not_rise_is_refused(costs: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError):
        Ladder(rungs=tuple(rung(str(i), cost) for i, cost in enumerate(costs)))


def test_two_rungs_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="own name"):
        Ladder(rungs=(rung("a", 1.0), rung("a", 2.0)))


def test_an_unknown_rung_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'medium'.*\['small'\]"):
        Ladder(rungs=(rung("small", 1.0),))["medium"]


def test_counts_and_costs_are_positive() -> None:
    with pytest.raises(ConfigError):
        rung("a", 0.0)
    with pytest.raises(ConfigError):
        Target(parameters=0, tokens=1)
