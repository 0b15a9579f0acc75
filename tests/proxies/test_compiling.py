"""A compiled step against the same step as it stands."""

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from proxies import fused_experts
from proxies.config import ProxyConfig
from proxies.errors import ProxyError
from proxies.fitting import step
from proxies.native import is_here
from proxies.optimizers import OPTIMIZERS, set_rate
from proxies.train import build

here = pytest.mark.skipif(not is_here(fused_experts.SOURCE), reason="needs AVX-512 with bf16 units, and a C++ compiler")
PLAIN = {"layers": 1, "width": 16, "heads": 1, "sequence_tokens": 16, "batch_sequences": 2, "learning_rate": 0.003}


def curve(*, compiled: bool, seeds: range, **changes: object) -> np.ndarray:
    """Losses of three steps of models of these seeds, side by side."""
    config = ProxyConfig.from_plain({**PLAIN, "compiled": compiled, "precision": "float32", **changes})
    models = [build(config, vocabulary=11, end_of_document=0, seed=seed) for seed in seeds]
    optimizers = OPTIMIZERS[config.optimizer](models)
    for model in models:
        set_rate(optimizers, model, 1.0)
    rows = np.random.default_rng(0).integers(11, size=(3, len(models), 2, config.sequence_tokens + 1))
    return torch.stack([step(models, each, optimizers) for each in rows]).numpy()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler itself
def test_compiled_steps_are_those_of_eager_ones_and_serve_other_models_of_the_shape() -> None:
    for seeds in (range(1), range(7, 8)):
        np.testing.assert_allclose(curve(compiled=True, seeds=seeds), curve(compiled=False, seeds=seeds), rtol=1e-5)
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler itself
def test_compiled_steps_in_bfloat16_hold_attention_over_several_blocks() -> None:
    changes = {"precision": "bfloat16", "sequence_tokens": 160, "width": 32}
    compiled, eager = (curve(compiled=each, seeds=range(1), **changes) for each in (True, False))
    np.testing.assert_allclose(compiled, eager, rtol=2e-3)
    assert not counters["graph_break"]


ROUTED = {"experts": 4, "ffn_width": 32, "width": 32, "precision": "bfloat16"}


@here
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler itself
def test_compiled_steps_of_routed_proxies_are_those_of_eager_ones() -> None:
    changes = ROUTED | {"balance_coefficient": 1.0, "z_coefficient": 0.1}
    compiled, eager = (curve(compiled=each, seeds=range(1), **changes) for each in (True, False))
    np.testing.assert_allclose(compiled, eager, rtol=2e-3)
    assert not counters["graph_break"]


@pytest.mark.parametrize(
    "change",
    [{"router": "relu"}, {"activation": "swiglu"}, {"precision": "float32"}, {"width": 16}, {"ffn_width": 24}],
)
def test_experts_that_no_loop_takes_are_not_compiled(change: dict[str, object]) -> None:
    (name,) = change
    with pytest.raises(ProxyError, match=f"compiled routed experts need .* got {name} {change[name]}"):
        ProxyConfig.from_plain({**PLAIN, **ROUTED, "compiled": True, **change})


def test_nor_are_any_where_the_loop_cannot_run() -> None:
    config = ProxyConfig.from_plain({**PLAIN, **ROUTED, "compiled": True})
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ProxyError, match="2 threads; set it to false"):
            build(config, vocabulary=11, end_of_document=0, seed=0)
    finally:
        torch.set_num_threads(threads)
