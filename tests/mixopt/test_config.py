"""A search's file: what it says with defaults, and what it is answered where it is wrong."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import get_args

import pytest

from mixopt.config import SearchConfig, load, objective_of
from mixopt.errors import ConfigError, EmptySpace, MixoptError
from mixopt.export import read_paths
from mixopt.fidelity import Target
from mixopt.mixture import Mixture, check_name
from mixopt.objective import Guard
from mixopt.sections import AcquisitionName, StrategyName
from proxies.config import ProxyConfig, trial_flops
from proxies.corpus_config import DomainConfig
from proxies.errors import CorpusError

CONFIGS = Path(__file__).parents[2] / "configs"

GOOD = textwrap.dedent("""\
    name: quick
    domains:
      - name: code
        source: {kind: files, paths: ["*.py"]}
        available_tokens: 1.1e9
      - name: docs-en
        source: {kind: files, paths: ["*.txt"]}
        max_weight: 0.9
    evaluation:
      code: {domain: code}
      qa:
        source: {kind: files, paths: [qa.jsonl]}
    objective:
      weights: {code: 1, qa: 3}
    constraints:
      - docs-en + code >= 0.2
    target: {parameters: 7e9, tokens: 2e11}
    ladder:
      - name: small
        tokens: 1_000_000
        proxy: {layers: 2, width: 64, heads: 2}
      - name: large
        tokens: 4e6
        proxy: {layers: 4, width: 128, heads: 2}
    experts: {rung: small}
    budget_flops: 3e14
    """)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "search.yaml"
    path.write_text(GOOD)
    return path


def refusal(file: Path, old: str, new: str) -> str:
    """Return the answer to the good file with `old` replaced, without the folder's name."""
    assert old in GOOD
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(MixoptError) as error:
        load(file)
    return str(error.value).replace(f"{file.parent}/", "")


def test_numbers_that_yaml_reads_as_text_are_numbers(file: Path) -> None:
    config = load(file)
    assert config.budget_flops == 3e14
    assert config.rung("large").tokens == 4_000_000
    assert config.target == Target(parameters=7_000_000_000, tokens=200_000_000_000)


def test_defaults_are_written_out_and_read_back_to_the_same_digest(file: Path) -> None:
    config = load(file)
    resolved = config.resolved()
    assert resolved["strategy"] == {
        "name": "bayesian",
        "natural_seeds": 4,
        "spread": 12,
        "acquisition": "knowledge_gradient",
        "stop_below": 0.0,
    }
    assert resolved["proof"] == {"seeds": 4, "mixtures": ["natural", "uniform", "unimax", "single"]}
    where = {"kind": "ray", "slots": None, "address": "local"}
    command = {"command": None, "shell": False, "environment": [], "paths": {}}
    assert resolved["workers"] == where | command | {"checkpoints": None, "checkpoint_s": 60.0, "together": None}
    assert resolved["experts"] == {"rung": "small", "max_passes": 8.0}
    assert SearchConfig.from_plain(resolved).digest() == config.digest()
    assert SearchConfig.from_plain(resolved, root=config.root) == config


def test_files_that_mean_the_same_have_one_digest_and_others_do_not(file: Path) -> None:
    digest = load(file).digest()
    file.write_text("# a comment\nseed: 0\n" + GOOD.replace("heads: 2}", "heads: 2, lags: 0}"))
    assert load(file).digest() == digest
    file.write_text(GOOD.replace("qa: 3", "qa: 4"))
    assert load(file).digest() != digest


def test_a_search_renamed_keeps_all_else(file: Path) -> None:
    config = load(file)
    other = config.renamed(name="second", seed=7)
    assert (other.name, other.seed, other.root) == ("second", 7, config.root)
    assert other.renamed(name="quick", seed=0).digest() == config.digest()


def test_the_space_has_bounds_constraints_and_caps_by_the_targets_tokens(file: Path) -> None:
    file.write_text(GOOD + "max_epochs: 40\n")
    box = load(file).space({"docs-en": 9_000_000_000})
    assert box.names == ("code", "docs-en")
    assert box.upper.tolist() == pytest.approx([40 * 1.1e9 / 2e11, 0.9])
    assert load(file).space({"docs-en": 4_000_000_000}).upper[1] == pytest.approx(0.8)
    assert len(box.constraints) == 1


def test_stated_tokens_go_before_counted_ones(file: Path) -> None:
    domains = load(file).space({"code": 5, "docs-en": 7}).domains
    assert [domain.available_tokens for domain in domains] == [1_100_000_000, 7]


