"""Ask and tell: trials of a search that others train, handed out and recorded while a driver runs or none does."""

import json
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from mixopt.config import SearchConfig, load
from mixopt.errors import SearchError
from mixopt.optimize.strategies import STRATEGIES
from mixopt.runs_table import FORMATS
from mixopt.search.driver import Driver
from mixopt.search.dues import awaits_experts
from mixopt.search.experts import experts_of
from mixopt.search.launch import find_or_create, prepare_text
from mixopt.search.lease import HeldLease
from mixopt.search.probing import with_recorded
from mixopt.search.report import find
from mixopt.search.revising import standing
from mixopt.search.setting import Setting
from mixopt.search.telling import TELL, Told, check_told, handed_out
from mixopt.search.wishes import ASK, wish
from mixopt.sections import StrategyName
from mixopt.simulated_workers import simulated_text
from mixopt.text import Folders, Say, Text
from mixopt.workers import LocalWorkers
from proxies.corpus import open_corpus
from store import OUTSIDE, LeaseHeld, Search, Store, Trial

POLL_S = 0.2
WAIT_S = 600.0  # for a driver to answer: one that trains in its own process hears only between trainings
SAME = 1e-3  # total variation below which a table's mixture is the one that was handed out


def open_search(store: Store, path: str, folders: Folders, *, report: Say) -> Search:
    """Return the search of the file at `path`, begun if it is new.

    Raises:
        SearchError: it has begun otherwise, see `find_or_create`.
    """
    config, said = standing(store, with_recorded(load(path), store))
    for line in said:
        report(line)
    text = prepare_text(config, folders, report=report)
    return find_or_create(store, Setting.of(config, text, artifacts=str(folders.artifacts)))


def ask(store: Store, name: str, *, n: int = 1, wait_s: float = WAIT_S) -> list[Trial]:
    """Return `n` trials of the search called `name` for somebody else to train; each waits until `tell` ends it.

    They are charged like all others. Fewer come back where the budget pays for no more. While a driver runs, it is the
    driver that proposes, and this waits for it.

    Raises:
        SearchError: there is no such search, none was handed out, or no driver answered for `wait_s` seconds.
    """
    if n < 1:
        raise SearchError(f"ask for at least one trial; got {n}")
    found, said = ask_as(f"{OUTSIDE}{uuid.uuid4().hex}", store, name, n=n, wait_s=wait_s)
    if not found:
        raise SearchError(f"{name!r} hands out no trial: {said}")
    return found


def ask_as(
    asker: str, store: Store, name: str, *, n: int = 1, strategy: StrategyName | None = None, wait_s: float = WAIT_S
) -> tuple[list[Trial], str]:
    """Return the trials that the search hands out to `asker`, none where it has no more, and in words how that came.

    Asked twice by the same asker, they are the same. strategy: another than the file's, where no driver runs.

    Raises:
        SearchError: there is no such search, or no driver answered for `wait_s` seconds.
    """
    search = find(store, name)
    try:
        said = _hand_out(store, search, n=n, asker=asker, strategy=strategy)
    except LeaseHeld:
        said = _through_inbox(store, search, n=n, asker=asker, wait_s=wait_s)
    return handed_out(store, search, asker), said


def tell(store: Store, name: str, told: Sequence[Told]) -> str:
    """Record what was measured of trials that `ask` handed out, or leave it for the driver; return what came of it.

    told: a mapping for each, of `trial` (its number) and `losses`, by evaluation set, all that the search measures
    (`accuracy/<set>`, or apart as `accuracies`, with `items`); or of `failed` or `diverged` and the reason.

    Raises:
        SearchError: what is wrong; then nothing is recorded of any of them.
    """
    search = find(store, name)
    check_told(store, search, told)
    return wish(store, search, TELL, {"told": [dict(each) for each in told]})


def told_of_text(text: str) -> dict[str, object]:
    """Return what `set=1.23,...` tells, or the JSON file that `text` names where it has no `=`.

    Raises:
        SearchError: it can be read as neither.
    """
    if "=" not in text:
        return told_of_file(Path(text))
    losses: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.rpartition("="))
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not equals or not name or name in losses or (math.isnan(number) and value.lower() not in ("nan", "-nan")):
            raise SearchError(f"losses read like web=0.93,code=0.71, each set once; got {part[:80]!r}")
        losses[name] = number
    return {"losses": losses}


