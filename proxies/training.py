"""What a training reports while it runs, and what comes of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training is: training `loss` in nats per token, the mean since the last progress."""

    tokens: int
    loss: float
    elapsed_s: float


@dataclass(frozen=True, kw_only=True)
class Training:
    """What came of a training. `losses` in bits per byte by evaluation set, empty where it diverged.

    accuracies: of sets of multiple choice, the share of `items` answered rightly.

    curve: (tokens, mean training loss since the last point, nats per token), about 20 points. epochs: passes over each
    domain's tokens, as sliced. tokens: trained on, whole steps. flops: nominal, training and evaluation.
    details: precision, device, threads, parameters, tokens_per_s; of a routed proxy, expert_usage by domain (`L x E`).
    """

    losses: Mapping[str, float]
    curve: tuple[tuple[int, float], ...]
    epochs: Mapping[str, float]
    tokens: int
    flops: float
    elapsed_s: float
    diverged: bool
    details: Mapping[str, object]
    accuracies: Mapping[str, float] = field(default_factory=dict)
    items: Mapping[str, int] = field(default_factory=dict)


Report = Callable[[Progress], None]