def test_the_ladder_costs_what_the_proxies_say(file: Path) -> None:
    ladder = load(file).ladder(256, 1_000)
    proxy = ProxyConfig(layers=2, width=64, heads=2)
    assert ladder.cheapest.cost_flops == trial_flops(proxy, tokens=1_000_000, vocabulary=256, evaluation_tokens=1_000)
    assert ladder.cheapest.parameters == proxy.active_parameters(256)
    assert ladder.target == Target(parameters=7_000_000_000, tokens=200_000_000_000)


def test_the_objective_is_the_files_also_from_what_was_resolved(file: Path) -> None:
    config = load(file)
    assert config.objective.value({"code": 1.0, "qa": 2.0}) == pytest.approx(1.75)
    assert objective_of(config.resolved()) == config.objective
    file.write_text(GOOD.replace("weights: {code: 1, qa: 3}", "{kind: worst, sets: [code, qa]}"))
    assert load(file).objective.value({"code": 1.0, "qa": 2.0}) == 2.0


def test_multiple_choice_has_a_loss_and_an_accuracy_and_a_guard_without_sets_guards_both(file: Path) -> None:
    text = GOOD.replace("[qa.jsonl]", "[qa.jsonl], choices: options").replace("qa: 3}", "accuracy/qa: 3}")
    file.write_text(text.replace("objective:\n", "objective:\n  no_worse_than_natural: {delta: 0.01}\n"))
    config = load(file)
    assert config.sets == ("code", "qa", "error/qa")
    assert config.objective.value({"code": 1.0, "error/qa": 0.2}) == pytest.approx(0.4)
    assert config.objective.guard == Guard(delta=0.01, sets=("code", "qa", "error/qa"), probability=0.9)
    assert objective_of(config.resolved()).weights == config.objective.weights


def test_the_corpus_gets_what_concerns_it_and_the_folder_of_the_file(file: Path) -> None:
    config = load(file)
    plain, sizes = config.corpus_plain(), {"max_bytes": 32_768, "excerpt_tokens": 256, "max_items": 256}
    assert plain["domains"] == [
        {"name": "code", "source": {"kind": "files", "paths": ["*.py"]}, "available_tokens": 1_100_000_000},
        {"name": "docs-en", "source": {"kind": "files", "paths": ["*.txt"]}},
    ]
    assert plain["evaluation"] == [
        {"name": "code", "domain": "code"} | sizes,
        {"name": "qa", "source": {"kind": "files", "paths": ["qa.jsonl"]}} | sizes,
    ]
    assert config.root == file.parent


def test_a_search_without_proof_says_false(file: Path) -> None:
    file.write_text(GOOD + "proof: false\n")
    config = load(file)
    assert config.proof is None
    assert SearchConfig.from_plain(config.resolved()).proof is None


LAW = {
    "seed": 0,
    "bias": 0.3,
    "reference_tokens": 2_000_000,
    "limits": {},
    "device_flops": 1e11,
    "harm": 0.0,
    "onset": 4.0,
}
SIMULATED = textwrap.dedent("""\
    name: simulated
    domains: [{name: a, available_tokens: 10}, {name: b, available_tokens: 30}]
    simulated: {sets: [x, y], noise: 0.01}
    objective: {weights: {x: 1}}
    ladder: [{name: s, tokens: 4096, proxy: {layers: 1, width: 8, heads: 1}}]
    budget_flops: 1e12
    workers: {kind: simulated}
    """)


def test_a_simulated_search_needs_no_text(file: Path) -> None:
    file.write_text(SIMULATED)
    config = load(file)
    assert config.sets == ("x", "y")
    assert config.simulated_plain() == {"domains": ["a", "b"], "sets": ["x", "y"], "noise": 0.01} | LAW
    assert Mixture({"a": 0.5, "b": 0.5}) in config.space()
    file.write_text(SIMULATED.replace("simulated: {", "evaluation: {} #"))
    with pytest.raises(ConfigError, match="no source"):
        load(file)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("noise: 0.01", "noise: abc", r":3: simulated.noise: must be a number; got 'abc'"),
        ("noise", "nose", r":3: simulated.nose: unknown key 'nose' \(did you mean 'noise'\?\); known: sets, seed"),
        ("noise: 0.01", "limits: {c: 0.5}", r":3: simulated.limits.c: unknown domain 'c'; known: a, b"),
        ("[x, y]", "[x, objective]", r":3: simulated.sets.1: .*name the set otherwise"),
    ],
)
def test_a_wrong_law_is_answered_with_its_line(file: Path, old: str, new: str, word: str) -> None:
    file.write_text(SIMULATED.replace(old, new))
    with pytest.raises(ConfigError, match=word):
        load(file)


@pytest.mark.parametrize("name", ["", ".x", "a b", "a/b", "a\\b", "a:b", "a\0b", "web", "docs-en", "v1.2"])
def test_what_the_corpus_calls_no_name_is_none_here_either(name: str) -> None:
    try:
        DomainConfig(name=name, source={})
    except CorpusError as error:
        with pytest.raises(ConfigError, match=re.escape(str(error))):
            check_name("domain", name)
    else:
        check_name("domain", name)


