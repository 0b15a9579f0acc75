"""What can be wrong with a table of runs, gathered while it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mixopt.errors import TableError

SHOWN = 3  # examples of a fault in one message


@dataclass(kw_only=True)
class Audit:
    """The faults of one table, in the order found: those that make it unusable, and those that were mended."""

    name: str
    fatal: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)

    def refuse(self, words: str) -> None:
        """Note a fault that makes the table unusable."""
        self.fatal.append(words)

    def warn(self, words: str) -> None:
        """Note a fault that was mended, and how."""
        self.mended.append(words)

    def check(self) -> None:
        """Raise TableError with every fault that makes the table unusable, in one line; nothing where there is none."""
        if self.fatal:
            raise TableError(f"{self.name}: {'; '.join(self.fatal)}")


def listed(examples: Sequence[object]) -> str:
    """Return the first few of `examples` and how many more there are."""
    more = f" and {len(examples) - SHOWN} more" if len(examples) > SHOWN else ""
    return ", ".join(str(example) for example in examples[:SHOWN]) + more
