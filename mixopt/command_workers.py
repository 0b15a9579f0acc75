"""Training with the user's own command: what it is told, what it hands back, and how it may fail."""

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mixopt import reaper
from mixopt.command import Command, mixture_files
from mixopt.config import SearchConfig
from mixopt.errors import ExportError
from mixopt.export import Export
from mixopt.mixture import Mixture
from mixopt.objective import ERROR, minimized
from mixopt.text import PARTS, Text
from mixopt.workers import Job, JobProgress, Outcome, end_of, too_long

GRACE_S = 10.0  # between asking a command to end and killing it
POLL_S = 0.2
TAIL_LINES, TAIL_LETTERS = 15, 1_500  # of the output, in the error of a command that failed
KILLED = {137: "it was killed (signal 9), often for the memory it took", 143: "it was told to end (signal 15)"}
LOG, OUTPUT, PROGRESS = "command.log", "output.json", "progress.txt"


class BadOutput(ValueError):
    """What a command handed back is not what it should; the message says how."""


@dataclass(frozen=True, kw_only=True)
class RungFacts:
    """What the command is told of a rung: its `values` and `steps`, and what its trials cost on `tokens`."""

    values: Mapping[str, str]
    steps: int | None
    tokens: int
    cost_flops: float


@dataclass(frozen=True, kw_only=True)
class CommandTrainer:
    """A trainer for workers that starts the user's command in `folder`, with `environment` added to the worker's.

    sets: what it must measure, `error/<set>` for accuracies; paths: as exporters take them.
    """

    command: Command
    search: str
    seed: int
    config_hash: str
    folder: str
    sets: tuple[str, ...]
    rungs: Mapping[str, RungFacts]
    available_tokens: Mapping[str, int]
    target_tokens: int | None
    paths: Mapping[str, object]
    environment: Mapping[str, str]

    @classmethod
    def of(cls, config: SearchConfig) -> "CommandTrainer":
        """Return the trainer that the file describes."""
        command = config.command
        assert command is not None
        return cls(
            command=command,
            search=config.name,
            seed=config.seed,
            config_hash=config.digest(),
            folder=str(config.root),
            sets=config.sets,
            rungs={
                rung.name: RungFacts(
                    values={name: str(value) for name, value in rung.values.items()},
                    steps=rung.steps,
                    tokens=rung.tokens,
                    cost_flops=rung.trial_flops(tokens=rung.tokens, vocabulary=0, evaluation_tokens=0),
                )
                for rung in config.rungs
            },
            available_tokens={section.name: section.available_tokens or 0 for section in config.domains},
            target_tokens=None if config.target is None else config.target.tokens,
            paths=dict(config.workers.paths),
            environment={name: os.environ[name] for name in config.workers.environment if name in os.environ},
        )

    def __call__(self, job: Job, report: Callable[[JobProgress], None]) -> Outcome:
        """Run the command for `job`; whatever goes wrong is an outcome."""
        started = time.perf_counter()
        folder = Path(job.folder).absolute()
        log = folder / LOG
        try:
            words = self.prepare(job, folder)
            code = self._run(words, job, log, report)
        except (OSError, ExportError) as error:
            text = f"the command was not started: {' '.join(str(error).split())}"
            return Outcome(key=job.key, state=end_of(error), elapsed_s=time.perf_counter() - started, error=text)
        elapsed_s = time.perf_counter() - started
        if code == 0:
            outcome = self._read(job, folder, elapsed_s=elapsed_s)
        else:
            state, reason = _ending(job, code)
            outcome = Outcome(key=job.key, state=state, elapsed_s=elapsed_s, error=_with_tail(reason, log))
        return outcome

    def prepare(self, job: Job, folder: Path) -> list[str]:
        """Write what the command is to read into `folder`, an attempt's own, and return the words to start."""
        rung = self.rungs[job.rung]
        ((_, weights),) = job.recipe
        export = Export(
            search=self.search,
            mixture=Mixture(weights),
            available_tokens=self.available_tokens,
            seed=self.seed,
            config_hash=self.config_hash,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            target_tokens=self.target_tokens,
        )
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in (OUTPUT, PROGRESS):
            (folder / leftover).unlink(missing_ok=True)
        values = dict(rung.values)
        for placeholder in self.command.exporters:
            name, files = mixture_files(placeholder, export, self.paths)
            for each, text in files.items():
                (folder / each).write_text(text, encoding="utf-8")
            values[placeholder] = str(folder / name)
        if "gold" in self.command.placeholders and job.gold is not None:
            Path(job.gold).mkdir(parents=True, exist_ok=True)
        checkpoint = job.checkpoint
        if "checkpoint" in self.command.placeholders and "://" not in checkpoint:
            checkpoint = str(Path(checkpoint).absolute())
            Path(checkpoint).mkdir(parents=True, exist_ok=True)
        steps = None if rung.steps is None else max(1, round(rung.steps * job.tokens / rung.tokens))
        return self.command.fill(
            values
            | {
                "output": str(folder / OUTPUT),
                "seed": str(job.seed),
                "tokens": str(job.tokens),
                "steps": "" if steps is None else str(steps),
                "fidelity": job.rung,
                "part": job.part,
                "weights": ",".join(f"{name}={weight:.9f}" for name, weight in weights.items()),
                "gold": "" if job.gold is None else str(Path(job.gold).absolute()),
                "checkpoint": checkpoint,
                "progress": str(folder / PROGRESS),
                "cpus": f"{job.cpus:g}",
                "gpus": f"{job.gpus:g}",
            }
        )

    def _run(self, words: list[str], job: Job, log: Path, report: Callable[[JobProgress], None]) -> int | None:
        """Return the exit code of `words`, None where they took too long; progress is handed on meanwhile."""
        watcher = [sys.executable, "-I", "-S", reaper.__file__, str(GRACE_S), *words]
        started, seen = time.perf_counter(), 0
        with log.open("wb") as output:
            output.write(f"$ {' '.join(words)}\n".encode())
            output.flush()
            process = subprocess.Popen(
                watcher,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=os.environ | self.environment,
            )
            assert process.stdin is not None
            with process.stdin:  # however this is left, the watcher ends the command then
                while job.timeout_s is None or time.perf_counter() - started < job.timeout_s:
                    try:
                        return process.wait(POLL_S)
                    except subprocess.TimeoutExpired:
                        pass
                    events = _progress(job, log.parent / PROGRESS)
                    for event in events[seen:]:
                        report(event)
                    seen = len(events)
            process.wait()
            return None

    def _read(self, job: Job, folder: Path, *, elapsed_s: float) -> Outcome:
        """Return the outcome of a command that ended well, from the file that it wrote."""
        rung = self.rungs[job.rung]
        nominal = rung.cost_flops * job.tokens / rung.tokens
        try:
            plain = read_output(folder / OUTPUT)
            losses, accuracies, items = _measured(plain, self.sets)
            curve = _curve(plain)
            epochs = {name: value for name, value in _numbers(plain, "epochs").items() if math.isfinite(value)}
            if job.gold is not None:
                check_gold(Path(job.gold), self.sets)
        except BadOutput as error:
            text = _with_tail(f"the command ended well, but {error}", folder / LOG)
            return Outcome(key=job.key, state="failed", elapsed_s=elapsed_s, error=text)
        lost = [name for name, value in (losses | accuracies).items() if not math.isfinite(value)]
        if lost:
            text = f"the command reports that it diverged: no finite value of {', '.join(map(repr, lost))}"
            return Outcome(key=job.key, state="diverged", spent_flops=nominal, elapsed_s=elapsed_s, error=text)
        return Outcome(
            key=job.key,
            state="completed",
            losses=losses,
            accuracies=accuracies,
            items=items,
            curve=curve,
            epochs=epochs,
            spent_flops=nominal,
            elapsed_s=elapsed_s,
            details={"log": str(folder / LOG), "device": "command"},
        )


