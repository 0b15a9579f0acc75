"""A rung that continues another: a promoted trial goes on from the shorter one, and pays the difference."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mixopt.config import SearchConfig, load
from mixopt.errors import ConfigError
from mixopt.evidence import Evidence, Proposal
from mixopt.mixture import Mixture
from mixopt.search.launch import driving, prepare_text
from mixopt.search.setting import Setting
from mixopt.text import Folders
from mixopt.workers import LocalWorkers
from proxies.config import ProxyConfig
from store import Store
from tests.cli.small_search import write_search

PROXY = {
    "layers": 1,
    "width": 16,
    "heads": 1,
    "sequence_tokens": 64,
    "batch_sequences": 4,
    "schedule": "wsd",
    "warmup_tokens": 512,
    "precision": "float32",
}
LADDER = [
    {"name": "small", "tokens": 4_096, "proxy": PROXY},
    {"name": "large", "tokens": 8_192, "proxy": PROXY, "continues": "small"},
]
SPARED = 11 * 256  # steps of 16 whose middle lies before 0.7, of 256 tokens


def config_of(folder: Path, **changes: object) -> SearchConfig:
    config = load(write_search(folder, budget=1e10))
    plain = config.resolved() | {"experts": None, "proof": False, "ladder": LADDER} | changes
    return SearchConfig.from_plain(plain | {"workers": {"kind": "local", "together": 1}}, root=config.root)


@dataclass(frozen=True)
class Promoting:
    """One mixture at the small rung, then it and another at the large one."""

    def propose(self, evidence: Evidence, *, n: int, seed: int) -> list[Proposal]:
        del n, seed
        first, other = (Mixture({"letters": x, "numbers": 0.5, "animals": 0.5 - x}) for x in (0.25, 0.375))
        steps = [[(first, "small")], [(first, "large"), (other, "large")]]
        done = len(evidence.history.observations) + len(evidence.history.pending)
        asked = steps[0] if not done else steps[1] if done == 1 and not evidence.history.pending else []
        return [
            Proposal(mixture=mixture, fidelity=rung, seed=0, purpose="search", reason="asked")
            for mixture, rung in asked
        ]


def test_a_promoted_trial_goes_on_from_the_shorter_one_and_is_charged_the_difference(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    with Store(tmp_path / "mixopt.db") as store:
        text = prepare_text(config, Folders.beside(str(tmp_path / "mixopt.db")), report=lambda _: None)
        setting = Setting.of(config, text, artifacts=str(tmp_path / "artifacts"))
        with driving(setting, store=store, workers=LocalWorkers(), elapsed_s=0.0) as driver:
            driver.strategy = Promoting()
            list(driver.drive())
        short, promoted, fresh = store.trials(store.searches()[0].id)
        spared = ProxyConfig.from_plain(PROXY).flops_per_token(256) * SPARED
        runs = [store.run(trial.run_hash) for trial in (short, promoted, fresh)]
    assert runs[1].content["continues"] == short.run_hash
    assert "continues" not in runs[2].content
    assert promoted.charged_flops == pytest.approx(fresh.charged_flops - spared)
    assert runs[1].spent_flops == pytest.approx(runs[2].spent_flops - spared)
    assert [run.details.get("continued_tokens") for run in runs] == [None, SPARED, None]
    assert promoted.state == fresh.state == "completed"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ladder": [LADDER[0], LADDER[1] | {"continues": "tiny"}]}, "tiny"),
        ({"ladder": [LADDER[0], LADDER[1] | {"proxy": PROXY | {"width": 32}}]}, "must have the same proxy as 'large'"),
        (
            {"ladder": [rung | {"proxy": PROXY | {"schedule": "linear"}} for rung in LADDER]},
            "goes on from a shorter one with `schedule: wsd` and `warmup_tokens`",
        ),
        (
            {"ladder": [rung | {"proxy": PROXY | {"warmup_tokens": 3_000}} for rung in LADDER]},
            "has warmed up",
        ),
        ({"target": {"parameters": 1_000_000, "tokens": 1_000_000}}, "own slices of text"),
    ],
)
def test_rungs_that_cannot_continue_are_refused_with_the_way_out(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(tmp_path, **changes)
