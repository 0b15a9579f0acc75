"""Files for trainers: golden texts, and each read back as its trainer reads it, over random mixtures."""

import json
import math
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import Dataset, IterableDataset

from mixopt.errors import ExportError
from mixopt.export import EXPORTERS, Export
from tests.mixopt.test_export import FULL, export, random_mixtures

HEAD = """\
# Mixture of the search quickstart, written by mixopt on 2026-11-22T21:00:00+00:00.
# Configuration c0ffee, seed 0; mixopt 0.1.0, torch 2.13.0.
# Left out, having no weight: wiki.
"""
ROWS = "# Weights of rows, at tokens a row: web 800, code 4000, math 120.\n"
PATHS = {
    "web": {"path": "/d/web 1", "tokens_a_row": 800},
    "code": {"path": ["/d/c0", "/d/c1"], "tokens_a_row": 4_000},
    "math": {"path": {"s3://d/math": 3}, "tokens_a_row": 120},
}
GOLDEN = {
    "megatron-bridge": """\
dataset:
  blend:
    -
      - "/d/web 1"
      - "/d/c0"
      - "/d/c1"
      - "s3://d/math"
    -
      - 0.700000
      - 0.149995
      - 0.149995
      - 0.000010
""",
    "olmo-core": """\
# For requested_tokens: 20000000.
sources:
  - source_name: "web"
    target_ratio: 0.700000
    paths:
      - "/d/web 1"
    max_repetition_ratio: 14.0
  - source_name: "code"
    target_ratio: 0.299990
    paths:
      - "/d/c0"
      - "/d/c1"
    max_repetition_ratio: 6.0
  - source_name: "math"
    target_ratio: 0.000010
    paths:
      - "s3://d/math"
    max_repetition_ratio: 1.0
""",
    "gpt-neox": """\
# Beside it GPT-NeoX wants valid-data-paths and test-data-paths with their weights, and neither data-path nor \
weight_by_num_documents.
train-data-paths:
  - "/d/web 1"
  - "/d/c0"
  - "/d/c1"
  - "s3://d/math"
train-data-weights:
  - 0.700000
  - 0.149995
  - 0.149995
  - 0.000010
""",
    "nanotron": """\
# To stand in the one configuration of a training.
data_stages:
  - name: "quickstart"
    start_training_step: 1
    data:
      dataset:
        dataset_folder:
          - "/d/web 1"
          - "/d/c0"
          - "/d/c1"
          - "s3://d/math"
        dataset_weights:
          - 0.700000
          - 0.149995
          - 0.149995
          - 0.000010
      seed: 0
""",
    "levanter": """\
# Weights are whole sequences of a block of 32768: keep both, or neither.
data:
  components:
    "web":
      cache_dir: "/d/web 1"
    "code/0":
      cache_dir: "/d/c0"
    "code/1":
      cache_dir: "/d/c1"
    "math":
      cache_dir: "s3://d/math"
  train_weights:
    "web": 0.699981689453125
    "code/0": 0.149993896484375
    "code/1": 0.149993896484375
    "math": 0.000030517578125
  mixture_block_size: 32768
""",
    "llm-foundry": """\
# Samples must be of one length, as --concat_tokens makes them; epoch_size says how many there are in all.
train_loader:
  dataset:
    streams:
      "web":
        local: "/d/web 1"
        proportion: 0.700000
      "code/0":
        local: "/d/c0"
        proportion: 0.149995
      "code/1":
        local: "/d/c1"
        proportion: 0.149995
      "math":
        remote: "s3://d/math"
        proportion: 0.000010
""",
    "llama-factory": f"""\
{ROWS}dataset: "/d/web 1,/d/c0,/d/c1,s3://d/math"
mix_strategy: interleave_over
interleave_probs: "0.920974268,0.039469010,0.039469010,0.000087712"
""",
    "ms-swift": f"""\
{ROWS}dataset:
  - "/d/web 1"
  - "/d/c0"
  - "/d/c1"
  - "s3://d/math"
interleave_prob:
  - 0.920974268
  - 0.039469010
  - 0.039469010
  - 0.000087712
stopping_strategy: all_exhausted
""",
    "trl": f"""\
{ROWS}# TRL repeats no row: the data set with the fewest rows for its fraction bounds them all. Not for streaming.
datasets:
  - path: "/d/web 1"
    fraction: 0.920974268
  - path: "/d/c0"
    fraction: 0.039469010
  - path: "/d/c1"
    fraction: 0.039469010
  - path: "s3://d/math"
    fraction: 0.000087712
""",
    "lingua": f"""\
{ROWS}data:
  sources:
    "/d/web 1": 0.920974268
    "/d/c0": 0.039469010
    "/d/c1": 0.039469010
    "s3://d/math": 0.000087712
""",
}
GOLDEN_JSON = {
    "maxtext": """\
{
  "web": {"path": "/d/web 1", "weight": 0.920974268},
  "code/0": {"path": "/d/c0", "weight": 0.039469010},
  "code/1": {"path": "/d/c1", "weight": 0.039469010},
  "math": {"path": "s3://d/math", "weight": 0.000087712}
}
""",
    "hf-interleave": """\
{
  "schema": "mixopt-rows/1",
  "search": "quickstart",
  "config_hash": "c0ffee",
  "created": "2026-11-22T21:00:00+00:00",
  "unit": "rows",
  "tokens_a_row": {"web": 800.0, "code": 4000.0, "math": 120.0},
  "dropped": ["wiki"],
  "seed": 0,
  "stopping_strategy": "all_exhausted",
  "datasets": [
    {"name": "web", "path": "/d/web 1", "probability": 0.920974268},
    {"name": "code/0", "path": "/d/c0", "probability": 0.039469010},
    {"name": "code/1", "path": "/d/c1", "probability": 0.039469010},
    {"name": "math", "path": "s3://d/math", "probability": 0.000087712}
  ]
}
""",
}
ROW_TRAINERS = ("hf-interleave", "llama-factory", "ms-swift", "trl", "lingua", "maxtext")


