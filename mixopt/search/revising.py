"""Revisions of a search that has begun: what may change, what may not and why, and on record by whom."""

import getpass
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixopt.config import SearchConfig
from mixopt.errors import SearchError
from store import DomainChange, Search, Store

REVISE = "revise"  # {"config": plain, "base": hash of what it revises, "note": text}
CHANGE_DOMAINS = "domains"  # as REVISE, and {"change": what `DomainChange` has}
FILE_CHANGED = "the file changed"  # begins the note of a revision that `mixopt run` found in the file

FIXED = ("seed", "corpus", "evaluation", "target", "experts", "simulated")
FIXED_OF_RUNGS = ("name", "tokens", "proxy", "parameters", "cost_flops", "continues")  # what it occupies may change
FIXED_OF_DOMAINS = ("name", "source", "available_tokens", "held_out", "revision")  # their bounds may change
OF_WORKERS = ("workers", "steps", "values", "cpus", "gpus", "resources", "processes")  # known when they start


def fixed(config: Mapping[str, Any]) -> dict[str, object]:
    """Return what may not change of a search that has begun: what its trials were trained and measured on."""
    domains = [{key: domain.get(key) for key in FIXED_OF_DOMAINS} for domain in config["domains"]]
    ladder = [{key: rung.get(key) for key in FIXED_OF_RUNGS} for rung in config["ladder"]]
    return {key: config.get(key) for key in FIXED} | {"domains": domains, "ladder": ladder}


def changed_of_fixed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the keys that changed of what may not."""
    was, became = fixed(before), fixed(now)
    return [key for key in became if was[key] != became[key]]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return how two resolved configurations differ, a line for every value: `budget_flops: 2e+17 -> 3e+17`."""
    old, new = _leaves(before), _leaves(now)
    keys = dict.fromkeys([*old, *new])
    return [
        f"{key}: {_shown(old.get(key))} -> {_shown(new.get(key))}" for key in keys if _ne(old.get(key), new.get(key))
    ]


def check_revision(search: Search, config: SearchConfig, *, is_driven: bool) -> list[str]:
    """Return what `config` changes of `search`, in words.

    Raises:
        SearchError: nothing, or what may not change of a search that has begun, or not while it is driven.
        EmptySpace: no mixture of the counted text is allowed any more.
    """
    plain = config.resolved()
    found = differences(search.config, plain)
    if config.name != search.name:
        raise SearchError(f"the file is of search {config.name!r}; give the one of {search.name!r}")
    if refused := changed_of_fixed(search.config, plain):
        details = [line for line in found if line.partition(".")[0].partition(":")[0] in refused]
        way_out = (
            f"; of its domains, say what became of them: mixopt domains {search.name} --help"
            if "domains" in refused
            else ""
        )
        raise SearchError(
            f"{', '.join(refused)} cannot change: the trials of {search.name!r} were trained and measured with it "
            f"({'; '.join(details)}); put it back, or start another search{way_out}"
        )
    if not found:
        raise SearchError(f"nothing changes: {search.name!r} stands like that already")
    parts = {line.partition(":")[0]: line for line in found}
    held = [line for key, line in parts.items() if set(key.split(".")) & set(OF_WORKERS)]
    if is_driven and held:
        raise SearchError(
            f"workers cannot change while they work ({'; '.join(held)}); stop them with `mixopt cancel {search.name}`, "
            "revise, and run it again"
        )
    config.space(search.domains)
    return found


def revise(store: Store, search: Search, *, config: Mapping[str, Any], base: str, note: str) -> str:
    """Record a revision made of the configuration whose hash is `base`; heard twice, it is recorded once.

    Raises:
        SearchError: the search was revised otherwise in between.
    """
    wanted = SearchConfig.from_plain(config)
    current = _unrevised(store, search, wanted, base)
    if current is not None:
        check_revision(current, wanted, is_driven=False)
    revision = store.revise_search(search.id, config=wanted.resolved(), config_hash=wanted.digest(), note=note)
    return f"revision {revision.number}: {revision.note}"


def change_domains(
    store: Store, search: Search, *, change: Mapping[str, Any], config: Mapping[str, Any], base: str, note: str
) -> str:
    """Record what became of domains, as it was worked out for the configuration of hash `base`; as `revise` does.

    Raises:
        SearchError: the search was revised otherwise in between.
    """
    wanted = SearchConfig.from_plain(config)
    if _unrevised(store, search, wanted, base) is not None:
        store.change_domains(
            search.id, DomainChange(**change), config=wanted.resolved(), config_hash=wanted.digest(), note=note
        )
    last = store.revisions(search.id)[-1]
    return f"revision {last.number}: {last.note}"


def standing(store: Store, config: SearchConfig) -> tuple[SearchConfig, list[str]]:
    """Return what to run for a file: itself, or what commands have made of it since; and that in words.

    A file that some earlier revision was says nothing new; where it differs from all of them, it is a revision itself.
    """
    found = store.find_search(config.name)
    if found is None or found.config_hash == config.digest():
        return config, []
    past = store.revisions(found.id)
    lines = differences(found.config, config.resolved())
    if past[-1].note.startswith(FILE_CHANGED) or all(each.config_hash != config.digest() for each in past):
        return config, [f"the file changed: {line}" for line in lines]
    said = (
        f"the file is as it was before revision {past[-1].number} ({past[-1].note}), which goes on; "
        f"to have it in a file: mixopt show {config.name} --file"
    )
    return SearchConfig.from_plain(found.config, root=config.root), [said]


def signed(lines: Sequence[str]) -> str:
    """Return the note of a revision: what changed, and who did it."""
    return f"{'; '.join(lines)}; by {author()}"


def author() -> str:
    """Return who runs this program, and where."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as containers have them
        name = "somebody"
    return f"{name} on {socket.gethostname()}"


def root_of(search: Search) -> Path:
    """Return the folder where relative paths of a search's sources start, as far as anybody wrote it down."""
    return Path(str(search.corpus.get("root") or Path.cwd()))


def _unrevised(store: Store, search: Search, wanted: SearchConfig, base: str) -> Search | None:
    """Return the search as it stands with the configuration of hash `base`; None where it stands as wanted already."""
    current = store.search(search.id)
    if current.config_hash == wanted.digest():
        return None
    if current.config_hash != base:
        raise SearchError(f"{current.name!r} was revised by somebody else meanwhile; look at it, and say it again")
    return current


def _leaves(value: object, path: str = "") -> dict[str, object]:
    """Return every value of nested mappings by its dotted keys; lists of named mappings go by their names."""
    if isinstance(value, Mapping) and value:
        found: dict[str, object] = {}
        for key, each in value.items():
            found |= _leaves(each, f"{path}.{key}" if path else str(key))
        return found
    if (
        isinstance(value, list | tuple)
        and value
        and all(isinstance(each, Mapping) and "name" in each for each in value)
    ):
        return _leaves({str(each["name"]): {k: v for k, v in each.items() if k != "name"} for each in value}, path)
    return {path: value}


def _ne(old: object, new: object) -> bool:
    return old != new and not (old in (None, {}, []) and new in (None, {}, []))


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else "none" if value in (None, [], {}) else str(value)
