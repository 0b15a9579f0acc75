"""The user's own training command: a template with placeholders that every trial fills in."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from mixopt.config_wording import unknown
from mixopt.errors import ConfigError, ExportError
from mixopt.export import EXPORTERS, Export

# What a trial fills in, beside the exporters' files and the values of its rung.
PLACEHOLDERS: Mapping[str, str] = {
    "output": "the file that the command writes its results to, as JSON",
    "seed": "the training's seed",
    "tokens": "how many tokens to train on",
    "steps": "how many steps to train, where the rung states its `steps`",
    "fidelity": "the name of the rung",
    "part": "the half of the evaluation text to measure on: search or proof",
    "weights": "the mixture as name=weight,name=weight",
    "gold": "for a data expert the folder for its gold-token log-probabilities, else empty",
    "checkpoint": "a folder that every attempt at this training shares, removed once it is done",
    "progress": "a file to which the command may add a line `TOKENS LOSS` from time to time",
    "cpus": "the CPUs that the rung asks for",
    "gpus": "the GPUs that the rung asks for",
}
NEEDED = ("output", "seed")  # a command without them could tell nothing, or would train the same thing again


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command as words with placeholders such as {seed}; `shell`: one word, for /bin/sh.

    `values`: names of placeholders that the rungs define.
    """

    words: tuple[str, ...]
    shell: bool
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = [*PLACEHOLDERS, *EXPORTERS, *(f"{name}.<ending>" for name in EXPORTERS), *self.values]
        if not self.words or not self.words[0].strip():
            raise ConfigError(
                "the command is empty; write what trains one proxy, such as: python train.py --seed {seed}"
            )
        for name in self.placeholders:
            if name not in known and name.split(".")[0] not in EXPORTERS:
                raise ConfigError(unknown("placeholder", name, known))
        missing = [name for name in NEEDED if name not in self.placeholders]
        if missing:
            raise ConfigError(f"the command lacks {{{missing[0]}}}: {PLACEHOLDERS[missing[0]]}; add it")
        if not self.exporters and "weights" not in self.placeholders:
            raise ConfigError(
                f"the command is not told the mixture; add the file of an exporter ({', '.join(EXPORTERS)}) or "
                "{weights}"
            )

    @classmethod
    def parse(cls, text: str | Sequence[str], *, shell: bool, values: Sequence[str] = ()) -> Command:
        """Return the command that a file gives as one text, or word by word.

        Raises:
            ConfigError: quotes that do not close, a placeholder that nobody fills in, or one that is missing.
        """
        if shell and not isinstance(text, str):
            raise ConfigError("a shell reads one text, not a list of words; write the command as one text")
        try:
            words = (text,) if shell and isinstance(text, str) else shlex.split(text) if isinstance(text, str) else text
        except ValueError as error:
            raise ConfigError(
                f"the command cannot be split into words: {str(error).lower()}; close its quotes"
            ) from None
        return cls(words=tuple(words), shell=shell, values=tuple(values))

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names in braces, in order, each once."""
        found: dict[str, None] = {}
        for word in self.words:
            for _, name, form, conversion in _fields(word):
                if name is None:
                    continue
                if not name or form or conversion:
                    raise ConfigError(f"{word!r} holds no plain placeholder; a brace that is meant as one is doubled")
                found[name] = None
        return tuple(found)

    @property
    def exporters(self) -> tuple[str, ...]:
        """The placeholders that stand for a file of an exporter."""
        return tuple(n for n in self.placeholders if n.split(".")[0] in EXPORTERS and n not in self.values)

    def fill(self, values: Mapping[str, str]) -> list[str]:
        """Return the words to start, every placeholder replaced; a shell is handed them quoted."""
        safe = {name: shlex.quote(value) for name, value in values.items()} if self.shell else values
        words = [_filled(word, safe) for word in self.words]
        return ["/bin/sh", "-c", *words] if self.shell else words


def mixture_files(placeholder: str, export: Export, paths: Mapping[str, object]) -> tuple[str, dict[str, str]]:
    """Return the name of the file that `placeholder` stands for, and all files that go with it, by name.

    `{megatron}` is the first file of the exporter `megatron`, `{megatron.json}` the one that ends so.

    Raises:
        ExportError: the exporter cannot write this mixture, or not that file.
    """
    exporter, _, ending = placeholder.partition(".")
    files = EXPORTERS[exporter](export, paths)
    if ending:
        wanted = next((name for name in files if name.endswith(f".{placeholder}")), None)
        wanted = wanted or next((name for name in files if name.endswith(f".{ending}")), f"<search>.{placeholder}")
    else:
        plainest = {name: {"path": f"/{i}", "tokens_a_row": 1} for i, name in enumerate(export.mixture)}
        wanted = next(iter(EXPORTERS[exporter](export, plainest)))
    if wanted not in files:
        raise ExportError(f"exporter {exporter!r} writes {sorted(files)} for these paths and not {wanted!r}")
    return wanted, files


def _fields(word: str) -> list[tuple[str, str | None, str | None, str | None]]:
    try:
        return list(Formatter().parse(word))
    except ValueError as error:
        raise ConfigError(f"{word!r} is no template ({error}); a brace that is meant as one is doubled") from None


def _filled(word: str, values: Mapping[str, str]) -> str:
    return "".join(text + ("" if name is None else values[name]) for text, name, _, _ in _fields(word))
