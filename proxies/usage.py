"""Which routed experts a domain's tokens use: a fingerprint of the domain as the model sees it."""

# Shapes: B sequences, T tokens a sequence, L layers, E experts.

from collections.abc import Mapping

import numpy as np
import torch

from proxies.corpus import DomainTokens
from proxies.model import Decoder

SEQUENCES = 4  # a domain, spread evenly over its text; a choice


def expert_usage(model: Decoder, domains: Mapping[str, DomainTokens]) -> dict[str, list[list[float]]]:
    """Return for each domain which share of its tokens' choices falls on each expert, `L x E`; rows sum to one.

    With router "relu" a layer that chooses nothing has a row of zeros.
    """
    return {name: _usage(model, domain) for name, domain in domains.items()}


def usage_tokens(model: Decoder, domains: Mapping[str, DomainTokens]) -> int:
    """Return how many tokens `expert_usage` reads."""
    return SEQUENCES * model.config.sequence_tokens * len(domains)


def _usage(model: Decoder, domain: DomainTokens) -> list[list[float]]:
    length = model.config.sequence_tokens
    starts = np.arange(SEQUENCES) * domain.tokens_count // SEQUENCES
    rows = domain.tokens[(starts[:, None] + np.arange(length)) % domain.tokens_count].astype(np.int64)
    counts = model.choices(torch.from_numpy(rows).to(model.table.device))[:, :-1].double()
    shares: list[list[float]] = (counts / counts.sum(-1, keepdim=True).clamp_min(1)).tolist()
    return shares
