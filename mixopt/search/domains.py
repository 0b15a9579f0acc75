"""Domains that change while a search goes on: what stays, what is stale, what it costs; and then on record."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mixopt.config import SearchConfig
from mixopt.errors import SearchError
from mixopt.search.domain_edits import Edit, Edited, edited
from mixopt.search.domain_text import changed_fraction, check_measures, strange_fraction
from mixopt.search.launch import as_begun, prepare_text, recorded_text
from mixopt.search.ledger import STALE_LIMIT
from mixopt.search.revising import CHANGE_DOMAINS, signed
from mixopt.search.revision import money
from mixopt.search.setting import Setting
from mixopt.search.wishes import wish
from mixopt.text import Folders, Say
from proxies.corpus import DomainTokens, open_corpus
from store import OUTSIDE, DomainChange, Search, Store, Trial

SAMPLED = 1.01  # times the tokens that were read: a domain of more was read in part, and parts differ by chance


@dataclass(frozen=True, kw_only=True)
class RungToll:
    """What a change does to the completed trials of a rung: how many count as before, for less and no more.

    again_flops: what training the mixtures of the latter two again would cost.
    """

    rung: str
    stay: int
    less: int
    unused: int
    again_flops: float

    def plain(self) -> dict[str, object]:
        """Return it as JSON holds it."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A change of domains worked out: nothing is recorded yet, and nothing trained.

    experts: FLOPs of the data experts to train, by domain. given_up: numbers of trials that wait or were interrupted.
    """

    search: Search
    config: SearchConfig
    change: DomainChange
    said: str
    tolls: tuple[RungToll, ...]
    experts: Mapping[str, float]
    given_up: tuple[int, ...]
    lines: tuple[str, ...]

    def plain(self) -> dict[str, object]:
        """Return it as JSON holds it."""
        return {
            "change": self.said,
            "domains": dict(self.change.domains),
            "stale": dict(self.change.revised),
            "rungs": [toll.plain() for toll in self.tolls],
            "experts": dict(self.experts),
            "given_up": list(self.given_up),
            "lines": list(self.lines),
        }


def plan(store: Store, search: Search, edit: Edit, folders: Folders, *, report: Say) -> Plan:
    """Return what `edit` would do to `search`; its text is prepared, and nothing else is changed.

    A search that is driven may be planned for, too; what its driver trains meanwhile is not in the plan.

    Raises:
        SearchError, ConfigError, EmptySpace, ProxyError: why it cannot be.
    """
    wanted = _same_tokens(search, edited(search, edit), edit)
    text = prepare_text(wanted.config, folders, report=report)
    setting = Setting.of(wanted.config, text, artifacts=str(folders.artifacts))
    parts, revised = _parts(wanted, setting), _revised(search, wanted, setting, edit)
    trials = store.trials(search.id)
    change = DomainChange(
        parts=parts,
        revised=revised,
        domains={name: text.available_tokens[name] for name in setting.names},
        corpus=recorded_text(setting) | {"earlier": _earlier(search)},
    )
    tolls, experts = _tolls(trials, change, setting), _experts(trials, change, setting)
    waiting = tuple(trial.number for trial in trials if trial.state == "queued" or _was_driven(store, trial))
    lines = _lines(store, search, wanted, change, tolls, experts, waiting)
    _check_money(trials, setting, experts)
    return Plan(
        search=search,
        config=wanted.config,
        change=change,
        said=wanted.said,
        tolls=tolls,
        experts=experts,
        given_up=waiting,
        lines=lines,
    )


def carry_out(store: Store, found: Plan) -> str:
    """Record the change that was planned, or leave it for the search's driver, and return what was done.

    A driver gives up what it trains, uncharged, as that would end in domains that are no more, and begins anew.

    Raises:
        SearchError: the search was revised meanwhile.
    """
    search, change = found.search, found.change
    payload = {
        "change": {name: getattr(change, name) for name in ("parts", "revised", "domains", "corpus")},
        "config": found.config.resolved(),
        "base": search.config_hash,
        "note": signed([found.said]),
    }
    done = wish(store, search, CHANGE_DOMAINS, payload)
    if not is_recorded(store, found):
        return f"{done}: what it trains now is given up, uncharged, and it goes on with the new text"
    return (
        f"{done}; go on with: mixopt run FILE (the one from before will do, and `mixopt show {search.name} --file` "
        "prints one that says it all)"
    )


def is_recorded(store: Store, found: Plan) -> bool:
    """Say whether the search has the domains that were planned."""
    return store.search(found.search.id).config_hash == found.config.digest()


def _same_tokens(search: Search, wanted: Edited, edit: Edit) -> Edited:
    """Return what is wanted with the tokenizer that was trained when the search began, in place of a new one."""
    config = wanted.config
    if not config.has_own_text or config.corpus.tokenizer["kind"] != "bpe":
        return wanted
    tokenizer = {"kind": "file", "path": str(as_begun(search).folder / "tokenizer.json")}
    if edit.file is not None:
        raise SearchError(
            f"{edit.file} has a tokenizer that is trained on its text, and would be another; give the one that the "
            f"search has: tokenizer: {{kind: file, path: {tokenizer['path']}}}"
        )
    plain = config.resolved()
    pinned = plain | {"corpus": config.corpus.model_dump(mode="json") | {"tokenizer": tokenizer}}
    return replace(wanted, config=SearchConfig.from_plain(pinned, root=config.root))


def _parts(wanted: Edited, setting: Setting) -> dict[str, dict[str, float]]:
    """Return the shares of what domains became, by the tokens there are of each."""
    tokens = setting.text.available_tokens
    return {
        old: {name: tokens[name] / sum(map(tokens.__getitem__, new)) for name in new}
        for old, new in wanted.parts.items()
    }


def _revised(search: Search, wanted: Edited, setting: Setting, edit: Edit) -> dict[str, float]:
    """Return the fraction of every domain's text that is another than the trials of before were trained on."""
    if not 0.0 < edit.changed <= 1.0:
        raise SearchError(f"--changed takes a fraction above 0, to 1; got {edit.changed:g}")
    told = dict.fromkeys(wanted.revised, edit.changed)
    if not wanted.config.has_own_text:
        return told
    before, after = as_begun(search), open_corpus(Path(setting.text.folder))
    check_measures(before, after)
    was = {new: (old, len(parts)) for old, parts in wanted.parts.items() for new in parts}
    for name, now in after.domains.items():
        old, count = was.get(name, (name, 1))
        if old not in before.domains or (name in told and _is_sample(before.domains[old], now)):
            continue
        then = before.domains[old]
        if count == 1:
            told[name] = changed_fraction(then, now)
        elif not _is_sample(then, now):
            told[name] = strange_fraction(then, now)
    if wanted.revised and not any(told.values()):
        raise SearchError(f"the text of {wanted.revised[0]!r} is what it was; there is nothing to revise")
    return {name: fraction for name, fraction in told.items() if fraction > 0.0}


