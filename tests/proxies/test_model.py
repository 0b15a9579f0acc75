"""The decoder: causal, deterministic, and equal to plain torch where parts are written by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from proxies import (
    fused_attention,
    fused_embedding,
    fused_nets,
    fused_norm,
    fused_product,
    fused_relu,
    fused_unembedding,
)
from proxies.attention import attend, causal_mask, masked, rotary_tables, turn
from proxies.config import ProxyConfig
from proxies.feedforward import ACTIVATIONS, feed_forward
from proxies.layers import cross_entropy, product, rms_norm, squared_relu
from proxies.model import Decoder, dense, embed
from proxies.native import is_here

CONFIGS = {
    "dense": ProxyConfig(layers=2, width=16, heads=2, sequence_tokens=12, lags=3),
    "swiglu tied": ProxyConfig(layers=2, width=16, heads=1, sequence_tokens=12, activation="swiglu", tied=True),
    "routed": ProxyConfig(layers=2, width=16, heads=2, sequence_tokens=12, lags=2, experts=4, shared_experts=1),
}
V = 13
Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
DTYPES = [torch.float32, torch.bfloat16]


def decoder(config: ProxyConfig, dtype: torch.dtype = torch.float32, seed: int = 0) -> Decoder:
    """A model whose every weight is drawn, so that all parts speak."""
    model = Decoder(config, vocabulary=V, end_of_document=0, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return model


def some_tokens(rows: int = 3, width: int = 12, seed: int = 1) -> Tensor:
    return torch.randint(V, (rows, width), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_later_token_changes_no_earlier_logits(config: ProxyConfig, dtype: torch.dtype) -> None:
    model, tokens = decoder(config, dtype), some_tokens(rows=1)
    changed = tokens.clone()
    changed[0, 7] = (tokens[0, 7] + 1) % V
    before, after = model(tokens)[0], model(changed)[0]
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2  # experts of other sizes: products of another shape
    assert torch.allclose(before[:7].float(), after[:7].float(), atol=tolerance, rtol=tolerance)
    assert (before[7:] - after[7:]).abs().amax(-1).min() > 0


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_shorter_sequence_has_the_logits_of_the_longer_ones_start(config: ProxyConfig) -> None:
    model, tokens = decoder(config), some_tokens()
    assert torch.allclose(model(tokens)[:, :5], model(tokens[:, :5]), atol=1e-4)


def test_before_the_first_token_stands_end_of_document() -> None:
    model, tokens = decoder(ProxyConfig(layers=1, width=16, heads=2, sequence_tokens=12, lags=2)), some_tokens()
    embedded = embed([model], tokens[None])[0].view(3, 12, 16)
    table = model.table.view(3, V, 16)
    assert torch.allclose(embedded[0, 0], table[0, tokens[0, 0]] + table[1, 0] + table[2, 0])
    expected = table[0, tokens[0, 5]] + table[1, tokens[0, 4]] + table[2, tokens[0, 3]]
    assert torch.allclose(embedded[0, 5], expected)


def test_bfloat16_products_stay_near_float32_ones() -> None:
    config, tokens = CONFIGS["dense"], some_tokens()
    exact, rounded = decoder(config)(tokens), decoder(config, torch.bfloat16)(tokens).float()
    assert (exact - rounded).abs().max() < 0.05 * exact.abs().max()


def test_same_seed_same_weights_and_another_seed_others() -> None:
    first, second, other = (
        Decoder(CONFIGS["routed"], vocabulary=V, end_of_document=0, dtype=torch.float32) for _ in "abc"
    )
    for model, seed in ((first, 0), (second, 0), (other, 1)):
        model.initialize(seed)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.qkv, other.qkv)


def test_an_untrained_model_guesses_blindly() -> None:
    model = Decoder(CONFIGS["dense"], vocabulary=V, end_of_document=0, dtype=torch.float32)
    model.initialize(0)
    assert torch.equal(model(some_tokens()), torch.zeros(3, 12, V))


def test_turned_queries_and_keys_know_only_their_distance() -> None:
    cos, sin = (t.float() for t in rotary_tables(10, 8))
    q, k = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0)).expand(2, 10, 8)
    scores = turn(q, cos, sin) @ turn(k, cos, sin).T
    assert torch.allclose(scores[2, 0], scores[9, 7], atol=1e-5)
    assert torch.allclose(turn(turn(q, cos, sin), cos, -sin), q, atol=1e-6)


@pytest.mark.parametrize("length", [16, 300])  # one block of queries, and several of unequal length
def test_masked_products_are_the_attention_of_torch_forward_and_backward(length: int) -> None:
    assert_attention_is_that_of_torch(masked, length=length, head_width=8)


@pytest.mark.skipif(not is_here(fused_attention.SOURCE), reason="needs AVX-512 with bf16 units, and a C++ compiler")
@pytest.mark.parametrize(("length", "head_width"), [(1, 32), (40, 96), (128, 32), (300, 64)])
def test_attention_in_one_loop_is_that_of_torch_forward_and_backward(length: int, head_width: int) -> None:
    def attend_fused(qkv: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        return fused_attention.attend(qkv, cos, sin)

    assert_attention_is_that_of_torch(attend_fused, length=length, head_width=head_width)


@pytest.mark.skipif(not is_here(fused_attention.SOURCE), reason="needs AVX-512 with bf16 units, and a C++ compiler")
def test_what_is_no_number_stays_none_in_one_loop() -> None:
    qkv = torch.ones(1, 8, 3, 1, 32).bfloat16()
    qkv[0, 5, 0] = float("nan")
    tables = (table.bfloat16() for table in rotary_tables(8, 32))
    y = fused_attention.attend(qkv, *tables)
    assert y.isnan().any(1).tolist() == [position == 5 for position in range(8)]


def assert_attention_is_that_of_torch(found: Attend, *, length: int, head_width: int) -> None:
    """Compare attention in bfloat16, and its slopes, with torch's in float32."""
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(2, length, 3, 3, head_width, generator=generator).bfloat16().requires_grad_()
    exact = qkv.detach().float().requires_grad_()
    tables = rotary_tables(length, head_width)
    y = found(qkv, tables[0].bfloat16(), tables[1].bfloat16(), causal_mask(length).bfloat16())
    reference = attend(exact, tables[0].float(), tables[1].float(), causal_mask(length))
    g = torch.randn(reference.shape, generator=generator)
    y.backward(g.bfloat16())
    reference.backward(g)
    assert qkv.grad is not None
    assert exact.grad is not None
    assert torch.allclose(y.float(), reference, atol=0.03)
    assert (qkv.grad.float() - exact.grad).norm() < 0.01 * exact.grad.norm()


