"""The losses of a step and their slopes as one compiled program: what lies between products is fused.

One program serves all models of a shape and a number of models, in every process of a machine: torch keeps it on disk.
"""

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor
from torch._dynamo import config as dynamo

from proxies import fused_experts
from proxies.errors import ProxyError
from proxies.feedforward import ACTIVATIONS
from proxies.model import Decoder
from proxies.native import compiler

Losses = Callable[[Sequence[Decoder], Tensor], tuple[Tensor, Tensor]]
PROGRAMS = 256  # shapes and numbers of models that one process may compile; beyond them torch would quietly not


def check_compiled(model: Decoder) -> None:
    """Raise `ProxyError` where the experts of a model that wants to be compiled go through no loop here."""
    config = model.config
    if not (config.compiled and config.experts):
        return
    row_1D = model.table[:1].to(model.dtype)
    if not fused_experts.serves(row_1D, model.up[0, :, 0], ACTIVATIONS[config.activation]):
        raise ProxyError(
            "compiled: true of a routed proxy needs a processor with bf16 units, one thread and a C++ compiler;"
            f" here it is {model.dtype} on {row_1D.device} with {torch.get_num_threads()} threads; set it to false"
        )


@cache
def compiled(losses: Losses) -> Losses:
    """Return `losses` compiled, for shapes that stay as they are."""
    if not torch.cuda.is_available() and compiler() is None:
        raise ProxyError("compiled: true needs a C++ compiler, and there is none here; install g++, or set it to false")
    dynamo.recompile_limit = dynamo.accumulated_recompile_limit = PROGRAMS
    found: Losses = torch.compile(losses, dynamic=False, fullgraph=True)
    return found
