"""A search in the terminal: workers and text made ready side by side, the driver watched to its end."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from mixopt.cli.app import end_on_sigterm
from mixopt.cli.watch import View, watching
from mixopt.config import SearchConfig
from mixopt.errors import DomainsChanged
from mixopt.plan.ground import slots_ahead, text_ahead
from mixopt.plan.outlook import Outlook, look_ahead
from mixopt.search.launch import driving, prepare_text, start_workers
from mixopt.search.probing import measured, with_recorded
from mixopt.search.revising import standing
from mixopt.search.setting import Setting
from mixopt.search.throughput import Throughput, counted, known
from mixopt.text import Folders, Say
from store import Store, without_password


def run_search(
    config: SearchConfig, *, store: str, started_s: float, address: str | None = None, folder: Path | None = None
) -> None:
    """Run or resume the search of `config`, on the Ray cluster at `address` where it is given.

    `started_s` is when the command began, on the monotonic clock; `folder` holds text and artifacts, None: the store's.
    """
    folders = Folders.beside(store) if folder is None else Folders.inside(folder.resolve())
    with watching() as view:
        while True:
            try:
                return _run_once(config, view, store=store, folders=folders, started_s=started_s, address=address)
            except DomainsChanged as change:
                view.line(f"{change}; what was in training is given up, uncharged, and the search goes on")
                started_s = time.monotonic()  # what passed before is on record with the trials


def _run_once(
    config: SearchConfig, view: View, *, store: str, folders: Folders, started_s: float, address: str | None
) -> None:
    """Run or resume the search as it stands now, to its end.

    Raises:
        DomainsChanged: it stands otherwise by now.
    """
    with Store(store) as ledger, ThreadPoolExecutor(max_workers=1) as pool:
        config, said = standing(ledger, with_recorded(config, ledger))
        for line in said:
            view.line(line)
        workers_to_be = pool.submit(start_workers, config, address=address)
        text = prepare_text(config, folders, report=view.line)
        setting = Setting.of(config, text, artifacts=str(folders.artifacts))
        with closing(workers_to_be.result()) as workers:
            end_on_sigterm()
            view.line(f"{len(setting.names)} domains, {workers.slots} workers, store {without_password(store)}")
            if not setting.config.counts_flops:
                found = known(config) or measured(setting, workers, ledger, told=view.line)
                setting = counted(setting, found)
                view.line(f"{config.budget_device_hours:g} device-hours are {setting.config.budget_flops:.3g} FLOPs")
            elapsed_s = time.monotonic() - started_s
            with driving(setting, store=ledger, workers=workers, elapsed_s=elapsed_s) as driver:
                for snapshot in driver.drive():
                    view.update(snapshot)


def plan_search(
    config: SearchConfig,
    *,
    store: str,
    throughput: float | None,
    slots: int | None,
    rehearsals: int,
    jobs: int,
    told: Say,
) -> Outlook:
    """Return what the search of `config` would buy; `throughput`: FLOPs a second of a device, None to find it out."""
    folders = Folders.beside(store)
    found = known(config) if throughput is None else Throughput.alike(config, throughput, source="given")
    text = text_ahead(config, folders, is_probed=found is None, report=told)
    setting = Setting.of(config, text, artifacts=str(folders.artifacts))
    room = slots or slots_ahead(config)
    if found is None:
        with Store(store) as ledger, closing(start_workers(config)) as workers:
            end_on_sigterm()
            found, room = measured(setting, workers, ledger, told=told), slots or workers.slots
    setting = counted(setting, found)
    return look_ahead(setting, found, slots=room, rehearsals=rehearsals, jobs=jobs, told=told)
