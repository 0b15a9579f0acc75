"""A driver killed at any moment, and resumed: as if nothing had happened. `make kill-matrix` tries many moments."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixopt.config import SearchConfig, load
from store import Store, check
from tests.cli.small_search import write_search
from tests.mixopt.search.killed import Moment, folders_of, opened, proposals, remade, run

CONFIG = Path(__file__).parents[3] / "configs" / "simulated.yaml"
FEW = 5  # moments that every run of the tests tries
KILLS = int(os.environ.get("MIXOPT_KILLS", FEW))
REAL_KILLS = max(1, KILLS // 10)
SEED = int(os.environ.get("MIXOPT_KILLS_SEED", "0"))
BUDGET_FLOPS = 4.3e13 if KILLS <= FEW else 8e13


def simulated() -> SearchConfig:
    """A search on the virtual clock, where cheap trials overtake dear ones and the model proposes."""
    sections = {
        "budget_flops": BUDGET_FLOPS,
        "strategy": {"name": "bayesian", "natural_seeds": 1, "spread": 2},
        "proof": {"seeds": 2, "mixtures": ["natural"]},
    }
    config = load(CONFIG)
    return config.from_plain(config.resolved() | sections, root=config.root)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, int]]:
    """A search that nobody killed, and how many statements and commits it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, statements = run(simulated(), str(folder / "mixopt.db"), folder)
    assert code == 0
    with Store(folder / "mixopt.db", read_only=True) as store:
        yield store, statements


@pytest.mark.parametrize("kill", range(KILLS))
def test_a_driver_killed_at_any_moment_leaves_no_trace_once_resumed(
    undisturbed: tuple[Store, int], tmp_path: Path, kill: int
) -> None:
    store, statements = undisturbed
    location = str(tmp_path / "mixopt.db")
    moment = Moment(statement=random.Random(f"{SEED}-{kill}").randrange(statements))
    assert run(simulated(), location, tmp_path, moment=moment)[0] == -9
    assert run(simulated(), location, tmp_path)[0] == 0, moment
    with Store(location, read_only=True) as again:
        [mine], [other] = again.searches(), store.searches()
        assert proposals(again, mine.id) == proposals(store, other.id), moment
        found, wanted = again.recommendation(mine.id), store.recommendation(other.id)
        assert found is not None
        assert wanted is not None
        assert found.payload == wanted.payload
        assert mine.state == "finished"
        ends = [[a.state for a in again.attempts(trial.id)] for trial in again.trials(mine.id)]
    assert all(states.count("completed") <= 1 and set(states) <= {"completed", "lost"} for states in ends)
    assert check(location) == []


@pytest.mark.parametrize("kill", range(REAL_KILLS))
def test_real_trainings_are_neither_lost_nor_paid_twice_and_every_proposal_can_be_made_again(
    tmp_path: Path, kill: int
) -> None:
    config = load(write_search(tmp_path, budget=6e9))
    config = config.from_plain(config.resolved() | {"proof": False}, root=config.root)
    location, rng = str(tmp_path / "mixopt.db"), random.Random(f"{SEED}-{kill}-real")
    before: dict[int, object] = {}
    for _ in range(1 if KILLS <= FEW else 3):
        moment = Moment(statement=rng.randrange(40, 200))
        assert run(config, location, tmp_path, moment=moment)[0] == -9
        with Store(location) as store:
            for search in store.searches():
                now = {trial.number: trial for trial in store.trials(search.id) if trial.state == "completed"}
                assert now.items() >= before.items()  # what was finished stays as it was
                before = dict(now)
    assert run(config, location, tmp_path)[0] == 0
    with Store(location) as store:
        search = store.searches()[0]
        trials = store.trials(search.id)
        assert {trial.number: trial for trial in trials}.items() >= before.items()
        assert {trial.state for trial in trials} == {"completed"}
        assert len({(trial.run_hash, trial.part) for trial in trials}) == len(trials)
        ends = [[a.state for a in store.attempts(trial.id)] for trial in trials]
        assert all(states.count("completed") == 1 and set(states) <= {"completed", "lost"} for states in ends)
        assert sum(trial.charged_flops for trial in trials) <= config.budget_flops
        driver = opened(config, store, folders_of(tmp_path))
        assert remade(driver, trials) == [t.number for t in trials if t.purpose not in ("expert", "proof")]
    assert check(location) == []
