"""Every router: shapes, gates, what keeps loads even, and trainings that learn and repeat."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from proxies import fused_router
from proxies.config import CHOICES, ProxyConfig
from proxies.fitting import step
from proxies.model import Decoder, embed
from proxies.moe import Positive, TopK
from proxies.native import is_here
from proxies.optimizers import OPTIMIZERS
from proxies.routers import L1_FACTOR, L1_START, ROUTERS, decide

LOGITS = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))


def config(router: str, **changes: object) -> ProxyConfig:
    plain = {"layers": 1, "width": 16, "heads": 2, "sequence_tokens": 12, "batch_sequences": 4, "lags": 2, "experts": 4}
    return ProxyConfig.from_plain({**plain, "router": router, "precision": "float32", **changes})


def trained(router: str, steps: int) -> tuple[Decoder, list[float]]:
    """A model after `steps` on one batch, and the losses before each."""
    proxy = config(router)
    model = Decoder(proxy, vocabulary=13, end_of_document=0, dtype=torch.float32)
    model.initialize(0)
    rows = torch.randint(13, (4, 13), generator=torch.Generator().manual_seed(1)).numpy()
    optimizers = OPTIMIZERS["muon"]([model])
    return model, [step([model], rows[None], optimizers).item() for _ in range(steps)]


def chosen(router: str, *, top_k: int, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The experts and gates that a router with `top_k` chooses for LOGITS."""
    choice = ROUTERS[router].route(LOGITS, torch.zeros(5) if state is None else state, top_k).choice
    assert isinstance(choice, TopK)
    return choice.experts, choice.gates


def test_the_routers_are_those_that_a_file_may_name() -> None:
    assert tuple(ROUTERS) == CHOICES["router"]


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_gates_of_a_softmax_belong_to_the_largest_scores_and_sum_to_one_unless_they_are_the_scores(top_k: int) -> None:
    order = LOGITS.softmax(-1).sort(descending=True)
    scores = order.values[:, :top_k]
    for router, gates in (("softmax", scores / scores.sum(-1, keepdim=True)), ("softmax-scores", scores)):
        found = chosen(router, top_k=top_k)
        assert torch.equal(found[0], order.indices[:, :top_k])
        assert torch.allclose(found[1], scores if top_k == 1 else gates)


here = pytest.mark.skipif(not is_here(fused_router.SOURCE), reason="needs AVX-512 with bf16 units, and a C++ compiler")
IN_LOOP = [name for name, router in ROUTERS.items() if router.rule is not None]


@here
@pytest.mark.parametrize("name", IN_LOOP)
@pytest.mark.parametrize(("experts", "top_k"), [(5, 1), (5, 3), (40, 6)])
@pytest.mark.parametrize("experts_slope", [0.0, 0.5])
def test_a_router_in_one_loop_is_that_of_plain_operators(
    name: str, experts: int, top_k: int, experts_slope: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2 * 37, 96), (2, experts, 96), (2, experts))
    x, weights, biases = (torch.randn(shape, generator=generator) for shape in shapes)
    leaves = (x.bfloat16().requires_grad_(), (weights / 10).requires_grad_())
    state = biases / 10 if name == "sigmoid" else torch.empty(2, 0)
    slopes = [torch.randn(2 * 37, width, generator=generator) for width in (experts, experts, top_k)]
    exact_leaves = [leaf.detach().float().requires_grad_() for leaf in leaves]
    found = []
    assert fused_router.serves(leaves[0])
    for router, own in ((ROUTERS[name], leaves), (replace(ROUTERS[name], rule=None), exact_leaves)):
        read, logits, routing = decide(router, *own, state, top_k)
        assert isinstance(routing.choice, TopK)
        outputs = [logits, routing.scores, routing.choice.gates]
        grads = torch.autograd.grad([*outputs, read], own, [*slopes, torch.full_like(read, experts_slope)])
        found.append((*outputs, grads[1], routing.choice.experts, grads[0].float()))
    *exact, dx = found[0]
    *wanted, wanted_dx = found[1]
    torch.testing.assert_close(exact, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dx, wanted_dx, rtol=2**-8, atol=1e-6)  # bfloat16 rounds once


@here
@pytest.mark.parametrize("name", IN_LOOP)
def test_a_token_that_is_no_number_has_no_gates_in_one_loop_and_experts_that_there_are(name: str) -> None:
    x, weights = torch.ones(9, 32).bfloat16(), torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(0))
    x[5, 7] = float("nan")
    choice = decide(ROUTERS[name], x, weights, torch.zeros(1, 5), 2)[2].choice
    assert isinstance(choice, TopK)
    assert choice.gates.isnan().any(1).tolist() == [token == 5 for token in range(9)]
    assert choice.experts.min() >= 0
    assert choice.experts.max() < 5


