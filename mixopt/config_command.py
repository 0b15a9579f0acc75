"""What a search's file says of the user's own trainer, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixopt.command import PLACEHOLDERS, Command, mixture_files
from mixopt.config_wording import wrong
from mixopt.errors import ConfigError, ExportError
from mixopt.export import EXPORTERS, Export
from mixopt.mixture import Mixture
from mixopt.sections import RungSection, WorkersSection


def command_of(workers: WorkersSection, rungs: Sequence[RungSection]) -> Command:
    """Return the command of a file that has one; ConfigError says what is wrong with it."""
    assert workers.command is not None
    values = dict.fromkeys(name for rung in rungs for name in rung.values)
    return Command.parse(workers.command, shell=workers.shell, values=tuple(values))


def check_rung(path: tuple[str | int, ...], rung: RungSection) -> None:
    """Refuse, at `path`, a rung that a command cannot train."""
    if rung.proxy is not None:
        raise wrong((*path, "proxy"), "a command trains a model of its own; state its `parameters` and remove `proxy`")
    if rung.parameters is None:
        raise wrong(path, f"rung {rung.name!r} of a command needs `parameters`, those of its model that are active")
    if rung.processes > 1:
        message = "a command starts its own processes, such as with torchrun; give `cpus` and `gpus` for all of them"
        raise wrong((*path, "processes"), message)
    taken = [name for name in rung.values if name in PLACEHOLDERS or name in EXPORTERS]
    if taken:
        raise wrong((*path, "values", taken[0]), f"{taken[0]!r} is a placeholder already; name the value otherwise")


def check_outside(asked: Mapping[str, object]) -> None:
    """Refuse what only trainings that mixopt starts could give, where it starts none; None: not asked for."""
    for key, value in asked.items():
        if value is not None:
            path = ("workers", key) if key == "command" else (key,)
            raise wrong(path, f"`workers: {{kind: outside}}` starts no training, so there is no {key!r}; remove it")


def check_command(
    workers: WorkersSection, rungs: Sequence[RungSection], *, search: str, available_tokens: Mapping[str, int]
) -> None:
    """Let the template, its exporters and every rung judge the command, before anything is trained."""
    natural = Mixture.proportional({name: float(count) for name, count in available_tokens.items()})
    export = Export(
        search=search, mixture=natural, available_tokens=available_tokens, seed=0, config_hash="", created=""
    )
    try:
        command = command_of(workers, rungs)
        for placeholder in command.exporters:
            mixture_files(placeholder, export, workers.paths)
    except ExportError as error:
        raise wrong(("workers", "paths"), str(error)) from None
    except ConfigError as error:
        raise wrong(("workers", "command"), str(error)) from None
    for i, rung in enumerate(rungs):
        lacking = [name for name in command.placeholders if name in command.values and name not in rung.values]
        if lacking:
            raise wrong(
                ("ladder", i), f"the command asks for {{{lacking[0]}}}; give it under `values` of {rung.name!r}"
            )
        if "steps" in command.placeholders and rung.steps is None:
            raise wrong(("ladder", i), f"the command asks for {{steps}}; state the `steps` of rung {rung.name!r}")
    if len(rungs) > 1 and not {"tokens", "steps", "fidelity", *command.values} & set(command.placeholders):
        raise wrong(
            ("workers", "command"),
            "the command does the same at every rung; add {tokens}, {steps}, {fidelity} or one of the rungs' `values`",
        )
