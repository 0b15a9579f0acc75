"""Parameters and FLOPs by arithmetic, against those of the model; what a configuration refuses."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from proxies.config import ProxyConfig, trial_flops
from proxies.dispatch import BLOCK_ROWS
from proxies.errors import ProxyError
from proxies.model import Decoder

# Heads and models narrower than the loops in C++ serve: torch counts no product in there.
SHAPES = {
    "dense": ProxyConfig(layers=2, width=16, heads=2, sequence_tokens=8, lags=3),
    "tied swiglu": ProxyConfig(layers=1, width=24, heads=1, sequence_tokens=8, activation="swiglu", tied=True),
    "routed": ProxyConfig(layers=2, width=16, heads=2, sequence_tokens=8, experts=4, top_k=2, shared_experts=1),
    "routed swiglu": ProxyConfig(layers=1, width=16, heads=2, sequence_tokens=8, experts=3, activation="swiglu"),
}


def decoder(config: ProxyConfig) -> Decoder:
    model = Decoder(config, vocabulary=11, end_of_document=0, dtype=torch.bfloat16)
    model.initialize(0)
    return model


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_total_parameters_are_those_of_the_model(config: ProxyConfig) -> None:
    assert config.total_parameters(11) == sum(p.numel() for p in decoder(config).parameters())


# As many tokens, all alike, as fill a block of rows: each goes to the same experts, and no row stands in between.
TOKENS = torch.zeros(8, 8, dtype=torch.long)


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_forward_flops_are_those_that_torch_counts(config: ProxyConfig) -> None:
    model = decoder(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(TOKENS)
    assert counter.get_total_flops() == config.forward_flops_per_token(11) * BLOCK_ROWS


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_training_flops_are_those_that_torch_counts(config: ProxyConfig) -> None:
    model = decoder(config)
    with FlopCounterMode(display=False) as counter:
        model(TOKENS).float().sum().backward()
    assert counter.get_total_flops() == config.flops_per_token(11) * BLOCK_ROWS


def test_fine_grained_experts_cost_a_token_no_more_than_coarse_ones() -> None:
    coarse = ProxyConfig(layers=2, width=64, heads=2, experts=4, top_k=1)
    fine = ProxyConfig(layers=2, width=64, heads=2, experts=16, top_k=4)
    routers = 2 * 12 * 64
    assert fine.active_parameters(256) - routers == coarse.active_parameters(256)
    assert fine.total_parameters(256) - routers == coarse.total_parameters(256)


def test_tied_layers_are_counted_once_in_all_and_met_in_each() -> None:
    shape = {"layers": 4, "width": 16, "heads": 2, "experts": 8, "ffn_width": 24}
    tied, untied = ProxyConfig.from_plain({**shape, "tied_layers": 2}), ProxyConfig.from_plain(shape)
    assert untied.total_parameters(11) - tied.total_parameters(11) == 2 * 8 * 2 * 16 * 24
    assert untied.active_parameters(11) == tied.active_parameters(11)
    assert tied.total_parameters(11) == sum(p.numel() for p in decoder(tied).parameters())


def test_active_parameters_leave_out_the_experts_not_chosen() -> None:
    config = ProxyConfig(layers=3, width=16, heads=2, experts=8, top_k=2, ffn_width=24)
    assert config.total_parameters(11) - config.active_parameters(11) == 3 * 6 * 2 * 16 * 24


def test_a_routed_layer_is_as_wide_for_a_token_as_a_dense_one() -> None:
    dense = ProxyConfig(layers=2, width=64, heads=2)
    routed = ProxyConfig(layers=2, width=64, heads=2, experts=8, top_k=2)
    assert routed.active_parameters(256) - dense.active_parameters(256) == 2 * 8 * 64  # the routers


def test_a_trial_costs_three_forwards_a_training_token_and_one_an_evaluation_token() -> None:
    config = SHAPES["dense"]
    cost = trial_flops(config, tokens=100, vocabulary=11, evaluation_tokens=50)
    assert cost == config.forward_flops_per_token(11) * 350


def test_a_configuration_survives_the_way_to_plain_values_and_back() -> None:
    config = ProxyConfig(layers=2, width=64, heads=2, experts=4, schedule="wsd")
    assert ProxyConfig.from_plain(config.to_plain()) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, "must divide"),
        ({"heads": 16}, "even width"),
        ({"layers": 0}, "layers must be a whole number of at least 1, got 0"),
        ({"layers": 2.0}, "layers must be a whole number"),
        ({"activation": "gelu"}, r"activation must be one of \['relu2', 'swiglu'\], got 'gelu'"),
        ({"experts": 2, "top_k": 3}, "top_k 3 must not exceed experts 2"),
        ({"shared_experts": 1}, "needs routed experts"),
        ({"learning_rate": 0}, "learning_rate must be a positive number"),
        ({"learning_rate": 1e39}, r"learning_rate must be a positive number below 1e\+35, got 1e\+39"),
        ({"learning_rate": "inf"}, "got 'inf'"),
        ({"init": {"method": ["grow"], "tokens": 3_000}}, r"the method of init must be one of .*, got \['grow'\]"),
        ({"init": {"method": "merge-experts", 3: 4, "tokens": 2}}, r"has no \['3', 'tokens'\]"),
        ({"embedding_rate": -1}, "embedding_rate must be a positive number"),
        ({"learning_rate": None}, r"learning_rate must be a positive number below 1e\+35, got None"),
        ({"momentum": None}, "momentum must be a number from 0 to below 1, got None"),
        ({"square_momentum": 1.0}, "square_momentum must be a number from 0 to below 1"),
        ({"schedule": "wsd", "warmup_fraction": 0.8}, "exceed the training"),
        ({"depth": 3}, r"no setting \['depth'\]; known"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(change: dict[str, object], message: str) -> None:
    plain: dict[str, object] = {"layers": 2, "width": 16, "heads": 2}
    with pytest.raises(ProxyError, match=message):
        ProxyConfig.from_plain({**plain, **change})


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    written = {"layers": "2", "width": 16, "heads": 2, "learning_rate": "2e-2", "warmup_tokens": "8e3"}
    init = {"method": "grow", "tokens": "3e3", "proxy": {"width": "8", "heads": 1}}
    meant = {"layers": 2, "width": 16, "heads": 2, "learning_rate": 0.02, "warmup_tokens": 8_000}
    start = {"method": "grow", "tokens": 3_000, "proxy": {"width": 8, "heads": 1}}
    assert ProxyConfig.from_plain(written | {"init": init}) == ProxyConfig.from_plain(meant | {"init": start})


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(ProxyError, match="needs \\['heads'\\]"):
        ProxyConfig.from_plain({"layers": 2, "width": 16})
