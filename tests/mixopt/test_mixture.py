"""Mixtures cannot be wrong, and recipes average as tokens do."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixopt.errors import ConfigError, InvalidMixture
from mixopt.mixture import Domain, Mixture, Recipe


@pytest.mark.parametrize(
    "weights",
    [{}, {"a": 0.7, "b": 0.2}, {"a": 1.1, "b": -0.1}, {"a": math.nan, "b": 1.0}, {"a": math.inf}, {"a": "much"}],
)
def test_weights_that_are_no_mixture_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(InvalidMixture):
        Mixture(weights)


@given(st.lists(st.floats(0.0, 1e12), min_size=1, max_size=30).filter(lambda tokens: sum(tokens) > 1e-6))
def test_a_mixture_made_again_from_its_own_weights_is_the_same_bit_for_bit(tokens: list[float]) -> None:
    mixture = Mixture.proportional({str(i): count for i, count in enumerate(tokens)})
    assert math.fsum(mixture.values()) == pytest.approx(1.0, abs=1e-12)
    assert dict(Mixture(dict(mixture))) == dict(mixture)


def test_a_sum_within_the_tolerance_is_normalised() -> None:
    assert Mixture({"a": 0.5000005, "b": 0.5})["b"] == pytest.approx(0.5 / 1.0000005, abs=1e-15)


def test_float_error_around_zero_becomes_an_exact_zero_in_an_array() -> None:
    mixture = Mixture.from_array(["a", "b"], np.array([-3e-10, 1.0]))
    assert dict(mixture) == {"a": 0.0, "b": 1.0}
    with pytest.raises(InvalidMixture):
        Mixture.from_array(["a", "b"], np.array([-3e-6, 1.000003]))


def test_an_array_follows_the_names_and_reads_back() -> None:
    mixture = Mixture({"a": 0.25, "b": 0.75})
    assert mixture.array(["b", "c", "a"]).tolist() == [0.75, 0.0, 0.25]
    assert Mixture.from_array(["b", "a"], mixture.array(["b", "a"])) == mixture
    with pytest.raises(InvalidMixture, match="'b'"):
        mixture.array(["a"])


def test_equal_mixtures_hash_alike_and_survive_pickling() -> None:
    mixture = Mixture({"a": 0.25, "b": 0.75})
    assert hash(mixture) == hash(Mixture({"b": 0.75, "a": 0.25}))
    assert pickle.loads(pickle.dumps(mixture)) == mixture


def test_distance_is_the_fraction_of_tokens_that_differ() -> None:
    assert Mixture({"a": 1.0}).distance({"b": 1.0}) == 1.0
    assert Mixture({"a": 0.5, "b": 0.5}).distance({"a": 0.7, "b": 0.3}) == pytest.approx(0.2)


def test_a_recipe_averages_its_stages_by_their_share_of_the_tokens() -> None:
    recipe = Recipe(((0.75, Mixture({"a": 1.0})), (0.25, Mixture({"a": 0.2, "b": 0.8}))))
    assert recipe.average() == pytest.approx({"a": 0.8, "b": 0.2})
    assert Recipe.from_plain(recipe.plain()) == recipe
    with pytest.raises(InvalidMixture):
        Recipe(((0.5, Mixture({"a": 1.0})),))


@pytest.mark.parametrize(
    ("bounds", "word"),
    [
        ({"min_weight": 0.6, "max_weight": 0.5}, "min_weight <= max_weight"),
        ({"weight": 0.6, "max_weight": 0.5}, "pinned"),
        ({"max_epochs": 4.0}, "needs available_tokens"),
        ({"max_epochs": 0.0, "available_tokens": 1}, "positive"),
    ],
)
def test_bounds_that_contradict_each_other_are_refused(bounds: dict[str, float], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        Domain(name="a", **bounds)  # type: ignore[arg-type]
