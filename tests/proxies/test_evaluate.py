"""Evaluation: every scored token once, with the context it should have, never that of another excerpt."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from proxies import fused_unembedding
from proxies.config import ProxyConfig
from proxies.errors import ProxyError
from proxies.evaluate import bits_per_byte, evaluation_tokens, gold_log_probabilities, windows
from proxies.excerpts import Excerpts
from proxies.model import Decoder, heads, hidden
from proxies.native import runs

CONFIG = ProxyConfig(layers=2, width=16, heads=2, sequence_tokens=8, lags=3, precision="float32")
V = 11


def excerpts(*lengths_and_prompts: tuple[int, int]) -> Excerpts:
    rng = np.random.default_rng(0)
    lengths = [length for length, _ in lengths_and_prompts]
    scored_from = np.array([prompt for _, prompt in lengths_and_prompts])
    scored = int(sum(lengths) - scored_from.sum())
    return Excerpts(
        name="some",
        tokens=rng.integers(1, V, sum(lengths), dtype=np.uint8),
        offsets=np.cumsum([0, *lengths]),
        scored_from=scored_from,
        documents=np.arange(len(lengths)),
        scored_bytes=scored,
        scored_tokens=scored,
    )


@pytest.fixture
def model() -> Decoder:
    decoder = Decoder(CONFIG, vocabulary=V, end_of_document=0, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    for parameter in decoder.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return decoder


def alone(model: Decoder, context: np.ndarray, target: int) -> float:
    """Log-probability of `target` after `context`, by one call for this token alone."""
    with torch.no_grad():
        logits = model(torch.from_numpy(context.astype(np.int64))[None])[0, -1]
    return float(logits.float().log_softmax(-1)[target])


def test_each_token_is_predicted_from_end_of_document_and_its_own_excerpt(model: Decoder) -> None:
    some = excerpts((5, 0), (8, 0), (1, 0), (7, 3))
    expected = []
    for i, prompt in enumerate(some.scored_from.tolist()):
        tokens = some.tokens[some.offsets[i] : some.offsets[i + 1]]
        padded = np.append([0], tokens)
        expected += [alone(model, padded[: t + 1], int(tokens[t])) for t in range(prompt, len(tokens))]
    found = gold_log_probabilities(model, some)
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array(expected), abs=1e-4)


@pytest.mark.skipif(not runs(fused_unembedding.SOURCE), reason="needs AVX-512 with bf16 units, and a C++ compiler")
def test_in_bfloat16_no_logits_are_kept_and_losses_of_any_size_are_told() -> None:
    decoder = Decoder(replace(CONFIG, width=32), vocabulary=V, end_of_document=0, dtype=torch.bfloat16)
    decoder.initialize(0)
    assert decoder.head is not None
    decoder.head.data.copy_(30 * torch.randn(decoder.head.shape, generator=torch.Generator().manual_seed(0)))
    some = excerpts((8, 0))
    with torch.inference_mode():
        inputs = torch.from_numpy(np.append([0], some.tokens[:-1]).astype(np.int64))
        h, _ = hidden([decoder], inputs[None, None])
        assert fused_unembedding.serves(h)
        logits = h.double() @ heads([decoder])[0].double().T
    expected = logits.log_softmax(-1)[range(8), some.tokens.astype(int)]
    assert expected.min() < -100
    assert gold_log_probabilities(decoder, some) == pytest.approx(expected.numpy(), rel=1e-6, abs=1e-5)


def test_other_excerpts_of_the_set_change_nothing(model: Decoder) -> None:
    some = excerpts((5, 0), (8, 0), (20, 0))
    first = excerpts((5, 0))
    assert gold_log_probabilities(model, some)[:5] == pytest.approx(gold_log_probabilities(model, first), abs=1e-5)


def test_a_long_excerpt_is_read_in_windows_that_overlap_by_half(model: Decoder) -> None:
    some = excerpts((18, 0))
    found = [(w.start, w.scored, w.end) for w in windows(some, sequence_tokens=8)]
    assert found == [(0, 0, 8), (4, 8, 12), (8, 12, 16), (10, 16, 18)]
    scores = gold_log_probabilities(model, some)
    assert scores[9] == pytest.approx(alone(model, some.tokens[3:9], int(some.tokens[9])), abs=1e-4)


def test_a_long_prompt_is_cut_on_its_left(model: Decoder) -> None:
    some = excerpts((20, 17))
    assert [(w.start, w.scored, w.end) for w in windows(some, sequence_tokens=8)] == [(12, 17, 20)]
    scores = gold_log_probabilities(model, some)
    assert scores[0] == pytest.approx(alone(model, some.tokens[11:17], int(some.tokens[17])), abs=1e-4)


@pytest.mark.parametrize("sequence_tokens", [2, 3, 8, 64])
def test_windows_score_every_token_once_and_in_order(sequence_tokens: int) -> None:
    some = excerpts((30, 0), (30, 29), (1, 0), (64, 10), (9, 4))
    scored = [t for w in windows(some, sequence_tokens=sequence_tokens) for t in range(w.scored, w.end)]
    wanted = [
        t for i, prompt in enumerate(some.scored_from) for t in range(some.offsets[i] + prompt, some.offsets[i + 1])
    ]
    assert scored == wanted
    assert all(w.end - w.start <= sequence_tokens for w in windows(some, sequence_tokens=sequence_tokens))


def test_tokens_read_are_those_of_all_windows() -> None:
    assert evaluation_tokens(excerpts((18, 0), (3, 0)), sequence_tokens=8) == 35


def test_an_untrained_model_needs_the_logarithm_of_the_vocabulary() -> None:
    decoder = Decoder(CONFIG, vocabulary=V, end_of_document=0, dtype=torch.float32)
    decoder.initialize(0)
    scores = gold_log_probabilities(decoder, excerpts((18, 0), (5, 2)))
    assert bits_per_byte(scores, 21) == pytest.approx(math.log2(V))


def test_bits_per_byte_counts_bytes_not_tokens() -> None:
    assert bits_per_byte(np.array([-math.log(2), -3 * math.log(2)], dtype=np.float32), 8) == pytest.approx(0.5)


def test_a_token_outside_the_vocabulary_is_refused(model: Decoder) -> None:
    model.vocabulary = 5
    with pytest.raises(ProxyError, match="'some' holds token 10, outside the model's vocabulary of 5"):
        gold_log_probabilities(model, excerpts((18, 0)))
