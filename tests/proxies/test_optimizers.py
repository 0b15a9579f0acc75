"""Muon against torch.optim.Muon, the polar factor of an SVD, and the shapes of the schedules."""

import math

import pytest
import torch
from torch import Tensor

from proxies import fused_muon
from proxies.config import ProxyConfig
from proxies.model import Decoder
from proxies.native import runs
from proxies.optimizers import NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS, OPTIMIZERS, Muon, newton_schulz
from proxies.schedules import rate_share


@pytest.mark.parametrize("momentum", [0.85, 0.95])
def test_muon_on_stacks_takes_the_steps_of_torchs_muon_on_their_matrices(momentum: float) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3, 16, 16), (2, 8, 32), (2, 32, 8), (16, 16)]
    stacks = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    matrices = [[m.clone().requires_grad_() for m in s.detach().reshape(-1, *s.shape[-2:])] for s in stacks]
    ours = Muon(stacks, lr=0.02, weight_decay=0.1, momentum=momentum, square_momentum=None)
    flat = [m for group in matrices for m in group]
    theirs = torch.optim.Muon(flat, lr=0.02, weight_decay=0.1, momentum=momentum, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        for stack, group in zip(stacks, matrices, strict=True):
            stack.grad = torch.randn(stack.shape, generator=generator)
            for matrix, grad in zip(group, stack.grad.reshape(-1, *stack.shape[-2:]), strict=True):
                matrix.grad = grad.clone()
        ours.step()
        theirs.step()
    for stack, group in zip(stacks, matrices, strict=True):
        wanted = torch.stack([m.detach() for m in group]).view(stack.shape)
        # bfloat16 rounds the products of a batch and of one matrix apart; entries move by about 4e-3 a step
        torch.testing.assert_close(stack.detach(), wanted, atol=4e-4, rtol=0)


def test_muon_divides_by_the_root_of_averaged_squares_before_it_turns() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(8, 24, generator=generator).requires_grad_() for _ in range(2)]
    scales = torch.logspace(-3, 3, 24)  # a gradient's columns may be of any size: only their signs and ratios are left
    ours, theirs = (Muon([p], lr=0.02, weight_decay=0.1, momentum=0.85, square_momentum=0.99) for p in rows)
    with torch.no_grad():
        rows[1].copy_(rows[0])
    for _ in range(4):
        grad = torch.randn(8, 24, generator=generator)
        rows[0].grad, rows[1].grad = grad, grad * scales
        ours.step()
        theirs.step()
    torch.testing.assert_close(rows[0], rows[1], atol=4e-4, rtol=0)


