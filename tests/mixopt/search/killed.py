"""Searches in processes of their own that are killed at a chosen moment, as `kill -9` does it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from sqlalchemy import Engine, event

from mixopt.config import SearchConfig
from mixopt.evidence import Proposal
from mixopt.optimize.strategies import STRATEGIES
from mixopt.search.driver import Driver
from mixopt.search.experts import experts_of
from mixopt.search.launch import driving, prepare_text, start_workers
from mixopt.search.lease import HeldLease
from mixopt.search.setting import Setting
from mixopt.text import Folders
from mixopt.workers import LocalWorkers
from store import Store, Trial

TIMEOUT_S = 1200.0  # a search that hangs; on a machine that others use too one takes minutes
SERVER = multiprocessing.get_context("forkserver")  # what is heavy is imported once; nobody forks a process of threads
SERVER.set_forkserver_preload([__name__])


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When to die: before a statement or commit of that number, or after so many seconds; None: never by that."""

    statement: int | None = None
    elapsed_s: float | None = None


def run(config: SearchConfig, location: str, folder: Path, *, moment: Moment | None = None) -> tuple[int, int]:
    """Drive a search in a process of its own; return its exit code, and the statements and commits that it came to."""
    counted = SERVER.Value("l", 0)
    arguments = (config, location, folder, moment or Moment(), counted)
    process = SERVER.Process(target=_drive, args=arguments)
    process.start()
    process.join(TIMEOUT_S)
    if process.exitcode is None:
        process.kill()  # it would slow those that follow
        raise TimeoutError(f"a search did not end within {TIMEOUT_S:g} s, at statement {counted.value}")
    return process.exitcode, counted.value


def _drive(config: SearchConfig, location: str, folder: Path, moment: Moment, counted: "Synchronized[int]") -> None:
    numbers = count()

    def come_to(*_: object) -> None:
        counted.value = next(numbers)
        if counted.value == moment.statement:
            _die()

    for name in ("before_cursor_execute", "commit", "rollback"):
        event.listen(Engine, name, come_to)
    if moment.elapsed_s is not None:
        timer = threading.Timer(moment.elapsed_s, _die)
        timer.daemon = True
        timer.start()
    setting, workers = setting_of(config, folders_of(folder)), start_workers(config)
    with Store(location) as store, driving(setting, store=store, workers=workers, elapsed_s=0.0) as driver:
        for _ in driver.drive():
            pass


def folders_of(folder: Path) -> Folders:
    """Return where the searches of `folder` keep their text and artifacts."""
    return Folders(corpora=folder / "corpora", artifacts=folder / "artifacts")


def setting_of(config: SearchConfig, folders: Folders) -> Setting:
    """Return the setting of a search in `folders`."""
    return Setting.of(config, prepare_text(config, folders, report=lambda _: None), artifacts=str(folders.artifacts))


def opened(config: SearchConfig, store: Store, folders: Folders) -> Callable[[], Driver]:
    """Return what makes a driver of the only search of `store`, to look at what it would propose."""
    setting, search = setting_of(config, folders), store.searches()[0]
    return lambda: Driver(
        setting=setting,
        search=search,
        store=store,
        lease=HeldLease(store, search.id),
        workers=LocalWorkers(),
        strategy=STRATEGIES[config.strategy.name](setting.problem),
        experts_of=experts_of(setting, store),
    )


def remade(driver: Callable[[], Driver], trials: Sequence[Trial]) -> list[int]:
    """Return the numbers of the trials of a strategy that it proposes again, given what each batch had seen."""
    details = driver().store.details(trials[0].search_id)
    found, first = [], next(t.number for t in trials if t.purpose not in ("expert", "proof"))
    while first < len(trials) and trials[first].purpose != "proof":
        past = [t if t.number in trials[first].seen else t._replace(state="queued") for t in trials[:first]]
        alike = [t for t in trials[first:] if tuple(t.seen) == tuple(trials[first].seen) and t.purpose != "proof"]
        for n in range(1, len(alike) + 1):  # how many were asked for at once is not recorded
            chosen = driver()._chosen(past, n, asker=None)
            assert chosen is not None
            recorded = [(dict(t.weights), t.fidelity, t.reason, details[t.number].predicted) for t in alike[:n]]
            if [_core(p) for p in chosen.proposals] == recorded:
                found += [t.number for t in alike[:n]]
                first += n
                break
        else:
            return found
    return found


def _core(proposal: Proposal) -> tuple[object, ...]:
    predicted = {name: {"mean": p.mean, "sd": p.sd} for name, p in proposal.predicted.items()}
    return dict(proposal.mixture), proposal.fidelity, proposal.reason, predicted


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def proposals(store: Store, search_id: int) -> list[tuple[object, ...]]:
    """Return all that a store knows of the trials of a search, but the times of day."""
    details = store.details(search_id)
    return [
        (
            *(trial.number, trial.purpose, trial.reason, trial.fidelity, trial.part, trial.seed, trial.run_hash),
            *(trial.weights, trial.recipe, details[trial.number].predicted, tuple(trial.seen), trial.state),
            *(trial.charged_flops, trial.losses, details[trial.number].epochs, trial.error, trial.elapsed_s),
        )
        for trial in store.trials(search_id)
    ]
