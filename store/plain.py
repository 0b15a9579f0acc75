"""What may be stored: finite numbers and plain values, checked once at the border."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeAlias, overload

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


class Numbers(Sequence[int]):
    """Rising trial numbers, kept as the ranges that `to_ranges` wrote: thousands of trials have seen thousands each."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @overload
    def __getitem__(self, place: int) -> int: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[int]: ...

    def __getitem__(self, place: int | slice) -> int | Sequence[int]:
        """Return the number at a place."""
        return tuple(self)[place]

    def __len__(self) -> int:
        return sum(len(span) for span in self._spans())

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self._spans())

    def __contains__(self, number: object) -> bool:
        return any(number in span for span in self._spans())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Numbers):
            return self._text == other._text
        return isinstance(other, tuple) and tuple(self) == other

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"Numbers({self._text!r})"

    def _spans(self) -> Iterator[range]:
        for words in self._text.split(",") if self._text else ():
            first, _, last = words.partition("-")
            yield range(int(first), int(last or first) + 1)


class StoredStages(Sequence[tuple[float, dict[str, float]]]):
    """The stages of a recipe, kept as the JSON that they were stored as: of most trials, nobody looks at them."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @overload
    def __getitem__(self, place: int) -> tuple[float, dict[str, float]]: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[tuple[float, dict[str, float]]]: ...

    def __getitem__(
        self, place: int | slice
    ) -> tuple[float, dict[str, float]] | Sequence[tuple[float, dict[str, float]]]:
        """Return the stage at a place."""
        return tuple(self)[place]

    def __len__(self) -> int:
        return len(json.loads(self._text))

    def __iter__(self) -> Iterator[tuple[float, dict[str, float]]]:
        return ((share, weights) for share, weights in json.loads(self._text))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredStages | tuple) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"StoredStages({self._text!r})"


def _key(key: object, *, what: str) -> str:
    if not isinstance(key, str):
        raise InvalidRecord(f"{what} has the key {key!r}, which is not text; name its entries")
    return key
