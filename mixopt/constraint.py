"""Linear constraints on weights, as people write them: `code + math >= 0.2`, `0.1 <= web <= 50%`."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mixopt.errors import ConfigError

_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*%?")
_OPERATOR = re.compile(r"<=|>=|==|[-+*/()<>=]")
_WORD = re.compile(r"[^\s+*/()<>=]+")
_EXAMPLE = "write it like `code + math >= 0.2` or `0.1 <= web <= 0.5`"


@dataclass(frozen=True, kw_only=True)
class LinearConstraint:
    """lower <= sum of coefficient * weight <= upper; `text` is what its author wrote."""

    coefficients: Mapping[str, float]
    lower: float = -math.inf
    upper: float = math.inf
    text: str = ""

    def __post_init__(self) -> None:
        if not any(self.coefficients.values()):
            raise ConfigError(f"constraint {self.text!r} says nothing about any weight; {_EXAMPLE}")
        if not all(map(math.isfinite, self.coefficients.values())) or math.isnan(self.lower + self.upper):
            raise ConfigError(f"constraint {self.text!r} must have finite coefficients; got {dict(self.coefficients)}")
        if self.lower > self.upper:
            raise ConfigError(f"constraint {self.text!r} asks for at least {self.lower:g} and at most {self.upper:g}")

    @classmethod
    def parse(cls, text: str, known: Collection[str]) -> tuple[LinearConstraint, ...]:
        """Return what `text` says of the domains `known`: one constraint for each linear form of the chain.

        Names with other signs in them need no quotes if they are domains; quotes (' or ") always help.
        `<` reads as `<=`, since weights are real numbers; `%` is a hundredth.
        """
        return _Parser(text, known).constraints()

    def value(self, weights: Mapping[str, float]) -> float:
        """Return the sum of coefficient * weight."""
        return math.fsum(c * weights.get(name, 0.0) for name, c in self.coefficients.items())


@dataclass(frozen=True)
class _Form:
    """A linear form: coefficients of domains (zeros dropped), and a constant."""

    coefficients: Mapping[str, float]
    constant: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "coefficients", {name: c for name, c in self.coefficients.items() if c != 0.0})

    def plus(self, other: _Form, times: float) -> _Form:
        names = dict.fromkeys([*self.coefficients, *other.coefficients])
        sums = {n: self.coefficients.get(n, 0.0) + times * other.coefficients.get(n, 0.0) for n in names}
        return _Form(sums, self.constant + times * other.constant)

    def scaled(self, factor: float) -> _Form:
        return _Form({name: c * factor for name, c in self.coefficients.items()}, self.constant * factor)


class _Parser:
    """Recursive descent: chain = sum (relation sum)+, sum = product (+- product)*, product = atom (*/ atom)*."""

    def __init__(self, text: str, known: Collection[str]) -> None:
        self.text = text
        self.tokens = _tokens(text, known)
        self.place = 0

    def constraints(self) -> tuple[LinearConstraint, ...]:
        forms, relations = [self.sum()], []
        while self.peek() in ("<=", ">=", "<", ">", "=", "=="):
            relations.append(self.take()[0])
            forms.append(self.sum())
        if self.place < len(self.tokens):
            raise ConfigError(
                f"constraint {self.text!r}: did not expect {self.tokens[self.place][1]!r} there; {_EXAMPLE}"
            )
        if not relations:
            raise ConfigError(f"constraint {self.text!r} compares nothing; {_EXAMPLE}")
        bounds: dict[tuple[tuple[str, float], ...], tuple[float, float]] = {}
        for left, relation, right in zip(forms, relations, forms[1:], strict=False):
            key, lower, upper = self.bound(left.plus(right, -1.0), relation)
            known_lower, known_upper = bounds.get(key, (-math.inf, math.inf))
            bounds[key] = max(known_lower, lower), min(known_upper, upper)
        return tuple(
            LinearConstraint(coefficients=dict(key), lower=lower, upper=upper, text=self.text)
            for key, (lower, upper) in bounds.items()
        )

    def bound(self, form: _Form, relation: str) -> tuple[tuple[tuple[str, float], ...], float, float]:
        """Return (coefficients, lower, upper) of `form relation 0`, the first coefficient positive."""
        if not form.coefficients:
            raise ConfigError(f"constraint {self.text!r} says nothing about any weight; {_EXAMPLE}")
        if next(iter(form.coefficients.values())) < 0.0:
            form, relation = form.scaled(-1.0), relation.translate(str.maketrans("<>", "><"))
        limit = -form.constant + 0.0
        lower = -math.inf if relation.startswith("<") else limit
        upper = math.inf if relation.startswith(">") else limit
        return tuple(sorted(form.coefficients.items())), lower, upper

    def sum(self) -> _Form:
        form = self.product()
        while self.peek() in ("+", "-"):
            sign = 1.0 if self.take()[0] == "+" else -1.0
            form = form.plus(self.product(), sign)
        return form

    def product(self) -> _Form:
        form = self.atom()
        while self.peek() in ("*", "/"):
            operator, other = self.take()[0], self.atom()
            if operator == "/" and (other.coefficients or other.constant == 0.0):
                raise ConfigError(f"constraint {self.text!r} divides by something that is no number; {_EXAMPLE}")
            if form.coefficients and other.coefficients:
                raise ConfigError(f"constraint {self.text!r} multiplies two weights: only linear ones are known")
            if operator == "/":
                form = form.scaled(1.0 / other.constant)
            else:
                form = form.scaled(other.constant) if form.coefficients else other.scaled(form.constant)
        return form

    def atom(self) -> _Form:
        kind, text = self.take()
        if kind == "number":
            return _Form({}, _number(text))
        if kind == "name":
            return _Form({text: 1.0}, 0.0)
        if kind in ("-", "+"):
            return self.atom().scaled(-1.0 if kind == "-" else 1.0)
        if kind == "(":
            form = self.sum()
            if self.take()[0] != ")":
                raise ConfigError(f"constraint {self.text!r} opens a bracket that it does not close")
            return form
        raise ConfigError(f"constraint {self.text!r}: did not expect {text or 'its end'!r} there; {_EXAMPLE}")

    def peek(self) -> str:
        return self.tokens[self.place][0] if self.place < len(self.tokens) else ""

    def take(self) -> tuple[str, str]:
        token = self.tokens[self.place] if self.place < len(self.tokens) else ("", "")
        self.place += 1
        return token


def _number(text: str) -> float:
    return float(text.rstrip("% ")) / (100.0 if text.endswith("%") else 1.0)


def _tokens(text: str, known: Collection[str]) -> list[tuple[str, str]]:
    """Return (kind, text) of every token; kind is `number`, `name`, or the operator itself. Longer names win."""
    bare = sorted((name for name in known if not _NUMBER.fullmatch(name)), key=len, reverse=True)
    tokens, place = [], 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        kind, token, place = _next_token(text, place, bare, known)
        tokens.append((kind, token))
    return tokens


def _next_token(text: str, place: int, bare: list[str], known: Collection[str]) -> tuple[str, str, int]:
    if text[place] in "'\"":
        end = text.find(text[place], place + 1)
        if end < 0:
            raise ConfigError(f"constraint {text!r} opens a quote that it does not close")
        return "name", _known(text[place + 1 : end], text, known), end + 1
    for name in bare:
        end = place + len(name)
        if text.startswith(name, place) and not (text[end : end + 1].isalnum() or text[end : end + 1] == "_"):
            return "name", name, end
    if operator := _OPERATOR.match(text, place):
        return operator.group(), operator.group(), operator.end()
    if number := _NUMBER.match(text, place):
        end = number.end()
        if not (text[end : end + 1].isalpha() or text[end : end + 1] == "_"):
            return "number", number.group().strip(), end
    word = _WORD.match(text, place)
    assert word is not None, "whatever is no operator and no space begins a word"
    return "name", _known(word.group(), text, known), word.end()


def _known(name: str, text: str, known: Collection[str]) -> str:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ConfigError(f"constraint {text!r} names unknown domain {name!r}{hint}; known: {sorted(known)}")
    return name


def with_names(text: str, known: Collection[str], now: Mapping[str, Sequence[str]]) -> str:
    """Return what `text` says of the domains `known` where some are called otherwise, or are several (their sum)."""
    pieces, place = [], 0
    bare = sorted((name for name in known if not _NUMBER.fullmatch(name)), key=len, reverse=True)
    while place < len(text):
        if text[place].isspace():
            pieces.append(text[place])
            place += 1
            continue
        kind, token, end = _next_token(text, place, bare, known)
        is_moved = kind == "name" and token in now
        pieces.append(_sum(now[token]) if is_moved else text[place:end])
        place = end
    return "".join(pieces)


def _sum(names: Sequence[str]) -> str:
    quoted = [name if name.isidentifier() else f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"({' + '.join(quoted)})"