def test_the_norm_is_that_of_torch() -> None:
    assert_same(lambda x: rms_norm(x, torch.float32), lambda x: nn.functional.rms_norm(x, (16,), eps=1e-6))


@pytest.mark.skipif(not is_here(fused_norm.SOURCE), reason="needs AVX-512 with bf16 units, and a C++ compiler")
@pytest.mark.parametrize("is_last", [False, True])  # nobody reads the last sum
def test_a_sum_and_its_norm_in_one_loop_are_those_of_torch(is_last: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 48, generator=generator)
    y, dnorm = (torch.randn(20, 48, generator=generator).bfloat16() for _ in range(2))
    found, exact = [(a.clone().requires_grad_(), b.clone().requires_grad_()) for a, b in ((x, y), (x, y.float()))]
    sums, norms = fused_norm.added_norm(*found, reads_sum=not is_last)
    exact_sums = exact[0] + exact[1]
    exact_norms = nn.functional.rms_norm(exact_sums, (48,), eps=1e-6)
    torch.testing.assert_close(norms, exact_norms.bfloat16())
    torch.testing.assert_close(sums, exact_sums[: 0 if is_last else 20, : 0 if is_last else 48])
    ((norms * dnorm).sum() + (0.0 if is_last else sums.square().sum())).backward()
    ((exact_norms * dnorm.float()).sum() + (0.0 if is_last else exact_sums.square().sum())).backward()
    for leaf, exact_leaf in zip(found, exact, strict=True):
        assert leaf.grad is not None
        assert exact_leaf.grad is not None
        assert (leaf.grad.float() - exact_leaf.grad).norm() < 0.005 * exact_leaf.grad.norm()


def test_squared_relu_is_that_of_torch() -> None:
    assert_same(squared_relu, lambda x: x.relu().square())


def test_cross_entropy_is_that_of_torch() -> None:
    targets = some_tokens(rows=1, width=20)[0]
    assert_same(lambda x: cross_entropy(x, targets).mean(), lambda x: nn.functional.cross_entropy(x, targets))


