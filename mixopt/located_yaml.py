"""A YAML file as plain values, with the line of every key."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from mixopt.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Located:
    """The plain value of a YAML file, and its syntax tree, which knows the lines."""

    path: Path
    plain: object
    tree: yaml.Node | None

    def line(self, keys: Sequence[object]) -> int:
        """Return the line (from 1) of the entry at `keys`, as deep as the file goes along them."""
        node, line = self.tree, 1
        for key in keys:
            child = _child(node, key)
            if child is None:
                break
            line, node = child
        return line


def read_yaml(path: Path) -> Located:
    """Return the content of a YAML file; ConfigError names file and line where it is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({(error.strerror or str(error)).lower()}); check the path"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no UTF-8 text (byte {error.start}); save it as UTF-8") from None
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_duplicates(path, tree)
        return Located(path=path, plain=yaml.safe_load(text), tree=tree)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise ConfigError(f"{path}:{line}: is no YAML: {error.problem}; check indentation, colons and quotes") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: is no YAML: {' '.join(str(error).split())}") from None


def _child(node: yaml.Node | None, key: object) -> tuple[int, yaml.Node] | None:
    """Return (line, node) of the entry `key` of a mapping or a sequence, None where there is no such entry."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                return name.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        value = node.value[key]
        return value.start_mark.line + 1, value
    return None


def _refuse_duplicates(path: Path, node: yaml.Node | None) -> None:
    if isinstance(node, yaml.MappingNode):
        lines: dict[Hashable, int] = {}
        for name, value in node.value:
            line = name.start_mark.line + 1
            if isinstance(name, yaml.ScalarNode) and name.value in lines:
                first = lines[name.value]
                raise ConfigError(
                    f"{path}:{line}: {name.value!r} is there twice (first in line {first}); keep one of them"
                )
            lines[name.value if isinstance(name, yaml.ScalarNode) else id(name)] = line
            _refuse_duplicates(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_duplicates(path, value)
