"""What can go wrong and be mended by the user, as one tree.

MixoptError
|-- ConfigError       the search's file says something that cannot be: names file, line and key
|-- InvalidMixture    weights that are no mixture
|-- EmptySpace        constraints that no mixture satisfies: names the numbers, and what would open it
|-- SearchError       a search cannot go on as asked (another driver, a changed corpus, a spent budget)
|-- SearchStopped     somebody asked a running search to stop
|   `-- DomainsChanged    ... since its domains are others now: it goes on at once with these
|-- BrainError        what proposes trials failed, and failed again
|-- TableError        a table of runs cannot be used: names every fault and its rows
|-- ReplayError       a table of runs cannot be replayed as asked: names what it lacks
|-- ExportError       a mixture cannot be written for that trainer
`-- WorkerError       the place where proxies train is not there, or went away
    `-- ClusterGone   a Ray cluster whose head is silent: Ray must not be called any more, not even to leave
"""

from __future__ import annotations


class MixoptError(Exception):
    """What the user can mend; its message is one sentence: what is wrong, what it got, what to do."""


class ConfigError(MixoptError):
    """The search's file says something that cannot be."""


class InvalidMixture(MixoptError, ValueError):  # it is the mixture that is wrong
    """Weights that are no mixture: negative, not finite, or not summing to one."""


class EmptySpace(MixoptError):  # it is the space that is empty
    """Bounds and constraints that no mixture satisfies."""


class SearchError(MixoptError):
    """A search cannot go on as asked."""


class SearchStopped(MixoptError):
    """Somebody asked a running search to stop."""


class DomainsChanged(SearchStopped):
    """A running search stopped since its domains are others now; whoever ran it goes on with these."""


class BrainError(MixoptError):
    """What proposes trials failed, and failed again."""


class TableError(MixoptError):
    """A table of runs cannot be used."""


class ReplayError(MixoptError):
    """A table of runs cannot be replayed as asked."""


class ExportError(MixoptError):
    """A mixture cannot be written for that trainer."""


class WorkerError(MixoptError):
    """The place where proxies train is not there, or went away."""


class ClusterGone(WorkerError):
    """The head of a Ray cluster is silent for good."""
