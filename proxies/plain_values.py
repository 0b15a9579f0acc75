"""Plain values of a configuration file, held against the types of the dataclass that they are for."""

import math
from collections.abc import Mapping
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from proxies.errors import ProxyError

WANTED: Mapping[object, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text (in quotes, if it looks like a number or a date)",
    tuple: "a list of text",
    Mapping: "a mapping",
}


def typed(kind: type, plain: Mapping[str, Any], *, where: str, error: type[ProxyError]) -> dict[str, Any]:
    """Return `plain`, keyed by fields of the dataclass `kind`, as values of their types.

    Whole numbers written as 1e9, 4.0 or "4" become such. Anything else that is of another type is an `error` naming
    `where` and the key.
    """
    hints = get_type_hints(kind)
    return {key: value_of(value, hints[key], where=f"{where}: {key}", error=error) for key, value in plain.items()}


def value_of(value: object, hint: object, *, where: str, error: type[ProxyError]) -> Any:  # noqa: ANN401 - of the hint
    """Return `value` as one of the type `hint` (a member of `WANTED`, or several), or an `error` about `where`."""
    choices = [hint] if get_origin(hint) in WANTED or hint in WANTED else list(get_args(hint))
    for choice in choices:
        found = _as(value, get_origin(choice) or choice)
        if found is not None or (value is None and choice is NoneType):
            return found
    wanted = " or ".join(WANTED[each] for choice in choices if (each := get_origin(choice) or choice) is not NoneType)
    raise error(f"{where} is {'empty' if value is None else repr(value)}; give {wanted}")


def meant(value: object) -> object:
    """Return what YAML reads as text, `2e-2` or `4e6`, as the number that it is, in mappings too; all else as it is."""
    if isinstance(value, Mapping):
        return {key: meant(each) for key, each in value.items()}
    number = _number(value) if isinstance(value, str) else None
    if number is None:
        return value
    return int(number) if number == int(number) else number


def _as(value: object, kind: object) -> object:
    """Return `value` as one of `kind`, or None where it is none."""
    if kind is int or kind is float:
        number = _number(value)
        if kind is float or number is None:
            return None if number is None else float(number)
        return int(number) if number == int(number) else None
    if kind is tuple:
        whole = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
        return tuple(value) if whole and isinstance(value, list | tuple) else None
    return value if isinstance(kind, type) and isinstance(value, kind) else None


def _number(value: object) -> int | float | None:
    """Return the finite number that `value` is or spells."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, int):
        return value
    try:
        return (
            int(value) if isinstance(value, str) and "." not in value and "e" not in value.lower() else _finite(value)
        )
    except ValueError:
        return None


def _finite(value: str | float) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
