"""What may be sent to a cluster, what is refused, and that no password is ever in it."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mixopt.cli import main
from mixopt.config import load
from mixopt.errors import ConfigError, SearchError, WorkerError
from mixopt.submission import Submission, packages
from mixopt.submit import Jobs
from tests.cli.small_search import write_search

SIMULATED = Path(__file__).parents[2] / "configs" / "simulated.yaml"
SERVER = "postgresql://me@db.example/searches"


def submission(path: Path = SIMULATED, **changed: object) -> Submission:
    return Submission(config=load(path), path=path, **({"store": SERVER} | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("store", "words"),
    [
        ("mixopt.db", "die with it"),
        ("/tmp/mixopt.db", "die with it"),
        ("sqlite:////tmp/mixopt.db", "by its path"),
        ("postgresql://me@localhost/searches", "the head node itself"),
        ("postgresql://me@127.0.0.1:5432/searches", "the head node itself"),
        ("postgresql:///searches?host=/var/run/postgresql", "the head node itself"),
        ("postgresql://me:s3cret@db.example/searches", "holds a password"),
        ("postgresql+psycopg://me@db.example/searches?password=s3cret", "holds a password"),
    ],
)
def test_a_store_that_would_not_last_or_keep_its_secret_is_refused(store: str, words: str) -> None:
    with pytest.raises(SearchError, match=words) as refused:
        submission(store=store)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("store", ["/disk/mixopt.db", "postgresql://me@localhost/searches"])
def test_a_store_on_the_head_is_taken_where_somebody_says_that_it_outlasts_it(store: str) -> None:
    assert shlex.split(submission(store=store, outlasts=True).entrypoint)[-2:] == ["--store", store]


def test_a_store_that_is_named_on_the_head_is_named_nowhere_else() -> None:
    sent = submission(store=None)
    assert shlex.split(sent.entrypoint) == ["exec", "python", "-m", "mixopt", "run", "simulated.yaml"]
    assert sent.metadata(dashboard="http://head:8265")["mixopt_store"] == "$MIXOPT_STORE"


def test_the_job_bears_the_name_of_its_search(tmp_path: Path) -> None:
    told = submission().metadata(dashboard="http://head:8265")
    assert told["mixopt_search"] == "simulated"
    assert all(isinstance(value, str) for value in told.values())


def test_text_and_artifacts_need_a_folder_that_all_nodes_share(tmp_path: Path) -> None:
    path = write_search(tmp_path)
    with pytest.raises(SearchError, match="--folder"):
        submission(path, working_dir=tmp_path)
    with pytest.raises(SearchError, match="absolute"):
        submission(path, working_dir=tmp_path, folder="shared")


def test_paths_that_the_cluster_lacks_are_refused_unless_their_folder_is_sent(tmp_path: Path) -> None:
    path = write_search(tmp_path)
    with pytest.raises(ConfigError, match=r"domain 'letters', file 0: 'letters/\*.txt' starts at the file's folder"):
        submission(path, folder="/shared")
    assert "small.yaml" in submission(path, folder="/shared", working_dir=tmp_path).entrypoint
    with pytest.raises(SearchError, match="does not lie in"):
        submission(path, folder="/shared", working_dir=tmp_path / "letters")
    text = path.read_text(encoding="utf-8").replace("paths: [", f"paths: [{tmp_path}/")
    path.write_text(text, encoding="utf-8")
    assert submission(path, folder="/shared").working_dir is None


def test_the_shell_reads_the_words_that_were_meant(tmp_path: Path) -> None:
    sent = tmp_path / "sent here"
    program = tmp_path / "a python"
    program.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n', encoding="utf-8")
    program.chmod(0o755)
    made = submission(
        write_search(sent / "a & b"), folder="/a b", working_dir=sent, python=str(program), options=("--name", "$c")
    )
    done = subprocess.run(made.entrypoint, shell=True, cwd=sent, capture_output=True, text=True, check=True)
    words = ["-m", "mixopt", "run", "a & b/small.yaml", "--name", "$c", "--store", SERVER, "--folder", "/a b"]
    assert done.stdout.splitlines() == words


def test_our_own_code_is_sent_whole() -> None:
    assert sorted(Path(folder).name for folder in packages()) == ["mixopt", "proxies", "store"]
    assert all((Path(folder) / "__init__.py").is_file() for folder in packages())


def test_where_no_cluster_answers_another_address_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://elsewhere:1")  # which Ray would take for more than what it is told
    with pytest.raises(WorkerError, match=r"no Ray cluster answers at http://127.0.0.1:1; give") as refused:
        Jobs("http://me:s3cret@127.0.0.1:1")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [([], "say where the search is kept"), (["--store", "mixopt.db"], "die with it"), (["--store-there"], "--folder")],
)
def test_what_would_not_last_is_refused_in_one_line_before_any_cluster_is_called(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_search(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mixopt", "submit", str(path), "--address", "http://127.0.0.1:1", *words])
    with pytest.raises(SystemExit) as left:
        main()
    error = capsys.readouterr().err
    assert left.value.code == 1
    assert said in error
    assert error.count("\n") == 1
