"""A proxy's configuration, and its parameters and FLOPs by arithmetic alone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self, get_args

from proxies.errors import ProxyError
from proxies.plain_values import meant
from proxies.starts import CHECKS, MERGE, check_merged

Activation = Literal["relu2", "swiglu"]
OptimizerName = Literal["muon", "adamw"]
ScheduleName = Literal["cosine", "linear", "wsd"]
Precision = Literal["auto", "float32", "bfloat16"]
RouterName = Literal["softmax", "softmax-scores", "sigmoid", "relu"]

CHOICES: Mapping[str, tuple[str, ...]] = {
    "activation": get_args(Activation),
    "optimizer": get_args(OptimizerName),
    "schedule": get_args(ScheduleName),
    "precision": get_args(Precision),
    "router": get_args(RouterName),
}
AT_LEAST: Mapping[str, int] = {
    "layers": 1,
    "width": 1,
    "heads": 1,
    "sequence_tokens": 2,
    "batch_sequences": 1,
    "lags": 0,
    "experts": 0,
    "top_k": 1,
    "shared_experts": 0,
    "tied_layers": 1,
}
SHARES = ("weight_decay", "balance_coefficient", "z_coefficient", "bias_rate", "warmup_fraction", "decay_fraction")
LARGE = 1e35  # and what it is multiplied by is no infinity in float32
NULLABLE = ("ffn_width", "base_width", "warmup_tokens", "embedding_rate", "square_momentum")
SWIGLU_MULTIPLE = 64  # widths of 8/3 x width are rounded up to this, so that matrix products stay aligned
EXPERT_MULTIPLE = 8
LOOP_MULTIPLE = 32  # widths of matrices that loops in C++ serve


@dataclass(frozen=True, kw_only=True)
class ProxyConfig:
    """One small decoder and how it trains; `ProxyError` if it cannot be.

    `ffn_width` is the hidden width of one feed-forward net (dense, or one routed expert). None: 4 x width for squared
    ReLU, 8/3 x width rounded up to 64 for SwiGLU; a routed layer shares that among the experts active for a token.
    `lags`: how many earlier tokens' embeddings are added to each input. `experts` 0 is a dense model; with more
    experts, as narrow as that makes them, and a larger `top_k` they are fine-grained. `top_k`: experts a token goes to,
    with router "relu" on average. `tied_layers`: as many consecutive layers share their experts, not their routers.
    `bias_rate`: how far a step moves the biases of router "sigmoid".
    `init`: the training starts from another model, trained on the same recipe first: `method` (upcycle, drop-upcycle,
    grow), its `tokens`, and the settings in which its `proxy` differs. That training is part of the cost. Or, with
    `method` merge-experts and nothing else, from the data experts of a search, which are charged there, once, as trials
    of their own: nothing is added to the cost of this training.
    `base_width`: the width at which the learning rate was tuned; at another the rates follow the width rule
    (`proxies.width_rule`). None: they are used as they are.
    `warmup_tokens` in place of `warmup_fraction`: trainings of any length warm up alike, so that with schedule "wsd" a
    longer one begins as a shorter one does, until that one's rate falls.
    `momentum`: of Muon, the share of its average of gradients that a step keeps. The usual 0.95 is for trainings of
    thousands of steps; in some hundreds it costs a seventh of the tokens. `square_momentum`: the same of the average of
    their squares, whose root they are divided by before Muon turns them; None: they are not.
    `embedding_rate`: AdamW's rate for embeddings, head and routers, None: the learning rate.
    `precision` "auto": products in bfloat16 over float32 masters where the processor has the units.
    `compiled`: passes over memory are fused by torch.compile: up to two fifths faster, equal up to rounding. The first
    training of a shape on a machine waits for the compiler, half a minute or so. Routed experts need the loop in C++:
    squared ReLU in bfloat16 on a processor, any router but "relu", and widths that are multiples of 32.
    """

    layers: int
    width: int
    heads: int
    ffn_width: int | None = None
    activation: Activation = "relu2"
    sequence_tokens: int = 256
    batch_sequences: int = 8
    lags: int = 0
    tied: bool = False
    experts: int = 0
    top_k: int = 2
    shared_experts: int = 0
    router: RouterName = "softmax"
    tied_layers: int = 1
    balance_coefficient: float = 0.01
    z_coefficient: float = 0.0
    bias_rate: float = 0.01
    optimizer: OptimizerName = "muon"
    learning_rate: float = 0.01
    embedding_rate: float | None = None
    base_width: int | None = None
    weight_decay: float = 0.1
    momentum: float = 0.85
    square_momentum: float | None = 0.99
    schedule: ScheduleName = "linear"
    warmup_fraction: float = 0.05
    warmup_tokens: int | None = None
    decay_fraction: float = 0.3
    clip_norm: float = 1.0
    precision: Precision = "auto"
    compiled: bool = False
    init: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        for name, least in AT_LEAST.items():
            _check_whole(name, getattr(self, name), least)
        for name, value in _given(self, "ffn_width", "base_width", "warmup_tokens"):
            _check_whole(name, value, 1)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ProxyError(f"{name} must be one of {list(choices)}, got {getattr(self, name)!r}")
        _check_shape(self)
        _check_compiled(self)
        _check_training(self)
        if self.init is not None:
            _check_init(self, self.init)

    @classmethod
    def from_plain(cls, plain: Mapping[str, object]) -> Self:
        """Return the configuration that `to_plain` wrote or a user typed; unknown and missing keys are refused."""
        known = {f.name for f in fields(cls)}
        if unknown := set(plain) - known:
            raise ProxyError(f"a proxy has no setting {sorted(map(str, unknown))}; known: {sorted(known)}")
        if missing := {"layers", "width", "heads"} - set(plain):
            raise ProxyError(f"a proxy needs {sorted(missing)}; got only {sorted(plain)}")
        return cls(**{name: meant(value) for name, value in plain.items()})  # type: ignore[arg-type]  # it checks them

    def to_plain(self) -> dict[str, object]:
        """Return every setting as plain values, defaults included."""
        return asdict(self)

    @property
    def rate_of_embeddings(self) -> float:
        """The highest rate of what is no matrix of a block."""
        return self.learning_rate if self.embedding_rate is None else self.embedding_rate

    @property
    def start(self) -> "Start | None":
        """What is trained first; None where nothing is."""
        if self.init is None or self.merges_experts:
            return None
        method, changes = str(self.init["method"]), self.init.get("proxy", {})
        assert isinstance(changes, Mapping)
        dense: dict[str, object] = {} if method == "grow" else {"experts": 0, "shared_experts": 0}
        proxy = replace(self, **{**dense, **changes, "init": None})
        tokens = self.init["tokens"]
        assert isinstance(tokens, int)
        return Start(method=method, tokens=tokens, proxy=proxy)

    @property
    def merges_experts(self) -> bool:
        """Whether the training starts from the data experts of a search."""
        return self.init is not None and self.init.get("method") == MERGE

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads

    @property
    def hidden_width(self) -> int:
        """Hidden width of one feed-forward net: dense, or one expert of a routed layer."""
        if self.ffn_width is not None:
            return self.ffn_width
        whole = 4 * self.width if self.activation == "relu2" else _round_up(8 * self.width / 3, SWIGLU_MULTIPLE)
        return _round_up(whole / (self.top_k + self.shared_experts), EXPERT_MULTIPLE) if self.experts else whole

    @property
    def batch_tokens(self) -> int:
        """Tokens of one step."""
        return self.batch_sequences * self.sequence_tokens

    def total_parameters(self, vocabulary: int) -> int:
        """Return all parameters: embeddings, those of the lags, blocks and (untied) head. Norms have no gains."""
        nets = (self.experts + self.shared_experts) * self.layers // self.tied_layers if self.experts else self.layers
        return self._table_parameters(vocabulary) + self._layers_parameters(nets)

    def active_parameters(self, vocabulary: int) -> int:
        """Return the parameters that one token meets: all but the routed experts not chosen for it.

        Those that several layers share are met, and counted, in each.
        """
        return self._table_parameters(vocabulary) + self._layers_parameters(self.layers * self._active_nets())

    def forward_flops_per_token(self, vocabulary: int) -> float:
        """Return FLOPs to predict one token: 2 a weight, attention over the whole window, and the unembedding."""
        matrices = self._layers_parameters(self.layers * self._active_nets()) + self.width * vocabulary
        attention = self.layers * 2 * self.sequence_tokens * self.width
        return 2.0 * (matrices + attention)

    def flops_per_token(self, vocabulary: int) -> float:
        """Return training FLOPs per token: the forward pass, and twice that for the backward pass."""
        return 3.0 * self.forward_flops_per_token(vocabulary)

    def _active_nets(self) -> int:
        return self.top_k + self.shared_experts if self.experts else 1

    def _layers_parameters(self, nets: int) -> int:
        """Return the parameters of attention and routers of all layers, and of `nets` feed-forward nets in all."""
        matrices = 2 if self.activation == "relu2" else 3
        router = self.experts * self.width
        return self.layers * (4 * self.width**2 + router) + nets * matrices * self.width * self.hidden_width

    def _table_parameters(self, vocabulary: int) -> int:
        tables = 1 + self.lags + (0 if self.tied else 1)
        return tables * vocabulary * self.width


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a training starts from: another proxy, trained on `tokens` of the same recipe, and how it is taken over."""

    method: str
    tokens: int
    proxy: ProxyConfig


