"""The decoder that proxies are: rotary attention, pre-norm without gains, dense or routed feed-forward nets."""

# Shapes: B batch, T sequence, N = B * T, D model width, V vocabulary, L layers, H heads, K head width, G = B * H,
# J = lags + 1, F hidden width (2F for the up matrix of SwiGLU), E nets of a layer: routed experts, then shared ones;
# S size of a layer's router state.
# Weights of all layers are stacked along a leading axis: one cast a step, and one update for all matrices of a shape.

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, linear, pad

from proxies.attention import attend, causal_mask, rotary_tables
from proxies.config import ProxyConfig
from proxies.feedforward import ACTIVATIONS, UP_MATRICES
from proxies.layers import rms_norm
from proxies.moe import balance_loss, z_loss
from proxies.routers import ROUTERS
from proxies.width_rule import initial_scale

EMBEDDING_SCALE = 0.02  # GPT-2's; norms undo the scale, so only the first steps feel it


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
        B, T = tokens_BT.shape
        x_ND = self._embed(tokens_BT)
        qkv, out, up, down = (w.to(self.dtype).unbind(0) for w in (self.qkv, self.out, self.up, self.down))
        routers = self.router.unbind(0) if self.router is not None else ()
        penalty = x_ND.new_zeros(())
        for layer in range(self.config.layers):
            x_ND = x_ND + self._attention(self._norm(x_ND), qkv[layer].flatten(0, 1), out[layer], B, T)
            h_ND = self._norm(x_ND)
            if routers:
                group = layer // self.config.tied_layers
                y_ND, layer_penalty = self._routed(layer, h_ND, routers[layer], up[group].flatten(1, 2), down[group])
                penalty = penalty + layer_penalty / self.config.layers
            else:
                y_ND = ACTIVATIONS[self.config.activation](h_ND, up[layer].flatten(0, 2), down[layer][0])
            x_ND = x_ND + y_ND
        head_VD = self.table[: self.vocabulary] if self.head is None else self.head
        return linear(self._norm(x_ND), head_VD.to(self.dtype)).view(B, T, -1), penalty

    @torch.no_grad()
    def end_step(self) -> None:
        """Move the routers' state by the loads since the last step; call it after every update of the weights."""
        if self.config.experts:
            moved = ROUTERS[self.config.router].updated(self.config, self.router_state, self._loads(self.chosen))
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

    def _embed(self, tokens_BT: Tensor) -> Tensor:
        lags = self.config.lags
        padded = pad(tokens_BT, (lags, 0), value=self.end_of_document)
        rows_NJ = (padded.unfold(1, lags + 1, 1) + self.shifts).flatten(0, 1)
        return embedding_bag(rows_NJ, self.table, mode="sum")

    def _norm(self, x_ND: Tensor) -> Tensor:
        return rms_norm(x_ND, self.dtype)

    def _attention(self, h_ND: Tensor, qkv_3DD: Tensor, out_DD: Tensor, B: int, T: int) -> Tensor:
        qkv_BT3HK = linear(h_ND, qkv_3DD).view(B, T, 3, self.config.heads, self.config.head_width)
        return linear(attend(qkv_BT3HK, self.cos[:T], self.sin[:T], self.mask[:T, :T]), out_DD)

    def _routed(
        self, layer: int, h_ND: Tensor, router_ED: Tensor, up_EFD: Tensor, down_EDF: Tensor
    ) -> tuple[Tensor, Tensor]:
        config, router = self.config, ROUTERS[self.config.router]
        activation = ACTIVATIONS[config.activation]
        logits_NE = linear(h_ND.float(), router_ED)
        routing = router.route(logits_NE, self.router_state[layer], config.top_k)
        nets = list(zip(up_EFD.unbind(0), down_EDF.unbind(0), strict=True))
        y_ND = routing.choice.combine(h_ND, nets[: config.experts], activation)
        for up_FD, down_DF in nets[config.experts :]:
            y_ND = y_ND + activation(h_ND, up_FD, down_DF)
        if not torch.is_grad_enabled():
            return y_ND, y_ND.new_zeros(())
        counts_E = routing.choice.counts(config.experts)
        self.chosen[layer] += self.sum_over_ranks(torch.cat([counts_E, counts_E.new_tensor([len(h_ND)])]))
        balance = balance_loss(routing.scores, self._loads(self.chosen[layer]))
        penalty = router.coefficient(config, self.router_state) * balance
        return y_ND, penalty + config.z_coefficient * z_loss(logits_NE) if config.z_coefficient else penalty

    def _loads(self, chosen: Tensor) -> Tensor:
        """Return the tokens of each expert over the choices there should be, (... x experts)."""
        return chosen[..., :-1] / (chosen[..., -1:] * self.config.top_k)


def _alone(counts: Tensor) -> Tensor:
    return counts
