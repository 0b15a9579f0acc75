"""A search in the terminal: workers and text made ready side by side, the driver watched to its end."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from mixopt.cli.app import end_on_sigterm
from mixopt.cli.watch import watching
from mixopt.config import SearchConfig
from mixopt.search.launch import driving, prepare_text, start_workers
from mixopt.search.setting import Setting
from mixopt.text import Folders
from store import Store


def run_search(
    config: SearchConfig, *, store: str, started_s: float, address: str | None = None, folder: Path | None = None
) -> None:
    """Run or resume the search of `config`, on the Ray cluster at `address` where it is given.

    `started_s` is when the command began, on the monotonic clock; `folder` holds text and artifacts, None: the store's.
    """
    folders = Folders.beside(store) if folder is None else Folders.inside(folder.resolve())
    with Store(store) as ledger, watching() as view, ThreadPoolExecutor(max_workers=1) as pool:
        workers_to_be = pool.submit(start_workers, config, address=address)
        text = prepare_text(config, folders, report=view.line)
        setting = Setting.of(config, text, artifacts=str(folders.artifacts))
        with closing(workers_to_be.result()) as workers:
            end_on_sigterm()
            view.line(f"{len(setting.names)} domains, {workers.slots} workers, store {store}")
            elapsed_s = time.monotonic() - started_s
            with driving(setting, store=ledger, workers=workers, elapsed_s=elapsed_s) as driver:
                for snapshot in driver.drive():
                    view.update(snapshot)
