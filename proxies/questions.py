"""Questions of multiple choice: read from rows, refused where they are none, and marked.

A choice is scored by its loss a byte after the prompt; a question is answered with the choice of the lowest.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from proxies.documents import Question
from proxies.errors import SourceError


@dataclass(frozen=True, kw_only=True)
class QuestionKeys:
    """The fields (or columns) of a row that hold the prompt, the list of choices and the right one."""

    prompt: str
    choices: str
    answer: str

    @classmethod
    def of(cls, prompt: str | None, choices: str | None, answer: str | None) -> "QuestionKeys | None":
        """Return the keys that a source names, those of prompt and answer by default so called; None without choices.

        Raises:
            SourceError: prompt without answer, or answer without prompt, where there are no choices.
        """
        if choices is not None:
            return cls(prompt=prompt or "prompt", choices=choices, answer=answer or "answer")
        if (prompt is None) != (answer is None):
            raise SourceError("prompt and answer belong together; give the names of both fields, or neither")
        return None


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the excerpts of a set of multiple choice are: `n` choices, those of one question one after another.

    bytes: int64 `[n]`, scored bytes of each. questions: int64 `[n]`, which question each belongs to, rising.
    right: bool `[n]`, one a question.
    """

    bytes: NDArray[np.int64]
    questions: NDArray[np.int64]
    right: NDArray[np.bool_]

    @property
    def items(self) -> int:
        """The number of questions."""
        return int(self.right.sum())

    def accuracy(self, losses: NDArray[np.float64]) -> float:
        """Return the share of questions whose right choice has the lowest of `losses`, `[n]`, nats a choice.

        Where k choices share the lowest loss a byte and the right one is among them, the question counts 1 / k.
        """
        rates = losses / self.bytes
        _, which = np.unique(self.questions, return_inverse=True)
        lowest = np.full(self.items, math.inf)
        np.minimum.at(lowest, which, rates)
        chosen = rates == lowest[which]
        shared = np.bincount(which, weights=chosen)
        return float((chosen & self.right) @ (1.0 / shared[which])) / self.items


def question(row: Mapping[str, Any], keys: QuestionKeys, where: str) -> Question:
    """Return the question in a row; `where` names the row in errors.

    The answer is the place of the right choice, from 0 (as a number or as text), its text, its label where the choices
    are a mapping with `text` and `label`, or else its letter.

    Raises:
        SourceError: a key is missing or holds something else, there are fewer than two choices or an empty one, or no
            choice is the answer.
    """
    for key in (keys.prompt, keys.choices, keys.answer):
        if row.get(key) is None:
            _refuse(where, f"has nothing in {key!r}; its fields: {sorted(map(str, row))}; add it, or name another")
    prompt = row[keys.prompt]
    if not isinstance(prompt, str):
        _refuse(where, f"has {prompt!r:.40} in {keys.prompt!r}; give text")
    texts, labels = _texts(row[keys.choices], keys.choices, where)
    right = _right(row[keys.answer], texts, labels)
    if right is None:
        got = f"has the answer {row[keys.answer]!r:.40} to {len(texts)} choices"
        _refuse(where, f"{got}; give the place of the right one, 0 to {len(texts) - 1}, or its text")
    return Question(prompt=prompt, choices=texts, right=right, name=where)


def _texts(found: object, key: str, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the texts of the choices, and their labels: as stated, or else letters."""
    choices, labels = (found.get("text"), found.get("label")) if isinstance(found, Mapping) else (found, None)
    if not isinstance(choices, list | tuple) or not all(isinstance(text, str) for text in choices):
        _refuse(where, f"has {choices!r:.40} in {key!r}; give a list of texts")
    if len(choices) < 2:
        _refuse(where, f"has {len(choices)} choices in {key!r}; give two or more, or leave the item out")
    texts = tuple(text.replace("\0", "") for text in choices)
    if not all(text.strip() for text in texts):
        _refuse(
            where, f"has an empty choice in {key!r}, number {[bool(t.strip()) for t in texts].index(False)}; fill it"
        )
    if isinstance(labels, list | tuple) and len(labels) == len(texts):
        return texts, tuple(map(str, labels))
    return texts, tuple(_letters(len(texts)))


def _letters(count: int) -> Sequence[str]:
    return [chr(ord("A") + place) for place in range(min(count, 26))]


def _right(answer: object, texts: Sequence[str], labels: Sequence[str]) -> int | None:
    """Return the place of the right choice, None where there is none."""
    if isinstance(answer, bool):
        return None
    if isinstance(answer, int):
        return answer if 0 <= answer < len(texts) else None
    if not isinstance(answer, str):
        return None
    for names in (texts, labels):
        if answer in names:
            return list(names).index(answer)
    return int(answer) if answer.isdecimal() and int(answer) < len(texts) else None


def _refuse(where: str, what: str) -> NoReturn:
    raise SourceError(f"{where} {what}")
