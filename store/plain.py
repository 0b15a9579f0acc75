"""What may be stored: finite numbers and plain values, checked once at the border."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TypeAlias

from store.errors import InvalidRecord

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"


def plain(value: object, *, what: str) -> Plain:
    """Return `value` as dicts, lists, text, numbers, booleans and None; all else, NaN too, is an InvalidRecord."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return finite(value, what=what)
    if isinstance(value, Mapping):
        return {_key(key, what=what): plain(item, what=f"{what}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item, what=f"{what}[{place}]") for place, item in enumerate(value)]
    raise InvalidRecord(
        f"{what} is a {type(value).__name__}, which cannot be stored; give numbers, text, lists and mappings"
    )


def plain_mapping(value: Mapping[str, object], *, what: str) -> dict[str, Plain]:
    """Return `value` as a dict of plain values; see `plain`."""
    return {_key(key, what=what): plain(item, what=f"{what}.{key}") for key, item in value.items()}


def finite(value: float, *, what: str) -> float:
    """Return `value` as a float, or raise InvalidRecord where it is NaN or infinite."""
    if not math.isfinite(value):
        raise InvalidRecord(
            f"{what} is {value}, and only finite numbers can be stored; record the trial as diverged instead"
        )
    return float(value)


def not_negative(value: float, *, what: str) -> float:
    """Return `value` as a float, or raise InvalidRecord where it is negative or not finite."""
    if finite(value, what=what) < 0:
        raise InvalidRecord(f"{what} is {value}, and cannot be negative; give 0 or more")
    return float(value)


def named(value: str, *, what: str) -> str:
    """Return `value`, or raise InvalidRecord where it is empty."""
    if not value:
        raise InvalidRecord(f"{what} is empty; give it a name")
    return value


def one_of(value: str, known: Sequence[str], *, what: str) -> str:
    """Return `value`, or raise InvalidRecord where it is not among `known`."""
    if value not in known:
        raise InvalidRecord(f"{what} is {value!r}; known: {list(known)}")
    return value


def to_ranges(numbers: Iterable[int]) -> str:
    """Return trial numbers as text, runs of consecutive ones as one: `0-41,43`."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def from_ranges(text: str) -> tuple[int, ...]:
    """Return the trial numbers that `to_ranges` wrote, in order."""
    return next(iter(all_from_ranges([text]).values()))


def all_from_ranges(texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Return the trial numbers of each text; the numbers are shared, for thousands of long ranges are many."""
    spans = {text: [_span(words) for words in text.split(",") if words] for text in texts}
    numbers = tuple(range(1 + max((last for ends in spans.values() for _, last in ends), default=-1)))
    return {
        text: tuple(chain.from_iterable(numbers[first : last + 1] for first, last in ends))
        if len(ends) != 1
        else numbers[ends[0][0] : ends[0][1] + 1]
        for text, ends in spans.items()
    }


def _span(words: str) -> tuple[int, int]:
    first, _, last = words.partition("-")
    return int(first), int(last or first)


def _key(key: object, *, what: str) -> str:
    if not isinstance(key, str):
        raise InvalidRecord(f"{what} has the key {key!r}, which is not text; name its entries")
    return key
