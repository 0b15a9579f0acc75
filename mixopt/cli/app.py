"""The command's groups, what they share, and the one place where an error becomes a line."""

import errno
import os
import signal
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from threading import Timer
from types import FrameType
from typing import Annotated, NoReturn

import typer

from mixopt.errors import ClusterGone, MixoptError
from proxies.errors import ProxyError

HELP = "Find the mixture of data domains to train a language model on, with evidence."
DEFAULT_STORE = "mixopt.db"
SHORT_S = 10.0  # for a command that was asked to end
AGAIN_S = 0.05  # after an exception was lost, what lost it is over
FULL = "free some space; a search goes on where it was"
FORBIDDEN = "choose another place, or change who may write there"
MISSING = "check the path, or make its folder first"
REMEDIES: Mapping[int | None, str] = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EACCES: FORBIDDEN,
    errno.EPERM: FORBIDDEN,
    errno.EROFS: FORBIDDEN,
    errno.ENOENT: MISSING,
    errno.ENOTDIR: MISSING,
    errno.EEXIST: "a file lies where a folder is needed; choose another place",
    errno.EISDIR: "a folder lies where a file is needed; choose another place",
}
COMMANDS = (
    "run",
    "plan",
    "cancel",
    "submit",
    "revise",
    "domains",
    "ask",
    "tell",
    "show",
    "browse",
    "export",
    "export_runs",
    "ingest",
    "replay",
    "prepare",
    "validate",
    "dashboard",
    "database",
    "gc",
    "retract",
)

Config = Annotated[str, typer.Argument(metavar="CONFIG", help="The search's YAML file.")]
SearchName = Annotated[str, typer.Argument(metavar="SEARCH", help="The search's name, as `mixopt list` prints it.")]
StoreLocation = Annotated[
    str, typer.Option("--store", help="File of the store, or a database URL.", envvar="MIXOPT_STORE", show_envvar=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

app = typer.Typer(name="mixopt", help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")


def main() -> None:
    """Run the command line; what the user can mend is one line on stderr and exit code 1."""
    end_on_sigterm()
    try:
        _load()
        app()
    except OSError as error:
        fail(_refusal(error))
    except ClusterGone as error:
        print(f"mixopt: {error}", file=sys.stderr, flush=True)
        os._exit(1)  # no atexit: Ray's own would crash without its head
    except Exception as error:
        if not _mendable(error):
            raise
        fail(str(error))


def end_on_sigterm() -> None:
    """Take SIGTERM for Ctrl-C, and lose neither.

    To be called again once Ray has started, which would abort the process after 3 s.
    """
    signal.signal(signal.SIGTERM, _terminate)
    sys.unraisablehook = _ask_again


def fail(message: str) -> NoReturn:
    """Print `message` as this command's error and leave."""
    print(f"mixopt: {message}", file=sys.stderr)
    sys.exit(1)


def _mendable(error: Exception) -> bool:
    """Say whether `error` is the user's to mend; the store's are loaded here only, since SQLAlchemy takes its time."""
    from store.errors import StoreError

    return isinstance(error, MixoptError | ProxyError | StoreError)


def _refusal(error: OSError) -> str:
    """Return what the system refused, where, and what to do."""
    what = (error.strerror or str(error) or type(error).__name__).splitlines()[0].lower()
    place = "" if error.filename is None else f"{error.filename}: "
    return f"{place}{what}; {REMEDIES.get(error.errno, 'check the place, and try again')}"


_asked_s = float("-inf")


def _terminate(_: int, __: FrameType | None) -> None:
    """End this command; who asks again in short is not heard, as what follows is short and must not be cut short."""
    global _asked_s  # noqa: PLW0603  # a handler has no object of its own
    if time.monotonic() - _asked_s > SHORT_S:
        _asked_s = time.monotonic()
        raise KeyboardInterrupt


def _ask_again(lost: "sys.UnraisableHookArgs") -> None:
    """Ask once more to end, where that was lost: Python lets no exception through while it takes an object down.

    From another thread and a little later: raised here, it would be lost as well.
    """
    global _asked_s  # noqa: PLW0603
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    _asked_s = float("-inf")
    timer = Timer(AGAIN_S, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()


def _load() -> None:
    """Import the module of every command: each adds itself to `app`, and imports what is heavy when it is called."""
    for name in COMMANDS:
        import_module(f"mixopt.cli.{name}")
