"""A search of very many trials with curves, written in minutes' stead in seconds, and what reading it takes.

python -m tests.benchmarks.large_stores 100000
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy import insert, update

from dashboard import frames
from mixopt.config import SearchConfig, load
from mixopt.search.ledger import read_history
from mixopt.search.report import report, summaries
from mixopt.search.setting import Setting
from mixopt.simulated_workers import simulated_text
from store import Search, Store, pages
from store.clock import now
from store.schema import (
    AttemptRow,
    CurveRow,
    MeasurementRow,
    PredictionRow,
    RunRow,
    SearchRow,
    TrialRow,
    WeightRow,
)

CONFIG = Path(__file__).parents[2] / "configs" / "simulated.yaml"
AT_ONCE = 5_000
CURVE_POINTS = 10
SETS = ("web", "code", "books", "math")


def setting() -> Setting:
    """Return the setting of the search."""
    config: SearchConfig = load(CONFIG)
    return Setting.of(config, simulated_text(config), artifacts="")


def fill(location: str | Path, count: int) -> Search:
    """Write a search of `count` completed trials, each with a curve, as a driver would have by and by."""
    found = setting()
    config = found.config
    with Store(location) as store:
        search = store.create_search(
            name=config.name,
            seed=config.seed,
            config=config.resolved(),
            config_hash=config.digest(),
            corpus={"digest": found.text.digest, "folder": found.text.folder, "manifest": None},
            domains=dict(found.text.available_tokens),
        )
        rng = random.Random(0)
        for first in range(0, count, AT_ONCE):
            with store._write() as session:
                for table, rows in _rows(range(first, min(count, first + AT_ONCE)), search, rng).items():
                    session.execute(insert(table), rows)
        with store._write() as session:
            session.execute(update(SearchRow).values(change=count))
            pages.fill(session)
        return store.search(search.id)


def _rows(numbers: range, search: Search, rng: random.Random) -> Mapping[type, list[dict[str, object]]]:
    moment, names = now(), list(search.domains)
    rows: dict[type, list[dict[str, object]]] = {
        table: [] for table in (RunRow, MeasurementRow, CurveRow, TrialRow, WeightRow, PredictionRow, AttemptRow)
    }
    for number in numbers:
        key = number + 1
        drawn = [rng.expovariate(1.0) for _ in names]
        weights = {name: weight / sum(drawn) for name, weight in zip(names, drawn, strict=True)}
        recipe, rung = [[1.0, weights]], "small" if number % 5 else "large"
        ended: dict[str, object] = {"elapsed_s": 1.0}
        rows[RunRow].append(
            {"id": key, "run_hash": f"r{number}", "content": {"recipe": recipe, "proxy": {}}, "epochs": weights}
            | {"details": {"device": "cpu"}, "completed_at": moment, **ended}
        )
        rows[MeasurementRow] += [
            {"run_id": key, "part": "search", "evaluation_set": name, "kind": "loss", "value": 1.0 + rng.random()}
            for name in SETS
        ]
        rows[CurveRow] += [
            {"run_id": key, "tokens": 1_000 * point, "loss": 3.0 - 0.1 * point, "is_finite": True}
            for point in range(CURVE_POINTS)
        ]
        rows[TrialRow].append(
            {"id": key, "search_id": search.id, "number": number, "run_id": key, "purpose": "search", "fidelity": rung}
            | {"seed": 0, "part": "search", "recipe": recipe, "state": "completed", "reason": "expected gain"}
            | {"seen": f"0-{number - 1}" if number else "", "charged_flops": 1e9, "change": key}
            | {"created_at": moment, "started_at": moment, "finished_at": moment}
        )
        rows[WeightRow] += [
            {"trial_id": key, "domain_id": place, "weight": weight} for place, weight in enumerate(weights.values(), 1)
        ]
        rows[PredictionRow] += [{"trial_id": key, "name": n, "mean": 1.5, "sd": 0.1} for n in ("objective", *SETS)]
        rows[AttemptRow].append(
            {"trial_id": key, "number": 0, "worker": "w", "state": "completed", "spent_flops": 1e9, **ended}
            | {"started_at": moment, "seen_at": moment, "ended_at": moment}
        )
    return rows


def readings(location: str) -> Mapping[str, Callable[[], object]]:
    """Return everything that reads a whole search, by what the user does."""
    name = load(CONFIG).name

    def with_store(read: Callable[[Store], object]) -> Callable[[], object]:
        def reading() -> object:
            with Store(location, read_only=True) as store:
                return read(store)

        return reading

    found = setting()
    return {
        "list": with_store(summaries),
        "show": with_store(lambda store: report(store, name)),
        "resume": with_store(lambda store: read_history(store.changes(1, since=0).trials, found)),
        "dashboard": lambda: frames.load(location, name),
        "dashboard, one trial": lambda: frames.load_trial(location, name, 17),
        "dashboard, the searches": lambda: frames.searches(location),
    }


def main(count: int) -> None:
    """Write a search of `count` trials, and print the seconds of processor time of every reading."""
    with tempfile.TemporaryDirectory() as folder:
        location = str(Path(folder) / "mixopt.db")
        begun_s = time.process_time()
        fill(location, count)
        print(f"{count:,} trials written in {time.process_time() - begun_s:.1f} s")
        for what, read in readings(location).items():
            _time(what, read)
        kept = frames.Kept(location, load(CONFIG).name)
        kept.frames()
        _time("dashboard, nothing changed", kept.frames)
        with Store(location) as store:
            store.retract(count // 2, reason="to have something changed")
        _time("dashboard, after a change", kept.frames)


def _time(what: str, read: Callable[[], object]) -> None:
    begun_s = time.process_time()
    read()
    print(f"{what:<27} {time.process_time() - begun_s:6.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]))
