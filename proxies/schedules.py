"""Learning-rate schedules: which share of the rate holds when; arithmetic only, no torch."""

import math
from collections.abc import Callable, Mapping

from proxies.config import ProxyConfig

FLOOR_FRACTION = 0.1  # of the learning rate, where a cosine ends; linear and wsd end at zero


def rate_share(config: ProxyConfig, tokens: float, *, of: int) -> float:
    """Return which share of the learning rate holds after `tokens` of a training `of` so many."""
    if config.warmup_tokens is not None and tokens < config.warmup_tokens:
        return tokens / config.warmup_tokens  # the same in trainings of every length, to the last bit
    progress = tokens / of
    warmup = config.warmup_fraction if config.warmup_tokens is None else min(1.0, config.warmup_tokens / of)
    if progress < warmup:
        return progress / warmup
    return SCHEDULES[config.schedule](config, progress, (progress - warmup) / max(1 - warmup, 1e-9))


def stable_steps(config: ProxyConfig, steps: int) -> int:
    """Return how many steps of a training of `steps` come before its rate begins to fall; 0 where it falls at once."""
    total = steps * config.batch_tokens
    shares = (rate_share(config, (k - 0.5) * config.batch_tokens, of=total) for k in range(steps, 0, -1))
    return next((steps - i for i, share in enumerate(shares) if share == 1.0), 0)


def _cosine(_: ProxyConfig, progress: float, warmed: float) -> float:
    del progress
    return FLOOR_FRACTION + (1 - FLOOR_FRACTION) * 0.5 * (1 + math.cos(math.pi * warmed))


def _linear(_: ProxyConfig, progress: float, warmed: float) -> float:
    del progress
    return 1 - warmed


def _warmup_stable_decay(config: ProxyConfig, progress: float, warmed: float) -> float:
    del warmed
    return min(1.0, (1 - progress) / config.decay_fraction) if config.decay_fraction else 1.0


# of the share of the training that is done, and that of what comes after the warm-up
SCHEDULES: Mapping[str, Callable[[ProxyConfig, float, float], float]] = {
    "cosine": _cosine,
    "linear": _linear,
    "wsd": _warmup_stable_decay,
}
