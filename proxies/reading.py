"""Reading every source of a corpus once, and saying which tokenizer its ids need."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from proxies.corpus_config import CorpusConfig
from proxies.documents import Source
from proxies.errors import CorpusError, SourceError
from proxies.spool import Spool, spool
from proxies.token_source import TokensSource
from proxies.tokenization import Tokenizer, read_tokenizer


def read_sources(
    config: CorpusConfig, folder: Path, tokenizer: Tokenizer | None, *, report: Callable[[str], None]
) -> dict[str, Spool]:
    """Return the documents of all sources by the keys of `config.sources`; without `tokenizer` it is yet to train."""
    sources = config.sources()
    for where, source in sources.items():
        _check_kind(where, source, config, tokenizer)
    folder.mkdir()
    token_type = tokenizer.dtype if tokenizer else np.dtype(np.uint8)
    found = {}
    for number, (where, source) in enumerate(sources.items()):
        report(f"reading {where}")
        try:
            each = spool(
                source.documents(),
                folder / str(number),
                token_type=token_type,
                vocabulary=tokenizer.vocabulary if tokenizer else 0,
            )
        except SourceError as error:
            raise SourceError(f"{where}: {error}") from error
        if not len(each):
            raise CorpusError(f"{where} is empty: its source has no documents with text; check it")
        found[where] = each
    return found


def _check_kind(where: str, source: Source, config: CorpusConfig, tokenizer: Tokenizer | None) -> None:
    """Refuse ids of another tokenizer than the corpus's, and text where there is no tokenizer."""
    kind = config.tokenizer["kind"]
    if not isinstance(source, TokensSource):
        if kind == "ids":
            raise CorpusError(
                f"{where} is text, but the corpus has ids and no tokenizer; give a tokenizer file, or token arrays"
            )
        return
    if tokenizer is None:
        raise CorpusError(
            f"{where} has ids made elsewhere, but the tokenizer is trained here; give the file that made the ids"
        )
    if _identity(source, config) != tokenizer.identity:
        raise CorpusError(
            f"{where} has ids of another tokenizer than the corpus's (of kind {kind!r}); give the same one for both"
        )


def _identity(source: TokensSource, config: CorpusConfig) -> str:
    if source.tokenizer is None:
        return f"ids:{source.vocabulary}"
    if source.tokenizer == "bytes":
        return "bytes"
    return read_tokenizer(
        config.root / source.tokenizer, end_of_document=config.tokenizer.get("end_of_document")
    ).identity
