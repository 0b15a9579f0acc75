"""A revision as somebody asks for it: read, checked, shown with what stays and what is left, and then recorded."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mixopt.config import SearchConfig, load
from mixopt.errors import SearchError
from mixopt.mixture import Mixture
from mixopt.search.revising import REVISE, check_revision, differences, root_of, signed
from mixopt.search.wishes import is_driven, wish
from store import Search, Store

NOT_SEARCHED = ("proof", "expert")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What somebody wants of a search: its changed file (None: as it stands), and other limits than that says.

    budget, time_limit: as typed, FLOPs and seconds, `5e15`, or `+2e15` for so much more.
    """

    file: Path | None = None
    budget: str | None = None
    time_limit: str | None = None


def revise_search(store: Store, search: Search, wanted: Wanted, *, is_rehearsal: bool) -> dict[str, list[str] | str]:
    """Record what is `wanted` of `search`, or leave it for its driver; in a rehearsal only say what would be.

    Returns:
        changes: a line for every value; outlook: what stays and what the budget still buys; done: what came of it.

    Raises:
        SearchError, EmptySpace: it cannot be, see `check_revision`; then nothing has changed.
    """
    config = wanted_config(search, wanted)
    changes = check_revision(search, config, is_driven=is_driven(store, search))
    found: dict[str, list[str] | str] = {"changes": changes, "outlook": outlook(store, search, config)}
    if is_rehearsal:
        return found | {"done": "nothing is recorded; run it again without --dry-run"}
    payload = {"config": config.resolved(), "base": search.config_hash, "note": signed(changes)}
    return found | {"done": wish(store, search, REVISE, payload)}


def wanted_config(search: Search, wanted: Wanted) -> SearchConfig:
    """Return the configuration of `search` as it is wanted."""
    if wanted.file is None and wanted.budget is None and wanted.time_limit is None:
        raise SearchError("say what to revise: the changed file, --budget or --time-limit")
    config = SearchConfig.from_plain(search.config, root=root_of(search)) if wanted.file is None else load(wanted.file)
    plain: dict[str, object] = {}
    if wanted.budget is not None:
        plain["budget_flops"] = _limit("--budget", wanted.budget, search.config, "budget_flops")
        plain |= {"budget_device_hours": None, "throughput_flops": None}  # which would say it again, and otherwise
    if wanted.time_limit is not None:
        plain["time_limit_s"] = _limit("--time-limit", wanted.time_limit, search.config, "time_limit_s")
    return config.from_plain(config.resolved() | plain, root=config.root) if plain else config


def outlook(store: Store, search: Search, config: SearchConfig) -> list[str]:
    """Return what stays of `search` once it stands as `config`, and what its budget still buys, a line each."""
    return [_stays(store, search, config), *_outside(store, search, config), money(store, search, config)]


def money(store: Store, search: Search, config: SearchConfig) -> str:
    """Return what is charged of the budget, and what the rest buys at the top rung, in words."""
    tallies = [tally for tally in store.tallies(search.id) if tally.state != "cancelled"]
    charged = sum(tally.charged_flops for tally in tallies)
    left = config.budget_flops - charged
    said = f"{charged:.3g} of {config.budget_flops:.3g} FLOPs are charged"
    if left <= 0.0:
        return f"{said}: the search proposes nothing more, and recommends without a further proof"
    top = config.rungs[-1].name
    at_top = [tally for tally in tallies if tally.fidelity == top and tally.purpose not in NOT_SEARCHED]
    count = sum(tally.trials for tally in at_top)
    if not count:
        return f"{said}, {left:.3g} are left"
    each = sum(tally.charged_flops for tally in at_top) / count
    return f"{said}, {left:.3g} are left: {left / each:.1f} trials at rung {top!r}, those of the proof among them"


def _stays(store: Store, search: Search, config: SearchConfig) -> str:
    ended = sum(tally.trials for tally in store.tallies(search.id) if tally.state == "completed")
    if not ended:
        return "nothing has completed yet"
    keys = {line.partition(":")[0].partition(".")[0] for line in differences(search.config, config.resolved())}
    anew = "; the objective is computed anew from what they measured" if "objective" in keys else ""
    return f"all {ended} completed trials stay{anew}"


def _outside(store: Store, search: Search, config: SearchConfig) -> list[str]:
    """Return how many mixtures lie outside of the constraints as they would be, if any do."""
    space = config.space(search.domains)
    trials = [t for t in store.trials(search.id, states=["completed"]) if t.purpose not in NOT_SEARCHED]
    count = sum(Mixture(trial.weights) not in space for trial in trials)
    if not count:
        return []
    return [f"{count} of {len(trials)} mixtures are outside of the constraints: they stay evidence"]


def _limit(option: str, typed: str, config: Mapping[str, object], key: str) -> float:
    """Return the limit that was typed, in addition to the one there is where it begins with a plus."""
    now = config.get(key)
    try:
        number = float(typed)
    except ValueError:
        number = math.nan
    if not 0.0 < number < math.inf:
        raise SearchError(f"{option} takes a positive number such as 5e15, or +2e15 for so much more; got {typed!r}")
    if not typed.strip().startswith("+"):
        return number
    if now is None:
        raise SearchError(f"{option} {typed} adds to a limit, and there is none; give the whole of it")
    return float(str(now)) + number
