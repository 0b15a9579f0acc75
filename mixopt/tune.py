"""A search inside Ray Tune: a user's own trainable, its mixtures proposed by the same brain and kept in the same store.

Tune's own snapshots hold which of its trials is which of the search's, and nothing else that could be lost.
"""

import json
import logging
import os
import threading
import uuid
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from mixopt.errors import ConfigError, SearchError
from mixopt.search.asking import ask_as, open_search, tell
from mixopt.search.report import find
from mixopt.search.telling import handed_out
from mixopt.submission import STORE_VARIABLE, holds_password
from mixopt.text import Folders
from store import OUTSIDE, Store, StoreError, Trial

FALLBACK = "random"  # the strategy that needs no fit
BACK_OFF_S = 5.0  # before a search that could not be asked is asked again
MEASURED = ("losses", "accuracies", "items")  # what a trainable reports
LOGGER = logging.getLogger(__name__)


class MixtureSearcher(Searcher):
    """Proposes mixtures to Tune and records what its trials report.

    search: a search of the store, or its file, which begins it. store: where it is kept; None: what the variable
    MIXOPT_STORE says when it is needed, or else `mixopt.db`.

    A trainable finds `weights`, `fidelity` (the rung), `tokens`, `seed`, and `trial` (the search's number) in its
    `config`. With its last report it says `losses`, a number for every evaluation set, as `mixopt tell` takes them.
    A trial that ends without them has failed. Nothing that goes wrong here ends Tune's run.

    Raises:
        SearchError, ConfigError, StoreError: there is no such search, or it cannot be begun; only from here.
    """

    _asking: "Future[dict[str, Any] | str | None] | None"  # what is thought about now
    _numbers: dict[str, int]  # by the id of Tune's trial, that of the search's
    _untold: list[dict[str, Any]]

    def __init__(self, search: str, *, store: str | None = None) -> None:
        super().__init__()
        if store is not None and holds_password(store):
            raise ConfigError(
                "the URL of the store holds a password, which Tune would write into its folder; put the URL into "
                f"{STORE_VARIABLE} and leave `store` out, or the password into PGPASSWORD"
            )
        self._place = store if store is None or "://" in store else str(Path(store).resolve())
        self._experiment = uuid.uuid4().hex
        with Store(self._location) as ledger:
            if Path(search).suffix in (".yaml", ".yml"):
                search = open_search(ledger, search, Folders.beside(self._location), report=LOGGER.info).name
            self._search = find(ledger, search).name
        self._start()

    def set_search_properties(
        self,
        metric: str | None,
        mode: str | None,
        config: dict[str, Any],
        **spec: Any,  # noqa: ANN401  # Tune's
    ) -> bool:
        """Take what Tune says of its metric, which decides nothing here: the search has its objective."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a word
        """Return the configuration of a new trial of Tune's, None while one is thought about, FINISHED after the last.

        The search is asked in a thread: a fit takes seconds, in which Tune goes on with what runs.
        """
        if self._asking is None:
            self._asking = self._pool.submit(self._ask)
        if not self._asking.done():
            return None
        config, self._asking = self._asking.result(), None
        if isinstance(config, dict):
            self._numbers[trial_id] = int(config["trial"])
        return config

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record what a trial of Tune's reported last, or that it failed."""
        number = self._numbers.get(trial_id, (result or {}).get("config/trial"))
        if number is None:
            LOGGER.warning("trial %s of Tune is none of search %r: it is left out", trial_id, self._search)
            return
        with self._lock:
            self._untold.append({"trial": int(number)} | outcome_of(result, failed=error))
        if self._asking is None or self._asking.done():  # who thinks holds the search; it tells when it has thought
            self._tell()

    def save(self, checkpoint_path: str) -> None:
        """Write which of Tune's trials is which of the search's, and what could not be told yet, as JSON."""
        if self._asking is None or self._asking.done():
            self._tell()
        with self._lock:
            state = {
                "search": self._search,
                "experiment": self._experiment,
                "numbers": self._numbers,
                "untold": self._untold,
            }
            Path(checkpoint_path).write_text(json.dumps(state), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Go on as the search that was saved; what Tune has forgotten since is handed out to it again."""
        state = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
        self._search, self._experiment = state["search"], state["experiment"]
        self._numbers, self._untold = dict(state["numbers"]), list(state["untold"])

    @property
    def _location(self) -> str:
        return self._place or os.environ.get(STORE_VARIABLE, "mixopt.db")

    def _start(self) -> None:
        """Begin without any trial of Tune's."""
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mixopt")
        self._lock = threading.Lock()
        self._asking, self._numbers, self._untold = None, {}, []

    def __getstate__(self) -> dict[str, Any]:
        """Return what names the search: all else is in the store, or in what `save` writes."""
        gone = ("_pool", "_lock", "_asking", "_numbers", "_untold")
        return {key: value for key, value in self.__dict__.items() if key not in gone}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def _ask(self) -> dict[str, Any] | str | None:
        """Return the configuration of the next trial; None where the search cannot be asked now."""
        self._tell()
        try:
            found = self._hand_out(None)
        except Exception:  # whatever it is, it must not end the run of somebody else
            LOGGER.exception("search %r could not propose; it proposes at random", self._search)
            try:
                found = self._hand_out(FALLBACK)
            except Exception:
                LOGGER.exception("search %r could not be asked; it will be again", self._search)
                threading.Event().wait(BACK_OFF_S)
                return None
        finally:
            self._tell()
        return str(self.FINISHED) if found is None else found

    def _hand_out(self, strategy: Any) -> dict[str, Any] | None:  # noqa: ANN401  # a name of a strategy, or None
        """Return a trial that the search hands out to nobody else, None where it has no more."""
        mine = f"{OUTSIDE}tune:{self._experiment}:"
        with Store(self._location) as ledger:
            search = find(ledger, self._search)
            waiting = [
                trial
                for trial in handed_out(ledger, search)
                if trial.number not in self._numbers.values() and ledger.attempts(trial.id)[-1].worker.startswith(mine)
            ]
            if not waiting:
                waiting, said = ask_as(f"{mine}{uuid.uuid4().hex}", ledger, self._search, strategy=strategy)
                LOGGER.info("%s", said)
            return configuration(waiting[0], search.config) if waiting else None

    def _tell(self) -> None:
        """Record what was reported, as far as the store can be reached; the rest waits for the next time."""
        with self._lock:
            while self._untold:
                told = self._untold[0]
                try:
                    with Store(self._location) as ledger:
                        LOGGER.info("%s", tell(ledger, self._search, [told]))
                except SearchError as refused:
                    if "losses" not in told:  # it was recorded before: Tune does some things twice
                        LOGGER.warning("trial %d: %s", told["trial"], refused)
                    else:
                        self._untold[0] = {"trial": told["trial"], "failed": f"what it reported was refused: {refused}"}
                        continue
                except StoreError as error:
                    LOGGER.warning("trial %d is not recorded yet: %s", told["trial"], error)
                    return
                del self._untold[0]


def configuration(trial: Trial, resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a trainable is told of a trial, in plain values."""
    rung = next(rung for rung in resolved["ladder"] if rung["name"] == trial.fidelity)
    told = {"trial": trial.number, "weights": dict(trial.weights), "fidelity": trial.fidelity, "seed": trial.seed}
    return told | {"tokens": rung["tokens"]} | ({} if rung.get("steps") is None else {"steps": rung["steps"]})


def outcome_of(result: Mapping[str, Any] | None, *, failed: bool) -> dict[str, Any]:
    """Return what is told of a trial whose last report, flat or nested, was `result`."""
    if failed:
        return {"failed": "the trainable raised an error, or was lost; Tune's folder of the trial says more"}
    try:
        measured = {kind: _numbers(result or {}, kind) for kind in MEASURED}
    except (TypeError, ValueError) as error:
        return {"failed": f"it reported what is no number: {error}"}
    if not measured["losses"] and not measured["accuracies"]:
        return {"failed": "it ended without losses; report them, for every evaluation set, with the last report"}
    strange = {name: value for name, value in measured["losses"].items() if not abs(value) < float("inf")}
    return {"diverged": f"losses that are no finite numbers: {strange}"} if strange else measured


def _numbers(result: Mapping[str, Any], kind: str) -> dict[str, float]:
    flat = {key.removeprefix(f"{kind}/"): value for key, value in result.items() if key.startswith(f"{kind}/")}
    return {str(name): float(value) for name, value in (flat | dict(result.get(kind) or {})).items()}
