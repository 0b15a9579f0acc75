"""Text to token ids: bytes, a byte-pair vocabulary of the corpus, a tokenizer file, or ids made elsewhere."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models, pre_tokenizers, trainers

from proxies.errors import CorpusError
from proxies.plain_values import value_of

Ids = NDArray[np.unsignedinteger]

END_OF_TEXT = "<|endoftext|>"
KNOWN_ENDS = (
    END_OF_TEXT,
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "[SEP]",
)  # of widely used tokenizers; the file may name another
KINDS: Mapping[str, frozenset[str]] = {  # the keys that each kind of tokenizer takes beside `kind`
    "bytes": frozenset(),
    "bpe": frozenset({"vocabulary"}),
    "file": frozenset({"path", "end_of_document"}),
    "ids": frozenset({"vocabulary", "end_of_document", "bytes_per_token"}),
}
NEEDED: Mapping[str, frozenset[str]] = {
    "bytes": frozenset(),
    "bpe": frozenset({"vocabulary"}),
    "file": frozenset({"path"}),
    "ids": KINDS["ids"],
}


class Tokenizer(Protocol):
    """Bytes of utf-8 text to ids; every document ends with `end_of_document`, which no text gives."""

    @property
    def vocabulary(self) -> int:
        """Return the number of ids."""
        ...

    @property
    def end_of_document(self) -> int:
        """Return the id that ends a document."""
        ...

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Return the smallest unsigned type that holds every id."""
        ...

    @property
    def identity(self) -> str:
        """Return a string that two tokenizers share only if they give the same ids."""
        ...

    def encode(self, content: NDArray[np.unsignedinteger]) -> Ids:
        """Return the ids of a document without its end; `content` is utf-8 bytes (ids already, for the kind "ids")."""
        ...

    def decode(self, ids: Ids) -> bytes:
        """Return the text of `ids` as utf-8 bytes (none, for the kind "ids")."""
        ...

    def byte_lengths(self, ids: Ids) -> NDArray[np.float64]:
        """Return how many bytes of text each id stands for."""
        ...


@dataclass(frozen=True)
class ByteTokenizer:
    """The ids are the bytes of utf-8; NUL, which sources take out of text, ends a document."""

    vocabulary: int = 256
    end_of_document: int = 0
    dtype: np.dtype[np.unsignedinteger] = field(default_factory=lambda: np.dtype(np.uint8))
    identity: str = "bytes"

    def encode(self, content: NDArray[np.unsignedinteger]) -> Ids:
        """Return the bytes themselves."""
        return content

    def decode(self, ids: Ids) -> bytes:
        """Return the bytes themselves."""
        return ids.tobytes()

    def byte_lengths(self, ids: Ids) -> NDArray[np.float64]:
        """Return ones."""
        return np.ones(len(ids))


@dataclass(frozen=True)
class ModelTokenizer:
    """A tokenizer of the `tokenizers` library: read from a file, or trained on the corpus."""

    model: tokenizers.Tokenizer
    end_of_document: int
    vocabulary: int
    dtype: np.dtype[np.unsignedinteger]
    identity: str
    id_bytes: NDArray[np.float64]

    def encode(self, content: NDArray[np.unsignedinteger]) -> Ids:
        """Return the ids of utf-8 bytes."""
        text = content.tobytes().decode("utf-8", errors="replace")
        return np.asarray(self.model.encode(text, add_special_tokens=False).ids, dtype=self.dtype)

    def decode(self, ids: Ids) -> bytes:
        """Return the text of `ids`."""
        text: str = self.model.decode(ids.tolist(), skip_special_tokens=True)
        return text.encode()

    def byte_lengths(self, ids: Ids) -> NDArray[np.float64]:
        """Return the bytes of each id's string (0 for special tokens)."""
        return self.id_bytes[ids]


@dataclass(frozen=True)
class GivenIds:
    """Ids made elsewhere by a tokenizer that is not at hand; how many bytes one stands for is stated, as a mean."""

    vocabulary: int
    end_of_document: int
    bytes_per_token: float
    dtype: np.dtype[np.unsignedinteger]
    identity: str

    def encode(self, content: NDArray[np.unsignedinteger]) -> Ids:
        """Return the ids, which `content` is already."""
        return content

    def decode(self, ids: Ids) -> bytes:
        """Return nothing: the text is not known."""
        return b""

    def byte_lengths(self, ids: Ids) -> NDArray[np.float64]:
        """Return the stated mean for each id."""
        return np.full(len(ids), self.bytes_per_token)


