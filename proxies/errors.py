"""What a user can mend in proxies and corpora, as exceptions of one line.

ProxyError                what a configuration of a proxy, or a training, got wrong
+-- CorpusError           domains and evaluation sets that do not make a corpus
+-- SourceError           text that cannot be read from where it was said to be
"""


class ProxyError(ValueError):
    """Something that the user of `proxies` can mend; the message says how."""


class CorpusError(ProxyError):
    """Domains and evaluation sets that do not make a corpus."""


class SourceError(ProxyError):
    """Text that cannot be read from where it was said to be."""
