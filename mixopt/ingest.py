"""Runs made elsewhere into a search of the store, joined on their id; and a search's runs out of it, as a table."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixopt.config import objective_of
from mixopt.errors import SearchError, TableError
from mixopt.evidence import IMPORTED
from mixopt.mixture import Mixture, Recipe
from mixopt.objective import Objective
from mixopt.runs_table import RunsTable, TableRun
from proxies.config import ProxyConfig
from proxies.corpus import open_corpus
from proxies.errors import CorpusError
from proxies.simulated import VOCABULARY
from store import NewTrial, Result, Search, Store, Trial

PROOF = "proof"  # the part, and so the split, of runs that a proof was measured on
PART = "search"  # the part of the evaluation text that an imported run is taken to be measured on
HASH_DIGITS = 8  # of a run's hash in the id of an exported run: enough to tell apart those of one search
LEASE_S = 60.0  # an import that has not ended by then is dead
UNCOUNTED = 1  # tokens of every domain of a search made from a table that tells none: all alike

Plain = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What came of an import: runs of the table, those added, and what there is to say of the others."""

    search: str
    runs: int
    added: int
    warnings: tuple[str, ...]


def import_runs(store: Store, table: RunsTable, *, name: str) -> Imported:
    """Bring the runs of `table` into the search called `name` as completed trials, charged their costs as stated.

    A run that is there already, by its id, is not added again. Where there is no such search, one is made that has
    nothing but the table, and minimizes the mean of the losses that most of its runs measured.

    Raises:
        TableError: a run_id is there with other contents, or nothing in the table can be used by the search.
        SearchError: the table does not fit the search.
    """
    found = store.find_search(name)
    sets = objective_of(found.config).sets if found else _common_sets(table)
    offered = [run for run in table.runs if not (found and _is_driven(found) and run.split == PROOF)]
    usable = [run for run in offered if set(sets) <= set(run.measured)]
    if not usable:
        raise TableError(f"no run measures all of {list(sets)}, which is minimized; the table has {list(table.sets)}")
    warnings = []
    if proofs := len(table) - len(offered):
        warnings.append(f"runs of a proof are left out, for no search looks at the text of a proof: {proofs}")
    if left := len(offered) - len(usable):
        warnings.append(f"runs are left out that do not measure all of {list(sets)}, which is minimized: {left}")
    search = found or _create(store, table, name, sets)
    owner = f"import:{socket.gethostname()}:{os.getpid()}"
    store.acquire_lease(search.id, owner=owner, host=socket.gethostname(), pid=os.getpid(), ttl_s=LEASE_S)
    try:
        added = _add(store, search, table, usable)
    finally:
        store.release_lease(search.id, owner=owner)
    return Imported(search=name, runs=len(table), added=added, warnings=(*warnings, *_strangers(search, table)))


def _is_driven(search: Search) -> bool:
    """Say whether `search` is one of a file, which trains runs of its own, and not made from tables."""
    return not search.config.get(IMPORTED)


def _add(store: Store, search: Search, table: RunsTable, runs: Sequence[TableRun]) -> int:
    """Add those of `runs` that are not there yet, in one transaction; return how many they are."""
    _check_fit(search, table)
    known = _contents(store, search)
    _check_same([run for run in runs if run.run_id in known], known)
    new = [(_trial(run, search), _result(run)) for run in runs if run.run_id not in known]
    store.add_finished(search.id, new)
    if not _is_driven(search):
        _revise(store, search, runs_of(store, search))
    return len(new)


def runs_of(store: Store, search: Search) -> RunsTable:
    """Return the completed trials of `search` as a table: imported ones as they came, its own with their FLOPs as cost.

    Raises:
        SearchError: no trial is completed.
    """
    trials = store.trials(search.id, states=("completed",))
    if not trials:
        raise SearchError(f"search {search.name!r} has no completed trial yet; go on with: mixopt run")
    vocabulary = _vocabulary(search)
    contents = [store.run(trial.run_hash).content for trial in trials]
    return RunsTable.of(_run(search, t, content, vocabulary) for t, content in zip(trials, contents, strict=True))


