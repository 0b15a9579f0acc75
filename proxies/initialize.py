"""A model from a smaller, a dense or several expert models, so that an expensive training need not start from nothing.

Norms have no gains and no biases exist, so that copies of features keep every norm; whatever sums over copies is
shared among them. Heads keep their width: a wider model has copies of heads, each with its own rotary positions.
"""

# Shapes: L layers, D model width, H heads, K head width, F hidden width, E nets of a layer, V vocabulary, J = lags + 1,
# c the factor of the width.

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from proxies.config import ProxyConfig
from proxies.errors import ProxyError
from proxies.model import Decoder
from proxies.starts import check_growth, check_merging, check_upcycling, factors

State = dict[str, Tensor]

REDRAWN = 0.5  # of an expert's neurons, in drop-upcycling: the published best (arXiv:2502.19261)
ROUTER_SCALE = 0.02  # of a new router's weights (arXiv:2408.06567)
READERS = {"qkv", "out", "up", "down", "router", "head"}
KEPT = {"table", "qkv", "out", "up", "down", "head"}  # of a data expert that is merged: not its router
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


def merged(experts: Sequence[Decoder | None], config: ProxyConfig, *, seed: int) -> Decoder:
    """Return a routed model whose routed experts are the nets of data experts (arXiv:2403.07816).

    They stand one domain's after another's, as many for each: the net of its data expert, or all of them where the data
    expert is routed itself, as often as there is room. All else is the mean of the data experts; the router is new.
    None, for a domain whose expert is not to be had: the mean of the others' nets stands in for its own.
    """
    found = [each for each in experts if each is not None]
    if not found or any(each.config != found[0].config for each in found):
        raise ProxyError("data experts of one shape merge, at least one; train all with the settings of one rung")
    first = found[0]
    check_merging(first.config, config, domains=len(experts))
    states = [_state(each) for each in found]
    state = {name: torch.stack([each[name] for each in states]).mean(0) for name in states[0] if name in KEPT}
    copies = config.experts // (len(experts) * max(1, first.config.experts))
    for name in ("up", "down"):
        own = iter(states)
        nets = [state[name] if each is None else next(own)[name] for each in experts]
        state[name] = torch.cat([net for net in nets for _ in range(copies)], dim=1)
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
    if "router_state" not in state or (config.experts and not like.config.experts):
        state["router_state"] = model.router_state
    model.load_state_dict(state)
    return model.to(like.table.device)


INITIALIZERS: Mapping[str, Callable[..., Decoder]] = {
    "upcycle": upcycled,
    "drop-upcycle": drop_upcycled,
    "grow": grown,
}
