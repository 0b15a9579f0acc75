"""What a running search shows: a live table in a terminal, plain lines elsewhere; always on stderr."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mixopt.cli.durations import clock
from mixopt.search.snapshot import Snapshot

NEWS_LINES = 8
STATUS_EVERY_S = 15.0


class View(Protocol):
    """Whoever shows a search."""

    def line(self, text: str) -> None:
        """Show one line of news."""
        ...

    def update(self, snapshot: Snapshot) -> None:
        """Show the search as it stands."""
        ...


@contextmanager
def watching() -> Iterator[View]:
    """Give the view that suits this process's stderr."""
    console = Console(stderr=True, soft_wrap=True)
    if not console.is_terminal:
        yield PlainView()
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield LiveView(live)


class PlainView:
    """One line for every event, and how far the search is every quarter of a minute."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        self._said_s = 0.0

    def line(self, text: str) -> None:
        """Print `text`."""
        self._console.print(text)

    def update(self, snapshot: Snapshot) -> None:
        """Print the news, and from time to time how far the search is."""
        for news in snapshot.news:
            self.line(news)
        if time.monotonic() - self._said_s >= STATUS_EVERY_S:
            self._said_s = time.monotonic()
            self.line(status(snapshot))


class LiveView:
    """The search as a table that renews itself."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._news: deque[str] = deque(maxlen=NEWS_LINES)

    def line(self, text: str) -> None:
        """Add `text` to the news."""
        self._news.append(text)
        self._live.update(Text("\n".join(self._news)))

    def update(self, snapshot: Snapshot) -> None:
        """Draw the search anew."""
        self._news.extend(snapshot.news)
        self._live.update(
            Group(Text(status(snapshot), style="bold"), self._bars(snapshot), Text("\n".join(self._news), style="dim"))
        )

    def _bars(self, snapshot: Snapshot) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        allowance = snapshot.allowance
        table.add_row("budget", ProgressBar(total=allowance.budget_flops, completed=allowance.charged_flops, width=40))
        for running in snapshot.running:
            label = f"trial {running.number} ({running.purpose}, {running.fidelity})"
            table.add_row(label, ProgressBar(total=1.0, completed=running.fraction, width=40))
        return table


def status(snapshot: Snapshot) -> str:
    """Return in one line where the search stands: phase, trials, best so far, cost of the budget, time left."""
    allowance = snapshot.allowance
    trials = ", ".join(f"{count} {state}" for state, count in sorted(snapshot.counts.items()))
    best = (
        "none yet"
        if snapshot.best is None
        else f"{snapshot.best[2]:.4f} (trial {snapshot.best[0]}, {snapshot.best[1]})"
    )
    share = allowance.charged_flops / allowance.budget_flops
    return (
        f"{snapshot.phase} | {trials} | best {best} | {share:.0%} of {allowance.budget_flops:.3g} FLOPs"
        f" | {clock(allowance.elapsed_s)} so far{_left(snapshot)}"
    )


def _left(snapshot: Snapshot) -> str:
    """Return how long it will still take: an estimate once nothing more is proposed, before that the limit."""
    allowance = snapshot.allowance
    if snapshot.phase == "proof":
        return f" | about {clock(allowance.pending_s / allowance.slots)} left"
    return "" if allowance.left_s is None else f" | at most {clock(allowance.left_s)} left"
