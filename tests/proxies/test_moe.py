"""Routed experts: the published example of the balance loss, and dispatch against a plain loop."""

import math

import pytest
import torch
from torch import Tensor

from proxies import fused_experts
from proxies.config import ProxyConfig
from proxies.feedforward import ACTIVATIONS, UP_MATRICES, feed_forward, squared_relu
from proxies.model import Decoder
from proxies.moe import Choice, TopK, balance_loss, z_loss
from proxies.native import is_here
from proxies.routers import ROUTERS

RANK_A = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.6, 0.2, 0.1, 0.1]])
RANK_B = torch.tensor([[0.1, 0.1, 0.1, 0.7], [0.1, 0.1, 0.2, 0.6]])


def top1_fractions(scores: Tensor) -> Tensor:
    choice = TopK(scores.argmax(-1, keepdim=True), torch.ones(len(scores), 1))
    return choice.counts(4) / len(scores)


def test_balance_loss_of_a_micro_batch_punishes_specialised_ranks() -> None:
    assert balance_loss(RANK_A[None], top1_fractions(RANK_A)[None]).item() == pytest.approx(2.6)
    assert balance_loss(RANK_B[None], top1_fractions(RANK_B)[None]).item() == pytest.approx(2.6)


def test_balance_loss_of_the_global_batch_does_not_and_is_the_mean_over_ranks() -> None:
    both = torch.cat([RANK_A, RANK_B])
    fractions = top1_fractions(both)
    assert balance_loss(both[None], fractions[None]).item() == pytest.approx(1.5)
    ranks = [balance_loss(rank[None], fractions[None]).item() for rank in (RANK_A, RANK_B)]
    assert sum(ranks) / 2 == pytest.approx(1.5)


def test_balance_loss_is_one_when_balanced_and_the_number_of_experts_when_one_takes_all() -> None:
    assert balance_loss(torch.full((1, 8, 4), 0.25), torch.full((1, 4), 0.25)).item() == pytest.approx(1)
    one = torch.eye(4)[:1].expand(8, 4)
    assert balance_loss(one[None], one[:1]).item() == pytest.approx(4)


def nets_and_tokens(activation: str = "relu2", experts: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens `9 x 6`, a router, and the up and down matrices of experts 8 wide."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(9, 6), (experts, 6), (experts, UP_MATRICES[activation] * 8, 6), (experts, 6, 8)]
    x, router, up, down = (torch.randn(shape, generator=generator).requires_grad_() for shape in shapes)
    return x, router, up, down


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("top_k", [1, 2])
def test_dispatch_is_every_expert_on_every_token_times_its_gate(router: str, activation: str, top_k: int) -> None:
    x, weights, up, down = nets_and_tokens(activation)
    routing = ROUTERS[router].route(x @ weights.T, torch.linspace(-1, 1, 5), top_k)
    net, choice = ACTIVATIONS[activation], routing.choice
    is_top = isinstance(choice, TopK)
    gates = torch.zeros(9, 5).scatter(1, choice.experts, choice.gates) if is_top else choice.gates  # type: ignore[attr-defined]
    outputs = [feed_forward(x, up[e : e + 1], down[e : e + 1], net) for e in range(5)]
    expected = sum(gates[:, e : e + 1] * output for e, output in enumerate(outputs))
    assert isinstance(expected, Tensor)
    actual = choice.combine(x, up, down, net)
    assert torch.equal(choice.counts(5), (gates > 0).sum(0))
    g = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
    wanted = torch.autograd.grad(expected, [x, weights, up, down], g, retain_graph=True)
    found = torch.autograd.grad(actual, [x, weights, up, down], g)
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-4)


def test_an_expert_that_nobody_chose_gets_no_gradient_and_breaks_nothing() -> None:
    x = torch.ones(4, 2)
    logits = torch.tensor([[5.0, 1.0, -9.0]]).expand(4, 3)
    up, down = torch.ones(3, 4, 2, requires_grad=True), torch.ones(3, 2, 4, requires_grad=True)
    for router in ("softmax", "relu"):
        up.grad = None
        routing = ROUTERS[router].route(logits, torch.empty(0), 2)
        routing.choice.combine(x, up, down, ACTIVATIONS["relu2"]).sum().backward()
        assert up.grad is not None
        assert up.grad[2].abs().max() == 0
        assert up.grad[:2].abs().min() > 0


here = pytest.mark.skipif(not is_here(fused_experts.SOURCE), reason="needs AVX-512 with bf16 units, and a C++ compiler")


def choice_of(router: str, logits: Tensor, *, models: int) -> Choice:
    found: Choice = ROUTERS[router].route(logits, torch.zeros(5), 2).choice.of_models(models, 5)
    return found