def first(name: str, given: Export, paths: Mapping[str, object]) -> str:
    return next(iter(EXPORTERS[name](given, paths).values()))


@pytest.mark.parametrize("name", GOLDEN)
def test_the_yaml_is_this_text(name: str) -> None:
    assert first(name, FULL, PATHS) == HEAD + GOLDEN[name]


@pytest.mark.parametrize("name", GOLDEN_JSON)
def test_the_json_of_a_trainer_is_this_text(name: str) -> None:
    assert first(name, FULL, PATHS) == GOLDEN_JSON[name]


def test_every_exporter_has_a_golden_text() -> None:
    assert {*GOLDEN, *GOLDEN_JSON, "json", "megatron"} == set(EXPORTERS)


# How each trainer's reader takes its file: the weight of every path, as written.


def _megatron(text: str) -> dict[str, float]:
    words = text.split()
    return dict(zip(words[1::2], map(float, words[::2]), strict=True))


def _bridge(text: str) -> dict[str, float]:
    prefixes, weights = yaml.safe_load(text)["dataset"]["blend"]
    return dict(zip(prefixes, weights, strict=True))


def _olmo(text: str) -> dict[str, float]:
    sources = yaml.safe_load(text)["sources"]
    assert np.allclose(sum(source["target_ratio"] for source in sources), 1.0)
    return {path: source["target_ratio"] for source in sources for path in source["paths"]}


def _neox(text: str) -> dict[str, float]:
    plain = yaml.safe_load(text)
    return dict(zip(plain["train-data-paths"], plain["train-data-weights"], strict=True))


def _nanotron(text: str) -> dict[str, float]:
    (stage,) = yaml.safe_load(text)["data_stages"]
    return dict(zip(*stage["data"]["dataset"].values(), strict=True))


def _levanter(text: str) -> dict[str, float]:
    """Deal one block: the whole part of weight x block, and what is left to the largest."""
    data = yaml.safe_load(text)["data"]
    block = data["mixture_block_size"]
    total = sum(data["train_weights"].values())
    counts = {name: int(weight / total * block) for name, weight in data["train_weights"].items()}
    assert sum(counts.values()) == block < 2**16
    return {data["components"][name]["cache_dir"]: count / block for name, count in counts.items()}


def _foundry(text: str) -> dict[str, float]:
    streams = yaml.safe_load(text)["train_loader"]["dataset"]["streams"]
    return {stream["local"]: stream["proportion"] for stream in streams.values()}


def _interleave(text: str) -> dict[str, float]:
    entries = json.loads(text)["datasets"]
    np.random.default_rng(0).choice(len(entries), p=[entry["probability"] for entry in entries])
    return {entry["path"]: entry["probability"] for entry in entries}


def _llama(text: str) -> dict[str, float]:
    plain = yaml.safe_load(text)
    return dict(zip(plain["dataset"].split(","), map(float, plain["interleave_probs"].split(",")), strict=True))


