"""What pydantic found wrong with a file, in one sentence that says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Literal, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails, PydanticCustomError

WRONG = "mixopt"  # the type of the errors that config's own checks raise, with `path` and `message` in their context
WRONG_PROXY = "proxy"  # and of those that a proxy's own check raises

_KINDS = {
    "model_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
    "tuple_type": "a list",
    "string_type": "text",
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}


def path_of(error: ErrorDetails) -> tuple[str | int, ...]:
    """Return the keys that lead to what is wrong."""
    if error["type"] == WRONG:
        path: tuple[str | int, ...] = error["ctx"]["path"]
        return path
    return error["loc"]


def wrong(
    path: tuple[str | int, ...], message: str, *, kind: Literal["wrong", "empty"] = "wrong"
) -> PydanticCustomError:
    """Return what a check of our own raises inside of pydantic, which knows neither path nor class."""
    return PydanticCustomError(WRONG, "{message}", {"path": path, "message": message, "kind": kind})


def wording(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Return what is wrong, what was got and what is allowed, for an error of validating `model`."""
    kind, got = error["type"], error["input"]
    if kind in (WRONG, WRONG_PROXY):
        return str(error["ctx"]["message"])
    key = str(error["loc"][-1]) if error["loc"] else "the file"
    if kind == "extra_forbidden":
        return unknown("key", key, keys_of(model, error["loc"][:-1]))
    if kind == "missing":
        return f"key {key!r} is missing; add it"
    if kind == "literal_error":
        return f"must be {error['ctx']['expected']}; got {shown(got)}"
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}; got {shown(got)}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ").replace("should", "must", 1)
    return f"{message[:1].lower()}{message[1:]}; got {shown(got)}"


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """Return that `name` is unknown, the nearest known name if one is near, and all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {what} {name!r}{hint}; known: {', '.join(known) or 'none'}"


def shown(value: object) -> str:
    """Return a value as an error shows it, cut to sixty letters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def keys_of(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Return the keys known at `path` below `model`."""
    for key in path:
        annotations = [f.annotation for n, f in model.model_fields.items() if key in (n, f.alias)]
        found = [m for annotation in annotations for m in _models(annotation)]
        model = found[0] if found else model
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: object) -> list[type[BaseModel]]:
    """Return the models that an annotation such as `tuple[Section, ...] | None` mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
