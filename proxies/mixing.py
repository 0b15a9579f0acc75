"""Batches drawn from domains by token weights: the k-th one is a function of (recipe, seed, k) alone."""

# Shapes: N sequences of the training, B sequences of a batch, T tokens a sequence.

import hashlib
import heapq
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from proxies.corpus import DomainTokens
from proxies.errors import ProxyError
from proxies.heads import least_head

Stage = tuple[float, Mapping[str, float]]
SUM_TOLERANCE = 1e-6  # weights that an optimizer returns sum to one only up to float error
LEAST_SEQUENCES = 8  # below this a slice is a handful of texts learnt by heart, not a domain
CHUNK_BATCHES = 64  # gathered at once: 0.01 % of a step's time instead of 0.1 % or more


class Batches:
    """The batches of one training.

    A domain is cut in windows of T tokens (and the next one, to predict) from an offset drawn anew every epoch, its
    last window running on into its first; an epoch visits all of them once, in an order drawn from the seed. The i-th
    window drawn of a domain is the same for every recipe of a seed. Domains take turns so that after any number of
    sequences each has had its share to within one sequence.
    """

    def __init__(
        self,
        domains: Mapping[str, DomainTokens],
        recipe: Sequence[Stage],
        *,
        seed: int,
        sequence_tokens: int,
        batch_sequences: int,
        steps: int,
    ) -> None:
        shares, names = check_recipe(recipe, domains)
        self.names = names
        self.steps = steps
        self.sequence_tokens = sequence_tokens
        self.batch_sequences = batch_sequences
        self._domains = [domains[name] for name in names]
        for domain in self._domains:
            if domain.tokens_count <= sequence_tokens:
                raise ProxyError(
                    f"domain {domain.name!r} has {domain.tokens_count} tokens, less than one sequence of "
                    f"{sequence_tokens} and the token after it; give it more text or leave it out"
                )
        self._order = take_turns(shares, sequences=steps * batch_sequences)
        self._starts = self._window_starts(seed)
        self._chunk: tuple[int, NDArray[np.int64]] | None = None

    def batch(self, k: int) -> NDArray[np.int64]:
        """Return the tokens `B x (T + 1)` of step `k`, from 0."""
        if not 0 <= k < self.steps:
            raise ProxyError(f"batch {k} of a training of {self.steps} steps; ask for 0 to {self.steps - 1}")
        number, place = divmod(k, CHUNK_BATCHES)
        if self._chunk is None or self._chunk[0] != number:
            self._chunk = (number, self._gather(number))
        B = self.batch_sequences
        return self._chunk[1][place * B : (place + 1) * B]

    def digest(self, steps: int) -> str:
        """Return what names the sequences of the first `steps`: equal where they are the same in the same order."""
        count = steps * self.batch_sequences
        drawn = [(domain.name, domain.tokens_count) for domain in self._domains]
        parts = (repr(drawn).encode(), self._order[:count].tobytes(), self._starts[:count].tobytes())
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def epochs(self) -> dict[str, float]:
        """Return how often the training passes over each domain of the recipe, as it was given here (sliced or not)."""
        drawn = np.bincount(self._order, minlength=len(self.names))
        return {
            domain.name: float(count) * self.sequence_tokens / domain.tokens_count
            for domain, count in zip(self._domains, drawn, strict=True)
        }

    def _window_starts(self, seed: int) -> NDArray[np.int64]:
        starts = np.empty(len(self._order), dtype=np.int64)
        for index, domain in enumerate(self._domains):
            drawn = np.flatnonzero(self._order == index)
            starts[drawn] = window_starts(domain, len(drawn), seed=seed, sequence_tokens=self.sequence_tokens)
        return starts

    def _gather(self, number: int) -> NDArray[np.int64]:
        first = number * CHUNK_BATCHES * self.batch_sequences
        order = self._order[first : first + CHUNK_BATCHES * self.batch_sequences]
        starts = self._starts[first : first + len(order)]
        rows = np.empty((len(order), self.sequence_tokens + 1), dtype=np.int64)
        for index, domain in enumerate(self._domains):
            windows = sliding_window_view(domain.tokens, rows.shape[1])
            is_mine, ends_inside = order == index, starts < len(windows)
            inside, across = np.flatnonzero(is_mine & ends_inside), np.flatnonzero(is_mine & ~ends_inside)
            rows[inside] = windows[starts[inside]]  # as much as two thirds faster than places one by one
            places = (starts[across, None] + np.arange(rows.shape[1])) % domain.tokens_count
            rows[across] = domain.tokens[places]
        return rows


def check_recipe(
    recipe: Sequence[Stage], known: Mapping[str, object]
) -> tuple[list[tuple[float, list[float]]], list[str]]:
    """Return stages of (share, weight of each name) and the names of weight above zero, sorted; or `ProxyError`."""
    if not recipe:
        raise ProxyError("a recipe needs at least one stage (share, weights), got none")
    shares = [share for share, _ in recipe]
    if abs(sum(shares) - 1) > SUM_TOLERANCE or not min(shares) > 0:
        raise ProxyError(f"the stages' shares must be above 0 and sum to 1, got {shares}")
    for _, weights in recipe:
        if unknown := set(weights) - set(known):
            raise ProxyError(f"a recipe names unknown domains {sorted(unknown)}; known: {sorted(known)}")
        total = sum(weights.values())
        if not min(weights.values(), default=-1) >= 0 or not abs(total - 1) <= SUM_TOLERANCE:
            raise ProxyError(f"weights must be at least 0 and sum to 1, got {dict(weights)} (sum {total:g})")
    names = sorted({name for _, weights in recipe for name, weight in weights.items() if weight > 0})
    stages = [(s / sum(shares), [w.get(n, 0.0) / sum(w.values()) for n in names]) for s, w in recipe]
    return stages, names


