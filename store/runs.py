"""Runs: what a training measured, its curve and the files it left. Written once, never changed."""

import math

from sqlalchemy import case, func, insert, select, update
from sqlalchemy.orm import Session

from store.clock import now
from store.errors import NotInStore
from store.plain import plain_mapping
from store.records import WASTED_STATES, Artifact, CurvePoint, Result, Run
from store.schema import ArtifactRow, AttemptRow, CurveRow, MeasurementRow, RunRow, TrialRow


def record(session: Session, run_id: int, *, part: str, result: Result) -> bool:
    """Record a training of a run, and say whether it told anything new; what is known already stays as it is."""
    known = session.scalar(
        select(func.count())
        .select_from(MeasurementRow)
        .where(MeasurementRow.run_id == run_id, MeasurementRow.part == part)
    )
    if not known:
        where = {"run_id": run_id, "part": part}
        session.execute(insert(MeasurementRow), [where | each for each in _measurements(result)])
    completed_before = session.scalar(select(RunRow.completed_at).where(RunRow.id == run_id)) is not None
    if not completed_before:
        _record_training(session, run_id, result)
    return not known or not completed_before


def get(session: Session, run_hash: str) -> Run:
    """Return a run with what all attempts at it spent, or raise NotInStore."""
    row = session.scalar(select(RunRow).where(RunRow.run_hash == run_hash))
    if row is None:
        raise NotInStore(f"the store has no run {run_hash!r}; give the run_hash of one of its trials")
    wasted = AttemptRow.state.in_(WASTED_STATES)
    sums = session.execute(
        select(
            func.coalesce(func.sum(AttemptRow.spent_flops), 0.0),
            func.coalesce(func.sum(case((wasted, AttemptRow.spent_flops), else_=0.0)), 0.0),
            func.coalesce(func.sum(case((wasted, AttemptRow.elapsed_s), else_=0.0)), 0.0),
        )
        .join(TrialRow, TrialRow.id == AttemptRow.trial_id)
        .where(TrialRow.run_id == row.id)
    ).one()
    return Run(
        run_hash=row.run_hash,
        content=row.content,
        epochs=row.epochs,
        details=row.details,
        spent_flops=float(sums[0]),
        wasted_flops=float(sums[1]),
        wasted_s=float(sums[2]),
        elapsed_s=row.elapsed_s,
        completed_at=row.completed_at,
    )


def curve(session: Session, run_hash: str) -> list[CurvePoint]:
    """Return the training curve of a run by tokens; empty where it has none yet."""
    query = (
        select(CurveRow.tokens, CurveRow.loss)
        .join(RunRow, RunRow.id == CurveRow.run_id)
        .where(RunRow.run_hash == run_hash)
        .order_by(CurveRow.tokens)
    )
    return [CurvePoint(tokens, math.nan if loss is None else loss) for tokens, loss in session.execute(query)]


def artifacts(session: Session, run_hash: str) -> list[Artifact]:
    """Return the files of a run by name."""
    query = (
        select(ArtifactRow)
        .join(RunRow, RunRow.id == ArtifactRow.run_id)
        .where(RunRow.run_hash == run_hash)
        .order_by(ArtifactRow.name)
    )
    return [
        Artifact(name=row.name, path=row.path, sha256=row.sha256, bytes=row.bytes) for row in session.scalars(query)
    ]


def _measurements(result: Result) -> list[dict[str, object]]:
    losses: list[dict[str, object]] = [
        {"evaluation_set": name, "kind": "loss", "value": float(value), "items": None}
        for name, value in result.losses.items()
    ]
    return losses + [
        {"evaluation_set": name, "kind": "accuracy", "value": float(value), "items": result.items.get(name)}
        for name, value in result.accuracies.items()
    ]


def _record_training(session: Session, run_id: int, result: Result) -> None:
    session.execute(
        update(RunRow)
        .where(RunRow.id == run_id)
        .values(
            completed_at=now(),
            elapsed_s=float(result.elapsed_s),
            epochs=plain_mapping(result.epochs, what="epochs"),
            details=plain_mapping(result.details, what="details"),
        )
    )
    points = [
        {
            "run_id": run_id,
            "tokens": tokens,
            "loss": float(loss) if math.isfinite(loss) else None,
            "is_finite": math.isfinite(loss),
        }
        for tokens, loss in result.curve
    ]
    if points:
        session.execute(insert(CurveRow), points)
    for artifact in result.artifacts:
        session.add(
            ArtifactRow(
                run_id=run_id, name=artifact.name, path=artifact.path, sha256=artifact.sha256, bytes=artifact.bytes
            )
        )
    session.flush()