ANSWERS = [
    (
        "max_weight: 0.9",
        "max_wieght: 0.9",
        (
            "search.yaml:8: domains.1.max_wieght: unknown key 'max_wieght' (did you mean 'max_weight'?); known: name, "
            "source, available_tokens, held_out, min_weight, max_weight, max_epochs, weight, revision"
        ),
    ),
    (
        "{domain: code}",
        "{domain: cod}",
        "search.yaml:10: evaluation.code.domain: unknown domain 'cod' (did you mean 'code'?); known: code, docs-en",
    ),
    (
        "qa: 3",
        "humaneval: 3",
        "search.yaml:14: objective.weights.humaneval: unknown evaluation set 'humaneval'; known: code, qa",
    ),
    ("3e14", "lots", "search.yaml:26: budget_flops: must be a number; got 'lots'"),
    (
        "budget_flops: 3e14\n",
        "",
        "search.yaml:1: budget_flops: key 'budget_flops' is missing; add it, or 'budget_device_hours'",
    ),
    (
        "name: quick",
        "name: quick\nname: two",
        "search.yaml:2: 'name' is there twice (first in line 1); keep one of them",
    ),
    ("name: docs-en", "name: code", "search.yaml:6: domains.1.name: domain 'code' is there twice; rename one"),
    (
        "weight: 0.9",
        "weight: 1.5",
        "search.yaml:8: domains.1.max_weight: must be less than or equal to 1; got 1.5",
    ),
    (
        "rung: small",
        "rung: smal",
        "search.yaml:25: experts.rung: unknown rung 'smal' (did you mean 'small'?); known: small, large",
    ),
    (
        "docs-en + code",
        "docs-en + coed",
        (
            "search.yaml:16: constraints.0: constraint 'docs-en + coed >= 0.2' names unknown domain 'coed' (did you "
            "mean 'code'?); known: ['code', 'docs-en']"
        ),
    ),
    (
        "budget_flops",
        "strategy: {name: bayes}\nbudget_flops",
        (
            "search.yaml:26: strategy.name: must be 'random', 'natural', 'uniform', 'temperature', 'unimax', 'regmix', "
            "'log-linear', 'mde', 'marin', 'scheffe', 'admire', 'admire-raw', 'botorch' or 'bayesian'; got 'bayes'"
        ),
    ),
    (
        '    source: {kind: files, paths: ["*.py"]}\n',
        "",
        "search.yaml:3: domains.0: domain 'code' has no source; say where its text comes from",
    ),
    (
        "docs-en + code >= 0.2",
        "code <= 0.05",
        (
            "search.yaml: no mixture fits: these cannot hold together: docs-en 0.9 (max_weight), `code <= 0.05`; to "
            "open it, raise max_weight of docs-en to 0.95 or raise the upper limit in `code <= 0.05` to 0.1"
        ),
    ),
]


