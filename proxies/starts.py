"""What a training may start from, and which shapes fit: arithmetic only, no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from proxies.errors import ProxyError

if TYPE_CHECKING:
    from proxies.config import ProxyConfig

MERGE = "merge-experts"  # the one method that begins with trainings which a search has paid already: its data experts
ROUTED = ("experts", "top_k", "shared_experts", "router", "tied_layers")


def check_upcycling(dense: ProxyConfig, routed: ProxyConfig) -> None:
    """Refuse a routed model that could not start equal to the dense one."""
    if dense.experts or not routed.experts:
        raise ProxyError("upcycling goes from a dense model to a routed one; set experts in the rung, not in its start")
    if routed.hidden_width != dense.hidden_width:
        raise ProxyError(
            f"a routed expert must be as wide as the dense net, {dense.hidden_width}, got {routed.hidden_width}; "
            f"set ffn_width: {dense.hidden_width}"
        )
    same = ("layers", "width", "heads", "activation", "lags", "tied")
    if wrong := [name for name in same if getattr(dense, name) != getattr(routed, name)]:
        raise ProxyError(f"{wrong} must not change where a model is upcycled")
    _check_gates(routed, "an upcycled model", claim="an upcycled model starts as the dense one")


def check_growth(small: ProxyConfig, large: ProxyConfig) -> None:
    """Refuse a larger model that could not start with the logits of the small one."""
    c, copies = factors(small, large)
    pairs = {
        "width": (small.width, large.width, c),
        "heads": (small.heads, large.heads, c),
        "ffn_width": (small.hidden_width, large.hidden_width, c),
        "layers": (small.layers, large.layers, copies),
    }
    for name, (before, after, factor) in pairs.items():
        if factor < 1 or before * factor != after:
            raise ProxyError(
                f"{name} cannot grow from {before} to {after}: a model grows by one whole number in width, heads and "
                f"ffn_width, and by one in layers; try {name}: {before * max(factor, 1)}"
            )
    same = ("activation", "lags", "tied", *ROUTED)
    if wrong := [name for name in same if getattr(small, name) != getattr(large, name)]:
        raise ProxyError(f"{wrong} must not change where a model grows")
    if copies > 1 and small.tied_layers > 1:
        raise ProxyError("layers that share their experts cannot be copied; grow in width alone, or untie them")
    if c > 1 and small.tied:
        raise ProxyError("a tied head cannot be divided among copies; grow in depth alone, or set tied: false")


def check_merged(routed: ProxyConfig) -> None:
    """Refuse a model that could not begin with the nets of data experts, whatever those are."""
    if not routed.experts:
        raise ProxyError("data experts merge into a routed model; set experts, or drop init")
    _check_gates(routed, "a merged model", claim="the nets of data experts keep their scale")


def check_merging(expert: ProxyConfig, routed: ProxyConfig, *, domains: int) -> None:
    """Refuse a routed model that the data experts of so many domains, trained as `expert` says, do not merge into."""
    check_merged(routed)
    if expert.shared_experts or expert.tied_layers > 1:
        raise ProxyError("data experts with shared_experts or tied_layers do not merge; train them without")
    if expert.experts and expert.router != routed.router:
        raise ProxyError(
            f"the data experts have router {expert.router}, and this proxy has {routed.router}; set router: "
            f"{expert.router}"
        )
    for name in ("layers", "width", "heads", "activation", "lags", "tied"):
        theirs, ours = getattr(expert, name), getattr(routed, name)
        if theirs != ours:
            raise ProxyError(
                f"the data experts have {name} {theirs}, and this proxy has {ours}; a merged model has their shape: "
                f"set {name}: {str(theirs).lower()}, or train the experts at a rung of this shape"
            )
    if expert.hidden_width != routed.hidden_width:
        raise ProxyError(
            f"a net of the data experts is {expert.hidden_width} wide, one of this proxy {routed.hidden_width}; set "
            f"ffn_width: {expert.hidden_width}"
        )
    nets = domains * max(1, expert.experts)
    if routed.experts % nets:
        raise ProxyError(
            f"experts {routed.experts} do not divide among the {nets} nets that a layer of the {domains} data experts "
            f"has; set experts: {nets * max(1, round(routed.experts / nets))}"
        )


def _check_gates(routed: ProxyConfig, model: str, *, claim: str) -> None:
    """Refuse gates that do not sum to one, and what would be added to the nets that the gates weigh."""
    if routed.router not in {"softmax", "sigmoid"} or routed.top_k < 2:
        raise ProxyError(f"{claim} only where gates sum to one: router softmax or sigmoid, top_k of at least 2")
    if routed.shared_experts or routed.tied_layers > 1:
        raise ProxyError(f"{model} has no shared experts and no tied layers; drop shared_experts, tied_layers")


def factors(small: ProxyConfig, large: ProxyConfig) -> tuple[int, int]:
    """Return the whole numbers that width and depth grow by."""
    return large.width // small.width, large.layers // small.layers


CHECKS: Mapping[str, Callable[[ProxyConfig, ProxyConfig], None]] = {
    "upcycle": check_upcycling,
    "drop-upcycle": check_upcycling,
    "grow": check_growth,
}