def _is_sample(*domains: DomainTokens) -> bool:
    """Say whether some of the text was read in part only: then documents differ by chance."""
    return any(each.available_tokens > SAMPLED * each.tokens_count for each in domains)


def _earlier(search: Search) -> list[str]:
    """Return the folders of the text that the search stood on so far, which are kept."""
    folder = str(search.corpus.get("folder") or "")
    return list(dict.fromkeys([*search.corpus.get("earlier", []), *([folder] if folder else [])]))


def _was_driven(store: Store, trial: Trial) -> bool:
    """Say whether a trial is in training for a driver that is dead: it would start again."""
    attempts = store.attempts(trial.id) if trial.state == "running" else []
    return bool(attempts) and not attempts[-1].worker.startswith(OUTSIDE)


def _staleness(trial: Trial, change: DomainChange) -> float:
    """Return the fraction of a trial's tokens from text that is another or gone; 1 where it says nothing any more."""
    now: dict[str, float] = {}
    for name, weight in trial.weights.items():
        shares = change.parts.get(name, {name: 1.0})
        if not shares and weight > 0.0:
            return 1.0
        for new, share in shares.items():
            now[new] = now.get(new, 0.0) + weight * share
    return min(1.0, trial.stale + sum(now.get(name, 0.0) * fraction for name, fraction in change.revised.items()))