def _contents(store: Store, search: Search) -> dict[str, str | None]:
    """Return {run_id: hash of its content} of the trials of `search`; None for its own, which no table overrules."""
    found: dict[str, str | None] = {}
    for trial in store.trials(search.id):
        if trial.state == "retracted":
            continue  # the same run may come again, mended
        if trial.purpose == IMPORTED:
            found[str(store.run(trial.run_hash).content["run_id"])] = trial.run_hash.partition(".")[0]
        else:
            found[_own_id(search, trial)] = None
    return found


def _check_same(again: Sequence[TableRun], known: Mapping[str, str | None]) -> None:
    changed = [run.run_id for run in again if known[run.run_id] not in (None, _hash(_content(run)))]
    if changed:
        raise TableError(
            f"run_id {changed[0]!r} (and {len(changed) - 1} more) was imported before with other contents; "
            "give changed runs an id of their own"
        )


def _check_fit(search: Search, table: RunsTable) -> None:
    unknown = [name for name in table.domains if name not in search.domains]
    if unknown:
        raise SearchError(
            f"the table weighs domains {unknown} that search {search.name!r} does not have; "
            f"it has {list(search.domains)}; rename the columns, or import into another search"
        )


def _strangers(search: Search, table: RunsTable) -> list[str]:
    """Return what the search cannot learn from, in words."""
    rungs = [str(rung["name"]) for rung in search.config["ladder"]]
    others = [name for name in table.fidelities if name not in rungs]
    if others and _is_driven(search):
        return [f"fidelities {others} are no rungs of {search.name!r}: kept, but the search does not learn from them"]
    return []


def _trial(run: TableRun, search: Search) -> NewTrial:
    content = _content(run)
    mixture = Mixture({name: run.mixture.get(name, 0.0) for name in search.domains})
    return NewTrial(
        purpose=IMPORTED,
        fidelity=run.fidelity,
        seed=run.seed,
        part=PART,
        recipe=Recipe.of(mixture).plain(),
        weights=dict(mixture),
        run_hash=_hash(content),
        content=content,
        charged_flops=run.cost,
        reason=f"imported run {run.run_id}",
    )


def _result(run: TableRun) -> Result:
    drawn = {} if run.tokens is None else {name: weight * run.tokens for name, weight in run.mixture.items()}
    epochs = {name: tokens / run.available[name] for name, tokens in drawn.items() if name in run.available}
    return Result(
        losses=run.losses,
        accuracies=run.accuracies,
        items=run.items,
        curve=(),
        epochs=epochs,
        spent_flops=run.cost,
        elapsed_s=0.0,
    )


def _content(run: TableRun) -> Plain:
    """Return a run as it stands in the store: all of its row, so that a run is the same only if all of it is."""
    return {
        "run_id": run.run_id,
        "fidelity": run.fidelity,
        "cost": run.cost,
        "seed": run.seed,
        "split": run.split,
        "weights": dict(run.mixture),
        "losses": dict(run.losses),
        "accuracies": dict(run.accuracies),
        "items": dict(run.items),
        "parameters": run.parameters,
        "tokens": run.tokens,
        "available": dict(run.available),
    }


def _run(search: Search, trial: Trial, content: Mapping[str, Any], vocabulary: int | None) -> TableRun:
    if trial.purpose == IMPORTED:
        row = {key: value for key, value in content.items() if key != "weights"}
        return TableRun(**row, mixture=Mixture(content["weights"]))
    share = _share(search, content)
    return TableRun(
        run_id=_own_id(search, trial),
        fidelity=trial.fidelity,
        cost=trial.charged_flops,
        seed=trial.seed,
        mixture=Mixture({name: trial.weights.get(name, 0.0) for name in search.domains}),
        split=trial.part,
        losses=trial.losses,
        accuracies=trial.accuracies,
        items=trial.items,
        parameters=_parameters(content, vocabulary),
        tokens=content.get("tokens"),
        available={name: max(1, round(count * share)) for name, count in search.domains.items() if count > 0},
    )


