"""A rung that starts from the data experts of its search: which ones, at whose cost, and what if one is missing."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixopt.config import SearchConfig, load
from mixopt.errors import ConfigError, SearchError
from mixopt.search.asking import ask
from mixopt.search.launch import driving, prepare_text
from mixopt.search.setting import Setting
from mixopt.simulated_workers import SimulatedWorkers
from mixopt.text import Folders
from mixopt.workers import Job, JobProgress, LocalWorkers, Outcome, Trainer, run_job
from proxies.checkpoint import WEIGHTS
from proxies.config import trial_flops
from store import Store, Trial
from tests.cli.small_search import write_search
from tests.mixopt.search.small_search import changed, setting_of

PROXY = {"layers": 1, "width": 16, "heads": 1, "sequence_tokens": 64, "batch_sequences": 4, "precision": "float32"}
ROUTED = PROXY | {"experts": 6, "ffn_width": 64, "init": {"method": "merge-experts"}}
LADDER = [
    {"name": "small", "tokens": 2_048, "proxy": PROXY},
    {"name": "routed", "tokens": 4_096, "proxy": ROUTED},
]
NAMES = ("letters", "numbers", "animals")


def config_of(folder: Path, **changes: object) -> SearchConfig:
    config = load(write_search(folder, budget=4e9))
    own = {"strategy": {"name": "random", "natural_seeds": 1}, "proof": {"seeds": 2, "mixtures": ["natural"]}}
    plain = config.resolved() | own | {"ladder": LADDER, "workers": {"kind": "local", "together": 1}} | changes
    return SearchConfig.from_plain(plain, root=config.root)


def run(config: SearchConfig, folder: Path, *, trainer: Trainer = run_job, until: int | None = None) -> list[str]:
    """Drive the search of `config` to its end or to so many snapshots, and return its news."""
    location = str(folder / "mixopt.db")
    with Store(location) as store:
        text = prepare_text(config, Folders.beside(location), report=lambda _: None)
        setting = Setting.of(config, text, artifacts=str(folder / "artifacts"))
        with driving(setting, store=store, workers=LocalWorkers(trainer), elapsed_s=0.0) as driver:
            news: list[str] = []
            for count, snapshot in enumerate(driver.drive()):
                news += snapshot.news
                if count == until:
                    break
            return news


def trials_of(folder: Path) -> tuple[list[Trial], dict[int, Any]]:
    """Return the trials, and the contents of their runs by number."""
    with Store(str(folder / "mixopt.db")) as store:
        trials = store.trials(store.searches()[0].id)
        return trials, {trial.number: store.run(trial.run_hash).content for trial in trials}


def failing(domain: str) -> Trainer:
    """A worker on which the data expert of `domain` fails."""

    def trainer(job: Job, report: Callable[[JobProgress], None]) -> Outcome:
        if job.gold is not None and job.recipe[0][1].get(domain) == 1.0:
            return Outcome(key=job.key, state="failed", error="no luck")
        return run_job(job, report)

    return trainer


def test_who_asks_for_trials_before_the_data_experts_are_there_is_told_to_train_them(tmp_path: Path) -> None:
    config, location = config_of(tmp_path), str(tmp_path / "mixopt.db")
    run(config, tmp_path, until=0)
    with Store(location) as store, pytest.raises(SearchError, match="start it with `mixopt run`, and ask again"):
        ask(store, store.searches()[0].name, n=1)


def test_its_trials_wait_for_the_data_experts_and_name_them_and_are_charged_their_own_training(tmp_path: Path) -> None:
    config = config_of(tmp_path, workers={"kind": "local", "together": 2})  # two experts, and company for the third
    run(config, tmp_path, until=3)  # killed in between
    run(config, tmp_path)
    trials, contents = trials_of(tmp_path)
    experts = {name: t for t in trials if t.purpose == "expert" for name in NAMES if t.weights[name] == 1.0}
    routed = [trial for trial in trials if trial.fidelity == "routed"]
    assert {trial.purpose for trial in routed} >= {"proof", "design"}
    assert all(trial.state == "completed" for trial in trials)
    for trial in routed:
        assert contents[trial.number]["experts"] == {name: experts[name].run_hash for name in NAMES}
        assert trial.number > max(each.number for each in experts.values())
    assert all("experts" not in contents[trial.number] for trial in trials if trial not in routed)
    (small, large) = config.rungs
    assert large.model.start is None
    charged = {trial.charged_flops for trial in routed if trial.part == "search"}
    read = (charged.pop() - trial_flops(large.model, tokens=4_096, vocabulary=256, evaluation_tokens=0)) / (
        large.model.forward_flops_per_token(256)
    )
    assert not charged
    own = trial_flops(small.model, tokens=2_048, vocabulary=256, evaluation_tokens=round(read))
    assert [trial.charged_flops for trial in experts.values()] == pytest.approx([own] * 3)


def test_a_lost_worker_and_a_missing_data_expert_hold_nothing_up(tmp_path: Path) -> None:
    attempts: Counter[int] = Counter()
    fails = failing("numbers")

    def trainer(job: Job, report: Callable[[JobProgress], None]) -> Outcome:
        attempts[job.key] += job.experts is not None
        if job.experts is not None and attempts[job.key] == 1:
            return Outcome(key=job.key, state="lost", error="worker lost")
        return fails(job, report)

    news = run(config_of(tmp_path, proof=False), tmp_path, trainer=trainer)
    trials, contents = trials_of(tmp_path)
    routed = [trial for trial in trials if trial.fidelity == "routed"]
    assert routed
    assert {(trial.state, trial.attempts) for trial in routed} == {("completed", 2)}
    assert all(contents[trial.number]["experts"]["numbers"] is None for trial in routed)
    assert all(contents[trial.number]["experts"]["letters"] is not None for trial in routed)
    said = "rung routed starts without the data experts of numbers, which could not be trained: the mean of the others"
    assert [line for line in news if line.startswith(said)] == [f"{said} stands in for them"]


def test_weights_that_are_gone_end_the_search_with_what_to_do(tmp_path: Path) -> None:
    def trainer(job: Job, report: Callable[[JobProgress], None]) -> Outcome:
        outcome = run_job(job, report)
        if job.experts is not None:
            for folder in job.experts.folders:
                (Path(str(folder)) / WEIGHTS).unlink(missing_ok=True)
        return outcome

    with pytest.raises(SearchError, match=r"expert of 'letters', whose weights are gone from .*retract"):
        run(config_of(tmp_path), tmp_path, trainer=trainer)


def test_a_simulated_search_needs_no_weights_for_it(store: Store) -> None:
    shape = PROXY | {"width": 32}
    routed = shape | {"experts": 8, "ffn_width": 128, "init": ROUTED["init"]}
    ladder = [
        {"name": "small", "tokens": 1_000_000, "proxy": shape},
        {"name": "routed", "tokens": 4_000_000, "proxy": routed},
    ]
    config = changed(ladder=ladder, experts={"rung": "small"}, budget_flops=5e12)
    setting = setting_of(config)
    with driving(setting, store=store, workers=SimulatedWorkers(config), elapsed_s=0.0) as driver:
        list(driver.drive())
    trials = store.trials(store.searches()[0].id)
    named = [store.run(trial.run_hash).content["experts"] for trial in trials if trial.fidelity == "routed"]
    assert named
    assert all(set(runs) == set(setting.names) and None not in runs.values() for runs in named)


def _ladder(**changes: object) -> list[dict[str, Any]]:
    return [LADDER[0], LADDER[1] | {"proxy": ROUTED | changes}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experts": None}, r"ladder.1.proxy.init: .* add `experts: \{rung: ...\}`"),
        ({"experts": {"rung": "routed"}}, "rung 'routed' trains the data experts"),
        ({"ladder": _ladder(experts=8)}, "experts 8 do not divide among the 3 nets .* set experts: 9"),
        ({"ladder": _ladder(width=32)}, "the data experts have width 16, and this proxy has 32"),
        (
            {
                "workers": {"kind": "local", "command": "train {tokens}"},
                "domains": [{"name": name, "available_tokens": 10_000} for name in NAMES],
                "evaluation": {"letters": {}, "numbers": {}},
            },
            "state its `parameters` and remove `proxy`",
        ),
    ],
)
def test_a_start_from_data_experts_that_cannot_be_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(tmp_path, **changes)


def test_what_it_starts_from_is_part_of_what_a_rung_is(tmp_path: Path) -> None:
    plain, other = (config_of(tmp_path, ladder=_ladder(init=init)) for init in (None, ROUTED["init"]))
    assert plain.digest() != other.digest()
    assert replace(plain.rung("routed").model, init=ROUTED["init"]) == other.rung("routed").model
