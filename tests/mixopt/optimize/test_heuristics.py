"""Mixtures that need no training."""

import pytest

from mixopt.errors import ConfigError
from mixopt.optimize.heuristics import temperature, unimax

EQUAL = {"web": 1 / 3, "code": 1 / 3, "law": 1 / 3}
TOKENS = {"web": 1_000, "code": 100, "law": 10}


def test_unimax_caps_small_domains_and_shares_the_rest() -> None:
    # 300 tokens, 4 epochs: law gets 40 of its share of 100, code and web 130 each of the 260 left.
    assert dict(unimax(TOKENS, 300, 4.0)) == pytest.approx({"web": 130 / 300, "code": 130 / 300, "law": 40 / 300})


def test_unimax_is_uniform_where_no_cap_binds() -> None:
    assert dict(unimax(TOKENS, 30, 4.0)) == pytest.approx(EQUAL)


def test_unimax_is_natural_where_every_cap_binds() -> None:
    assert dict(unimax(TOKENS, 10**9, 4.0)) == pytest.approx(dict(temperature(TOKENS, 1.0)))


def test_temperature_runs_from_natural_to_uniform() -> None:
    assert dict(temperature(TOKENS, 1.0)) == pytest.approx({n: k / 1_110 for n, k in TOKENS.items()})
    assert dict(temperature(TOKENS, 2.0))["web"] == pytest.approx(1_000**0.5 / (1_000**0.5 + 100**0.5 + 10**0.5))
    assert dict(temperature(TOKENS, 1e9)) == pytest.approx(EQUAL, abs=1e-6)


def test_a_temperature_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="above 0; got 0"):
        temperature(TOKENS, 0.0)
