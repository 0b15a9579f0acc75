"""Mixtures that need no training: temperature, UniMax."""

from collections.abc import Mapping

from mixopt.errors import ConfigError
from mixopt.mixture import Mixture


def temperature(available_tokens: Mapping[str, int], temperature: float) -> Mixture:
    """Return weights proportional to tokens^(1 / temperature): 1 is natural, large is uniform."""
    if not temperature > 0.0:
        raise ConfigError(f"the temperature must be above 0; got {temperature}")
    largest = max(available_tokens.values())
    return Mixture.proportional({name: (n / largest) ** (1.0 / temperature) for name, n in available_tokens.items()})


def unimax(available_tokens: Mapping[str, int], tokens: int, max_epochs: float) -> Mixture:
    """Return the mixture as uniform as `max_epochs` of every domain allow in a training of `tokens` (arXiv:2304.09151).

    From the smallest domain to the largest, each gets an equal share of what is left, or its cap if that is less.
    Where all caps together give fewer than `tokens`, every domain stands at its cap.
    """
    left, given = float(tokens), {}
    ordered = sorted(available_tokens, key=lambda name: available_tokens[name])
    for position, name in enumerate(ordered):
        given[name] = min(left / (len(ordered) - position), max_epochs * available_tokens[name])
        left -= given[name]
    return Mixture.proportional({name: given[name] for name in available_tokens})
