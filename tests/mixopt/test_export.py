"""Exports as text: golden files, exact sums, and what Megatron's readers would make of them."""

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from mixopt.errors import ConfigError, ExportError
from mixopt.evidence import Prediction
from mixopt.export import EXPORTERS, Export, read_paths
from mixopt.export.provenance import GRID, apportion, fixed
from mixopt.mixture import Mixture


def export(weights: dict[str, float], **changes: object) -> Export:
    given: dict[str, object] = {
        "search": "quickstart",
        "mixture": Mixture(weights),
        "available_tokens": dict.fromkeys(weights, 1_000_000),
        "seed": 0,
        "config_hash": "c0ffee",
        "created": "2026-11-22T21:00:00+00:00",
    }
    return Export(**(given | changes))  # type: ignore[arg-type]


FULL = export(
    {"web": 0.7, "code": 0.29999, "math": 0.00001, "wiki": 0.0},
    target_tokens=20_000_000,
    predicted=Prediction(mean=1.25, sd=0.0125),
    beats_natural=0.975,
    versions={"torch": "2.13.0", "mixopt": "0.1.0"},
)

GOLDEN_JSON = """\
{
  "schema": "mixopt-mixture/1",
  "search": "quickstart",
  "seed": 0,
  "config_hash": "c0ffee",
  "created": "2026-11-22T21:00:00+00:00",
  "versions": {"mixopt": "0.1.0", "torch": "2.13.0"},
  "unit": "tokens",
  "target_tokens": 20000000,
  "predicted": {"mean": 1.25, "sd": 0.0125},
  "beats_natural": 0.975,
  "dropped": ["wiki"],
  "domains": [
    {"name": "web", "weight": 0.700000, "available_tokens": 1000000, "epochs": 14.000000},
    {"name": "code", "weight": 0.299990, "available_tokens": 1000000, "epochs": 5.999800},
    {"name": "math", "weight": 0.000010, "available_tokens": 1000000, "epochs": 0.000200}
  ]
}
"""

GOLDEN_ARGS = """\
0.700000 /d/web_text_document
0.149995 /d/code_0
0.149995 /d/code_1
0.000007 /d/math_a
0.000003 /d/math_b
"""

GOLDEN_SPLITS = """\
{
 "train": [
  "0.700000",
  "/d/web text",
  "0.300000",
  "/d/code"
 ],
 "valid": null,
 "test": null
}
"""

PATHS = {
    "web": "/d/web_text_document",
    "code": ["/d/code_0", "/d/code_1"],
    "math": {"/d/math_a": 7, "/d/math_b": 3},
    "wiki": "/d/wiki",
}


def random_mixtures(count: int) -> list[Mixture]:
    rng = np.random.default_rng(0)
    mixtures = []
    for i in range(count):
        d = int(rng.integers(1, 40))
        weights = rng.dirichlet(np.full(d, [0.05, 0.3, 1.0, 10.0][i % 4]))
        mixtures.append(Mixture.from_array([str(j) for j in range(d)], weights))
    return mixtures


def test_the_json_is_this_text() -> None:
    assert EXPORTERS["json"](FULL, {}) == {"quickstart.json": GOLDEN_JSON}
    assert json.loads(GOLDEN_JSON)["domains"][2]["weight"] == 1e-5


def test_the_megatron_files_are_these_texts() -> None:
    files = EXPORTERS["megatron"](FULL, PATHS)
    assert files["quickstart.megatron.args"] == GOLDEN_ARGS
    assert files["quickstart.json"] == GOLDEN_JSON
    train = json.loads(files["quickstart.megatron.json"])["train"]
    assert train == GOLDEN_ARGS.split()


def test_a_prefix_with_a_space_is_in_the_json_only() -> None:
    files = EXPORTERS["megatron"](export({"web": 0.7, "code": 0.3}), {"web": "/d/web text", "code": "/d/code"})
    assert sorted(files) == ["quickstart.json", "quickstart.megatron.json"]
    assert files["quickstart.megatron.json"] == GOLDEN_SPLITS


def test_five_thousand_random_mixtures_sum_to_exactly_one_and_stay_within_a_millionth() -> None:
    for mixture in random_mixtures(5_000):
        parts = apportion(mixture, GRID)
        assert sum(Decimal(fixed(part)) for part in parts.values()) == 1
        assert max(abs(parts[name] / GRID - weight) for name, weight in mixture.items()) <= 1.000001e-6