def window_starts(domain: DomainTokens, count: int, *, seed: int, sequence_tokens: int) -> NDArray[np.int64]:
    """Return where the first `count` windows drawn of a domain start: a permutation of all windows each epoch."""
    windows = domain.tokens_count // sequence_tokens
    epochs = []
    for epoch in range(-(-count // windows)):
        rng = np.random.default_rng([seed, zlib.crc32(domain.name.encode()), epoch])
        offset = int(rng.integers(sequence_tokens))
        epochs.append((offset + rng.permutation(windows) * sequence_tokens) % domain.tokens_count)
    return np.concatenate(epochs)[:count] if epochs else np.empty(0, dtype=np.int64)


def take_turns(stages: Sequence[tuple[float, Sequence[float]]], *, sequences: int) -> NDArray[np.int64]:
    """Return which domain each sequence comes from: every prefix holds each domain's share to within one sequence.

    Tijdeman's chairman assignment (Discrete Math. 32, 1980): the k-th turn of a domain may be taken once its due share
    reaches k + m and must be before it passes k + 1 - m, m = 1 / (2 d - 2); of those that may, the most urgent is next.
    """
    ends = np.concatenate([[0.0], np.cumsum([share for share, _ in stages])]) * sequences
    due = np.concatenate([np.zeros((1, len(stages[0][1]))), np.cumsum([s * np.array(w) for s, w in stages], axis=0)])
    due *= sequences
    turns = _turns(ends, due)
    order = np.empty(sequences, dtype=np.int64)
    waiting: list[tuple[float, int]] = []
    released = 0
    for place in range(sequences):
        while released < len(turns) and (turns[released][0] <= place + 1 + 1e-9 or not waiting):
            heapq.heappush(waiting, turns[released][1:])
            released += 1
        order[place] = heapq.heappop(waiting)[1]
    return order


def _turns(ends: NDArray[np.float64], due: NDArray[np.float64]) -> list[tuple[float, float, int]]:
    """Return (release, deadline, domain) of every turn by release, in sequences; `due` is stages + 1 x domains."""
    domains = due.shape[1]
    margin = 1 / (2 * domains - 2) if domains > 1 else 0.5
    found: list[tuple[float, float, int]] = []
    for domain in range(domains):
        rising = np.concatenate([[True], np.diff(due[:, domain]) > 0])
        rising[:-1] |= rising[1:]  # where a flat stretch ends, the share is reached at its start or after its end
        shares, places = due[rising, domain], ends[rising]
        k = np.arange(int(np.ceil(due[-1, domain])) + 1)
        release = _first_place(k + margin, shares, places)
        deadline = _first_place(k + 1 - margin, shares, places)
        found += zip(release.tolist(), deadline.tolist(), [domain] * len(k), strict=True)
    return sorted(found)


def _first_place(
    levels: NDArray[np.float64], shares: NDArray[np.float64], places: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return at which whole number of sequences a growing share reaches each level; past its end, never (inf)."""
    return np.ceil(np.interp(levels, shares, places, right=np.inf) - 1e-9)


def slice_domains(
    domains: Mapping[str, DomainTokens], *, proxy_tokens: int, target_tokens: int, sequence_tokens: int = 256
) -> Mapping[str, DomainTokens]:
    """Return every domain cut to its available tokens times proxy over target tokens: simulated epoching.

    Whole documents, the first ones (long ones wait, see `DomainTokens.head`), so that slices of shorter proxies lie
    inside those of longer ones. A domain of which less was read than that is used whole: `short_samples` names these. A
    slice below 8 sequences is refused.
    """
    return {
        name: _slice(domain, proxy_tokens, target_tokens, LEAST_SEQUENCES * sequence_tokens)
        for name, domain in domains.items()
    }


def short_samples(
    domains: Mapping[str, DomainTokens], *, proxy_tokens: int, target_tokens: int
) -> dict[str, tuple[int, int]]:
    """Return (tokens of the slice wanted, tokens read) of every domain of which too little was read for its slice.

    Such a domain repeats more often in the proxy than it would at the target.
    """
    wanted = {name: _wanted(domain, proxy_tokens, target_tokens) for name, domain in domains.items()}
    return {
        name: (wanted[name], domain.tokens_count)
        for name, domain in domains.items()
        if domain.tokens_count < wanted[name]
    }


def _wanted(domain: DomainTokens, proxy_tokens: int, target_tokens: int) -> int:
    return domain.available_tokens * proxy_tokens // target_tokens


def _slice(domain: DomainTokens, proxy_tokens: int, target_tokens: int, least: int) -> DomainTokens:
    cut = domain.head(_wanted(domain, proxy_tokens, target_tokens))
    if cut.tokens_count < least:
        needed = least_head(domain.offsets, least)
        advice = f"train proxies on at least {-(-needed * target_tokens // domain.available_tokens):,} tokens, or "
        raise ProxyError(
            f"domain {domain.name!r}: {domain.available_tokens:,} available tokens cut to "
            f"{proxy_tokens / target_tokens:.3g} of them leave {cut.tokens_count:,} tokens in whole documents, fewer "
            f"than the {least:,} of {LEAST_SEQUENCES} sequences; {advice if needed else 'read more of it, or '}"
            "merge the domain with another"
        )
    return cut
