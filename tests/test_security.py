"""What nobody may do through a file, a URL or a page: run code, write elsewhere, read a password."""

import ast
import hashlib
import os
import pickle
import subprocess
import sys
from functools import cache
from pathlib import Path

import fsspec.config
import pytest
import yaml
from streamlit.testing.v1 import AppTest

import dashboard
from mixopt.cli.dashboard import _is_this_machine
from mixopt.command import Command
from mixopt.config import SearchConfig, load
from mixopt.errors import ConfigError
from mixopt.export import EXPORTERS, Export, read_paths
from mixopt.mixture import Mixture
from mixopt.url_secrets import holds_secret
from proxies.checkpoint import Checkpoint
from store import Store, StoreUnavailable, without_password

ROOT = Path(__file__).parents[1]
SOURCES = [path for package in ("mixopt", "proxies", "store", "dashboard") for path in (ROOT / package).rglob("*.py")]
SECRET = "hunter2"
NOWHERE = f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/none"


@cache
def tree(path: Path) -> ast.Module:
    """Return what a source file says."""
    return ast.parse(path.read_text(encoding="utf-8"))


def calls(name: str) -> list[tuple[Path, dict[str, object]]]:
    """Return every call of `name` in our own code, with its plain keywords."""
    found = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
                plain = {k.arg: k.value.value for k in node.keywords if k.arg and isinstance(k.value, ast.Constant)}
                found.append((path, plain))
    return found


def test_yaml_is_read_by_safe_loading_alone() -> None:
    assert calls("yaml.safe_load")
    assert not [call for name in ("yaml.load", "yaml.full_load", "yaml.unsafe_load") for call in calls(name)]