def told_of_file(path: Path) -> dict[str, object]:
    """Return what a JSON file tells: losses, accuracies and items as a command writes them, or losses alone.

    Raises:
        SearchError: it cannot be read.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SearchError(f"{path} cannot be read as JSON: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(plain, dict):
        raise SearchError(f"{path} must map evaluation sets to losses; got {type(plain).__name__}")
    if any(isinstance(plain.get(key), Mapping) for key in ("losses", "accuracies")):
        return {key: plain[key] for key in ("losses", "accuracies", "items") if key in plain}
    return {"losses": plain}


def told_of_table(store: Store, name: str, path: Path) -> list[dict[str, object]]:
    """Return what a table of runs tells of the search called `name`: a row's `run_id` is the number of its trial.

    Raises:
        TableError: it is no table of runs.
        SearchError: a row is not of the trial that it names.
    """
    search = find(store, name)
    waiting = {str(trial.number): trial for trial in handed_out(store, search)}
    found = []
    for run in FORMATS["table"](path).runs:
        trial = waiting.get(run.run_id)
        if trial is None:
            raise SearchError(
                f"{path}: run_id {run.run_id!r} is no trial that was handed out; these are: {list(waiting) or 'none'}"
            )
        strange = sum(abs(run.mixture.get(n, 0.0) - w) for n, w in trial.weights.items()) / 2.0
        strange += sum(w for n, w in run.mixture.items() if n not in trial.weights)
        if run.fidelity != trial.fidelity or strange > SAME:
            raise SearchError(f"{path}: run {run.run_id} is not of the rung and mixture of trial {trial.number}")
        found.append(
            {
                "trial": trial.number,
                "losses": dict(run.losses),
                "accuracies": dict(run.accuracies),
                "items": dict(run.items),
            }
        )
    return found


def _hand_out(store: Store, search: Search, *, n: int, asker: str, strategy: StrategyName | None = None) -> str:
    """Propose as a driver would, while the lease is held; LeaseHeld where there is one."""
    with HeldLease(store, search.id) as lease:
        config = SearchConfig.from_plain(search.config)
        setting = Setting.of(config, _text(search, config), artifacts="")
        if awaits_experts(setting, store.trials(search.id)):
            raise SearchError(
                f"a rung of {search.name!r} starts from its data experts, which are not trained yet, and no "
                "driver runs that would train them: start it with `mixopt run`, and ask again once they are there"
            )
        driver = Driver(
            setting=setting,
            search=search,
            store=store,
            lease=lease,
            workers=LocalWorkers(),
            strategy=STRATEGIES[strategy or config.strategy.name](setting.problem),
            experts_of=experts_of(setting, store),
        )
        while (said := driver.hand_out(n, asker)) is None:  # it failed, and tries once more
            continue
        return said


def _through_inbox(store: Store, search: Search, *, n: int, asker: str, wait_s: float) -> str:
    """Leave the wish for the driver, and wait until it is heard; where it dies before, propose in its place."""
    message = store.post(search.id, ASK, {"n": n, "asker": asker})
    until_s = time.monotonic() + wait_s
    while any(each.id == message.id for each in store.messages(search.id)):
        if time.monotonic() > until_s:
            store.mark_drained(message.id)
            if not handed_out(store, search, asker):
                raise SearchError(f"the driver of {search.name!r} did not answer for {wait_s:g} s; ask again later")
        time.sleep(POLL_S)
        try:
            said = _hand_out(store, search, n=n, asker=asker)
        except LeaseHeld:
            continue
        store.mark_drained(message.id)
        return said
    return "its driver has no more to propose, or no budget for it"


def _text(search: Search, config: SearchConfig) -> Text:
    """Return the text of a search that has begun."""
    if config.has_own_text:
        return Text.of(open_corpus(Path(str(search.corpus["folder"]))), config)
    return simulated_text(config) if config.simulated is not None else prepare_text(config, _NOWHERE, report=_silent)


_NOWHERE = Folders(corpora=Path(), artifacts=Path())  # nothing is prepared for a trainer that reads its own text


def _silent(_: str) -> None:
    """Say nothing."""
