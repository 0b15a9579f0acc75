"""Models from models: equal to what they come from, and no longer once they train."""

import pytest
import torch
from torch import Tensor

from proxies.config import ProxyConfig, trial_flops
from proxies.errors import ProxyError
from proxies.fitting import step
from proxies.initialize import INITIALIZERS, averaged, drop_upcycled, grown, merged, upcycled
from proxies.model import Decoder
from proxies.optimizers import OPTIMIZERS
from proxies.starts import CHECKS, check_merging

DENSE = {"layers": 2, "width": 16, "heads": 2, "ffn_width": 24, "sequence_tokens": 12, "lags": 2}
V = 13


def model(seed: int = 0, **changes: object) -> Decoder:
    """A model whose every weight is drawn, so that all parts speak."""
    config = ProxyConfig.from_plain({**DENSE, **changes})
    found = Decoder(config, vocabulary=V, end_of_document=0, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    for parameter in found.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return found


def config(**changes: object) -> ProxyConfig:
    return ProxyConfig.from_plain({**DENSE, **changes})


def some_tokens(seed: int = 1) -> Tensor:
    return torch.randint(V, (3, 12), generator=torch.Generator().manual_seed(seed))


def assert_same_logits(a: Decoder, b: Decoder) -> None:
    with torch.no_grad():
        torch.testing.assert_close(a(some_tokens()), b(some_tokens()), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("activation", ["relu2", "swiglu"])
@pytest.mark.parametrize("router", ["softmax", "sigmoid"])
@pytest.mark.parametrize("top_k", [2, 3])
def test_an_upcycled_model_is_the_dense_one_whatever_its_router_does(activation: str, router: str, top_k: int) -> None:
    dense = model(activation=activation)
    routed = config(activation=activation, experts=4, top_k=top_k, router=router)
    assert_same_logits(dense, upcycled(dense, routed, seed=0))
    other = upcycled(dense, routed, seed=1)
    assert other.router is not None
    other.router.data.mul_(100)
    assert_same_logits(dense, other)


def test_drop_upcycling_redraws_the_same_half_of_gate_up_and_down_of_each_expert() -> None:
    dense = model(activation="swiglu")
    routed = drop_upcycled(dense, config(activation="swiglu", experts=4), seed=0)
    kept_up = (routed.up == dense.up).all(-1)  # layers x experts x gate and up x neurons
    kept_down = (routed.down == dense.down).all(-2)
    assert (kept_up[:, :, 0] == kept_up[:, :, 1]).all()
    assert (kept_up[:, :, 0] == kept_down).all()
    assert (kept_down.sum(-1) == 12).all()
    assert len({tuple(row.tolist()) for row in kept_down.flatten(0, 1)}) == 8
    new = routed.down.mT[~kept_down]
    assert new.std().item() == pytest.approx(dense.down.std().item(), rel=0.1)


@pytest.mark.parametrize("changes", [{}, {"experts": 4}, {"experts": 4, "router": "relu"}, {"activation": "swiglu"}])
@pytest.mark.parametrize(("wider", "deeper"), [(2, 1), (3, 1), (1, 2), (2, 3)])
def test_a_grown_model_has_the_logits_of_the_small_one(changes: dict[str, object], wider: int, deeper: int) -> None:
    small = model(**changes)
    shape = {"width": 16 * wider, "heads": 2 * wider, "ffn_width": 24 * wider, "layers": 2 * deeper}
    assert_same_logits(small, grown(small, config(**changes, **shape), seed=0))


def test_copies_of_features_part_as_soon_as_they_train() -> None:
    large = grown(model(), config(width=32, heads=4, ffn_width=48), seed=0)
    rows = torch.randint(V, (4, 13), generator=torch.Generator().manual_seed(0)).numpy()
    for _ in range(2):
        step([large], rows[None], OPTIMIZERS["adamw"]([large]))
    read = large.up.unflatten(-1, (2, 16)).sum(-2)  # what each neuron reads of each feature
    assert (read[..., :24, :] - read[..., 24:, :]).abs().max() > 1e-3


def test_every_grown_layer_learns() -> None:
    deep = grown(model(), config(layers=4), seed=0)
    rows = torch.randint(V, (4, 13), generator=torch.Generator().manual_seed(0)).numpy()
    step([deep], rows[None], OPTIMIZERS["muon"]([deep]))
    assert all(deep.out[layer].abs().max() > 0 for layer in range(4))


def test_data_experts_become_the_routed_experts_of_a_model_with_their_mean_for_the_rest() -> None:
    experts = [model(seed) for seed in range(3)]
    routed = merged(experts, config(experts=3), seed=0)
    for i, expert in enumerate(experts):
        assert torch.equal(routed.up[:, i], expert.up[:, 0])
        assert torch.equal(routed.down[:, i], expert.down[:, 0])
    torch.testing.assert_close(routed.qkv, torch.stack([e.qkv for e in experts]).mean(0))
    same = [model(0), model(0)]
    assert_same_logits(same[0], merged(same, config(experts=2), seed=0))


def test_the_nets_of_routed_data_experts_stand_one_domains_after_anothers_as_often_as_there_is_room() -> None:
    experts = [model(seed, experts=2) for seed in range(3)]
    routed = merged(experts, config(experts=12), seed=0)
    for i, expert in enumerate(experts):
        for copy in range(2):
            own = slice(4 * i + 2 * copy, 4 * i + 2 * copy + 2)
            assert torch.equal(routed.up[:, own], expert.up)
            assert torch.equal(routed.down[:, own], expert.down)


def test_the_mean_of_the_others_stands_in_for_a_data_expert_that_is_not_to_be_had() -> None:
    first, last = model(0), model(2)
    routed = merged([first, None, last], config(experts=3), seed=0)
    torch.testing.assert_close(routed.down[:, 1], (first.down[:, 0] + last.down[:, 0]) / 2)
    assert torch.equal(routed.down[:, 2], last.down[:, 0])
    torch.testing.assert_close(routed.table, (first.table + last.table) / 2)


@pytest.mark.parametrize(
    ("expert", "changes", "message"),
    [
        ({}, {"experts": 8}, "8 do not divide among the 3 nets that a layer of the 3 data experts has; set experts: 9"),
        ({"experts": 4}, {"experts": 4}, "among the 12 nets .* set experts: 12"),
        ({}, {"experts": 3, "ffn_width": 12}, "24 wide, one of this proxy 12; set ffn_width: 24"),
        ({}, {"experts": 3, "width": 32}, "experts have width 16, and this proxy has 32.*set width: 16"),
        ({}, {"experts": 3, "heads": 1}, "set heads: 2"),
        ({}, {"experts": 3, "layers": 4}, "set layers: 2"),
        ({}, {"experts": 3, "tied": True}, "set tied: false"),
        ({"experts": 3, "router": "sigmoid"}, {"experts": 9}, "set router: sigmoid"),
        ({"experts": 4, "shared_experts": 1}, {"experts": 12}, "experts with shared_experts or tied_layers do not"),
        ({}, {}, "set experts, or drop init"),
        ({}, {"experts": 3, "top_k": 1}, "top_k of at least 2"),
        ({}, {"experts": 3, "shared_experts": 1}, "drop shared_experts"),
    ],
)
def test_data_experts_that_do_not_merge_say_what_to_write(
    expert: dict[str, object], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ProxyError, match=message):
        check_merging(config(**expert), config(**changes), domains=3)


def test_a_model_of_data_experts_is_charged_its_own_training_alone() -> None:
    routed = config(experts=4, init={"method": "merge-experts"})
    assert routed.start is None
    cost = trial_flops(routed, tokens=500, vocabulary=V, evaluation_tokens=0)
    assert cost == config(experts=4).flops_per_token(V) * 500


def test_an_average_of_models_is_the_model_at_a_corner_and_the_mean_of_weights_within() -> None:
    experts = [model(0), model(1)]
    assert_same_logits(averaged(experts, [0.0, 1.0]), experts[1])
    torch.testing.assert_close(averaged(experts, [0.25, 0.75]).up, 0.25 * experts[0].up + 0.75 * experts[1].up)


def test_the_methods_are_those_that_a_file_may_name() -> None:
    assert set(INITIALIZERS) == set(CHECKS)


def test_a_start_is_the_rungs_proxy_but_for_what_it_changes_and_its_training_is_charged() -> None:
    init = {"method": "upcycle", "tokens": 1_000, "proxy": {"learning_rate": 0.03}}
    routed = config(experts=4, init=init)
    assert routed.start is not None
    assert routed.start.proxy == config(learning_rate=0.03)
    assert ProxyConfig.from_plain(routed.to_plain()) == routed
    cost = trial_flops(routed, tokens=500, vocabulary=V, evaluation_tokens=0)
    assert cost == routed.flops_per_token(V) * 500 + config().flops_per_token(V) * 1_000


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ({"method": "grow"}, "init must hold method, tokens"),
        ({"method": "graft", "tokens": 1_000}, r"'grow', 'merge-experts'\], got 'graft'"),
        ({"method": "grow", "tokens": 1_000, "proxy": {"depth": 2}}, "must hold settings of a proxy"),
        ({"method": "grow", "tokens": 1_000, "proxy": {"width": 10, "heads": 1}}, "width cannot grow from 10 to 16"),
        ({"method": "upcycle", "tokens": 1_000}, "from a dense model to a routed one"),
        ({"method": "grow", "tokens": 10}, "less than a step"),
        ({"method": "merge-experts", "tokens": 10}, r"has no \['tokens'\]: a search's data experts are trained as its"),
        ({"method": "merge-experts"}, "set experts, or drop init"),
    ],
)
def test_a_start_that_cannot_be_is_refused_with_the_rung(init: dict[str, object], message: str) -> None:
    with pytest.raises(ProxyError, match=message):
        config(init=init)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experts": 4, "ffn_width": 12}, "set ffn_width: 24"),
        ({"experts": 4, "router": "relu"}, "gates sum to one"),
        ({"experts": 4, "top_k": 1}, "top_k of at least 2"),
        ({"experts": 4, "width": 32}, r"\['width'\] must not change"),
        ({}, "from a dense model to a routed one"),
    ],
)
def test_what_cannot_be_upcycled_says_why(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ProxyError, match=message):
        upcycled(model(), config(**changes), seed=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 24, "heads": 3}, "width cannot grow from 16 to 24"),
        ({"width": 32, "heads": 4}, "ffn_width cannot grow from 24 to 24.*try ffn_width: 48"),
        ({"layers": 3}, "layers cannot grow from 2 to 3"),
        ({"lags": 1}, r"\['lags'\] must not change"),
    ],
)
def test_what_cannot_grow_says_why(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ProxyError, match=message):
        grown(model(), config(**changes), seed=0)
