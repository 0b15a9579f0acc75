"""Routed experts: the published example of the balance loss, and dispatch against a plain loop."""

import pytest
import torch
from torch import Tensor

from proxies.feedforward import ACTIVATIONS, UP_MATRICES
from proxies.moe import ROUTERS, balance_loss, dispatch, expert_fractions

RANK_A = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.6, 0.2, 0.1, 0.1]])
RANK_B = torch.tensor([[0.1, 0.1, 0.1, 0.7], [0.1, 0.1, 0.2, 0.6]])


def top1_fractions(scores: Tensor) -> Tensor:
    return expert_fractions(scores.argmax(-1, keepdim=True), 4)


def test_balance_loss_of_a_micro_batch_punishes_specialised_ranks() -> None:
    assert balance_loss(RANK_A, top1_fractions(RANK_A)).item() == pytest.approx(2.6)
    assert balance_loss(RANK_B, top1_fractions(RANK_B)).item() == pytest.approx(2.6)


def test_balance_loss_of_the_global_batch_does_not_and_is_the_mean_over_ranks() -> None:
    both = torch.cat([RANK_A, RANK_B])
    fractions = top1_fractions(both)
    assert balance_loss(both, fractions).item() == pytest.approx(1.5)
    ranks = [balance_loss(rank, fractions).item() for rank in (RANK_A, RANK_B)]
    assert sum(ranks) / 2 == pytest.approx(1.5)


def test_balance_loss_is_one_when_balanced_and_the_number_of_experts_when_one_takes_all() -> None:
    assert balance_loss(torch.full((8, 4), 0.25), torch.full((4,), 0.25)).item() == pytest.approx(1)
    one = torch.eye(4)[:1].expand(8, 4)
    assert balance_loss(one, one[0]).item() == pytest.approx(4)


@pytest.mark.parametrize("router", ROUTERS.values(), ids=ROUTERS)
@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_gates_belong_to_the_largest_scores(router: object, top_k: int) -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    routing = router(logits, top_k=top_k)  # type: ignore[operator]
    order = logits.softmax(-1).sort(descending=True)
    chosen = order.values[:, :top_k]
    assert torch.equal(routing.experts, order.indices[:, :top_k])
    assert torch.allclose(routing.gates, chosen / chosen.sum(-1, keepdim=True) if top_k > 1 else chosen)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("top_k", [1, 2])
def test_dispatch_is_the_plain_loop_over_tokens_forward_and_backward(activation: str, top_k: int) -> None:
    generator = torch.Generator().manual_seed(0)
    tokens, width, hidden, experts = 9, 6, 8, 5
    x = torch.randn(tokens, width, generator=generator, requires_grad=True)
    router = torch.randn(experts, width, generator=generator, requires_grad=True)
    up = torch.randn(experts, UP_MATRICES[activation] * hidden, width, generator=generator, requires_grad=True)
    down = torch.randn(experts, width, hidden, generator=generator, requires_grad=True)
    routing = ROUTERS["softmax"](x @ router.T, top_k=top_k)
    net = ACTIVATIONS[activation]
    rows = []
    for token in range(tokens):
        chosen = zip(routing.gates[token], routing.experts[token].tolist(), strict=True)
        rows.append(sum(gate * net(x[token : token + 1], up[e], down[e]) for gate, e in chosen))
    expected = torch.cat([row for row in rows if isinstance(row, Tensor)])
    actual = dispatch(x, routing, list(zip(up.unbind(0), down.unbind(0), strict=True)), net)
    leaves = [x, router, up, down]
    g = torch.randn(tokens, width, generator=generator)
    wanted = torch.autograd.grad(expected, leaves, g, retain_graph=True)
    found = torch.autograd.grad(actual, leaves, g)
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-4)


def test_an_expert_that_nobody_chose_gets_no_gradient_and_breaks_nothing() -> None:
    x = torch.ones(4, 2)
    logits = torch.tensor([[5.0, 1.0, -9.0]]).expand(4, 3)
    up, down = torch.ones(3, 4, 2, requires_grad=True), torch.ones(3, 2, 4, requires_grad=True)
    nets = list(zip(up.unbind(0), down.unbind(0), strict=True))
    dispatch(x, ROUTERS["softmax"](logits, top_k=2), nets, ACTIVATIONS["relu2"]).sum().backward()
    assert up.grad is not None
    assert up.grad[2].abs().max() == 0
    assert up.grad[:2].abs().min() > 0
