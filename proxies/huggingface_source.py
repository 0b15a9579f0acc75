"""Documents of a data set on the Hugging Face hub, or in a local folder in its form."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from proxies.documents import Document, Question
from proxies.errors import SourceError
from proxies.questions import QuestionKeys


@dataclass(frozen=True, kw_only=True)
class HuggingFaceSource:
    """A split of `datasets.load_dataset(path, name)`, a row a document, up to a limit (if any); text is in `column`.

    With `choices` a row is a question of multiple choice: the columns `prompt`, `choices` (texts) and `answer`.

    path: a data set's name on the hub, or a local folder. revision: pin one, since a hub is not asked again whether
    its data changed.
    """

    path: str
    name: str | None = None
    split: str = "train"
    column: str = "text"
    streaming: bool = False
    revision: str | None = None
    max_documents: int | None = None
    max_bytes: int | None = None
    prompt: str | None = None
    answer: str | None = None
    choices: str | None = None
    root: Path = field(default_factory=Path, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._question_keys() is None and self.prompt is not None:
            raise SourceError("prompt and answer of a data set need its choices; name their column")
        for key, limit in (("max_documents", self.max_documents), ("max_bytes", self.max_bytes)):
            if limit is not None and limit <= 0:
                raise SourceError(f"{key} is {limit!r}; give a positive number, or leave it out")

    def documents(self) -> Iterator[Document | Question]:
        """Yield the rows in their order until a limit is reached."""
        from proxies.huggingface_rows import questions, texts  # noqa: PLC0415 - datasets takes a second to import

        if (keys := self._question_keys()) is not None:
            yield from islice(questions(self, keys, path=str(self._folder() or self.path)), self.max_documents)
            return
        text_bytes = 0
        for number, text in enumerate(texts(self, path=str(self._folder() or self.path))):
            text_bytes += len(text.encode("utf-8", errors="replace"))
            if (self.max_documents is not None and number >= self.max_documents) or (
                self.max_bytes is not None and text_bytes > self.max_bytes
            ):
                return
            yield Document(text=text, name=f"{self.path}:{number}")

    def fingerprint(self) -> str:
        """Return the version of `datasets`, and names, sizes and times of a local folder's files."""
        folder = self._folder()
        files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder else []
        stamps = [
            f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files if folder
        ]
        return "\n".join([f"datasets {version('datasets')}", str(self.revision), *stamps])

    def _question_keys(self) -> QuestionKeys | None:
        return QuestionKeys.of(self.prompt, self.choices, self.answer)

    def _folder(self) -> Path | None:
        """Return the local folder, or None where the data set is on the hub."""
        folder = self.root.resolve() / self.path
        return folder if folder.is_dir() else None
