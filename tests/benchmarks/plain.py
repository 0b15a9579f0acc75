"""The reference of every speed: a plain training loop in the style of nanoGPT, eager, float32, AdamW.

Pre-norm blocks with LayerNorm and GELU, learned positions, fused attention, a tied head, no biases; a step draws a
batch row by row, and clips the norm of the gradient.
"""

# Shapes: B batch, T sequence, V vocabulary, H heads.

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One size of model and of batch; `hidden` is the width of the feed-forward net."""

    layers: int
    width: int
    heads: int
    hidden: int
    sequence_tokens: int
    batch_sequences: int
    vocabulary: int = 256

    @property
    def batch_tokens(self) -> int:
        return self.batch_sequences * self.sequence_tokens


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.norms = nn.ModuleList([nn.LayerNorm(shape.width, bias=False) for _ in range(2)])
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = (part.view(B, T, self.heads, -1).transpose(1, 2) for part in self.qkv(self.norms[0](x)).split(D, 2))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, D))
        added: Tensor = self.down(functional.gelu(self.up(self.norms[1](x))))
        return x + added


class Plain(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.sequence_tokens, shape.width)
        self.blocks = nn.ModuleList([Block(shape) for _ in range(shape.layers)])
        self.norm = nn.LayerNorm(shape.width, bias=False)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Return the mean cross entropy, nats a token."""
        x = self.tokens(tokens_BT) + self.positions(torch.arange(tokens_BT.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = functional.linear(self.norm(x), self.tokens.weight)
        return functional.cross_entropy(logits.flatten(0, 1), targets_BT.flatten())


class PlainLoop:
    """A model, its optimizer and its text; every call of `step` is one step of the training."""

    def __init__(self, shape: Shape, text: NDArray[np.uint16], *, seed: int = 0, learning_rate: float = 1e-3) -> None:
        torch.manual_seed(seed)
        self.model = Plain(shape)
        self._text = text
        self._rng = np.random.default_rng(seed)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.1
        )

    def step(self) -> Tensor:
        shape = self.model.shape
        starts = self._rng.integers(len(self._text) - shape.sequence_tokens - 1, size=shape.batch_sequences)
        rows = [torch.from_numpy(self._text[i : i + shape.sequence_tokens + 1].astype(np.int64)) for i in starts]
        tokens = torch.stack(rows)
        loss: Tensor = self.model(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()
