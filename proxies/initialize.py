"""A model from a smaller, a dense or several expert models, so that an expensive training need not start from nothing.

Norms have no gains and no biases exist, so that copies of features keep every norm; whatever sums over copies is
shared among them. Heads keep their width: a wider model has copies of heads, each with its own rotary positions.
"""

# Shapes: L layers, D model width, H heads, K head width, F hidden width, E nets of a layer, V vocabulary, J = lags + 1,
# c the factor of the width.

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from proxies.config import ProxyConfig
from proxies.errors import ProxyError
from proxies.model import Decoder
from proxies.starts import check_growth, check_upcycling, factors

State = dict[str, Tensor]

REDRAWN = 0.5  # of an expert's neurons, in drop-upcycling: the published best (arXiv:2502.19261)
ROUTER_SCALE = 0.02  # of a new router's weights (arXiv:2408.06567)
READERS = {"qkv", "out", "up", "down", "router", "head"}
PER_LAYER = {"qkv", "out", "up", "down", "router", "router_state"}


def upcycled(dense: Decoder, config: ProxyConfig, *, seed: int) -> Decoder:
    """Return a routed model whose experts are all the dense net (sparse upcycling, arXiv:2212.05055).

    Equal to the dense model whatever the new router does, as long as gates sum to one: router "softmax" or "sigmoid"
    with at least two experts a token, as wide as the dense net, and no shared experts.
    """
    check_upcycling(dense.config, config)
    state = _state(dense)
    state["up"] = state["up"].repeat(1, config.experts, 1, 1, 1)
    state["down"] = state["down"].repeat(1, config.experts, 1, 1)
    state["router"] = _router(config, seed)
    return _model(dense, config, state)


def drop_upcycled(dense: Decoder, config: ProxyConfig, *, seed: int) -> Decoder:
    """Return a routed model of copies of the dense net, half of each expert's neurons drawn anew.

    As many neurons of every expert, chosen for it, get weights with the mean and the deviation of those they replace
    (arXiv:2502.19261, Sec. 3); the same for gate, up and down.
    """
    model = upcycled(dense, config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in range(len(model.up)):
            for expert in range(config.experts):
                count = round(REDRAWN * config.hidden_width)
                chosen = torch.randperm(config.hidden_width, generator=generator)[:count]
                up, down = model.up[layer, expert], model.down[layer, expert]
                for matrix in up:
                    matrix[chosen] = _redrawn(matrix[chosen], generator)
                down[:, chosen] = _redrawn(down[:, chosen], generator)
    return model


def merged(experts: Sequence[Decoder], config: ProxyConfig, *, seed: int) -> Decoder:
    """Return a routed model whose i-th expert of each layer is the net of the i-th data expert (arXiv:2403.07816).

    All else is the mean of the data experts, which must have one shape; the router is new.
    """
    first = experts[0]
    if config.experts != len(experts):
        raise ProxyError(f"{len(experts)} data experts merge into as many routed experts, got experts {config.experts}")
    if any(replace(e.config, learning_rate=first.config.learning_rate) != first.config for e in experts):
        raise ProxyError("data experts of different shapes cannot be merged; train all with the settings of one rung")
    check_upcycling(first.config, config)
    states = [_state(each) for each in experts]
    state = {name: torch.stack([each[name] for each in states]).mean(0) for name in states[0]}
    for name in ("up", "down"):
        state[name] = torch.cat([each[name] for each in states], dim=1)
    state["router"] = _router(config, seed)
    return _model(first, config, state)


def averaged(experts: Sequence[Decoder], weights: Sequence[float]) -> Decoder:
    """Return the weighted mean of models of one shape that share a start: merged data experts (arXiv:2601.17858)."""
    first = experts[0]
    if any(each.config != first.config for each in experts) or len(weights) != len(experts):
        raise ProxyError(
            f"{len(experts)} models and {len(weights)} weights; give models of one shape and a weight each"
        )
    states = [_state(each) for each in experts]
    state = {
        name: sum((w * each[name] for w, each in zip(weights, states, strict=True)), torch.zeros_like(values))
        for name, values in states[0].items()
    }
    return _model(first, first.config, state)


def grown(small: Decoder, config: ProxyConfig, *, seed: int) -> Decoder:
    """Return a wider and deeper model with the same logits: width, heads and nets times one whole number, layers too.

    A wider model holds copies of features. What is read of a feature is shared among its copies (AquilaMoE's FPI,
    arXiv:2408.06567), unevenly, by `seed`: copies with the same part in everything would stay copies for ever. New
    layers stand after the one they copy, and write nothing to the residual yet.
    """
    check_growth(small.config, config)
    c, copies = factors(small.config, config)
    generator = torch.Generator().manual_seed(seed)
    state = _deeper(_wider(_state(small), c, generator), copies)
    return _model(small, config, state)


def _wider(state: State, c: int, generator: torch.Generator) -> State:
    """Repeat features c times along what a matrix writes, and share its weights among the copies that it reads."""
    found = dict(state)
    found["table"] = state["table"].repeat(1, c)
    for name in READERS & set(state):
        values = state[name]
        written = values if name in {"router", "head"} else torch.cat([values] * c, dim=-2)
        shares = torch.rand(c, *written.shape, generator=generator) + 0.5
        found[name] = torch.cat(list(written * (shares / shares.sum(0))), dim=-1)
    return found


def _deeper(state: State, copies: int) -> State:
    """Put `copies - 1` layers after each; they read as it does, and write nothing."""
    found = dict(state)
    for name in PER_LAYER & set(state):
        found[name] = state[name].repeat_interleave(copies, 0)
    for name in ("out", "down"):
        found[name][torch.arange(len(found[name])) % copies > 0] = 0.0
    return found


def _router(config: ProxyConfig, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(config.layers, config.experts, config.width, generator=generator) * ROUTER_SCALE


def _redrawn(values: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(values.shape, generator=generator) * values.std() + values.mean()


def _state(model: Decoder) -> State:
    return {name: values.detach().cpu().clone() for name, values in model.state_dict().items()}


def _model(like: Decoder, config: ProxyConfig, state: State) -> Decoder:
    model = Decoder(config, vocabulary=like.vocabulary, end_of_document=like.end_of_document, dtype=like.dtype)
    if config.experts and not like.config.experts:
        state["router_state"] = model.router_state
    model.load_state_dict(state)
    return model.to(like.table.device)


INITIALIZERS: Mapping[str, Callable[..., Decoder]] = {
    "upcycle": upcycled,
    "drop-upcycle": drop_upcycled,
    "grow": grown,
}