@pytest.mark.parametrize("name", EXPORTERS)
def test_every_exporter_reads_back_to_the_mixture_without_zeros_or_exponents(name: str) -> None:
    for mixture in random_mixtures(300):
        given = export(dict(mixture))
        files = EXPORTERS[name](given, {domain: {"path": f"/d/{domain}", "tokens_a_row": 9} for domain in mixture})
        back = json.loads(files["quickstart.json"])["domains"]
        assert [entry["name"] for entry in back] == list(given.millionths)
        assert all(abs(entry["weight"] - mixture[entry["name"]]) <= 1.000001e-6 for entry in back)
        assert np.isclose(sum(entry["weight"] for entry in back), 1.0, atol=1e-9)
        assert min(entry["weight"] for entry in back) > 0.0


def test_megatron_reads_pairs_of_positive_weight_and_prefix() -> None:
    for mixture in random_mixtures(300):
        paths = {domain: [f"/d/{domain}_{shard}" for shard in range(3)] for domain in mixture}
        words = EXPORTERS["megatron"](export(dict(mixture)), paths)["quickstart.megatron.args"].split()
        weights, prefixes = [Decimal(word) for word in words[::2]], words[1::2]
        assert sum(weights) == 1
        assert min(weights) > 0
        for domain, weight in mixture.items():
            got = sum(w for w, prefix in zip(weights, prefixes, strict=True) if prefix in paths[domain])
            assert abs(float(got) - weight) <= 1.000001e-6


def test_names_in_any_script_and_with_any_sign_survive() -> None:
    weights = {"wiki: de/\u00fc": 0.5, 'a "b" c': 0.5}
    text = EXPORTERS["json"](export(weights), {})["quickstart.json"]
    assert text.isascii()
    assert {entry["name"]: entry["weight"] for entry in json.loads(text)["domains"]} == weights


@pytest.mark.parametrize(
    ("paths", "word"),
    [
        ({"web": "/a"}, r"lack domains \['code'\]"),
        ({"web": "/a", "code": "/b", "cod": "/c"}, r"unknown domains \['cod'\]; known: \['web', 'code'\]"),
        ({"web": "/a", "code": "/a"}, "stands under 'web' and 'code'"),
        ({"web": "/a", "code": ["/b", "/b"]}, "twice"),
        ({"web": "/a", "code": []}, "no path"),
        ({"web": "/a", "code": {"/b": 0}}, "positive number"),
        ({"web": "/a", "code": 3}, "got 3"),
        ({"web": "/a", "code": [3]}, "write it as text"),
        ({"web": "/a", "code": "/b.bin"}, "without its ending"),
        ({"web": "/a", "code": {"tokens_a_row": 9}}, "must have `path`"),
        ({"web": "/a", "code": {"path": "/b", "tokens_a_rw": 9}}, "tokens_a_rw"),
        ({"web": "/a", "code": {"path": "/b", "tokens_a_row": 0}}, "positive number; got 0"),
        ({"web": "/a", "code": {"path": "/b", "tokens_a_row": "1e3"}}, "positive number; got '1e3'"),
        ({"web": "/a", "code": {"path": 3, "tokens_a_row": 9}}, "got 3"),
    ],
)
def test_paths_that_do_not_fit_are_named(paths: dict[str, object], word: str) -> None:
    with pytest.raises(ExportError, match=word):
        EXPORTERS["megatron"](export({"web": 0.7, "code": 0.3}), paths)


def test_a_domain_without_weight_needs_no_path() -> None:
    assert (
        "/d/web"
        in EXPORTERS["megatron"](export({"web": 1.0, "code": 0.0}), {"web": "/d/web"})["quickstart.megatron.args"]
    )


def test_a_paths_file_maps_domains_to_paths(tmp_path: Path) -> None:
    file = tmp_path / "paths.yaml"
    file.write_text("web: /a\ncode: [/b, /c]\nmath: {/d: 2}\nwiki: {path: {/e: 2}, tokens_a_row: 9}\n")
    assert read_paths(file) == {
        "web": "/a", "code": ["/b", "/c"], "math": {"/d": 2}, "wiki": {"path": {"/e": 2}, "tokens_a_row": 9},
    }  # fmt: skip
    file.write_text("- web\n")
    with pytest.raises(ExportError, match="map domains to paths"):
        read_paths(file)
    with pytest.raises(ConfigError, match="no such file"):
        read_paths(tmp_path / "nope.yaml")


def test_mixture_and_tokens_name_the_same_domains() -> None:
    with pytest.raises(ExportError, match="math"):
        export({"web": 1.0}, available_tokens={"web": 1, "math": 1})
