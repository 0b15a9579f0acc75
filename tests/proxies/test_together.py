"""Several trainings as one program: each is, up to rounding, what it is alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from proxies.checkpoint import Checkpoint
from proxies.config import ProxyConfig
from proxies.corpus import Corpus
from proxies.errors import ProxyError
from proxies.model import Decoder, forward
from proxies.train import Plan, train_together
from proxies.training import Progress, Training

DENSE = ProxyConfig(
    layers=2,
    width=16,
    heads=1,
    sequence_tokens=32,
    batch_sequences=4,
    lags=1,
    optimizer="adamw",
    learning_rate=0.01,
    precision="float32",
)
PROXIES = {
    "dense": DENSE,
    "muon": replace(DENSE, optimizer="muon"),
    "swiglu": replace(DENSE, activation="swiglu", tied=True),
    "softmax": replace(DENSE, experts=4, shared_experts=1, z_coefficient=1e-3),
    "sigmoid": replace(DENSE, experts=4, router="sigmoid"),
    "relu": replace(DENSE, experts=4, router="relu", tied_layers=2),
}
STEP = 128  # tokens
ROUNDING = {"muon": 0.03}  # Muon multiplies in bfloat16, where a last digit apart soon is one in a hundred


def plans(config: ProxyConfig, **changes: object) -> list[Plan]:
    """Three trainings that differ in recipe, seed, rate and length."""
    first = Plan(config=config, recipe=[(1.0, {"a": 1.0})], tokens=24 * STEP, seed=0, **changes)  # type: ignore[arg-type]
    return [
        first,
        replace(first, recipe=[(1.0, {"a": 0.5, "b": 0.5})], seed=1, tokens=15 * STEP),
        replace(first, seed=2, config=replace(config, learning_rate=0.005, embedding_rate=0.02, weight_decay=0.0)),
    ]


def assert_alike(found: Training, expected: Training, rel: float = 1e-4) -> None:
    assert [tokens for tokens, _ in found.curve] == [tokens for tokens, _ in expected.curve]
    assert [loss for _, loss in found.curve] == pytest.approx([loss for _, loss in expected.curve], rel=rel)
    assert found.losses == pytest.approx(expected.losses, rel=rel)
    assert (found.tokens, found.flops, found.epochs) == (expected.tokens, expected.flops, expected.epochs)


@pytest.mark.parametrize("kind", PROXIES)
def test_models_that_train_together_are_those_that_train_alone(corpus: Corpus, kind: str) -> None:
    asked = plans(PROXIES[kind])
    for found, plan in zip(train_together(asked, corpus), asked, strict=True):
        (alone,) = train_together([plan], corpus)
        assert_alike(found, alone, rel=ROUNDING.get(kind, 1e-4))
        assert (found.details["together"], alone.details["together"]) == (3, 1)


def test_the_same_company_gives_the_same_losses_bit_for_bit(corpus: Corpus) -> None:
    first, again = (train_together(plans(PROXIES["softmax"]), corpus) for _ in range(2))
    assert [(t.losses, t.curve) for t in first] == [(t.losses, t.curve) for t in again]


@pytest.mark.parametrize("kind", ["dense", "sigmoid"])
def test_no_model_sees_anothers_tokens_or_weights(kind: str) -> None:
    models = [Decoder(PROXIES[kind], vocabulary=11, end_of_document=0, dtype=torch.float32) for _ in range(2)]
    for seed, model in enumerate(models):
        model.initialize(seed)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(seed))
    tokens = torch.randint(11, (2, 3, 32), generator=torch.Generator().manual_seed(0))
    logits, _ = forward(models, tokens)
    for model, own, alone in zip(models, logits.view(2, 3, 32, 11), tokens, strict=True):
        torch.testing.assert_close(own, model(alone), rtol=1e-4, atol=1e-5)
    logits[: 3 * 32].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in models[0].parameters())
    assert all(p.grad is not None and p.grad.abs().max() == 0 for p in models[1].parameters())


def test_one_that_explodes_leaves_early_and_harms_no_other(corpus: Corpus) -> None:
    config = replace(DENSE, clip_norm=1e30)
    calm, other, _ = plans(config)
    wild = replace(calm, config=replace(config, learning_rate=1e30))
    found = train_together([calm, wild, other], corpus)
    assert found[1].diverged
    assert found[1].losses == {}
    assert found[1].tokens < calm.tokens
    for training, plan in ((found[0], calm), (found[2], other)):
        assert_alike(training, train_together([plan], corpus)[0])


def test_one_that_explodes_between_points_of_its_curve_pays_for_no_further_step(corpus: Corpus) -> None:
    config = replace(DENSE, clip_norm=1e30, learning_rate=1e30)
    plan = replace(plans(config)[0], tokens=2_000 * STEP)  # a point of the curve every 100 steps
    (found,) = train_together([plan], corpus)
    assert found.diverged
    assert [tokens for tokens, _ in found.curve] == [found.tokens]
    assert found.tokens < 10 * STEP
    assert found.flops == pytest.approx(config.flops_per_token(corpus.vocabulary) * found.tokens)


class Torn(BaseException):
    """What ends the process."""


def test_each_keeps_a_checkpoint_of_its_own_and_goes_on_in_any_company(corpus: Corpus, tmp_path: Path) -> None:
    def tear(progress: Progress) -> None:
        if progress.tokens >= 10 * STEP:
            raise Torn

    def kept(asked: Sequence[Plan]) -> list[Plan]:
        folders = [str(tmp_path / str(plan.seed)) for plan in asked]
        return [replace(p, checkpoint=Checkpoint(folder=f, every_s=0.0)) for p, f in zip(asked, folders, strict=True)]

    asked = plans(PROXIES["softmax"])
    whole = train_together(asked, corpus)
    with pytest.raises(Torn):
        train_together([replace(plan, report=tear) for plan in kept(asked)], corpus)
    (first,) = train_together(kept(asked[:1]), corpus)
    others = train_together(kept(asked[1:]), corpus)
    for found, expected in zip([first, *others], whole, strict=True):
        assert_alike(found, expected)


def test_trainings_of_another_shape_do_not_join(corpus: Corpus) -> None:
    asked = [*plans(DENSE), replace(plans(DENSE)[0], config=replace(DENSE, layers=1))]
    with pytest.raises(
        ProxyError,
        match=r"may differ in \['learning_rate', 'embedding_rate', 'weight_decay'\] alone; train others apart",
    ):
        train_together(asked, corpus)


def test_models_that_start_from_smaller_ones_do_so_together(corpus: Corpus) -> None:
    init = {"method": "grow", "tokens": 10 * STEP, "proxy": {"layers": 1}}
    asked = plans(replace(DENSE, init=init))
    for found, plan in zip(train_together(asked, corpus), asked, strict=True):
        assert_alike(found, train_together([plan], corpus)[0])
