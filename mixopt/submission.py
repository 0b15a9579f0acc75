"""What is sent to a cluster so that it runs a search: refused where it could not work there, or would not last."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from mixopt import __version__
from mixopt.config import SearchConfig
from mixopt.errors import ConfigError, SearchError
from proxies.paths import as_patterns, is_remote

PACKAGES = ("mixopt", "proxies", "store")  # what a search needs of us where it runs
STORE_VARIABLE = "MIXOPT_STORE"  # which every command takes its --store from
HERE = {"localhost", "127.0.0.1", "::1", "", None}
SEARCH, DASHBOARD = "mixopt_search", "mixopt_dashboard"  # keys of a job's metadata


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One search for a cluster.

    path: its file. options: for `mixopt run`, such as its other name. store: where it is kept; None: the variable
    MIXOPT_STORE says so, which the head node has. outlasts: a store on the head node lies on a disk that outlives it.
    folder: shared by all nodes, for prepared text and artifacts; None: they lie beside the store.
    working_dir: a folder with `path` in it that is sent whole; None: the file alone. python: as the cluster calls it.

    Raises:
        SearchError, ConfigError: see the module.
    """

    config: SearchConfig
    path: Path
    options: tuple[str, ...] = ()
    store: str | None = None
    outlasts: bool = False
    folder: str | None = None
    working_dir: Path | None = None
    python: str = "python"

    def __post_init__(self) -> None:
        if self.store is not None:
            _check_store(self.store, outlasts=self.outlasts)
        if self.folder is None and not self._lies_beside_store:
            raise SearchError(
                "prepared text and artifacts need a place that all nodes share and that outlives them; name it with "
                "--folder /shared/mixopt"
            )
        if self.folder is not None and not Path(self.folder).is_absolute():
            raise SearchError(f"--folder {self.folder} is no absolute path; give one that all nodes share")
        if self.working_dir is None:
            _check_paths(self.config)
        elif not self.path.resolve().is_relative_to(self.working_dir.resolve()):
            raise SearchError(f"{self.path} does not lie in --working-dir {self.working_dir}; put it there")

    @property
    def entrypoint(self) -> str:
        """The shell command that runs the search where the job is; nothing secret stands in it."""
        sent = self.path.name if self.working_dir is None else str(self._inside(self.working_dir))
        asked = (("--store", self.store), ("--folder", self.folder))
        options = [word for key, value in asked if value is not None for word in (key, value)]
        return shlex.join(["exec", self.python, "-m", "mixopt", "run", sent, *self.options, *options])

    @property
    def shown_store(self) -> str:
        """Where the store is, for people."""
        return f"${STORE_VARIABLE}" if self.store is None else self.store

    def metadata(self, *, dashboard: str) -> Mapping[str, str]:
        """Return what the job says of the search; `dashboard` is Ray's, which shows the job."""
        return {
            "job_name": f"mixopt {self.config.name}",
            SEARCH: self.config.name,
            DASHBOARD: dashboard,
            "mixopt_store": self.shown_store,
            "mixopt_version": __version__,
            "mixopt_config": self.config.digest(),
        }

    def _inside(self, folder: Path) -> Path:
        return self.path.resolve().relative_to(folder.resolve())

    @property
    def _lies_beside_store(self) -> bool:
        return self.config.simulated is not None or (self.store is not None and "://" not in self.store)


def packages() -> list[str]:
    """Return the folders of our own code that a job needs."""
    specs = [find_spec(name) for name in PACKAGES]
    return [str(Path(str(spec.origin)).parent) for spec in specs if spec is not None]


def holds_password(location: str) -> bool:
    """Say whether the place of a store, a path or a URL, has a password in it."""
    url = urlsplit(location)
    return "://" in location and (url.password is not None or "password" in url.query.lower())


def _check_store(location: str, *, outlasts: bool) -> None:
    """Refuse a store that would die with the head node, or whose password everybody could read."""
    if "://" not in location:
        _check_file(location, outlasts=outlasts)
        return
    url = urlsplit(location)
    if url.scheme.startswith("sqlite"):
        raise SearchError("give a store in a file by its path, or better a server: --store postgresql://user@host/name")
    if holds_password(location):
        raise SearchError(
            f"the URL of the store holds a password, which Ray would show to everybody who sees the job; put the URL "
            f"into {STORE_VARIABLE} on the head node (from a secret, say) and submit with --store-there, or leave the "
            "password out of it and put it into PGPASSWORD or a password file there"
        )
    if url.hostname in HERE and not outlasts:
        raise SearchError(
            f"{location} is a server on the head node itself, and would die with it; name one elsewhere: "
            "--store postgresql://user@host/name; or say --store-outlasts if it will not"
        )


def _check_file(location: str, *, outlasts: bool) -> None:
    if not outlasts:
        raise SearchError(
            f"the store {location} would be a file on the head node, and die with it; give a server: --store "
            "postgresql://user@host/name; or say --store-outlasts if that path is a disk that outlives the node"
        )
    if not Path(location).is_absolute():
        raise SearchError(f"the store {location} would lie in a folder that Ray removes; give an absolute path")


def _check_paths(config: SearchConfig) -> None:
    """Refuse what the file names relative to its folder, which is not sent."""
    named = {"corpus.folder": config.corpus.folder, "corpus.tokenizer": config.corpus.tokenizer.get("path")}
    for name, source in _sources(config).items():
        if isinstance(paths := source.get("paths"), str | list | tuple):
            named |= {f"{name}, file {i}": path for i, path in enumerate(as_patterns(paths))}
    for where, path in named.items():
        if path is not None and not is_remote(str(path)) and not Path(str(path)).is_absolute():
            raise ConfigError(
                f"{where}: {path!r} starts at the file's folder, which the cluster does not have; give an absolute "
                "path that all nodes see, or a URL, or send the folder too: --working-dir FOLDER"
            )


def _sources(config: SearchConfig) -> dict[str, dict[str, object]]:
    found = {f"domain {each.name!r}": each.source for each in config.domains}
    found |= {f"evaluation set {name!r}": each.source for name, each in config.evaluation.items()}
    return {name: source for name, source in found.items() if source is not None}
