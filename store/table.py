"""All trials of a search by columns, and such a table brought up to date by what changed since it was read."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from store import columns, details
from store.records import MeasuredColumns, Outline, Table, Trial, TrialDetail, WeightRows
from store.schema import SearchRow
from store.searches import get
from store.trials import read_changes

MOST = 1_000  # changed trials; where there are more, all are read again, which takes no longer


def read(session: Session, search_id: int, *, predicted: str, before: Table | None) -> Table:
    """Return the trials of a search, with what was predicted of the name `predicted`; `before`: the table of before.

    Where the configuration has changed since, all is read again: trials may read by other domains now.
    """
    search = get(session, search_id)
    of = (search_id, search.config_hash, predicted)
    mark = session.scalars(select(SearchRow.change).where(SearchRow.id == search_id)).one()
    fits = before is not None and before.of == of and before.mark <= mark
    if before is None or not fits or columns.altered(session, search_id, since=before.mark) > MOST:
        return Table(
            of=of,
            mark=mark,
            outlines=columns.outlines(session, search_id),
            weights=columns.weights(session, search_id),
            measured=columns.measured(session, search_id),
            predicted=columns.predicted(session, search_id, predicted),
        )
    if before.mark == mark:
        return before
    trials = read_changes(session, search_id, since=before.mark).trials
    told = details.read(session, search_id, numbers=[trial.number for trial in trials])
    known = dict(before.predicted)
    for number, detail in told.items():
        if predicted in detail.predicted:
            known[number] = detail.predicted[predicted]["mean"], detail.predicted[predicted]["sd"]
    return Table(
        of=of,
        mark=mark,
        outlines=_outlines(before, trials, told),
        weights=_weights(before, trials),
        measured=_measured(before, trials),
        predicted=known,
    )


def _outlines(before: Table, trials: tuple[Trial, ...], told: dict[int, TrialDetail]) -> list[Outline]:
    lines = {line.number: line for line in before.outlines}
    for trial in trials:
        plain = trial._asdict() | vars(told[trial.number])
        lines[trial.number] = Outline._make(plain[name] for name in Outline._fields)
    return list(lines.values())  # a new one has the highest number, so that they stay in order


def _weights(before: Table, trials: tuple[Trial, ...]) -> WeightRows:
    domains = before.weights.domains
    rows = {trial.number: tuple(map(trial.weights.get, domains)) for trial in trials if trial.weights}
    stale = {trial.number: trial.stale for trial in trials if trial.stale > 0.0}
    return WeightRows(
        domains=domains,
        by_trial={**before.weights.by_trial, **rows},
        stale={**before.weights.stale, **stale},  # more of it only comes with another configuration
    )


def _measured(before: Table, trials: tuple[Trial, ...]) -> MeasuredColumns:
    losses = {name: dict(column) for name, column in before.measured.losses.items()}
    accuracies = {name: dict(column) for name, column in before.measured.accuracies.items()}
    for trial in trials:
        for of_all, of_trial in ((losses, trial.losses), (accuracies, trial.accuracies)):
            for column in of_all.values():
                column.pop(trial.number, None)
            for name, value in of_trial.items():
                of_all.setdefault(name, {})[trial.number] = value
    found = [{name: column for name, column in each.items() if column} for each in (losses, accuracies)]
    return MeasuredColumns(losses=found[0], accuracies=found[1])