@here
@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("models", [1, 2])
@pytest.mark.parametrize("tokens", [3, 700])  # experts of a few rows and none, and of several blocks
def test_experts_in_one_loop_are_those_of_plain_products(router: str, models: int, tokens: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(models * tokens, 64), (models * 5, 96, 64), (models * 5, 64, 96), (models * tokens, 5)]
    x, up, down, logits = (torch.randn(shape, generator=generator) for shape in shapes)
    logits[:, 4] -= 9  # an expert that nobody chooses
    logits[: tokens // 2, 0] += 3
    g = torch.randn(x.shape, generator=generator).bfloat16()
    leaves = [*(each.bfloat16().requires_grad_() for each in (x, up / 8, down / 10)), logits.requires_grad_()]
    exact = [each.detach().float().requires_grad_() for each in leaves]
    assert fused_experts.serves(leaves[0], leaves[1], squared_relu)
    y = choice_of(router, leaves[3], models=models).combine(*leaves[:3], squared_relu)
    reference = choice_of(router, exact[3], models=models).combine(*exact[:3], squared_relu)
    found = (y, *torch.autograd.grad(y, leaves, g))
    wanted = (reference, *torch.autograd.grad(reference, exact, g.float()))
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.float() - theirs).norm() < 0.008 * theirs.norm()  # bfloat16 rounds to 0.0039 of a number
    assert all(not slopes[4::5].any() for slopes in found[2:4])


@here
def test_what_is_no_number_stays_with_its_token_in_one_loop() -> None:
    x, up, down = (torch.ones(shape).bfloat16() for shape in ((9, 32), (2, 32, 32), (2, 32, 32)))
    x[5, 7] = float("nan")
    logits = torch.tensor([[0.0, 1.0]]).expand(9, 2)
    y = ROUTERS["softmax"].route(logits, torch.empty(0), 1).choice.combine(x, up, down, squared_relu)
    assert y.isnan().any(1).tolist() == [token == 5 for token in range(9)]


def test_a_token_that_no_expert_wants_gets_nothing() -> None:
    x, _, up, down = nets_and_tokens()
    choice = ROUTERS["relu"].route(-torch.ones(9, 5), torch.empty(0), 2).choice
    assert torch.equal(choice.combine(x, up, down, ACTIVATIONS["relu2"]), torch.zeros(9, 6))


def test_the_z_loss_of_even_logits_is_the_squared_log_of_the_number_of_experts() -> None:
    assert z_loss(torch.zeros(1, 3, 8)).item() == pytest.approx(math.log(8) ** 2)


def routed(**changes: object) -> Decoder:
    plain = {"layers": 2, "width": 16, "heads": 2, "sequence_tokens": 12, "experts": 4, **changes}
    config = ProxyConfig.from_plain(plain)
    model = Decoder(config, vocabulary=13, end_of_document=0, dtype=torch.float32)
    model.initialize(0)
    return model


def some_tokens(seed: int = 1) -> Tensor:
    return torch.randint(13, (4, 12), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("router", ROUTERS)
def test_loads_are_of_all_micro_batches_since_the_last_step(router: str) -> None:
    whole, parts = routed(router=router), routed(router=router)
    whole.logits_and_penalty(some_tokens())
    for part in some_tokens().split(1):
        parts.logits_and_penalty(part)
    assert torch.equal(whole.chosen, parts.chosen)
    assert whole.chosen[:, -1].tolist() == [48, 48]
    with torch.no_grad():
        parts(some_tokens())
    assert torch.equal(whole.chosen, parts.chosen)  # measuring is no training
    parts.end_step()
    assert parts.chosen.abs().sum() == 0


def test_with_counts_summed_over_ranks_the_mean_penalty_is_that_of_the_whole_batch() -> None:
    whole = routed(balance_coefficient=1.0, layers=1)
    expected = whole.logits_and_penalty(some_tokens())[1]
    ranks = [routed(balance_coefficient=1.0, layers=1) for _ in range(2)]
    for rank in ranks:
        rank.sum_over_ranks = lambda _: whole.chosen[:1].clone()
    found = [r.logits_and_penalty(part)[1] for r, part in zip(ranks, some_tokens().split(2), strict=True)]
    assert torch.stack(found).mean().item() == pytest.approx(expected.item(), rel=1e-6)
    alone = [routed(balance_coefficient=1.0, layers=1).logits_and_penalty(part)[1] for part in some_tokens().split(2)]
    assert abs(torch.stack(alone).mean() - expected) > 1e-4


def test_tied_layers_share_their_experts_and_keep_their_routers() -> None:
    tied = routed(layers=4, tied_layers=2)
    assert tied.up.shape[0] == tied.down.shape[0] == 2
    assert tied.router is not None
    assert tied.router.shape[0] == 4
    untied = routed(layers=4)
    tied.down.data.normal_(generator=torch.Generator().manual_seed(0))
    for name, parameter in untied.named_parameters():
        same = tied.get_parameter(name)
        parameter.data.copy_(same.repeat_interleave(2, 0) if name in {"up", "down"} else same)
    assert torch.equal(tied(some_tokens()), untied(some_tokens()))
