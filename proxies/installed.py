"""Text shipped with this Python installation: its standard library, and the distributions the product needs.

What else lies in the environment makes no difference, nor does the machine's accelerator. Python files and C headers
are many, so a sample of them is read (by a hash of their path, so that every machine picks the same); a document then
stands for several.
"""

import ast
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from zlib import crc32

from proxies.docstrings import Span, docstrings, spans, without_docstrings
from proxies.documents import Document
from proxies.errors import SourceError
from proxies.installed_files import InstalledFile, listing, versions
from proxies.text_quality import MIN_CHARACTERS, is_worth_reading

RULES = 1  # of what is read and left out; one more makes every corpus with installed text be prepared again
PHRASE_WORDS = 6  # shorter than what counts as overlap, so that what is left shares little
REFERENCE = "pydoc_data/topics.py"  # the standard library's language reference


@dataclass(frozen=True, kw_only=True)
class InstalledSource:
    """One section of the installed text; of the .py and header files, one in `sample` is read (1: all).

    Sections: python (code, docstrings cut out), tests (Python under tests/), docs (docstrings, prose files, READMEs),
    cpp (C and C++), cython, data (JSON, CSV, YAML), legal (licences, each paragraph once), reference (the language
    reference, a topic a document).
    """

    section: str
    sample: int = 16
    root: Path = field(default_factory=Path, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.section not in SECTIONS:
            raise SourceError(f"installed text has no section {self.section!r}; known: {sorted(SECTIONS)}")
        if self.sample < 1:
            raise SourceError(
                f"sample is {self.sample!r}; give a whole number of at least 1 (16: one file in 16 is read)"
            )

    def documents(self) -> Iterator[Document]:
        """Yield the section's documents in the order of their paths."""
        return SECTIONS[self.section](self.sample)

    def fingerprint(self) -> str:
        """Return the versions of everything that could be read."""
        return f"rules {RULES}; python {sys.version}; {versions()}"


def _python(sample: int) -> Iterator[Document]:
    for file, text in _sampled(sample, lambda file: file.is_python and not file.is_test):
        yield Document(text=without_docstrings(text, _spans(file)), name=file.name, stands_for=sample)


def _tests(sample: int) -> Iterator[Document]:
    for file, text in _sampled(sample, lambda file: file.is_python and file.is_test):
        yield Document(text=text, name=file.name, stands_for=sample)


def _docs(sample: int) -> Iterator[Document]:
    for file, text in _sampled(sample, lambda file: file.is_python and not file.is_test):
        prose = docstrings(text, _spans(file))
        if len(prose) >= MIN_CHARACTERS:
            yield Document(text=prose, name=file.name, stands_for=sample)
    for file, text in _read(lambda file: file.is_prose):
        yield Document(text=text, name=file.name)
    for file, text in _read(lambda file: file.is_metadata):
        _, _, description = text.partition("\n\n")
        if len(description) >= MIN_CHARACTERS:
            yield Document(text=description, name=file.name)


def _cpp(sample: int) -> Iterator[Document]:
    for file, text in _sampled(sample, lambda file: file.suffix in {".h", ".hpp", ".hh", ".hxx", ".cuh", ".inl"}):
        yield Document(text=text, name=file.name, stands_for=sample)
    for file, text in _read(lambda file: file.suffix in {".c", ".cc", ".cpp", ".cxx"}):
        yield Document(text=text, name=file.name)


def _cython(_: int) -> Iterator[Document]:
    for file, text in _read(lambda file: file.suffix in {".pyx", ".pxd", ".pxi"}):
        yield Document(text=text, name=file.name)


def _data(_: int) -> Iterator[Document]:
    for file, text in _read(lambda file: file.suffix in {".json", ".csv", ".yaml", ".yml"}):
        yield Document(text=text, name=file.name)


def _legal(_: int) -> Iterator[Document]:
    seen: set[int] = set()
    for file, text in _read(lambda file: file.is_legal):
        kept = []
        for paragraph in text.split("\n\n"):
            phrases = _phrases(paragraph)
            if (
                len(phrases - seen) > len(phrases) // 2
            ):  # licences differ by names and years: as good as equal is enough
                kept.append(paragraph.strip("\n"))
            seen |= phrases
        if len(new := "\n\n".join(kept)) >= MIN_CHARACTERS:
            yield Document(text=new, name=file.name)


def _phrases(paragraph: str) -> set[int]:
    """Return checksums of the runs of `PHRASE_WORDS` words (of all words, if fewer), whatever case and punctuation."""
    words = re.findall(r"\w+", paragraph.lower())
    runs = (
        [words[start : start + PHRASE_WORDS] for start in range(max(1, len(words) - PHRASE_WORDS + 1))] if words else []
    )
    return {crc32(" ".join(run).encode()) for run in runs}


def _reference(_: int) -> Iterator[Document]:
    found = [file for file in listing() if file.name == REFERENCE]
    text = found[0].text() if found else None
    topics = _dictionary(text) if text else {}
    if not topics:
        raise SourceError(
            f"this Python has no language reference ({REFERENCE}); use another section, or a fuller Python installation"
        )
    for topic, body in sorted(topics.items()):
        yield Document(text=body, name=f"{REFERENCE}:{topic}")


def _dictionary(code: str) -> dict[str, str]:
    """Return the dictionary of strings that the module assigns (its form has changed between versions)."""
    for node in ast.parse(code).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            value = ast.literal_eval(node.value)
            return {str(topic): str(body) for topic, body in value.items()}
    return {}


def _sampled(sample: int, wanted: Callable[[InstalledFile], bool]) -> Iterator[tuple[InstalledFile, str]]:
    return _read(lambda file: wanted(file) and crc32(file.name.encode()) % sample == 0)


def _read(wanted: Callable[[InstalledFile], bool]) -> Iterator[tuple[InstalledFile, str]]:
    for file in listing():
        if file.name != REFERENCE and wanted(file):
            text = file.text()
            if text is not None and is_worth_reading(text, allow_long_lines=file.is_legal or file.is_metadata):
                yield file, text


@cache
def _spans(file: InstalledFile) -> tuple[Span, ...]:
    """Return where the docstrings of a file are: two sections ask."""
    return tuple(spans(file.text() or ""))


SECTIONS: Mapping[str, Callable[[int], Iterator[Document]]] = {
    "python": _python,
    "tests": _tests,
    "docs": _docs,
    "cpp": _cpp,
    "cython": _cython,
    "data": _data,
    "legal": _legal,
    "reference": _reference,
}
