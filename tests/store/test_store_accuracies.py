"""Accuracies are kept beside losses, with the items behind them; older stores keep theirs."""

import json
import sqlite3
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine

from store import InvalidRecord, Search, Store, upgrade
from store.migrate import _config
from tests.store.store_cases import new_trial


def test_losses_accuracies_and_items_come_back_as_they_went_in(store: Store, search: Search) -> None:
    [trial] = store.add_trials(search.id, [new_trial()])
    store.start(trial.id, worker="w0")
    done = store.complete(
        trial.id,
        losses={"quiz": 1.5},
        accuracies={"quiz": 0.625, "exam": 1.0},
        items={"quiz": 40},
        curve=[],
        epochs={},
        spent_flops=1.0,
        elapsed_s=1.0,
    )
    assert done == store.trial(search.id, 0)
    assert (done.losses, done.accuracies, done.items) == ({"quiz": 1.5}, {"quiz": 0.625, "exam": 1.0}, {"quiz": 40})


@pytest.mark.parametrize(
    ("accuracies", "items", "message"),
    [
        ({"quiz": 1.5}, {}, "the accuracy on 'quiz' is 1.5"),
        ({"quiz": 0.5}, {"quiz": 0}, "'quiz' has 0 items"),
        ({}, {"quiz": 9}, "'quiz' has 9 items"),
        ({}, {}, "measured nothing"),
    ],
)
def test_an_accuracy_cannot_be_wrong(
    store: Store, search: Search, accuracies: dict[str, float], items: dict[str, int], message: str
) -> None:
    [trial] = store.add_trials(search.id, [new_trial()])
    store.start(trial.id, worker="w0")
    losses = {"p": 1.0} if items else {}
    with pytest.raises(InvalidRecord, match=message):
        store.complete(
            trial.id,
            losses=losses,
            accuracies=accuracies,
            items=items,
            curve=[],
            epochs={},
            spent_flops=1.0,
            elapsed_s=1.0,
        )


def test_a_store_of_the_first_revision_keeps_its_losses_and_its_errors_become_accuracies(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    engine, config = create_engine(f"sqlite:///{path}"), _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    content = json.dumps({"items": {"quiz": 40}})
    old = sqlite3.connect(path)
    with old:
        old.execute("INSERT INTO runs VALUES (1, 'r', ?, '{}', '{}', NULL, NULL)", (content,))
        rows = [(1, "search", "prose", 1.5), (1, "search", "error/quiz", 0.25)]
        old.executemany("INSERT INTO measurements VALUES (?, ?, ?, ?)", rows)
    old.close()
    assert upgrade(path)[0] == "0001"
    new = sqlite3.connect(path)
    kept = set(new.execute("SELECT part, evaluation_set, kind, value, items FROM measurements"))
    new.close()
    assert kept == {("search", "prose", "loss", 1.5, None), ("search", "quiz", "accuracy", 0.75, 40)}
