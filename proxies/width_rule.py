"""How rates and scales follow the width, so that a learning rate tuned on a narrow proxy holds on a wide one.

The rule of MSSP (arXiv:2605.14200) for a fixed number of experts, r the width over the one that was tuned: AdamW's rate
is divided by r for every matrix but the embeddings, its epsilon by r for embeddings and hidden matrices, the router
starts r^(1/2) smaller than a hidden matrix, and the head at zero. Decay times rate stays. Muon's update of a matrix has
a spectral norm of its rate times the root of the width, so that its rate is divided by r^(1/2).
"""

from dataclasses import dataclass

from proxies.config import ProxyConfig

HIDDEN = {"qkv", "out", "up", "down"}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What multiplies a parameter's learning rate, weight decay and AdamW's epsilon."""

    rate: float = 1.0
    decay: float = 1.0
    epsilon: float = 1.0


def width_ratio(config: ProxyConfig) -> float:
    """Return the width over that at which the learning rate holds as it is given; 1 without a rule."""
    return config.width / config.base_width if config.base_width else 1.0


def adamw_scale(name: str, config: ProxyConfig) -> Scale:
    """Return the scale of the parameter `name` under AdamW."""
    r = width_ratio(config)
    if name == "table":
        return Scale(epsilon=1 / r)
    return Scale(rate=1 / r, decay=r, epsilon=1 / r if name in HIDDEN else 1.0)


def muon_scale(config: ProxyConfig) -> Scale:
    """Return the scale of hidden matrices under Muon."""
    r = width_ratio(config)
    return Scale(rate=r**-0.5, decay=r**0.5)


def initial_scale(name: str, config: ProxyConfig) -> float:
    """Return what multiplies the usual deviation of the parameter `name` at the start."""
    return width_ratio(config) ** -0.5 if name == "router" else 1.0