def _parameters(content: Mapping[str, Any], vocabulary: int | None) -> int | None:
    proxy: Mapping[str, Any] = content.get("proxy", {})
    if "parameters" in proxy:  # of a command's model
        return int(proxy["parameters"])
    return None if vocabulary is None or not proxy else ProxyConfig.from_plain(proxy).active_parameters(vocabulary)


def _vocabulary(search: Search) -> int | None:
    """Return the vocabulary of a search's tokenizer; None where its prepared text is not here any more."""
    if search.config.get("simulated"):
        return VOCABULARY
    try:
        return open_corpus(Path(search.corpus.get("folder", ""))).vocabulary
    except CorpusError:
        return None


def _share(search: Search, content: Mapping[str, Any]) -> float:
    """Return the share of every domain that a trial had: with a target, its rung's tokens over the target's."""
    target = search.config.get("target")
    tokens = {rung["name"]: rung.get("tokens") for rung in search.config["ladder"]}.get(content.get("rung"))
    return 1.0 if target is None or tokens is None else min(1.0, tokens / target["tokens"])


def _own_id(search: Search, trial: Trial) -> str:
    return f"{search.name}-{trial.number}-{trial.run_hash[:HASH_DIGITS]}"


def _common_sets(table: RunsTable) -> tuple[str, ...]:
    """Return what a search made from `table` minimizes the mean of: the losses (or errors) that most runs measured."""
    sets = table.loss_sets or table.sets
    counts = dict(zip(table.sets, np.isfinite(table.values).sum(axis=0), strict=True))
    return tuple(name for name in sets if counts[name] == max(counts[name] for name in sets))


def _create(store: Store, table: RunsTable, name: str, sets: Sequence[str]) -> Search:
    """Return a new search that has nothing but `table`, finished; it minimizes the mean over `sets`."""
    objective = {"kind": "mean", "weights": dict(Objective(dict.fromkeys(sets, 1.0)).weights)}
    config = _config(name, table, table.available(table.ladder.top.name), objective)
    tokens = {domain["name"]: domain["available_tokens"] or UNCOUNTED for domain in config["domains"]}
    search = store.create_search(
        name=name, seed=0, config=config, config_hash=_hash(config), corpus={"digest": IMPORTED}, domains=tokens
    )
    store.set_state(search.id, "finished")
    return store.search(search.id)


def _revise(store: Store, search: Search, table: RunsTable) -> None:
    """Bring the configuration of a search that was made from tables up to its runs."""
    stated = {domain["name"]: domain["available_tokens"] for domain in search.config["domains"]}
    config = _config(search.name, table, stated, search.config["objective"])
    store.revise_search(search.id, config=config, config_hash=_hash(config), note="runs were imported")


def _config(name: str, table: RunsTable, available: Mapping[str, int | None], objective: Plain) -> Plain:
    """Return what a search made from a table has of a configuration: its keys, and nothing to train with."""
    return {
        IMPORTED: True,
        "name": name,
        "seed": 0,
        "corpus": None,
        "domains": [
            {"name": n, "source": None, "available_tokens": available.get(n), "held_out": None} for n in table.domains
        ],
        "evaluation": {},
        "objective": objective,
        "target": None,
        "ladder": [
            {"name": r.name, "tokens": r.tokens, "parameters": r.parameters, "cost": r.cost_flops} for r in table.ladder
        ],
        "experts": None,
        "simulated": None,
        "budget_flops": sum(run.cost for run in table.runs),
    }


def _hash(plain: Mapping[str, Any]) -> str:
    """Return the sha256 of a plain mapping."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True, allow_nan=False).encode()).hexdigest()