@pytest.mark.skipif(not is_here(fused_relu.SOURCE), reason="needs AVX-512 with bf16 units, and a C++ compiler")
@pytest.mark.parametrize("size", [1, 16, 333])
def test_squared_relu_in_one_loop_is_the_other_to_the_last_bit(size: int) -> None:
    x, g = (torch.randn(size, generator=torch.Generator().manual_seed(seed)).bfloat16() for seed in range(2))
    x[0] = float("nan")
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    found, exact = fused_relu.squared_relu(leaves[0]), squared_relu(leaves[1])
    torch.testing.assert_close(found, exact, rtol=0, atol=0, equal_nan=True)
    for y in (found, exact):
        y.backward(g)
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad, rtol=0, atol=0, equal_nan=True)


@pytest.mark.skipif(not is_here(fused_product.SOURCE), reason="needs AVX-512 with bf16 units, and a C++ compiler")
@pytest.mark.parametrize("models", [1, 3])
@pytest.mark.parametrize(("rows", "width", "read"), [(32, 32, 96), (544, 96, 64), (256, 64, 64)])
def test_the_slope_of_a_matrix_in_one_loop_is_that_of_torch(models: int, rows: int, width: int, read: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((models * rows, read), (models, width, read), (models * rows, width))
    x, weights, g = (torch.randn(shape, generator=generator).bfloat16() for shape in shapes)
    assert fused_product.serves(g, x, models)
    assert not fused_product.serves(g[:-1], x[:-1], 1)  # rows go by 32
    weights.requires_grad_()
    product(x, weights).backward(g)
    exact = g.view(models, rows, width).double().mT @ x.view(models, rows, read).double()
    assert weights.grad is not None
    assert (weights.grad - exact).norm() < 0.003 * exact.norm()  # bfloat16 rounds once, to 0.0017 on average


@pytest.mark.skipif(not is_here(fused_embedding.SOURCE), reason="needs AVX-512 with bf16 units, and a C++ compiler")
@pytest.mark.parametrize(("parts", "rows"), [(1, 256), (3, 20)])
@pytest.mark.parametrize("read", ["both", "sums", "norms"])
def test_embeddings_and_their_norm_in_one_loop_are_those_of_torch(parts: int, rows: int, read: str) -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(rows, 48, generator=generator)
    places = torch.randint(rows, (100, parts), generator=generator)
    leaf, exact_leaf = table.clone().requires_grad_(), table.double().requires_grad_()
    sums, norms = fused_embedding.embedded(places, leaf)
    exact_sums = nn.functional.embedding_bag(places, exact_leaf, mode="sum")
    exact_norms = nn.functional.rms_norm(exact_sums, (48,), eps=1e-6)
    torch.testing.assert_close((sums, norms), (exact_sums.float(), exact_norms.bfloat16()))
    dsum, dnorm = (torch.randn(100, 48, generator=generator).bfloat16() for _ in range(2))
    for (x, h), size in (((sums, norms), torch.float32), ((exact_sums, exact_norms), torch.float64)):
        parts_read = {"both": [x * dsum, h * dnorm], "sums": [x * dsum], "norms": [h * dnorm]}[read]
        torch.stack([part.sum(dtype=size) for part in parts_read]).sum().backward()
    assert leaf.grad is not None
    assert exact_leaf.grad is not None
    assert (leaf.grad - exact_leaf.grad).norm() < 0.002 * exact_leaf.grad.norm()


@pytest.mark.skipif(not is_here(fused_embedding.SOURCE), reason="needs AVX-512 with bf16 units, and a C++ compiler")
@pytest.mark.parametrize("row", [-1, 5])
def test_a_row_that_a_table_does_not_have_is_told(row: int) -> None:
    with pytest.raises(IndexError, match=f"rows of a table of 5 must be 0 to 4, got {min(row, 2)} to {max(row, 2)}"):
        fused_embedding.embedded(torch.tensor([[2], [row]]), torch.zeros(5, 16))


@pytest.mark.skipif(not is_here(fused_nets.SOURCE), reason="needs AVX-512 with bf16 units, and a C++ compiler")
@pytest.mark.parametrize("rows", [40, 256, 288])
@pytest.mark.parametrize("models", [1, 3])
def test_a_dense_net_in_one_loop_is_that_of_products(models: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(models * rows, 32), (models, 96, 32), (models, 32, 96)]
    values = [torch.randn(shape, generator=generator).bfloat16() for shape in shapes]
    found, exact = [[v.clone().requires_grad_() for v in values], [v.float().requires_grad_() for v in values]]
    assert fused_nets.serves(found[0], found[1], ACTIVATIONS["relu2"])
    y = dense(*found, ACTIVATIONS["relu2"])
    reference = feed_forward(*exact, ACTIVATIONS["relu2"])
    assert (y.float() - reference).norm() < 0.01 * reference.norm()
    y.backward(torch.ones_like(y))
    reference.backward(torch.ones_like(reference))
    for leaf, exact_leaf in zip(found, exact, strict=True):
        assert leaf.grad is not None
        assert exact_leaf.grad is not None
        assert (leaf.grad.float() - exact_leaf.grad).norm() < 0.01 * exact_leaf.grad.norm()


@pytest.mark.skipif(not is_here(fused_unembedding.SOURCE), reason="needs AVX-512 with bf16 units, and a C++ compiler")
@pytest.mark.parametrize(
    ("models", "rows", "width", "vocabulary"),
    [(1, 50, 32, 2), (2, 33, 64, 32), (3, 300, 32, 300), (2, 520, 96, 1100), (1, 7, 32, 1057)],
)
def test_losses_by_the_unembedding_in_one_loop_are_those_of_torch(
    models: int, rows: int, width: int, vocabulary: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(models * rows, width, generator=generator).bfloat16()
    head = torch.randn(models, vocabulary, width, generator=generator).bfloat16()
    targets = torch.randint(vocabulary, (models * rows,), generator=generator)
    found, exact = [[v.clone().requires_grad_() for v in values] for values in ((x, head), (x.double(), head.double()))]
    losses = fused_unembedding.losses(*found, targets, most=20.0)
    logits = exact[0].view(models, rows, width) @ exact[1].mT
    reference = nn.functional.cross_entropy(logits.flatten(0, 1), targets, reduction="none")
    torch.testing.assert_close(losses.double(), reference.clamp(max=20.0), rtol=1e-5, atol=1e-5)
    slopes = torch.randn(models * rows, generator=generator)
    losses.backward(slopes)
    reference.backward(slopes.double())
    for leaf, exact_leaf in zip(found, exact, strict=True):
        assert leaf.grad is not None
        assert exact_leaf.grad is not None
        assert (leaf.grad.double() - exact_leaf.grad).norm() < 0.005 * exact_leaf.grad.norm()


@pytest.mark.skipif(not is_here(fused_unembedding.SOURCE), reason="needs AVX-512 with bf16 units, and a C++ compiler")
def test_losses_by_logits_of_any_size_are_numbers() -> None:
    x = torch.ones(3, 32).bfloat16()
    head = torch.zeros(1, 40, 32).bfloat16()
    head[0, :, 0] = torch.linspace(-3e4, 3e4, 40)
    head[0, 39, 1] = 100
    x[1] = 0
    x[2] = -1
    targets = torch.tensor([39, 3, 39])
    losses = fused_unembedding.losses(x, head, targets, most=math.inf)
    reference = nn.functional.cross_entropy(x.double() @ head[0].T.double(), targets, reduction="none")
    torch.testing.assert_close(losses.double(), reference, rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(not is_here(fused_unembedding.SOURCE), reason="needs AVX-512 with bf16 units, and a C++ compiler")
def test_the_loss_of_a_row_with_no_number_is_none() -> None:
    x = torch.zeros(2, 32).bfloat16()
    x[1, 31] = float("nan")
    losses = fused_unembedding.losses(x, torch.ones(1, 40, 32).bfloat16(), torch.tensor([0, 1]), most=88.0)
    assert losses.isnan().tolist() == [False, True]


@pytest.mark.skipif(not is_here(fused_unembedding.SOURCE), reason="needs AVX-512 with bf16 units, and a C++ compiler")
@pytest.mark.parametrize("target", [-1, 40])
def test_targets_outside_the_vocabulary_are_refused(target: int) -> None:
    x, head = torch.zeros(2, 32).bfloat16(), torch.zeros(1, 40, 32).bfloat16()
    with pytest.raises(IndexError, match="targets of a vocabulary of 40 must be 0 to 39"):
        fused_unembedding.losses(x, head, torch.tensor([0, target]), most=88.0)


def assert_same(function: object, reference: object) -> None:
    """Compare two functions and their gradients on a random `20 x 16`."""
    x = torch.randn(20, 16, generator=torch.Generator().manual_seed(0))
    results = []
    for f in (function, reference):
        leaf = x.clone().requires_grad_()
        y = f(leaf)  # type: ignore[operator]
        (y * torch.linspace(1, 2, y.numel()).view(y.shape)).sum().backward()
        results.append((y.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-5)
