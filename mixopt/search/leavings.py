"""What lies beside a store and no search needs any more: prepared text, checkpoints, artifacts."""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixopt.text import Folders
from store import Store, StoreError

SETTLED_S = 3_600.0  # what was touched since may be of a search that is just being made


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """A file or folder that can go: why, and what it takes."""

    path: Path
    why: str
    size_bytes: int


def leavings(stores: Sequence[Store], folders: Folders, *, now_s: float | None = None) -> list[Leaving]:
    """Return what nobody needs in `folders`, which all of `stores` share; what is newer than an hour is kept."""
    moment = time.time() if now_s is None else now_s
    found = [*_corpora(stores, folders.corpora), *_artifacts(stores, folders.artifacts)]
    return [
        Leaving(path=path, why=why, size_bytes=size_bytes(path))
        for path, why in found
        if moment - path.stat().st_mtime > SETTLED_S
    ]


def siblings(location: str) -> list[str]:
    """Return the stores that share their folders with the one at `location`, itself first."""
    if "://" in location:
        return [location]
    mine = Path(location).resolve()
    return [location, *(str(path) for path in sorted(mine.parent.glob("*.db")) if path != mine and _is_store(path))]


def remove(leaving: Leaving) -> None:
    """Delete it."""
    if leaving.path.is_dir():
        shutil.rmtree(leaving.path)
    else:
        leaving.path.unlink()


def size_bytes(path: Path) -> int:
    """Return what a file takes, or all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


def _corpora(stores: Sequence[Store], folder: Path) -> Iterator[tuple[Path, str]]:
    corpora = [search.corpus for store in stores for search in store.searches()]
    used = {str(folder) for corpus in corpora for folder in (corpus.get("folder", ""), *corpus.get("earlier", []))}
    for path in _entries(folder):
        if path.is_dir() and (path / "manifest.json").exists() and str(path) not in used:
            yield path, "prepared text of no search"


def _artifacts(stores: Sequence[Store], folder: Path) -> Iterator[tuple[Path, str]]:
    waits: dict[str, bool] = {}
    for store in stores:
        for name, open_ in store.needed_runs().items():
            waits[name] = open_ or waits.get(name, False)
    for path in _entries(folder):
        if path.name not in waits:
            yield path, "artifacts of no run"
        elif not waits[path.name] and (path / "checkpoint").exists():
            yield path / "checkpoint", "the checkpoint of a training that is over"


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []


def _is_store(path: Path) -> bool:
    try:
        Store(path, read_only=True).close()
    except StoreError:
        return False
    return True
