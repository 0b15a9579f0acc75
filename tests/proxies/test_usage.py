"""Expert usage: by hand for a router that knows tokens, and left out of the training's own counts."""

import numpy as np
import pytest
import torch

from proxies.config import ProxyConfig
from proxies.corpus import DomainTokens
from proxies.model import Decoder
from proxies.usage import expert_usage, usage_tokens


def domain(name: str, token: int) -> DomainTokens:
    tokens = np.full(40, token, dtype=np.uint8)
    return DomainTokens(name=name, tokens=tokens, offsets=np.array([0, 40]), available_tokens=40)


@pytest.mark.parametrize("router", ["softmax", "relu"])
def test_a_domain_uses_the_experts_that_its_tokens_are_sent_to(router: str) -> None:
    config = ProxyConfig.from_plain(
        {"layers": 2, "width": 4, "heads": 1, "sequence_tokens": 8, "experts": 4, "top_k": 1, "router": router}
    )
    model = Decoder(config, vocabulary=4, end_of_document=0, dtype=torch.float32)
    model.initialize(0)
    model.table.data.copy_(torch.eye(4))  # attention and experts write nothing yet, so that a router sees its token
    assert model.router is not None
    model.router.data.copy_(torch.eye(4).roll(1, 0).expand(2, 4, 4))  # token t to expert t + 1
    found = expert_usage(model, {"ones": domain("ones", 1), "threes": domain("threes", 3)})
    assert found == {"ones": [[0, 0, 1, 0]] * 2, "threes": [[1, 0, 0, 0]] * 2}
    assert model.chosen.abs().sum() == 0
    assert usage_tokens(model, {"ones": domain("ones", 1)}) == 32