def trial_flops(config: ProxyConfig, *, tokens: int, vocabulary: int, evaluation_tokens: int) -> float:
    """Return the nominal FLOPs of training on `tokens`, and what it starts from, and evaluating once."""
    training = config.flops_per_token(vocabulary) * tokens
    if (start := config.start) is not None:
        training += start.proxy.flops_per_token(vocabulary) * start.tokens
    return training + config.forward_flops_per_token(vocabulary) * evaluation_tokens


def _check_whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ProxyError(f"{name} must be a whole number of at least {least}, got {value!r}")


def _check_shape(config: ProxyConfig) -> None:
    if config.width % config.heads or config.head_width % 2:
        raise ProxyError(
            f"width {config.width} must divide into {config.heads} heads of an even width; try a multiple of "
            f"{2 * config.heads}"
        )
    for name in ("tied", "compiled"):
        if not isinstance(getattr(config, name), bool):
            raise ProxyError(f"{name} must be true or false, got {getattr(config, name)!r}")
    if config.lags >= config.sequence_tokens:
        raise ProxyError(f"lags {config.lags} must be fewer than sequence_tokens {config.sequence_tokens}")
    if config.experts and config.top_k > config.experts:
        raise ProxyError(f"top_k {config.top_k} must not exceed experts {config.experts}")
    if config.shared_experts and not config.experts:
        raise ProxyError(f"shared_experts {config.shared_experts} needs routed experts; set experts, or drop it")
    if config.tied_layers > 1 and not config.experts:
        raise ProxyError(f"tied_layers {config.tied_layers} needs routed experts; set experts, or drop it")
    if config.layers % config.tied_layers:
        raise ProxyError(f"tied_layers {config.tied_layers} must divide layers {config.layers}")