@pytest.mark.parametrize(("old", "new", "answer"), ANSWERS)
def test_a_wrong_file_is_answered_with_line_key_and_what_is_allowed(
    file: Path, old: str, new: str, answer: str
) -> None:
    assert refusal(file, old, new) == answer


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("heads: 2}", "heads: 2, wid: 3}", r":21: ladder.0.proxy: a proxy has no setting \['wid'\]; known: .*\]$"),
        ("heads: 2}", "heads: 3}", r":21: ladder.0.proxy: width 64"),
        ("tokens: 4e6", "tokens: 4_000", r":18: ladder: rungs must rise in cost"),
        ("tokens: 4e6", "tokens: 40", r":23: ladder.1.tokens: 40 tokens are less than one batch of rung 'large', 2048"),
        ("budget_flops", "proof: {mixtures: []}\nbudget_flops", r":26: proof.mixtures: .*`proof: false`"),
        ("*.py", '*.py"], fields: ["x', r":4: domains.0.source: .*unknown keys \['fields'\]; 'files' takes"),
        ('{kind: files, paths: ["*.py"]}', "{kind: filez}", r":4: domains.0.source: .*'filez'; known: \['files'"),
        ('{kind: files, paths: ["*.py"]}', "{kind: files}", r":4: domains.0.source: .* lacks \['paths'\]"),
        ('paths: ["*.py"]', "paths: 3", r":4: domains.0.source: source of domain 'code': paths is 3; give text"),
        ("{kind: files, paths: [qa.jsonl]}", "{kind: files}", r":12: evaluation.qa.source: .* set 'qa' .*lacks"),
        ("{domain: code}", "{domain: code, max_bytes: 1}", r":10: evaluation.code: .*max_bytes 1; give at least 2"),
        ("domains:", "corpus: {tokenizer: {kind: bogus}}\ndomains:", r":2: corpus.tokenizer: .*'bogus'; known"),
        ("name: docs-en", "name: my web", r":6: domains.1.name: domain has the name 'my web'; use letters"),
        ("name: docs-en", "name: a/b", r":6: domains.1.name: domain has the name 'a/b'"),
        ("  qa:", "  q/a: {domain: code}\n  qa:", r":11: evaluation.q/a: evaluation set has the name 'q/a'"),
        ("tokens: 4e6", "tokens: 4.5", r":23: ladder.1.tokens: must be a whole number; got 4.5"),
        ("name: quick", "name: a/b", r":1: name: .*; got 'a/b'"),
        ("name: quick", "name: [", r": is no YAML"),
        ("name: quick", "seed: true\nname: q", r":1: seed: must be a whole number; got True"),
        ("{domain: code}", "{}", r":10: evaluation.code: .*either a domain or a source"),
        ("weights: {code: 1, qa: 3}", "weights: {code: 0}", r":14: objective.weights: .*positive weight"),
        ("weights: {code: 1, qa: 3}", "{}", r"objective of kind 'mean' needs 'weights'"),
        ("budget_flops", "workers: {kind: simulated}\nbudget_flops", r":26: workers.kind: .*`simulated`"),
        ("max_weight: 0.9", "max_weight: 0.9\n    min_weight: 0.95", r":6: domains.1: .*min_weight <= max_weight"),
        (
            "budget_flops",
            "proof: {seeds: 1}\nbudget_flops",
            r":26: proof.seeds: must be greater than or equal to 2; got 1",
        ),
        ("max_weight: 0.9", "max_weight: .nan", r":8: domains.1.max_weight: must be .*; got nan"),
        ("name: small", "name: expert", r":19: ladder.0.name: 'expert' is what data experts"),
        ("  qa:", "  objective: {domain: code}\n  qa:", r":11: evaluation.objective: .*name the set otherwise"),
        ("qa: 3}", "accuracy/qa: 3}", r":14: objective.weights.accuracy/qa: unknown evaluation set 'accuracy/qa'"),
        (
            "qa: 3}",
            "qa: 3}\n  no_worse_than_natural:\n    delta: .01\n    sets: [codes]",
            r":17: objective.no_worse_than_natural.sets.0: unknown .*'codes' \(did you mean 'code'\?\)",
        ),
        (
            "qa: 3}",
            "qa: 3}\n  no_worse_than_natural:\n    probability: 1.0",
            r":16: objective.no_worse_than_natural.probability: must be less than 1; got 1.0",
        ),
        ("qa: 3}", "qb: 3}\n  kind: wurst", r":15: objective.kind: must be 'mean' or 'worst'; got 'wurst'"),
    ],
)
def test_other_wrong_files_are_answered_in_one_line(file: Path, old: str, new: str, word: str) -> None:
    answer = refusal(file, old, new)
    assert re.search(word, answer)
    assert "\n" not in answer


def test_an_empty_space_is_an_error_of_its_own_kind(file: Path) -> None:
    file.write_text(GOOD + "max_epochs: 4\n")
    with pytest.raises(EmptySpace, match=r"room for at most 0.922 .*raise max_epochs of code to 18.19"):
        load(file)


def test_a_file_that_is_not_there_or_is_no_mapping_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope.yaml: cannot be read \(no such file"):
        load(tmp_path / "nope.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match="must be a mapping"):
        load(tmp_path / "list.yaml")


def test_a_program_is_told_the_key_too(file: Path) -> None:
    plain = load(file).resolved() | {"budget_flops": -1}
    with pytest.raises(ConfigError, match=r"^budget_flops: must be greater than 0; got -1$"):
        SearchConfig.from_plain(plain)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_file_loads(path: Path) -> None:
    if path.name.endswith(".paths.yaml"):
        assert read_paths(path)
    else:
        assert load(path).renamed(seed=1).seed == 1


def test_the_strategies_a_file_may_name_are_those_that_there_are() -> None:
    from mixopt.optimize.strategies import STRATEGIES

    assert set(get_args(StrategyName)) == set(STRATEGIES)


def test_the_acquisitions_a_file_may_name_are_those_that_there_are() -> None:
    from mixopt.optimize.acquisition import ACQUISITIONS

    assert set(get_args(AcquisitionName)) == set(ACQUISITIONS)


def test_the_configuration_loads_nothing_heavy() -> None:
    heavy = {"torch", "ray", "scipy", "sqlalchemy", "pandas", "datasets", "pyarrow", "fsspec"}
    code = f"import sys, mixopt.config, mixopt.export; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