def _swift(text: str) -> dict[str, float]:
    plain = yaml.safe_load(text)
    probabilities = [float(str(number)) for number in plain["interleave_prob"]]
    np.random.default_rng(0).choice(len(probabilities), p=probabilities)
    return dict(zip(plain["dataset"], probabilities, strict=True))


def _trl(text: str) -> dict[str, float]:
    return {entry["path"]: entry["fraction"] for entry in yaml.safe_load(text)["datasets"]}


def _lingua(text: str) -> dict[str, float]:
    data = yaml.safe_load(text)["data"]
    assert data["root_dir"] == "/"
    return dict(data["sources"])


def _maxtext(text: str) -> dict[str, float]:
    return {entry["path"]: entry["weight"] for entry in json.loads(text).values()}


READERS: Mapping[str, Callable[[str], dict[str, float]]] = {
    "megatron": _megatron,
    "megatron-bridge": _bridge,
    "olmo-core": _olmo,
    "gpt-neox": _neox,
    "nanotron": _nanotron,
    "levanter": _levanter,
    "llm-foundry": _foundry,
    "hf-interleave": _interleave,
    "llama-factory": _llama,
    "ms-swift": _swift,
    "trl": _trl,
    "lingua": _lingua,
    "maxtext": _maxtext,
}


@pytest.mark.parametrize("name", [name for name in EXPORTERS if name != "json"])
def test_what_a_trainer_reads_gives_every_domain_its_share_of_the_tokens(name: str) -> None:
    rng = np.random.default_rng(1)
    for mixture in random_mixtures(40):
        given = export(dict(mixture))
        tokens = {domain: float(rng.integers(50, 20_000)) for domain in mixture}
        paths = {domain: {"path": f"/d/{domain}", "tokens_a_row": tokens[domain]} for domain in mixture}
        weights = {path.removeprefix("/d/"): w for path, w in READERS[name](first(name, given, paths)).items()}
        assert list(weights) == list(given.millionths)
        assert min(weights.values()) > 0.0
        assert math.fsum(weights.values()) == pytest.approx(1.0, abs=1e-9)
        read = {domain: w * (tokens[domain] if name in ROW_TRAINERS else 1.0) for domain, w in weights.items()}
        total = math.fsum(read.values())
        for domain, share in read.items():
            wanted = mixture[domain]
            within = max(0.05 * wanted, len(read) / 32_768) if name == "levanter" else 2e-6
            assert abs(share / total - wanted) <= within


@pytest.mark.parametrize("name", [name for name in EXPORTERS if name not in ("json", "megatron")])
def test_paths_of_any_signs_are_read_as_they_are(name: str) -> None:
    weights = {"wiki: de/\u00fc": 0.25, 'a "b" \\c': 0.25, "# \U0001f600": 0.25, "1e5": 0.25}
    paths = {domain: {"path": f"/{domain}\u2028'{{", "tokens_a_row": 5} for domain in weights}
    assert READERS[name](first(name, export(weights), paths)) == {
        str(place["path"]): pytest.approx(0.25) for place in paths.values()
    }


@pytest.mark.parametrize("name", ROW_TRAINERS)
def test_rows_of_unknown_length_are_refused(name: str) -> None:
    half = export({"web": 0.5, "code": 0.5, "none": 0.0})
    with pytest.raises(ExportError, match=r"draws rows, not tokens.*\['web', 'code'\].*tokens_a_row: 812"):
        EXPORTERS[name](half, {"web": "/a", "code": "/b"})
    with pytest.raises(ExportError, match=r"row of \['code'\]"):
        EXPORTERS[name](half, {"web": {"path": "/a", "tokens_a_row": 5}, "code": "/b"})


@pytest.mark.parametrize("name", ROW_TRAINERS)
def test_rows_are_the_documents_that_were_prepared_unless_stated_for_all(name: str) -> None:
    half = export({"web": 0.5, "code": 0.5}, tokens_a_document={"web": 10.0, "code": 30.0})
    assert READERS[name](first(name, half, {"web": "/a", "code": "/b"})) == {"/a": 0.75, "/b": 0.25}
    stated = {"web": {"path": "/a", "tokens_a_row": 1}, "code": {"path": "/b", "tokens_a_row": 4}}
    assert READERS[name](first(name, half, stated)) == {"/a": 0.8, "/b": 0.2}
    with pytest.raises(ExportError, match="in one tokenizer"):
        EXPORTERS[name](half, {"web": "/a", "code": stated["code"]})


