"""The decoder that proxies are: rotary attention, pre-norm without gains, dense or routed feed-forward nets."""

# Shapes: M models, B batch of one, T sequence, N = M * B * T, D model width, V vocabulary, L layers, H heads, K head
# width, J = lags + 1, F hidden width (2F for the up matrix of SwiGLU), E nets of a layer: routed experts, then shared
# ones; S size of a layer's router state.
# Weights of all layers are stacked along a leading axis: one cast a step, and one update for all matrices of a shape.
# One forward pass serves one model and several of one shape alike: weights have a leading axis of models there.

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, pad

from proxies import fused_embedding, fused_nets, fused_norm, fused_unembedding
from proxies.attention import attend, causal_mask, rotary_tables
from proxies.config import ProxyConfig
from proxies.feedforward import ACTIVATIONS, UP_MATRICES, Activation, feed_forward
from proxies.layers import LEAST_SHARE, cross_entropy, product, rms_norm, stacked, stacked_layers
from proxies.moe import balance_loss, z_loss
from proxies.routers import ROUTERS, decide
from proxies.width_rule import initial_scale

EMBEDDING_SCALE = 0.02  # GPT-2's; norms undo the scale, so only the first steps feel it
MOST_NATS = -math.log(LEAST_SHARE)


class Decoder(nn.Module):
    """Next-token logits of a causal language model; products run in `dtype`, weights and residuals in float32.

    router_state: what routers keep beside their weights, `L x S`. chosen: since the last step, the tokens of each
    expert and, in the last column, all tokens, `L x (experts + 1)`. sum_over_ranks: adds up such counts where several
    processes share a batch.
    """

    cos: Tensor
    sin: Tensor
    mask: Tensor
    shifts: Tensor
    router_state: Tensor
    chosen: Tensor
    sum_over_ranks: Callable[[Tensor], Tensor]

    def __init__(self, config: ProxyConfig, *, vocabulary: int, end_of_document: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self.end_of_document = end_of_document
        self.dtype = dtype
        L, D, V = config.layers, config.width, vocabulary
        nets = config.experts + config.shared_experts if config.experts else 1
        hidden = config.hidden_width
        self.table = nn.Parameter(torch.empty((1 + config.lags) * V, D))  # row j * V + v: token v, j places back
        self.qkv = nn.Parameter(torch.empty(L, 3, D, D))
        self.out = nn.Parameter(torch.empty(L, D, D))
        groups = L // config.tied_layers
        self.up = nn.Parameter(torch.empty(groups, nets, UP_MATRICES[config.activation], hidden, D))
        self.down = nn.Parameter(torch.empty(groups, nets, D, hidden))
        self.router = nn.Parameter(torch.empty(L, config.experts, D)) if config.experts else None
        self.head = None if config.tied else nn.Parameter(torch.empty(V, D))
        cos, sin = rotary_tables(config.sequence_tokens, config.head_width)
        self.register_buffer("cos", cos.to(dtype), persistent=False)
        self.register_buffer("sin", sin.to(dtype), persistent=False)
        self.register_buffer("mask", causal_mask(config.sequence_tokens).to(dtype), persistent=False)
        self.register_buffer("shifts", torch.arange(config.lags, -1, -1) * V, persistent=False)
        self.register_buffer("router_state", ROUTERS[config.router].state(config) if config.experts else torch.empty(0))
        chosen = torch.zeros(L, config.experts + 1, dtype=torch.int64)
        self.register_buffer("chosen", chosen, persistent=False)
        self.sum_over_ranks = _alone

    def initialize(self, seed: int) -> None:
        """Draw all weights from `seed`: same seed, same model. Matrices that write to the residual start at zero."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name in {"out", "down", "head"}:
                nn.init.zeros_(parameter)
            else:
                scale = EMBEDDING_SCALE if name == "table" else parameter.shape[-1] ** -0.5
                scale *= initial_scale(name, self.config)
                drawn = torch.randn(parameter.shape, generator=generator) * scale
                parameter.data.copy_(drawn)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Return logits `B x T x V`; position t has seen tokens 0 to t and, before them, end of document."""
        return self.logits_and_penalty(tokens_BT)[0]

    def logits_and_penalty(self, tokens_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `B x T x V` and what the routers add to the loss, the mean over layers (0 for a dense model).

        While gradients are on, the choices of routers count towards the next `end_step`.
        """
        logits_NV, penalty_M = forward([self], tokens_BT[None])
        return logits_NV.view(*tokens_BT.shape, -1), penalty_M[0]

    @torch.no_grad()
    def end_step(self) -> None:
        """Move the routers' state by the loads since the last step; call it after every update of the weights."""
        if self.config.experts:
            moved = ROUTERS[self.config.router].updated(self.config, self.router_state, self.loads())
            self.router_state.copy_(moved)
            self.chosen.zero_()

    def choices(self, tokens_BT: Tensor) -> Tensor:
        """Return how many of the tokens go to each expert and, last, how many there are, `L x (experts + 1)`."""
        kept = self.chosen.clone()
        self.chosen.zero_()
        with torch.enable_grad():
            self.logits_and_penalty(tokens_BT)
        found = self.chosen.clone()
        self.chosen.copy_(kept)
        return found

    def loads(self) -> Tensor:
        """Return the tokens of each expert since the last step over the choices there should be, `L x experts`."""
        return _loads(self.chosen, self.config.top_k)


def forward(models: Sequence[Decoder], tokens_MBT: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits `(M B T) x V` of models of one shape, and what each one's routers add to its loss, `M`.

    Rows of tokens and of logits stand one model's after another's; no model sees another's.
    """
    h_ND, penalty_M = hidden(models, tokens_MBT)
    return product(h_ND, heads(models)), penalty_M


def token_losses(
    models: Sequence[Decoder], tokens_MBT: Tensor, targets_MBT: Tensor, *, bounded: bool = True
) -> tuple[Tensor, Tensor]:
    """Return the loss of every target, `M B T`, and what each model's routers add to its loss, `M`.

    bounded: losses are at most 88 nats.
    """
    h_ND, penalty_M = hidden(models, tokens_MBT)
    head_MVD, targets_N = heads(models), targets_MBT.flatten()
    if fused_unembedding.serves(h_ND):
        most = MOST_NATS if bounded else math.inf
        return fused_unembedding.losses(h_ND, head_MVD, targets_N, most=most), penalty_M
    logits_NV = product(h_ND, head_MVD)
    if bounded:
        return cross_entropy(logits_NV, targets_N), penalty_M
    return nn.functional.cross_entropy(logits_NV.float(), targets_N, reduction="none"), penalty_M


def heads(models: Sequence[Decoder]) -> Tensor:
    """Return the matrices `M x V x D` that make logits."""
    own = [m.table[: m.vocabulary] if m.head is None else m.head for m in models]
    return stacked(own, models[0].dtype)


def hidden(models: Sequence[Decoder], tokens_MBT: Tensor) -> tuple[Tensor, Tensor]:
    """Return what heads read, `(M B T) x D`, and what each model's routers add to its loss, `M`."""
    first = models[0]
    config, dtype = first.config, first.dtype
    T = tokens_MBT.shape[2]
    x_ND, h_ND = embed(models, tokens_MBT)
    names = ("qkv", "out", "up", "down")
    qkv, out, up, down = (stacked_layers([getattr(m, name) for m in models], dtype) for name in names)
    own = [m.router for m in models if m.router is not None]
    routers = stacked_layers(own, torch.float32) if own else ()
    penalty_M = x_ND.new_zeros(len(models))
    for layer in range(config.layers):
        x_ND, h_ND = added_norm(x_ND, attention(first, h_ND, qkv[layer].flatten(1, 2), out[layer], T))
        if config.experts:
            group = layer // config.tied_layers
            y_ND, layer_penalty_M = routed(models, layer, h_ND, routers[layer], up[group].flatten(2, 3), down[group])
            penalty_M = penalty_M + layer_penalty_M / config.layers
        else:
            activation = ACTIVATIONS[config.activation]
            y_ND = dense(h_ND, up[layer].flatten(1, 3), down[layer][:, 0], activation)
        x_ND, h_ND = added_norm(x_ND, y_ND, reads_sum=layer + 1 < config.layers)
    return h_ND, penalty_M


def added_norm(x_ND: Tensor, y_ND: Tensor, *, reads_sum: bool = True) -> tuple[Tensor, Tensor]:
    """Return x + y, perhaps nothing where nobody reads it, and its norm in the type of y."""
    if fused_norm.serves(y_ND):
        return fused_norm.added_norm(x_ND, y_ND, reads_sum=reads_sum)
    sum_ND = x_ND + y_ND
    return sum_ND, rms_norm(sum_ND, y_ND.dtype)


def embed(models: Sequence[Decoder], tokens_MBT: Tensor) -> tuple[Tensor, Tensor]:
    """Return the embeddings of tokens and of those before them, `N x D`, and their norms."""
    first = models[0]
    lags = first.config.lags
    padded = pad(tokens_MBT, (lags, 0), value=first.end_of_document)
    rows_MNJ = (padded.unfold(2, lags + 1, 1) + first.shifts).flatten(1, 2)
    tables_MVD = stacked([m.table for m in models], torch.float32)
    if len(models) > 1:
        places = torch.arange(len(models), device=rows_MNJ.device) * tables_MVD.shape[1]
        rows_MNJ = rows_MNJ + places[:, None, None]
    rows_NJ, table_RD = rows_MNJ.flatten(0, 1), tables_MVD.flatten(0, 1)
    if fused_embedding.serves(table_RD, first.dtype):
        return fused_embedding.embedded(rows_NJ, table_RD)
    x_ND = embedding_bag(rows_NJ, table_RD, mode="sum")
    return x_ND, rms_norm(x_ND, first.dtype)


def attention(like: Decoder, h_ND: Tensor, qkv_MFD: Tensor, out_MDD: Tensor, T: int) -> Tensor:
    """Return what a layer's attention over sequences of T adds to the residuals, for models of the shape of `like`."""
    config = like.config
    qkv_BT3HK = product(h_ND, qkv_MFD).view(-1, T, 3, config.heads, config.head_width)
    return product(attend(qkv_BT3HK, like.cos[:T], like.sin[:T], like.mask[:T, :T]), out_MDD)


def dense(h_ND: Tensor, up_MFD: Tensor, down_MDF: Tensor, activation: Activation) -> Tensor:
    """Return what each model's feed-forward net makes of its rows."""
    if fused_nets.serves(h_ND, up_MFD, activation):
        return fused_nets.nets(h_ND, up_MFD, down_MDF)
    return feed_forward(h_ND, up_MFD, down_MDF, activation)


def routed(
    models: Sequence[Decoder], layer: int, h_ND: Tensor, router_MED: Tensor, up_MEFD: Tensor, down_MEDF: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what the routed and the shared experts of a layer make of `h_ND`, and what its routers cost, `M`."""
    config, router, M = models[0].config, ROUTERS[models[0].config.router], len(models)
    E, activation = config.experts, ACTIVATIONS[config.activation]
    state_MS = torch.stack([m.router_state[layer] for m in models])
    h_ND, logits_NE, routing = decide(router, h_ND, router_MED, state_MS, config.top_k)
    choice = routing.choice.of_models(M, E)
    y_ND = choice.combine(h_ND, up_MEFD[:, :E].flatten(0, 1), down_MEDF[:, :E].flatten(0, 1), activation)
    for shared in range(E, E + config.shared_experts):
        y_ND = y_ND + dense(h_ND, up_MEFD[:, shared], down_MEDF[:, shared], activation)
    if not torch.is_grad_enabled():
        return y_ND, y_ND.new_zeros(M)
    tokens_M1 = torch.full((M, 1), len(h_ND) // M, device=h_ND.device)
    chosen_ME = torch.cat([choice.counts(M * E).view(M, E), tokens_M1], dim=1)
    for model, chosen_E in zip(models, models[0].sum_over_ranks(chosen_ME), strict=True):
        model.chosen[layer] += chosen_E
    loads_ME = _loads(torch.stack([m.chosen[layer] for m in models]), config.top_k)
    balance_M = balance_loss(routing.scores.view(M, -1, E), loads_ME)
    penalty_M = torch.stack([router.coefficient(config, m.router_state) for m in models]) * balance_M
    return y_ND, penalty_M + config.z_coefficient * z_loss(
        logits_NE.view(M, -1, E)
    ) if config.z_coefficient else penalty_M


def _loads(chosen: Tensor, top_k: int) -> Tensor:
    return chosen[..., :-1] / (chosen[..., -1:] * top_k)


def _alone(counts: Tensor) -> Tensor:
    return counts
