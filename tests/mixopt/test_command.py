"""The user's own training command: what its template may say, and what it is answered where it is wrong."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from mixopt.command import PLACEHOLDERS, Command, mixture_files
from mixopt.config import SearchConfig, load
from mixopt.errors import ConfigError, ExportError
from mixopt.export import EXPORTERS, Export
from mixopt.mixture import Mixture

EXAMPLE = Path(__file__).parents[2] / "configs" / "command.yaml"
PLAIN = "train --data {megatron} --out {output} --seed {seed}"


def values(**changed: str) -> dict[str, str]:
    return dict.fromkeys([*PLACEHOLDERS, *EXPORTERS], "x") | changed


def test_a_value_with_spaces_or_quotes_stays_one_word() -> None:
    command = Command.parse(PLAIN + " --note 'a b' {{}}", shell=False)
    nasty = "/a b/$(touch x); 'q'"
    assert command.fill(values(output=nasty)) == [
        "train", "--data", "x", "--out", nasty, "--seed", "x", "--note", "a b", "{}",
    ]  # fmt: skip


def test_a_shell_is_only_used_where_asked_for_and_reads_values_as_they_are(tmp_path: Path) -> None:
    nasty = "a b'; touch gone; echo \"$HOME"
    command = Command.parse("printf '%s' {output} | cat # {seed} {weights}", shell=True)
    done = subprocess.run(command.fill(values(output=nasty)), capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == nasty
    assert not list(tmp_path.iterdir())


def test_words_may_be_given_one_by_one() -> None:
    command = Command.parse(["a b", "{output}", "{seed}", "{weights}"], shell=False)
    assert command.fill(values(output="o"))[:2] == ["a b", "o"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "is empty"),
        ("train 'a", "close its quotes"),
        (PLAIN + " {step}", r"unknown placeholder 'step' \(did you mean 'steps'\?\); known: output, seed"),
        (PLAIN + " {}", "no plain placeholder"),
        (PLAIN + " {seed:d}", "no plain placeholder"),
        (PLAIN + " {", "meant as one is doubled"),
        ("train {megatron} {seed}", r"lacks \{output\}"),
        ("train {megatron} {output}", r"lacks \{seed\}"),
        ("train {seed} {output}", r"not told the mixture; .*megatron"),
    ],
)
def test_a_command_that_cannot_be_is_answered(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        Command.parse(text, shell=False)


def export(names: Mapping[str, float]) -> Export:
    return Export(
        search="s", mixture=Mixture(names), available_tokens=dict.fromkeys(names, 9), seed=0, config_hash="", created=""
    )


def test_a_placeholder_names_the_exporters_first_file_or_the_one_that_ends_so() -> None:
    paths = {"a": "/d/a", "b": "/d/b"}
    half = export({"a": 0.5, "b": 0.5})
    assert mixture_files("megatron", half, paths)[0] == "s.megatron.args"
    assert mixture_files("megatron.json", half, paths)[0] == "s.megatron.json"
    assert mixture_files("json", half, {})[0] == "s.json"
    with pytest.raises(ExportError, match=r"not 's\.megatron\.args'"):
        mixture_files("megatron", half, {"a": "/with space", "b": "/d/b"})
    with pytest.raises(ExportError, match=r"not '<search>\.megatron\.yaml'"):
        mixture_files("megatron.yaml", half, paths)


@pytest.mark.parametrize("name", EXPORTERS)
def test_every_exporters_file_is_a_placeholder_by_its_name_and_by_its_ending(name: str) -> None:
    half = export({"a": 0.5, "b": 0.5})
    paths = {domain: {"path": f"/d/{domain}", "tokens_a_row": 3} for domain in half.mixture}
    first, files = mixture_files(name, half, paths)
    assert first.startswith("s.json" if name == "json" else f"s.{name}.")
    for file in [first, *(file for file in files if file.startswith(f"s.{name}."))]:
        ending = file.removeprefix("s.")
        assert mixture_files(ending if "." in ending else name, half, paths)[0] == file
        command = Command.parse(f"train --data {{{ending}}} --first={{{name}}} {{output}} {{seed}}", shell=False)
        assert command.exporters == tuple(dict.fromkeys((ending, name)))
        told = command.fill(values() | {ending: f"/out/{file}", name: f"/out/{first}"})
        assert told[:4] == ["train", "--data", told[2], f"--first=/out/{first}"]
        assert name == "json" or told[2] == f"/out/{file}"


def changed(file: Path, old: str, new: str) -> Path:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("old", "new", "answer"),
    [
        ("{tokens}", "{token}", "workers.command: unknown placeholder 'token' (did you mean 'tokens'?)"),
        ("{megatron}", "{trl}", "workers.paths: trl draws rows, not tokens"),
        ("loops: {asyncio", "lops: {asyncio", "workers.paths: paths name unknown domains ['lops']"),
        ("{name: network, available_tokens: 1_500_000}", "{name: network}", "domains.0: a command's domain 'network'"),
        ("parameters: 65_536, ", "", "ladder.0: rung 'small' of a command needs `parameters`"),
        ("values: {order: 2}", "values: {}", "ladder.1: the command asks for {order}; give it under `values`"),
        ("values: {order: 1}", "values: {seed: 1}", "ladder.0.values.seed: 'seed' is a placeholder already"),
        ("--part {part}", "--part {steps}", "ladder.0: the command asks for {steps}; state the `steps`"),
        ("parameters: 65_536", "proxy: {layers: 1, width: 8, heads: 1}", "ladder.0.proxy: a command trains a model"),
        ("tools: {}", "tools: {}\n  error/: {}", "evaluation.error/: evaluation set has the name ''"),
        ("--tokens {tokens} --order {order}", "", "workers.command: the command does the same at every rung"),
        ("name: command\n", "name: command\nsimulated: {}\n", "simulated: nothing to evaluate on"),
    ],
)
def test_a_wrong_file_is_answered_with_line_and_key(tmp_path: Path, old: str, new: str, answer: str) -> None:
    file = changed(tmp_path / "s.yaml", old, new)
    with pytest.raises(ConfigError) as error:
        load(file)
    assert re.match(rf"{re.escape(str(file))}:\d+: {re.escape(answer)}", str(error.value))


def test_a_rung_costs_what_is_stated_or_six_flops_a_parameter_and_token() -> None:
    ladder = load(EXAMPLE).ladder(vocabulary=0, evaluation_tokens=0)
    assert [rung.cost_flops for rung in ladder] == [6 * 65_536 * 20_000, 4e10]
    assert [rung.parameters for rung in ladder] == [65_536, 16_777_216]
    assert load(EXAMPLE).rung("large").trial_flops(tokens=50_000, vocabulary=0, evaluation_tokens=0) == 2e10


def test_what_a_command_has_and_a_proxy_has_not_is_refused_of_a_proxy(tmp_path: Path) -> None:
    plain = load(EXAMPLE.parent / "simulated.yaml").resolved()
    rungs = plain["ladder"]
    assert isinstance(rungs, list)
    with pytest.raises(ConfigError, match="'steps' is for a command"):
        SearchConfig.from_plain(plain | {"ladder": [rungs[0] | {"steps": 3}, *rungs[1:]]})
