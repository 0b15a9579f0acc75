"""A search small enough to be told of by hand: three domains, two sets, no experts and no proof."""

from pathlib import Path

from mixopt.config import SearchConfig, load
from mixopt.search.launch import prepare_text
from mixopt.search.setting import Setting
from mixopt.text import Folders

CONFIG = Path(__file__).parents[3] / "configs" / "simulated.yaml"
SMALL = {
    "budget_flops": 3e13,
    "strategy": {"name": "random", "natural_seeds": 1},
    "proof": False,
    "experts": None,
    "objective": {"weights": {"web": 1}},
    "simulated": {"sets": ["web", "code"], "noise": 0.01},
}


def changed(**sections: object) -> SearchConfig:
    config = load(CONFIG)
    return config.from_plain(config.resolved() | SMALL | sections, root=config.root)


def setting_of(config: SearchConfig) -> Setting:
    text = prepare_text(config, Folders.beside("mixopt.db"), report=lambda _: None)
    return Setting.of(config, text, artifacts="artifacts")