def test_muons_first_step_is_that_of_torchs_muon_on_signs() -> None:
    grad = torch.randn(8, 24, generator=torch.Generator().manual_seed(0))
    rows = [torch.zeros(8, 24).requires_grad_() for _ in range(2)]
    rows[0].grad, rows[1].grad = grad, grad.sign()
    Muon([rows[0]], lr=0.02, weight_decay=0.1, momentum=0.85, square_momentum=0.99).step()
    settings = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.85, "adjust_lr_fn": "match_rms_adamw"}
    torch.optim.Muon([rows[1]], **settings).step()
    torch.testing.assert_close(rows[0], rows[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_embeddings_head_and_routers_have_the_rate_of_embeddings(name: str) -> None:
    config = ProxyConfig(layers=1, width=16, heads=2, sequence_tokens=8, experts=3, embedding_rate=0.002)
    model = Decoder(config, vocabulary=11, end_of_document=0, dtype=torch.float32)
    groups = [group for optimizer in OPTIMIZERS[name]([model]) for group in optimizer.param_groups]
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    found = {name: rates[id(p)] for name, p in model.named_parameters()}
    blocks = dict.fromkeys(("qkv", "out", "up", "down"), config.learning_rate)
    assert found == blocks | dict.fromkeys(("table", "head", "router"), 0.002)


def with_singular_values(values: Tensor, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return a matrix of those singular values, and its singular vectors in columns."""
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.linalg.qr(torch.randn(size, len(values), generator=generator)).Q for size in (len(values), columns)
    )
    return left * values @ right.mT, left, right


LOOP = pytest.mark.skipif(not runs(fused_muon.SOURCE), reason="needs AVX-512 with bf16 units and a compiler")


@pytest.mark.parametrize("rows", [pytest.param(24, id="torch"), pytest.param(64, id="loop", marks=LOOP)])
@pytest.mark.parametrize("ratio", [1, 4])
@pytest.mark.parametrize("least", [1.0, 0.3, 0.03])
def test_orthogonalized_matrices_have_singular_values_near_one_and_the_right_directions(
    rows: int, ratio: int, least: float
) -> None:
    x, left, right = with_singular_values(torch.logspace(0, math.log10(least), rows), rows * ratio)
    assert fused_muon.serves(x) == (rows == 64)
    y = turned(x)
    along = torch.diagonal(left.mT @ y @ right)
    assert along.min() > 0.6
    assert along.max() < 1.25
    assert torch.linalg.norm(y - left * along @ right.mT) < 0.06 * torch.linalg.norm(y)


@LOOP
@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 64, 96), (1, 96, 512)])
@pytest.mark.parametrize("rank", [1, 8, 32])
def test_the_loop_takes_the_steps_of_newton_and_schulz(shape: tuple[int, int, int], rank: int) -> None:
    generator = torch.Generator().manual_seed(0)
    number, rows, columns = shape
    x = torch.randn(number, rows, rank, generator=generator) @ torch.randn(number, rank, columns, generator=generator)
    assert fused_muon.serves(x)
    wanted = exact_steps(x.double())
    loop, plain = (float((f(x).double() - wanted).norm() / wanted.norm()) for f in (turned, newton_schulz))
    assert loop < plain + 0.03  # of full rank both are within that; of less, both are mostly noise of bfloat16


def turned(x: Tensor) -> Tensor:
    """Return what Muon makes of matrices of any shape: how far it moves from zero, over its rate."""
    parameter = torch.zeros_like(x).requires_grad_()
    parameter.grad = x
    Muon([parameter], lr=1.0, weight_decay=0.0, momentum=0.0, square_momentum=None).step()
    return -parameter.detach() / (0.2 * max(x.shape[-2:]) ** 0.5)


@LOOP
@pytest.mark.parametrize("shape", [(2, 64, 32), (3, 32, 96), (1, 64, 64)])
@pytest.mark.parametrize("square_momentum", [None, 0.99])
def test_the_loop_takes_the_steps_of_muon(shape: tuple[int, int, int], square_momentum: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    parameter = torch.randn(shape, generator=generator).requires_grad_()
    assert fused_muon.serves(parameter)
    muon = Muon([parameter], lr=0.02, weight_decay=0.1, momentum=0.85, square_momentum=square_momentum)
    start = parameter.detach().double()
    weights, momentum, squares = start, torch.zeros_like(start), torch.zeros_like(start)
    for _ in range(3):
        parameter.grad = torch.randn(shape, generator=generator)
        muon.step()
        grad = parameter.grad.double()
        momentum = 0.85 * momentum + 0.15 * grad
        squares = 0.99 * squares + 0.01 * grad**2
        averaged = 0.15 * grad + 0.85 * momentum
        if square_momentum is not None:
            averaged = averaged / (squares.sqrt() + 1e-8)
        is_tall = shape[1] > shape[2]
        step = exact_steps(averaged.mT).mT if is_tall else exact_steps(averaged)
        weights = (1 - 0.02 * 0.1) * weights - 0.02 * 0.2 * max(shape[1:]) ** 0.5 * step
    assert (parameter.detach() - weights).norm() < 0.03 * (weights - start).norm()
    state = muon.state[parameter]
    torch.testing.assert_close(state["momentum"].double(), momentum, rtol=0, atol=1e-6)
    assert ("squares" in state) == (square_momentum is not None)
    if square_momentum is not None:
        torch.testing.assert_close(state["squares"].double(), squares, rtol=0, atol=1e-6)


def exact_steps(x: Tensor) -> Tensor:
    """Return what the polynomials make of every singular value."""
    left, values, right = torch.linalg.svd(x, full_matrices=False)
    values = values / values.norm(dim=-1, keepdim=True)
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        values = a * values + b * values**3 + c * values**5
    return (left * values[:, None]) @ right


@LOOP
def test_the_loop_makes_nothing_of_nothing_and_tells_of_what_is_no_number() -> None:
    x = torch.zeros(2, 32, 64)
    x[1, 3, 5] = float("nan")
    found = turned(x)
    assert found[0].count_nonzero() == 0
    assert found[1].isnan().any()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("experts", [0, 3])
def test_every_optimizer_moves_every_weight_once(name: str, experts: int) -> None:
    config = ProxyConfig(layers=1, width=16, heads=2, sequence_tokens=8, experts=experts)
    model = Decoder(config, vocabulary=11, end_of_document=0, dtype=torch.float32)
    model.initialize(0)
    before = [p.detach().clone() for p in model.parameters()]
    optimizers = OPTIMIZERS[name]([model])
    held = [p for o in optimizers for group in o.param_groups for p in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, model.parameters()))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def rate(schedule: str, progress: float) -> float:
    config = ProxyConfig.from_plain({"layers": 1, "width": 2, "heads": 1, "warmup_fraction": 0.1, "schedule": schedule})
    return rate_share(config, progress * 1_000, of=1_000)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_every_schedule_warms_up_to_the_rate_and_never_grows_after(schedule: str) -> None:
    assert rate(schedule, 0.05) == pytest.approx(0.5)
    assert rate(schedule, 0.1) == pytest.approx(1.0)
    later = [rate(schedule, 0.1 + 0.9 * i / 50) for i in range(51)]
    assert later == sorted(later, reverse=True)


def test_schedules_end_where_they_say() -> None:
    assert rate("linear", 1.0) == pytest.approx(0)
    assert rate("linear", 0.55) == pytest.approx(0.5)
    assert rate("cosine", 1.0) == pytest.approx(0.1)
    assert rate("cosine", 0.55) == pytest.approx(0.55)
    assert rate("wsd", 0.7) == pytest.approx(1.0)
    assert rate("wsd", 0.85) == pytest.approx(0.5)
    assert rate("wsd", 1.0) == pytest.approx(0)