def test_nothing_is_unpickled_and_what_torch_and_numpy_read_is_told_so() -> None:
    loads = calls("torch.load")
    assert loads
    assert all(keywords.get("weights_only") is True for _, keywords in loads)
    assert not any(keywords.get("allow_pickle") for _, keywords in calls("np.load"))
    names = [
        name
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
    ]
    assert not {"pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve"} & set(names)


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir [{place}]", "!!python/name:os.system"])
def test_a_file_that_names_code_is_refused_and_runs_nothing(tmp_path: Path, tag: str) -> None:
    place, path = tmp_path / "made", tmp_path / "search.yaml"
    path.write_text(f"name: {tag.format(place=place)}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"search\.yaml"):
        load(path)
    with pytest.raises(ConfigError):
        read_paths(path)
    assert not place.exists()


class Bomb:
    """What does harm when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._place),)


def test_a_checkpoint_that_is_a_pickle_of_code_runs_nothing(tmp_path: Path) -> None:
    payload = pickle.dumps(Bomb(tmp_path / "made"), protocol=2)  # the one that torch writes
    (tmp_path / "training.pt").write_bytes(hashlib.sha256(payload).hexdigest().encode() + payload)
    with pytest.raises(pickle.UnpicklingError, match="Weights only"):
        Checkpoint(folder=str(tmp_path), every_s=1.0).load()
    assert not (tmp_path / "made").exists()


def test_a_command_is_words_for_no_shell_unless_one_is_asked_for() -> None:
    words = Command.parse("train.py {output} {megatron} {seed}; rm -rf / $(id)", shell=False).words
    assert words == ("train.py", "{output}", "{megatron}", "{seed};", "rm", "-rf", "/", "$(id)")
    assert not [
        keywords for _, keywords in [*calls("subprocess.run"), *calls("subprocess.Popen")] if keywords.get("shell")
    ]


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/b", "..", ".hidden", "a\\b"])
def test_a_name_that_would_write_elsewhere_is_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / "search.yaml"
    text = (ROOT / "configs" / "simulated.yaml").read_text(encoding="utf-8")
    path.write_text(text.replace("name: simulated", f"name: {name!r}"), encoding="utf-8")
    with pytest.raises(ConfigError, match="name"):
        load(path)
    path.write_text(text.replace("sets: [web,", f"sets: [{name!r},").replace("{web: 1,", f"{{{name!r}: 1,"))
    with pytest.raises(ConfigError, match="evaluation set"):
        load(path)


@pytest.mark.parametrize("kind", EXPORTERS)
def test_an_export_is_files_of_one_folder(kind: str) -> None:
    export = Export(
        search="s",
        mixture=Mixture({"web": 1.0}),
        available_tokens={"web": 10},
        seed=0,
        config_hash="h",
        created="2026-01-01T00:00:00+00:00",
        target_tokens=None,
        predicted=None,
        beats_natural=None,
        versions={},
    )
    assert all(
        Path(name).name == name for name in EXPORTERS[kind](export, {"web": {"path": "/data/web", "tokens_a_row": 9}})
    )


@pytest.mark.parametrize(
    "location",
    [
        NOWHERE,
        f"postgresql+psycopg://me@127.0.0.1:1/none?password={SECRET}",
        f"postgresql+psycopg://me@127.0.0.1:1/none?sslpassword={SECRET}",
        f"postgresql://me:{SECRET}@host:port/none",
        f"mysql+nobody://me:{SECRET}@host/none",
        f"no database at all ://me:{SECRET}@host",
    ],
)
def test_no_message_holds_a_password(location: str) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreUnavailable) as refused:
        Store(location)
    assert SECRET not in str(refused.value)


def test_no_page_holds_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setattr("sys.argv", ["app.py"])
    monkeypatch.setenv("MIXOPT_STORE", NOWHERE)
    app = AppTest.from_file(str(Path(dashboard.__file__).parent / "app.py"), default_timeout=60).run()
    shown = [element.value for element in (*app.caption, *app.error, *app.exception)]
    assert shown
    assert not any(SECRET in str(value) for value in shown)


def test_no_command_prints_a_password() -> None:
    pytest.importorskip("psycopg")
    for words in (["list"], ["dashboard"]):
        command = [sys.executable, "-m", "mixopt", *words, "--store", NOWHERE]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1
        assert "cannot be used" in done.stderr
        assert SECRET not in done.stdout + done.stderr


def test_a_password_with_strange_letters_is_hidden_too() -> None:
    assert SECRET not in without_password(f"postgresql://me:{SECRET}%40%2F@host/name")


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("10.0.0.1", False), ("head", False)],
)
def test_the_dashboard_knows_which_addresses_are_this_machine_alone(host: str, alone: bool) -> None:
    assert _is_this_machine(host) == alone


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("checkpoints", f"s3://key:{SECRET}@bucket/searches"),
        ("checkpoints", f"s3://key:se/{SECRET}@bucket"),
        ("checkpoints", f"simplecache::ftp://user:{SECRET}@host:21/searches"),
        ("checkpoints", f"https://account.blob.core.windows.net/box?sv=2&sig={SECRET}"),
        ("command", f"torchrun train.py --log postgres://me:{SECRET}@host/log --out {{out}}"),
        ("address", f"ray://me:{SECRET}@head:10001"),
    ],
)
def test_a_secret_in_the_file_of_a_search_is_refused_and_not_repeated(tmp_path: Path, key: str, text: str) -> None:
    plain = yaml.safe_load((ROOT / "configs" / "simulated.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(plain | {"workers": {key: text}, "seed": "one"}), encoding="utf-8")
    with pytest.raises(
        ConfigError, match=rf"workers\.{key}: a URL here holds a password or key.*FSSPEC_S3_SECRET"
    ) as bad:
        load(path)
    assert SECRET not in str(bad.value)
    with pytest.raises(ConfigError) as bad:
        SearchConfig.from_plain(plain | {"workers": {key: text}})
    assert SECRET not in str(bad.value)


@pytest.mark.parametrize(
    "text",
    [
        *("s3://bucket/searches", "s3://key@bucket", "abfs://box@account.dfs.core.windows.net/a", "file:///a:b/c@d"),
        *("http://host:8080/a@b", "sftp://user@host:2222/searches", "https://host/box?versionId=3&region=eu"),
        *("psql postgres://me:$PGPASSWORD@host/log", "psql postgres://me:${PGPASSWORD}@host/log", "a: b@c", "/a:b@c"),
    ],
)
def test_a_url_without_a_secret_is_none(text: str) -> None:
    assert not holds_secret(text)


def test_the_variables_that_the_refusal_names_are_those_that_file_systems_read() -> None:
    found: dict[str, dict[str, str]] = {}
    fsspec.config.set_conf_env(found, {"FSSPEC_S3_KEY": "k", "FSSPEC_S3_SECRET": "s", "FSSPEC_FTP_PASSWORD": "p"})
    assert found == {"s3": {"key": "k", "secret": "s"}, "ftp": {"password": "p"}}
