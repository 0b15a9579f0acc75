"""Which files came with this Python and with the distributions that the product depends on, by their records."""

import os
import re
import sysconfig
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from pathlib import Path, PurePosixPath

ROOTS = ("torch", "ray", "botorch", "datasets", "pandas", "streamlit", "sqlalchemy", "plotly")
ACCELERATOR = (
    "nvidia-",
    "cuda-",
    "triton",
    "pytorch-triton",
)  # there or not by machine: left out, so that the text is the same
MAX_BYTES = 4_000_000  # a larger file is never wanted: not even read

_REQUIREMENT = re.compile(r"^Requires-Dist: *([A-Za-z0-9._-]+)([^\n]*)$", re.MULTILINE)
_RECORDED = re.compile(r"^([^,\n\"]+),[^,\n]*,(\d+)\r?$", re.MULTILINE)
_LEGAL = re.compile(r"^(licen[cs]es?|copying|notice|third[-_]?party[^/]*|copyright)([.\-_].*)?$", re.IGNORECASE)
_TEST = re.compile(r"(^|/)(tests?|testing)/|(^|/)test_[^/]*$")
_NOT_PROSE = frozenset(
    {"top_level.txt", "entry_points.txt", "sources.txt", "requires.txt", "dependency_links.txt", "cmakelists.txt"}
)
_BOOKKEEPING = re.compile(r"(^|/)(__pycache__|node_modules|static|sboms)(/|$)|_pb2(_grpc)?\.py$|\.min\.")


@dataclass(frozen=True, slots=True)
class InstalledFile:
    """A file by its name inside the installation (forward slashes) and the folder that this is in."""

    name: str
    folder: str

    @property
    def suffix(self) -> str:
        """Return the last suffix, in lower case."""
        return PurePosixPath(self.name).suffix.lower()

    @property
    def is_python(self) -> bool:
        """Return whether it is Python source."""
        return self.name.endswith(".py")

    @property
    def is_test(self) -> bool:
        """Return whether it stands under tests/, or is a test by name."""
        return _TEST.search(self.name) is not None

    @property
    def is_legal(self) -> bool:
        """Return whether it is a licence, a notice, or stands in a folder of such."""
        return _LEGAL.match(PurePosixPath(self.name).name) is not None and self.suffix in {
            "",
            ".txt",
            ".md",
            ".rst",
            *_VERSIONED,
        }

    @property
    def is_metadata(self) -> bool:
        """Return whether it is a distribution's METADATA, whose body is its README."""
        return self.name.endswith(".dist-info/METADATA")

    @property
    def is_prose(self) -> bool:
        """Return whether it is documentation in a file of its own."""
        if self.suffix not in {".rst", ".md", ".txt"} or self.is_legal or self.is_test:
            return False
        return PurePosixPath(self.name).name.lower() not in _NOT_PROSE

    def text(self) -> str | None:
        """Return the file's text, or None where it cannot be read or is not utf-8."""
        try:
            content = (Path(self.folder) / self.name).read_bytes()
        except OSError:
            return None
        try:
            return content.decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError:
            return None


_VERSIONED = frozenset({".apache", ".bsd", ".mit", ".psf", ".gpl"})


@cache
def versions() -> str:
    """Return the distributions whose files are read, with their versions."""
    return ", ".join(sorted(folder.name.removesuffix(".dist-info") for folder in _closure()))


@cache
def listing() -> tuple[InstalledFile, ...]:
    """Return every file that may be read, in the order of their names; made once in a process."""
    found = {file.name: file for file in _standard_library()}
    for folder in _closure():
        record = folder / "RECORD"
        text = record.read_text(encoding="utf-8", errors="replace") if record.is_file() else ""
        for name, recorded_bytes in _RECORDED.findall(text):
            if not name.startswith("..") and int(recorded_bytes) <= MAX_BYTES and not _BOOKKEEPING.search(name):
                found[name] = InstalledFile(name, str(folder.parent))
    return tuple(found[name] for name in sorted(found))


def _standard_library() -> list[InstalledFile]:
    root = sysconfig.get_path("stdlib")
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in {"site-packages", "dist-packages", "__pycache__"}]
        inside = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if inside == "." else inside + "/"
        found += [InstalledFile(prefix + name, root) for name in names if not _BOOKKEEPING.search(prefix + name)]
    return found


@cache
def _closure() -> tuple[Path, ...]:
    """Return the `.dist-info` folders of the roots and of all that they require without an extra."""
    folders = _information()
    waiting, found = list(ROOTS), {}
    while waiting:
        name = waiting.pop()
        if name in folders and name not in found and not name.startswith(ACCELERATOR):
            found[name] = folders[name]
            waiting += _requirements(folders[name])
    return tuple(found[name] for name in sorted(found))


def _information() -> dict[str, Path]:
    found: dict[str, Path] = {}
    folders = dict.fromkeys(Path(str(distribution.locate_file(""))) for distribution in distributions())
    for folder in folders:  # in the order of sys.path: the first one found is the one imported
        for path in sorted(folder.glob("*.dist-info")):
            found.setdefault(_normal(path.name.removesuffix(".dist-info").rpartition("-")[0]), path)
    return found


def _requirements(folder: Path) -> list[str]:
    metadata = folder / "METADATA"
    headers = metadata.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0] if metadata.is_file() else ""
    return [_normal(name) for name, rest in _REQUIREMENT.findall(headers) if "extra" not in rest]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