def test_a_domain_of_endless_rows_is_refused() -> None:
    paths = {"web": {"path": "/a", "tokens_a_row": 1}, "book": {"path": "/b", "tokens_a_row": 1e10}}
    with pytest.raises(ExportError, match=r"\['book'\] are so long"):
        EXPORTERS["trl"](export({"web": 0.5, "book": 0.5}), paths)


def test_olmo_core_finds_the_tokens_that_it_needs() -> None:
    rng = np.random.default_rng(2)
    for mixture in random_mixtures(40):
        available = {domain: int(rng.integers(1_000, 10_000_000)) for domain in mixture}
        given = export(dict(mixture), available_tokens=available, target_tokens=3_333_333)
        for source in yaml.safe_load(first("olmo-core", given, {d: f"/{d}" for d in mixture}))["sources"]:
            allowed = int(available[source["source_name"]] * source["max_repetition_ratio"])
            assert int(3_333_333 * source["target_ratio"]) <= allowed
            assert source["max_repetition_ratio"] >= 1.0


def test_olmo_core_is_told_no_shares_and_no_repetition_that_nobody_knows() -> None:
    half = export({"web": 0.5, "code": 0.5})
    assert "max_repetition_ratio:" not in first("olmo-core", half, {"web": "/a", "code": "/b"})
    with pytest.raises(ExportError, match="list them without"):
        EXPORTERS["olmo-core"](half, {"web": "/a", "code": {"/b": 1, "/c": 2}})


@pytest.mark.parametrize(("rare", "block"), [(0.3, 2_048), (0.00122, 4_096), (0.000_001, 32_768)])
def test_levanters_block_is_as_large_as_the_rarest_domain_needs(rare: float, block: int) -> None:
    data = yaml.safe_load(first("levanter", export({"web": 1.0 - rare, "rare": rare}), {"web": "/a", "rare": "/b"}))
    assert data["data"]["mixture_block_size"] == block


def test_llama_factory_takes_no_comma_in_a_name() -> None:
    with pytest.raises(ExportError, match="separates data sets by commas"):
        EXPORTERS["llama-factory"](export({"web": 1.0}), {"web": {"path": "a,b", "tokens_a_row": 5}})


def test_relative_folders_of_lingua_are_left_to_its_own_root() -> None:
    data = yaml.safe_load(first("lingua", export({"web": 1.0}), {"web": {"path": "web", "tokens_a_row": 5}}))
    assert data == {"data": {"sources": {"web": 1.0}}}


def test_the_epochs_that_are_too_many_are_those_above_four() -> None:
    given = export(
        {"web": 0.5, "code": 0.25, "math": 0.25},
        available_tokens={"web": 100, "code": 63, "math": 62},
        target_tokens=1_000,
    )
    assert given.repeated == {"web": 5.0, "math": pytest.approx(4.032258)}
    assert export({"web": 1.0}).repeated == {}


def test_hugging_face_datasets_draw_the_tokens_and_repeat_what_is_small(tmp_path: Path) -> None:
    given = export({"long": 0.5, "short": 0.3, "one": 0.2, "none": 0.0})
    lengths = {"long": 100, "short": 10, "one": 30}
    paths = {name: {"path": name, "tokens_a_row": length} for name, length in lengths.items()}
    for name, text in EXPORTERS["hf-interleave"](given, paths).items():
        (tmp_path / name).write_text(text, encoding="utf-8")

    def load(path: str) -> Dataset | IterableDataset:
        rows = Dataset.from_list([{"domain": path, "tokens": lengths[path]}] * 7)
        return rows if path == "short" else rows.to_iterable_dataset()

    mixture = runpy.run_path(str(tmp_path / "quickstart.hf-interleave.py"))["mixture"]
    read = dict.fromkeys(lengths, 0)
    for row in mixture(load).take(2_000):
        read[row["domain"]] += row["tokens"]
    shares = {name: tokens / sum(read.values()) for name, tokens in read.items()}
    # Half of the tokens are 240 of 2,000 rows: 6 % of a share is one standard deviation.
    assert shares == {name: pytest.approx(given.mixture[name], rel=0.18) for name in lengths}


def test_a_single_data_set_is_a_mixture_too(tmp_path: Path) -> None:
    for name, text in EXPORTERS["hf-interleave"](export({"a": 1.0}), {"a": {"path": "a", "tokens_a_row": 1}}).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    mixture = runpy.run_path(str(tmp_path / "quickstart.hf-interleave.py"))["mixture"]
    rows = mixture(lambda _: Dataset.from_dict({"row": [1, 2]})).take(5)
    assert [row["row"] for row in rows] == [1, 2, 1, 2, 1]