def _check_compiled(config: ProxyConfig) -> None:
    """Refuse to compile experts whose products are of other sizes every step: those that no loop in C++ takes."""
    needed = {
        "router": (config.router, config.router != "relu"),
        "activation": (config.activation, config.activation == "relu2"),
        "precision": (config.precision, config.precision != "float32"),
        "width": (config.width, config.width % LOOP_MULTIPLE == 0),
        "ffn_width": (config.hidden_width, config.hidden_width % LOOP_MULTIPLE == 0),
    }
    for name, (value, fits) in needed.items():
        if config.compiled and config.experts and not fits:
            raise ProxyError(
                "compiled routed experts need a router other than relu, activation relu2, a precision other than "
                f"float32, and widths that are multiples of {LOOP_MULTIPLE}; got {name} {value}; set compiled: false"
            )


def _given(config: ProxyConfig, *names: str) -> list[tuple[str, Any]]:
    """Return settings by name, without those that may be null and are."""
    values = [(name, getattr(config, name)) for name in names]
    return [(name, value) for name, value in values if value is not None or name not in NULLABLE]


def _check_training(config: ProxyConfig) -> None:
    for name, value in _given(config, "learning_rate", "embedding_rate", "clip_norm"):
        if not _is_number(value) or not 0 < value < LARGE:
            raise ProxyError(f"{name} must be a positive number below {LARGE:g}, got {value!r}")
    for name, value in _given(config, *SHARES):
        if not _is_number(value) or not 0 <= value <= 1:
            raise ProxyError(f"{name} must lie between 0 and 1, got {value!r}")
    for name, value in _given(config, "momentum", "square_momentum"):
        if not _is_number(value) or not 0 <= value < 1:
            raise ProxyError(f"{name} must be a number from 0 to below 1, got {value!r}")
    if config.schedule == "wsd" and config.warmup_fraction + config.decay_fraction > 1:
        raise ProxyError(
            f"warmup_fraction {config.warmup_fraction} and decay_fraction {config.decay_fraction} exceed the training; "
            "lower one of them"
        )


def _check_init(config: ProxyConfig, init: object) -> None:
    if isinstance(init, Mapping) and init.get("method") == MERGE:
        if rest := sorted(map(str, set(init) - {"method"})):
            raise ProxyError(f"init {MERGE} has no {rest}: a search's data experts are trained as its file says")
        check_merged(config)
        return
    keys = set(init) if isinstance(init, Mapping) else set()
    if not isinstance(init, Mapping) or not {"method", "tokens"} <= keys <= {"method", "tokens", "proxy"}:
        raise ProxyError(f"init must hold method, tokens and, where it differs, proxy; got {init!r}")
    if not isinstance(init["method"], str) or init["method"] not in CHECKS:
        raise ProxyError(f"the method of init must be one of {[*CHECKS, MERGE]}, got {init['method']!r}")
    _check_whole("the tokens of init", init["tokens"], 1)
    changes = init.get("proxy", {})
    known = {f.name for f in fields(config)} - {"init"}
    if not isinstance(changes, Mapping) or set(changes) - known:
        raise ProxyError(f"the proxy of init must hold settings of a proxy, of {sorted(known)}; got {changes!r}")
    start = config.start
    assert start is not None
    if start.tokens < start.proxy.batch_tokens:
        raise ProxyError(f"init trains on {start.tokens} tokens, less than a step of {start.proxy.batch_tokens}")
    CHECKS[start.method](start.proxy, config)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _round_up(number: float, multiple: int) -> int:
    return -int(-number // multiple) * multiple