def test_a_bias_chooses_experts_and_leaves_gates_alone() -> None:
    plain, gates = chosen("sigmoid", top_k=2)
    assert torch.equal(plain, LOGITS.topk(2).indices)
    scores = LOGITS.sigmoid()
    assert torch.allclose(gates, scores.gather(1, plain) / scores.gather(1, plain).sum(-1, keepdim=True))
    biased, gates = chosen("sigmoid", top_k=2, state=torch.tensor([9.0, 0, 0, 0, 8.0]))
    assert torch.equal(biased, torch.tensor([[0, 4]]).expand(6, 2))
    assert torch.allclose(gates, scores[:, [0, 4]] / scores[:, [0, 4]].sum(-1, keepdim=True))


def test_relu_takes_every_expert_with_a_positive_logit_for_its_gate() -> None:
    choice = ROUTERS["relu"].route(LOGITS, torch.zeros(1), 2).choice
    assert isinstance(choice, Positive)
    assert torch.equal(choice.gates, LOGITS.clamp_min(0))
    assert torch.equal(choice.counts(5), (LOGITS > 0).sum(0))


def test_biases_move_by_the_sign_of_what_a_load_lacks_of_the_mean() -> None:
    moved = ROUTERS["sigmoid"].updated(
        config("sigmoid", bias_rate=0.001), torch.zeros(1, 4), torch.tensor([[10.0, 2.0, 0.0, 4.0]])
    )
    assert torch.allclose(moved, torch.tensor([[-0.001, 0.001, 0.001, 0.0]]))


def test_l1_needs_76_steps_from_its_start_to_a_hundredth_and_falls_where_routing_is_sparse_enough() -> None:
    proxy, relu = config("relu"), ROUTERS["relu"]
    state = relu.state(proxy)
    assert state[0].item() == pytest.approx(L1_START)
    dense, sparse = torch.full((1, 4), 0.5), torch.full((1, 4), 0.2)
    steps = 0
    while state[0] < 1e-2:
        state, steps = relu.updated(proxy, state, dense), steps + 1
    assert steps == 76 == math.ceil(math.log(1e6) / math.log(L1_FACTOR))
    assert torch.allclose(relu.updated(proxy, state, sparse), state / L1_FACTOR)


def test_l1_at_balanced_loads_and_target_sparsity_is_the_plain_l1_of_the_gates() -> None:
    proxy = config("relu", top_k=2)
    model = Decoder(proxy, vocabulary=13, end_of_document=0, dtype=torch.float32)
    model.initialize(0)
    model.router_state.fill_(1.0)
    model.sum_over_ranks = lambda _: torch.tensor([[24, 24, 24, 24, 48]])  # 48 tokens, half of the experts each
    gates: list[Tensor] = []
    route = ROUTERS["relu"].route
    tokens = torch.randint(13, (4, 12), generator=torch.Generator().manual_seed(1))
    _, h = embed([model], tokens[None])  # attention writes nothing yet
    assert model.router is not None
    gates.append(route(h @ model.router[0].T, torch.zeros(1), 2).scores)
    assert model.logits_and_penalty(tokens)[1].item() == pytest.approx(gates[0].sum(-1).mean().item(), rel=1e-5)


@pytest.mark.parametrize("router", ROUTERS)
def test_every_router_learns_a_batch_by_heart_and_twice_alike(router: str) -> None:
    model, losses = trained(router, 40)
    assert losses[0] == pytest.approx(math.log(13), abs=1e-3)
    assert losses[-1] < 0.1 * losses[0]
    again, same = trained(router, 40)
    assert losses == same
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


@pytest.mark.parametrize("router", ROUTERS)
def test_a_later_token_changes_no_earlier_logits(router: str) -> None:
    model, _ = trained(router, 3)
    tokens = torch.randint(13, (1, 12), generator=torch.Generator().manual_seed(2))
    changed = tokens.clone()
    changed[0, 7] = (tokens[0, 7] + 1) % 13
    with torch.no_grad():
        before, after = model(tokens)[0], model(changed)[0]
    assert before.shape == (12, 13)
    assert torch.allclose(before[:7], after[:7], atol=1e-5)
    assert (before[7:] - after[7:]).abs().amax(-1).min() > 0


def test_the_state_of_a_router_is_kept_with_the_weights() -> None:
    model, _ = trained("sigmoid", 5)
    fresh = Decoder(model.config, vocabulary=13, end_of_document=0, dtype=torch.float32)
    fresh.load_state_dict(model.state_dict())
    assert model.router_state.abs().max() > 0
    assert torch.equal(fresh.router_state, model.router_state)


def test_relu_becomes_as_sparse_as_its_target() -> None:
    model, _ = trained("relu", 150)
    tokens = torch.randint(13, (4, 12), generator=torch.Generator().manual_seed(1))
    model.logits_and_penalty(tokens)
    active = model.chosen[:, :-1].sum() / model.chosen[:, -1].sum()
    assert active == pytest.approx(2.0, abs=0.5)
