"""From a search's file to a driver: its text prepared, its workers started, its row in the store opened."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixopt.command_workers import CommandTrainer, command_text
from mixopt.config import SearchConfig
from mixopt.errors import BrainError, MixoptError, SearchError, SearchStopped, WorkerError
from mixopt.optimize.strategies import STRATEGIES
from mixopt.ray_room import Demand
from mixopt.ray_workers import RayWorkers
from mixopt.search.brain import START_S, Brain
from mixopt.search.driver import Driver
from mixopt.search.experts import experts_of
from mixopt.search.lease import HeldLease
from mixopt.search.ledger import lasting_recommendation
from mixopt.search.packing import paces, told
from mixopt.search.provenance import provenance
from mixopt.search.revising import FILE_CHANGED, changed_of_fixed, differences, signed
from mixopt.search.setting import Setting
from mixopt.simulated_workers import SimulatedWorkers, simulated_text
from mixopt.text import Folders, Say, Text, prepare_corpus
from mixopt.workers import LocalWorkers, Trainer, Workers, run_job
from proxies.corpus import Corpus, open_corpus
from proxies.mixing import short_samples
from store import LeaseLost, Search, Store


def prepare_text(config: SearchConfig, folders: Folders, *, report: Say) -> Text:
    """Return the search's text, prepared if it is not yet."""
    if config.simulated is not None:
        return simulated_text(config)
    if not config.has_own_text:
        return command_text(config)
    corpus = prepare_corpus(config, folders, report=report)
    _report_overlap(corpus, report)
    _report_short_samples(corpus, config, report)
    return Text.of(corpus, config)


def _report_overlap(corpus: Corpus, report: Say) -> None:
    """Say how many training documents were left out for the evaluation text in them."""
    dropped = {name: record.overlapping_documents for name, record in corpus.manifest.domains.items()}
    if any(dropped.values()):
        by_domain = ", ".join(f"{name} {count}" for name, count in dropped.items() if count)
        report(f"left out of training, since they contain evaluation text: {by_domain} documents")


def _report_short_samples(corpus: Corpus, config: SearchConfig, report: Say) -> None:
    """Say which domains a proxy repeats more often than the target would, since too little of them was read."""
    if config.target is None:
        return
    for rung in config.rungs:
        short = short_samples(corpus.domains, proxy_tokens=rung.tokens, target_tokens=config.target.tokens)
        for name, (wanted, read) in short.items():
            report(
                f"domain {name!r} has {read:,} tokens where rung {rung.name!r} wants {wanted:,} to repeat it as the "
                "target would: read more of it, or take its epochs at this rung for too many"
            )


def start_workers(config: SearchConfig, *, address: str | None = None) -> Workers:
    """Return the place to train that the file asks for; `address`: of another Ray cluster than the file's."""
    if config.simulated is not None:
        return SimulatedWorkers(config)
    trainer: Trainer = run_job if config.command is None else CommandTrainer.of(config)
    if config.workers.kind in ("local", "outside"):  # outside there is nothing to start
        return LocalWorkers(trainer)
    return RayWorkers(
        trainer,
        address=address or config.workers.address,
        slots=config.workers.slots,
        demands={
            rung.name: Demand(
                resources={"CPU": rung.cpus, "GPU": rung.gpus, **rung.resources}, processes=rung.processes
            )
            for rung in config.rungs
        },
    )


def find_or_create(store: Store, setting: Setting) -> Search:
    """Return the search named by the file, new or as it stands.

    Raises:
        SearchError: what may not change of a running search has changed (its text, domains, ladder, seed).
    """
    config = setting.config
    plain = config.resolved() | {"budget_flops": config.budget_flops}  # ConfigError where that is not known
    found = store.find_search(config.name)
    if found is None:
        return store.create_search(
            name=config.name,
            seed=config.seed,
            config=plain,
            config_hash=config.digest(),
            corpus=recorded_text(setting),
            domains=dict(setting.text.available_tokens),
        )
    changed = changed_of_fixed(found.config, plain)
    if found.corpus["digest"] != setting.text.digest:
        changed.append("the prepared text")
    if changed:
        raise SearchError(
            f"search {config.name!r} has trials that no longer fit: {', '.join(changed)} changed since it began; "
            "put the file back, or start another search with --name; of domains that changed, say what became of "
            f"them: mixopt domains {config.name} --help"
        )
    return found


def recorded_text(setting: Setting) -> dict[str, Any]:
    """Return what the store keeps of a search's text: where it lies, what it is, and what it was made of."""
    return {
        "digest": setting.text.digest,
        "folder": setting.text.folder,
        "manifest": _manifest(setting),
        "root": str(setting.config.root),
    }


def as_begun(search: Search) -> Corpus:
    """Return the prepared text that `search` stands on; CorpusError where it is gone."""
    return open_corpus(Path(str(search.corpus["folder"])))


def _manifest(setting: Setting) -> dict[str, Any] | None:
    """Return what the text was made of, None where mixopt prepared none: losses are simulated, or a command's."""
    if not setting.config.has_own_text:
        return None
    return open_corpus(Path(setting.text.folder)).manifest.to_plain()


def _is_over(store: Store, search: Search, config: SearchConfig) -> bool:
    """Say whether nothing is left to train, and so nothing to measure: a search that is run again after its end."""
    if search.state != "finished" or store.messages(search.id):
        return False
    return lasting_recommendation(store, search.id, config) is not None


@contextmanager
def driving(
    setting: Setting, *, store: Store, workers: Workers, elapsed_s: float, brain: Brain | None = None
) -> Iterator[Driver]:
    """Give the driver of the search while its lease is held; a changed file is recorded as a revision.

    `elapsed_s`: what has passed of the time limit. However it is left, the store says how the search stands.
    brain: None is one that starts a process where that pays; on a virtual clock it never does.

    Raises:
        SearchError: see `find_or_create`. LeaseHeld: another driver is alive.
    """
    search = find_or_create(store, setting)
    config = setting.config
    with HeldLease(store, search.id) as lease:
        if search.config_hash != config.digest():
            lines = differences(search.config, config.resolved())
            note = f"{FILE_CHANGED}: {signed(lines)}"
            store.revise_search(search.id, config=config.resolved(), config_hash=config.digest(), note=note)
            search = store.search(search.id)
        found = {} if _is_over(store, search, config) else paces(setting, workers)
        store.add_session(search.id, provenance=provenance(setting, workers, found))
        driver = None
        thinking = brain or Brain(clock=workers.clock, patience_s=START_S)
        try:
            driver = Driver(
                setting=setting,
                search=search,
                store=store,
                lease=lease,
                workers=workers,
                strategy=STRATEGIES[config.strategy.name](setting.problem),
                experts_of=experts_of(setting, store),
                brain=thinking,
                paces=found,
                elapsed_before_s=elapsed_s,
            )
            driver.say(*told(found))
            yield driver
        except LeaseLost:  # the search is another driver's now
            raise
        except (KeyboardInterrupt, SearchStopped, WorkerError):
            if driver is not None:
                driver.put_away()
            store.set_state(search.id, "stopped")
            raise
        except BrainError:  # the workers are well: what they have done counts
            if driver is not None:
                driver.put_away()
            store.set_state(search.id, "failed")
            raise
        except MixoptError:
            store.set_state(search.id, "failed")
            raise
        except BaseException:
            store.set_state(search.id, "stopped")
            raise
        finally:
            thinking.close()