def check_tokenizer(plain: Mapping[str, Any]) -> None:
    """Refuse a tokenizer section with an unknown kind, an unknown key, a missing key or an impossible number."""
    kind = str(plain.get("kind"))
    if kind not in KINDS:
        raise CorpusError(f"tokenizer has the unknown kind {kind!r}; known: {sorted(KINDS)}")
    keys = set(plain) - {"kind"}
    if unknown := keys - KINDS[kind]:
        raise CorpusError(
            f"tokenizer of kind {kind!r} has unknown keys {sorted(unknown)}; known: {sorted(KINDS[kind])}"
        )
    if missing := NEEDED[kind] - keys:
        raise CorpusError(f"tokenizer of kind {kind!r} lacks {sorted(missing)}; add them")
    for key in sorted(keys):
        value_of(plain[key], _type_of(kind, key), where=f"tokenizer of kind {kind!r}: {key}", error=CorpusError)
    if kind == "bpe" and not (isinstance(plain["vocabulary"], int) and plain["vocabulary"] >= 257):
        raise CorpusError(
            f"tokenizer vocabulary is {plain['vocabulary']!r}; give an integer of at least 257 (256 bytes and the end)"
        )


def _type_of(kind: str, key: str) -> object:
    if key == "path":
        return str
    if key == "end_of_document" and kind == "file":
        return str | None
    return float if key == "bytes_per_token" else int


def open_tokenizer(plain: Mapping[str, Any], *, root: Path) -> Tokenizer | None:
    """Return the tokenizer of a checked section, or None for "bpe", which has to be trained first."""
    if plain["kind"] == "bytes":
        return ByteTokenizer()
    if plain["kind"] == "bpe":
        return None
    if plain["kind"] == "file":
        return read_tokenizer(root / plain["path"], end_of_document=plain.get("end_of_document"))
    vocabulary, end = int(float(plain["vocabulary"])), int(float(plain["end_of_document"]))
    return GivenIds(
        vocabulary=vocabulary,
        end_of_document=end,
        bytes_per_token=float(plain["bytes_per_token"]),
        dtype=smallest_dtype(vocabulary),
        identity=f"ids:{vocabulary}",
    )


def read_tokenizer(path: Path, *, end_of_document: str | None = None) -> ModelTokenizer:
    """Return the tokenizer of a `tokenizer.json`; `end_of_document` is a token, by default one of `KNOWN_ENDS`."""
    if not path.is_file():
        raise CorpusError(f"tokenizer file {str(path)!r} does not exist; give the path of a tokenizer.json")
    text = path.read_text(encoding="utf-8")
    try:
        model = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception
        raise CorpusError(f"tokenizer file {str(path)!r} cannot be read ({error}); give a tokenizer.json") from error
    ends = (end_of_document,) if end_of_document else KNOWN_ENDS
    known = [end for end in ends if model.token_to_id(end) is not None]
    if not known:
        raise CorpusError(f"tokenizer file {str(path)!r} has none of the tokens {list(ends)}; name its end_of_document")
    return _wrap(model, known[0])


def train_bpe(texts: Iterable[str], *, vocabulary: int) -> ModelTokenizer:
    """Return a byte-level byte-pair tokenizer of at most `vocabulary` ids, trained on `texts`."""
    model = tokenizers.Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    model.train_from_iterator(texts, trainer)
    return _wrap(model, END_OF_TEXT)


def smallest_dtype(vocabulary: int) -> np.dtype[np.unsignedinteger]:
    """Return the smallest unsigned type that holds the ids below `vocabulary`."""
    if vocabulary <= 1 << 8:
        return np.dtype(np.uint8)
    return np.dtype(np.uint16) if vocabulary <= 1 << 16 else np.dtype(np.uint32)


def _wrap(model: tokenizers.Tokenizer, end: str) -> ModelTokenizer:
    model.no_truncation()
    model.no_padding()
    end_id = model.token_to_id(end)
    assert end_id is not None
    vocabulary = max(model.get_vocab(with_added_tokens=True).values()) + 1
    return ModelTokenizer(
        model=model,
        end_of_document=end_id,
        vocabulary=vocabulary,
        dtype=smallest_dtype(vocabulary),
        identity=hashlib.sha256(model.to_str().encode()).hexdigest() + f":{end_id}",
        id_bytes=_id_bytes(model, vocabulary),
    )


def _id_bytes(model: tokenizers.Tokenizer, vocabulary: int) -> NDArray[np.float64]:
    """Return the bytes that each id stands for; exact for byte-level and byte-fallback vocabularies."""
    plain = json.loads(model.to_str())
    byte_level = "ByteLevel" in json.dumps(plain.get("decoder"))
    special = {token["id"] for token in plain.get("added_tokens", []) if token.get("special")}
    lengths = np.zeros(vocabulary)
    for token, index in model.get_vocab(with_added_tokens=True).items():
        if index not in special:
            lengths[index] = len(token) if byte_level else _plain_bytes(token)
    return lengths


def _plain_bytes(token: str) -> int:
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return 1
    return len(token.removeprefix("##").replace("\u2581", " ").encode())
