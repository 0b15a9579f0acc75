"""The text of a search before and after its domains changed: what stays the same, compared token by token."""

import hashlib
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from mixopt.errors import SearchError
from proxies.corpus import Corpus, DomainTokens
from proxies.evaluation_sets import PARTS

SAME = 1e-3  # of a domain's tokens in other documents: less is no other text


def check_measures(before: Corpus, after: Corpus) -> None:
    """Refuse text on which what is measured would not be what was measured before.

    Raises:
        SearchError: the tokenizer is another, or an evaluation set that stays is.
    """
    if (before.vocabulary, before.end_of_document) != (after.vocabulary, after.end_of_document):
        raise SearchError("the tokenizer would be another, and every loss with it; keep it, or start another search")
    for part in PARTS:
        then = before.evaluation(part)
        for name, now in after.evaluation(part).items():
            same = name in then and all(
                np.array_equal(getattr(then[name], key), getattr(now, key))
                for key in ("tokens", "offsets", "scored_from")
            )
            if not same:
                raise SearchError(
                    f"evaluation set {name!r} would be measured on other text than in the trials there are; say "
                    f"`kept: {before.folder}` of it in the file, in place of its domain or source"
                )


def changed_fraction(before: DomainTokens, after: DomainTokens) -> float:
    """Return the fraction of the tokens, 0 to 1, that stand in documents which are not in both."""
    then, now = _documents(before), _documents(after)
    common = sum(min(then.get(name, 0), tokens) for name, tokens in now.items())
    fraction = 1.0 - common / max(sum(now.values()), sum(then.values()), 1)
    return fraction if fraction > SAME else 0.0


def strange_fraction(whole: DomainTokens, part: DomainTokens) -> float:
    """Return the fraction of the tokens of `part`, 0 to 1, that stand in documents which `whole` lacks."""
    then, now = _documents(whole), _documents(part)
    strange = sum(tokens for name, tokens in now.items() if name not in then)
    fraction = strange / max(sum(now.values()), 1)
    return fraction if fraction > SAME else 0.0


def _documents(domain: DomainTokens) -> Mapping[bytes, int]:
    """Return the tokens of every document by a hash of it; equal documents count together."""
    found: dict[bytes, int] = {}
    bounds = domain.offsets.tolist()
    for start, stop in pairwise(bounds):
        key = hashlib.blake2b(domain.tokens[start:stop].tobytes(), digest_size=16).digest()
        found[key] = found.get(key, 0) + stop - start
    return found
