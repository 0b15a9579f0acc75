"""What a search trains and measures on: contents, costs, slices."""

from pathlib import Path

import pytest

from mixopt.config import SearchConfig, load
from mixopt.evidence import Proposal, Purpose
from mixopt.mixture import Mixture
from mixopt.search.launch import prepare_text
from mixopt.search.setting import Setting, content_hash
from mixopt.text import Folders
from proxies.config import ProxyConfig
from proxies.errors import ProxyError
from tests.cli.small_search import write_search


def setting_of(config: SearchConfig, folder: Path) -> Setting:
    text = prepare_text(config, Folders.beside(str(folder / "mixopt.db")), report=lambda _: None)
    return Setting.of(config, text, artifacts=str(folder / "artifacts"))


def with_target(config: SearchConfig, *, tokens: int, available: int) -> SearchConfig:
    plain = config.resolved() | {"target": {"parameters": 1_000_000, "tokens": tokens}}
    for domain in plain["domains"]:  # type: ignore[attr-defined]  # a list of mappings by construction
        domain["available_tokens"] = available
    return config.from_plain(plain, root=config.root)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return setting_of(load(write_search(tmp_path)), tmp_path)


def proposal(setting: Setting, *, seed: int = 0, rung: str = "small", purpose: Purpose = "search") -> Proposal:
    return Proposal(mixture=setting.problem.natural, fidelity=rung, seed=seed, purpose=purpose, reason="a test")


def test_a_run_is_named_by_what_decides_its_losses(setting: Setting) -> None:
    base = content_hash(setting.content(proposal(setting)))
    assert base == content_hash(setting.content(proposal(setting)))
    others = [
        setting.content(proposal(setting, seed=1)),
        setting.content(proposal(setting, rung="large")),
        setting.content(proposal(setting, purpose="proof")),
    ]
    assert len({base, *map(content_hash, others)}) == 4


@pytest.mark.parametrize(
    "change",
    [
        "learning_rate: 0.03",
        "schedule: wsd",
        "weight_decay: 0.2",
        "base_width: 8",
        "init: {method: grow, tokens: 512, proxy: {layers: 1}}",
    ],
)
def test_rate_schedule_decay_and_start_belong_to_the_identity_of_a_fidelity(tmp_path: Path, change: str) -> None:
    plain = setting_of(load(write_search(tmp_path)), tmp_path)
    changed = setting_of(load(write_search(tmp_path, routed=f", {change}")), tmp_path)
    first, other = (content_hash(each.content(proposal(each))) for each in (plain, changed))
    assert first != other


def test_a_start_is_part_of_what_a_trial_is_charged(tmp_path: Path) -> None:
    plain = setting_of(load(write_search(tmp_path)), tmp_path)
    init = ", init: {method: grow, tokens: 512, proxy: {layers: 1}}"
    started = setting_of(load(write_search(tmp_path, routed=init)), tmp_path)
    vocabulary = plain.text.vocabulary
    for rung in ("small", "large"):
        more = ProxyConfig.from_plain(plain.config.rung(rung).proxy).flops_per_token(vocabulary) * 512
        costs = [each.flops_of(proposal(each, rung=rung)) for each in (plain, started)]
        assert costs[1] - costs[0] == pytest.approx(more)
        assert started.problem.ladder[rung].cost_flops == pytest.approx(costs[1])


def test_two_seeds_of_one_file_share_no_training_seed(setting: Setting) -> None:
    other = Setting(
        config=setting.config.renamed(seed=1), text=setting.text, problem=setting.problem, artifacts=setting.artifacts
    )
    seeds = [s.content(proposal(s, seed=k))["seed"] for s in (setting, other) for k in (0, 1_004)]
    assert len(set(seeds)) == 4


def test_a_trial_is_charged_its_training_and_its_evaluation(setting: Setting) -> None:
    proxy = ProxyConfig.from_plain(setting.config.rung("small").proxy)
    evaluated = setting.text.evaluation_tokens["search"]
    expected = proxy.flops_per_token(256) * 4_096 + proxy.forward_flops_per_token(256) * evaluated
    assert setting.flops("small", "search", 4_096) == pytest.approx(expected)
    assert setting.problem.ladder["small"].cost_flops == pytest.approx(expected)


def test_simulated_epoching_gives_a_proxy_the_targets_epochs(tmp_path: Path) -> None:
    config = with_target(load(write_search(tmp_path)), tokens=40_960, available=30_000)
    setting = setting_of(config, tmp_path)
    # the small rung trains on a tenth of the target's tokens, so it has a tenth of every domain, in whole documents
    for tokens in setting.text.slice_tokens["small"].values():
        assert 2_500 <= tokens <= 3_000


def test_an_expert_that_would_repeat_its_slice_too_often_is_cut_to_its_cap(tmp_path: Path) -> None:
    config = with_target(load(write_search(tmp_path)), tokens=40_960, available=30_000)
    plain = config.resolved() | {"experts": {"rung": "small", "max_passes": 1}}
    setting = setting_of(config.from_plain(plain, root=config.root), tmp_path)
    for domain in setting.names:
        assert setting.expert_tokens(domain) == setting.text.slice_tokens["small"][domain] < 4_096


def test_a_slice_of_next_to_nothing_is_refused_with_its_numbers(tmp_path: Path) -> None:
    config = with_target(load(write_search(tmp_path)), tokens=4_096_000, available=30_000)
    with pytest.raises(ProxyError, match="8 sequences"):
        setting_of(config, tmp_path)


def test_the_natural_mixture_follows_the_stated_tokens(tmp_path: Path) -> None:
    config = load(write_search(tmp_path))
    plain = config.resolved()
    plain["domains"][0]["available_tokens"] = 10**9  # type: ignore[index]  # a list of mappings by construction
    natural = setting_of(config.from_plain(plain, root=config.root), tmp_path).problem.natural
    assert natural["letters"] > 0.99
    assert sum(natural.values()) == pytest.approx(1.0)
    assert isinstance(natural, Mixture)