def _tolls(trials: Sequence[Trial], change: DomainChange, setting: Setting) -> tuple[RungToll, ...]:
    """Return what becomes of the completed trials of every rung, the proof's aside."""
    found = []
    for rung in setting.problem.ladder:
        stale = [
            _staleness(trial, change)
            for trial in trials
            if trial.fidelity == rung.name and trial.state == "completed" and trial.purpose != "proof"
        ]
        lesser = sum(each > 0.0 for each in stale)
        unused = sum(each > STALE_LIMIT for each in stale)
        found.append(
            RungToll(
                rung=rung.name,
                stay=len(stale) - lesser,
                less=lesser - unused,
                unused=unused,
                again_flops=lesser * rung.cost_flops,
            )
        )
    return tuple(found)


def _experts(trials: Sequence[Trial], change: DomainChange, setting: Setting) -> dict[str, float]:
    """Return the FLOPs of every data expert that the search asks for and that is yet to be trained, by domain."""
    if setting.config.experts is None:
        return {}
    old = {name: [name] for name in setting.names if name not in change.parts}
    for name, shares in change.parts.items():
        for new in shares if len(shares) == 1 else ():
            old[new] = [name]
    there = {
        name
        for trial in trials
        if trial.purpose == "expert" and trial.state == "completed" and not trial.stale
        for name, weight in trial.weights.items()
        if weight == 1.0
    }
    missing = [name for name in setting.names if name in change.revised or not there & set(old.get(name, ()))]
    return {name: setting.flops_of(setting.expert_proposal(name)) for name in missing}


def _check_money(trials: Sequence[Trial], setting: Setting, experts: Mapping[str, float]) -> None:
    """Refuse a change after which the search would spend more than its budget on what it trains first."""
    left = setting.config.budget_flops - sum(trial.charged_flops for trial in trials)
    needed = sum(experts.values())
    if experts and needed > left:
        raise SearchError(
            f"the data experts of {', '.join(experts)} cost {needed:.3g} FLOPs, and {max(left, 0.0):.3g} of the budget "
            f"are left; extend it first: mixopt revise {setting.config.name} --budget +{1.01 * (needed - left):.3g}"
        )


def _lines(
    store: Store,
    search: Search,
    wanted: Edited,
    change: DomainChange,
    tolls: Sequence[RungToll],
    experts: Mapping[str, float],
    waiting: Sequence[int],
) -> tuple[str, ...]:
    """Return in words what changes, what stays, what is stale, and what it costs to have it again."""
    lines = [wanted.said]
    for old, shares in change.parts.items():
        if len(shares) > 1:
            said = ", ".join(f"{share:.1%} of its weight to {name}" for name, share in shares.items())
            lines.append(f"what trials say of {old} stays: {said}")
    lines += [f"{fraction:.1%} of the text of {name} is another" for name, fraction in change.revised.items()]
    lines += [f"evaluation set {name} goes with its domain; the objective does not need it" for name in wanted.dropped]
    for toll in tolls:
        if toll.less or toll.unused:
            lines.append(
                f"rung {toll.rung}: {toll.stay} trials stay as they are, {toll.less} are stale in part and count for "
                f"less, {toll.unused} count no more; training these mixtures again costs {toll.again_flops:.3g} FLOPs"
            )
        else:
            lines.append(f"rung {toll.rung}: all {toll.stay} trials stay as they are")
    if experts:
        costs = ", ".join(f"{name} {flops:.3g}" for name, flops in experts.items())
        lines.append(f"data experts to train, before anything else: {costs} FLOPs")
    if waiting:
        lines.append(f"trials {', '.join(map(str, waiting))} have not ended: they are given up, uncharged")
    lines.append("anything else is trained only where the search finds it worth its cost, within the budget")
    return (*lines, money(store, search, wanted.config))