def command_text(config: SearchConfig) -> Text:
    """Return the text that another trainer reads, which mixopt knows by the sizes that the file states."""
    available = {section.name: section.available_tokens or 0 for section in config.domains}
    return Text(
        folder="",
        # Two searches share a run only where the whole command is the same, see `Setting.content`; of trainings outside
        # nothing is known, and they share none.
        digest=(f"outside-{config.name}" if config.trained_outside else "command") + config.revisions,
        vocabulary=0,
        available_tokens=available,
        slice_tokens={rung.name: _slices(config, available, rung.tokens) for rung in config.rungs},
        evaluation_tokens=dict.fromkeys(PARTS, 0),
        scored_bytes={part: dict.fromkeys(config.sets, 1) for part in PARTS},
    )


def _slices(config: SearchConfig, available: Mapping[str, int], tokens: int) -> dict[str, int]:
    share = 1.0 if config.target is None else tokens / config.target.tokens
    return {name: int(count * share) for name, count in available.items()}


def read_output(path: Path) -> Mapping[str, Any]:
    """Return the JSON that a command wrote; NaN and Infinity, as Python writes them, are numbers.

    Raises:
        BadOutput: there is none, or it is no JSON, or no mapping.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadOutput(f"it wrote no file {path}, which {{output}} names") from None
    except (ValueError, RecursionError) as error:
        raise BadOutput(f"{path} is no JSON: {str(error)[:200]}") from None
    if not isinstance(plain, dict):
        raise BadOutput(f"{path} must hold a mapping with `losses` or `accuracies`; got {type(plain).__name__}")
    return plain


def check_gold(folder: Path, sets: tuple[str, ...]) -> None:
    """Refuse gold-token files that are none: one-dimensional arrays of natural log-probabilities, one a set or none.

    Raises:
        BadOutput: names the file and what is wrong with it.
    """
    for path in sorted(folder.glob("*.npy")):
        if path.stem not in sets:
            raise BadOutput(f"{path} is named after no evaluation set; known: {', '.join(sets)}")
        try:
            logs = np.load(path, allow_pickle=False)
        except (ValueError, OSError) as error:
            raise BadOutput(f"{path} cannot be read: {' '.join(str(error).split())}") from None
        if logs.ndim != 1 or not logs.size or logs.dtype.kind != "f" or not (np.isfinite(logs) & (logs <= 0.0)).all():
            raise BadOutput(
                f"{path} must hold natural log-probabilities, one a scored token: finite and at most 0; got shape "
                f"{logs.shape} of {logs.dtype}"
            )


def _measured(
    plain: Mapping[str, Any], sets: tuple[str, ...]
) -> tuple[dict[str, float], dict[str, float], dict[str, int]]:
    """Return losses, accuracies and their numbers of items, all that was asked for and no more; null is no number."""
    losses, accuracies, items = (_numbers(plain, key) for key in ("losses", "accuracies", "items"))
    outside = {name: value for name, value in accuracies.items() if value < 0.0 or value > 1.0}
    if outside:
        raise BadOutput(f"its accuracies must lie between 0 and 1; got {outside}")
    no_counts = {name: count for name, count in items.items() if not (count >= 1.0 and count.is_integer())}
    if no_counts:
        raise BadOutput(f"its items must be whole numbers above 0; got {no_counts}")
    found = minimized(losses, accuracies)
    missing = [name for name in sets if name not in found]
    if missing:
        measured = ", ".join(found) or "nothing"
        raise BadOutput(f"it did not measure {', '.join(map(repr, missing))}; it measured: {measured}")
    kept = {name: value for name, value in accuracies.items() if ERROR + name in sets}
    counts = {name: int(items[name]) for name in kept if name in items}
    return {name: value for name, value in losses.items() if name in sets}, kept, counts


def _numbers(plain: Mapping[str, Any], key: str) -> dict[str, float]:
    found = plain.get(key, {})
    if not isinstance(found, dict):
        raise BadOutput(f"its {key!r} must map names to numbers; got {type(found).__name__}")
    wrong = {n: v for n, v in found.items() if isinstance(v, bool) or not isinstance(v, int | float | None)}
    if wrong:
        raise BadOutput(f"its {key!r} must be numbers; got {str(wrong)[:200]}")
    return {name: math.nan if value is None else float(value) for name, value in found.items()}


def _curve(plain: Mapping[str, Any]) -> tuple[tuple[int, float], ...]:
    curve = plain.get("curve", [])
    try:
        return tuple((int(tokens), float(loss)) for tokens, loss in curve)
    except (TypeError, ValueError):
        raise BadOutput("its 'curve' must be a list of pairs, tokens and the training loss") from None


def _progress(job: Job, path: Path) -> list[JobProgress]:
    """Return what the whole lines of `path` say of the training so far; what is no progress is passed over."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    except OSError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError, OverflowError):
            tokens, loss = line.split()
            found.append(JobProgress(key=job.key, tokens=int(float(tokens)), loss=float(loss)))
    return found


def _ending(job: Job, code: int | None) -> tuple[Literal["failed", "lost"], str]:
    """Return the state of a job whose command ended badly, and why: one that was killed may be tried again."""
    if code is None:
        return "failed", too_long(job)
    if code in KILLED:
        return "lost", f"the command ended with exit code {code}: {KILLED[code]}"
    return "failed", f"the command ended with exit code {code}"


def _with_tail(error: str, log: Path) -> str:
    try:
        text = log.read_bytes()[-4 * TAIL_LETTERS :].decode("utf-8", errors="replace")
    except OSError:
        return error
    tail = "\n".join(text.splitlines()[-TAIL_LINES:])[-TAIL_LETTERS:]
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
    return f"{error}; its last words: {last[:200]!r}, all of them in {log}\n{tail}"
