"""The tables. Their constraints carry the invariants, so that no program can break them.

Runs are the truth: named by the hash of their content, with measurements, a curve and artifacts. Trials are claims on
runs, each of one search; attempts are tries at a trial. Nothing here is peculiar to one database. Finite is `BETWEEN`,
which also refuses PostgreSQL's NaN (above all numbers); SQLite turns NaN into NULL, which NOT NULL refuses.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from store.records import ATTEMPT_STATES, MEASUREMENT_KINDS, OPEN_STATES, SEARCH_STATES, TRIAL_STATES

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
LARGEST = "1e308"  # just below the largest float, so that infinity is outside


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, aware of its time zone also where the database is not."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return `value` in UTC; a moment without a time zone is a fault of ours."""
        assert value is None or value.tzinfo is not None
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return what was stored as a moment in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The declarative root, with names for every constraint."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {datetime: UtcDateTime(), dict[str, Any]: JSON(), list[Any]: JSON()}  # noqa: RUF012


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({_quoted(values)})", name=column)


def _finite(column: str) -> CheckConstraint:
    return CheckConstraint(f"{column} BETWEEN -{LARGEST} AND {LARGEST}", name=f"{column}_finite")


def _not_negative(column: str) -> CheckConstraint:
    return CheckConstraint(f"{column} BETWEEN 0 AND {LARGEST}", name=f"{column}_not_negative")


def _quoted(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


class SearchRow(Base):
    """A search; its configuration is the revision that `revision` numbers, and `change` counts what happened to it.

    `explored` numbers the revision that has nothing more to propose; NULL: none has, or a trial was retracted since.
    """

    __tablename__ = "searches"
    __table_args__ = (_one_of("state", SEARCH_STATES),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    seed: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str]
    revision: Mapped[int]
    change: Mapped[int] = mapped_column(BigInteger, server_default="0")
    explored: Mapped[int | None]
    corpus: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class RevisionRow(Base):
    """A configuration of a search, never changed."""

    __tablename__ = "revisions"

    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    config: Mapped[dict[str, Any]]
    config_hash: Mapped[str]
    note: Mapped[str]
    created_at: Mapped[datetime]


class DomainRow(Base):
    """A domain of a search and how many tokens there are of it."""

    __tablename__ = "domains"
    __table_args__ = (
        UniqueConstraint("search_id", "name"),
        UniqueConstraint("search_id", "position"),
        CheckConstraint("available_tokens >= 0", name="available_tokens_not_negative"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"))
    name: Mapped[str]
    position: Mapped[int]
    available_tokens: Mapped[int] = mapped_column(BigInteger)


class RunRow(Base):
    """A training, named by the hash of its content; it has happened once `completed_at` is set."""

    __tablename__ = "runs"
    __table_args__ = (
        _not_negative("elapsed_s"),
        CheckConstraint("(completed_at IS NULL) = (elapsed_s IS NULL)", name="completed"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_hash: Mapped[str] = mapped_column(unique=True)
    content: Mapped[dict[str, Any]]
    epochs: Mapped[dict[str, Any]]
    details: Mapped[dict[str, Any]]
    elapsed_s: Mapped[float | None]
    completed_at: Mapped[datetime | None]


class TrialRow(Base):
    """A claim of a search on a run; `seen` is a list of ranges such as `0-41,43`.

    `change` is the search's count when this was last altered; it alone moves on once the trial is finished.
    """

    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("search_id", "number"),
        Index(None, "search_id", "change"),
        _one_of("state", TRIAL_STATES),
        _not_negative("charged_flops"),
        CheckConstraint(f"(state IN ({_quoted(OPEN_STATES)})) = (finished_at IS NULL)", name="finished"),
        CheckConstraint("(state = 'running') <= (started_at IS NOT NULL)", name="started"),
        CheckConstraint("(state = 'cancelled') <= (charged_flops = 0)", name="cancelled_is_free"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"))
    number: Mapped[int]
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), index=True)
    purpose: Mapped[str]
    fidelity: Mapped[str]
    seed: Mapped[int] = mapped_column(BigInteger)
    part: Mapped[str]
    recipe: Mapped[list[Any]]
    state: Mapped[str]
    reason: Mapped[str]
    seen: Mapped[str]
    charged_flops: Mapped[float]
    error: Mapped[str | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    change: Mapped[int] = mapped_column(BigInteger, server_default="0")


class PageRow(Base):
    """Trials of a search from number `first` to `last`, all ended, as `store.pages` packs what their rows say."""

    __tablename__ = "trial_pages"
    __table_args__ = (CheckConstraint("first <= last", name="in_order"),)

    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"), primary_key=True)
    first: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    last: Mapped[int]
    words: Mapped[str]
    floats: Mapped[bytes]


class WeightRow(Base):
    """The weight of a domain in a trial, averaged over its recipe."""

    __tablename__ = "trial_weights"
    __table_args__ = (CheckConstraint("weight BETWEEN 0 AND 1", name="weight_fraction"),)

    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), primary_key=True)
    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id"), primary_key=True)
    weight: Mapped[float]


class PredictionRow(Base):
    """What was predicted for a trial when it was proposed; `name` is the objective or an evaluation set."""

    __tablename__ = "predictions"
    __table_args__ = (_finite("mean"), _not_negative("sd"))

    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    mean: Mapped[float]
    sd: Mapped[float]


class AttemptRow(Base):
    """A try at a trial, which has at most one that runs; `began_s`: how long its search was driven by then."""

    __tablename__ = "attempts"
    __table_args__ = (
        _one_of("state", ATTEMPT_STATES),
        _not_negative("spent_flops"),
        _not_negative("elapsed_s"),
        CheckConstraint("(state = 'running') = (ended_at IS NULL)", name="ended"),
        CheckConstraint("(ended_at IS NULL) = (elapsed_s IS NULL)", name="elapsed"),
        Index(
            "uq_attempts_running",
            "trial_id",
            unique=True,
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
    )

    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    worker: Mapped[str]
    node: Mapped[str | None]
    state: Mapped[str]
    error: Mapped[str | None]
    spent_flops: Mapped[float]
    elapsed_s: Mapped[float | None]
    began_s: Mapped[float | None]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class RetractionRow(Base):
    """That what a finished trial says is wrong, and why."""

    __tablename__ = "retractions"
    __table_args__ = (CheckConstraint("reason != ''", name="reason_given"),)

    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), primary_key=True)
    reason: Mapped[str]
    retracted_at: Mapped[datetime]


class DomainChangeRow(Base):
    """A change of a search's domains, never changed; it applies to trials of lower numbers than `first_trial`.

    See `DomainChange` for parts, revised, domains and corpus. What was fitted and recommended up to `last_fit` and
    `last_recommendation` speaks of the domains as they were.
    """

    __tablename__ = "domain_changes"
    __table_args__ = (CheckConstraint("note != ''", name="note_given"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"), index=True)
    revision: Mapped[int]
    first_trial: Mapped[int]
    parts: Mapped[dict[str, Any]]
    revised: Mapped[dict[str, Any]]
    domains: Mapped[list[Any]]
    corpus: Mapped[dict[str, Any]]
    last_fit: Mapped[int]
    last_recommendation: Mapped[int]
    note: Mapped[str]
    created_at: Mapped[datetime]


class OutdatedRow(Base):
    """That a trial weighs a domain that is no more, since which change."""

    __tablename__ = "outdated_trials"

    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), primary_key=True)
    change_id: Mapped[int] = mapped_column(ForeignKey("domain_changes.id"))


class MeasurementRow(Base):
    """What a run showed on one part of an evaluation set: its loss (bits per byte), or its accuracy over `items`."""

    __tablename__ = "measurements"
    __table_args__ = (
        _finite("value"),
        _one_of("kind", MEASUREMENT_KINDS),
        CheckConstraint("kind != 'accuracy' OR value BETWEEN 0 AND 1", name="accuracy_fraction"),
        CheckConstraint("items IS NULL OR (kind = 'accuracy' AND items > 0)", name="items_of_an_accuracy"),
    )

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    part: Mapped[str] = mapped_column(primary_key=True)
    evaluation_set: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float]
    items: Mapped[int | None]


class CurveRow(Base):
    """The training loss of a run after `tokens`, in nats per token; NULL and not finite go together."""

    __tablename__ = "curve_points"
    __table_args__ = (
        _finite("loss"),
        CheckConstraint("tokens >= 0", name="tokens_not_negative"),
        CheckConstraint("is_finite = (loss IS NOT NULL)", name="is_finite"),
    )

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    tokens: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    loss: Mapped[float | None]
    is_finite: Mapped[bool]


class ArtifactRow(Base):
    """A file that a run left behind."""

    __tablename__ = "artifacts"
    __table_args__ = (CheckConstraint("bytes >= 0", name="bytes_not_negative"),)

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str]
    sha256: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)


class FitRow(Base):
    """A fit of the surrogate, with the trials it had seen as ranges."""

    __tablename__ = "fits"

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"), index=True)
    seen: Mapped[str]
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class RecommendationRow(Base):
    """A recommendation of a search; the last one stands."""

    __tablename__ = "recommendations"

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"), index=True)
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class LeaseRow(Base):
    """Who may write a search, and until when."""

    __tablename__ = "leases"

    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"), primary_key=True)
    owner: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int] = mapped_column(BigInteger)
    acquired_at: Mapped[datetime]
    renewed_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class SessionRow(Base):
    """A driver that ran a search, and with what software on what text."""

    __tablename__ = "sessions"

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"), index=True)
    provenance: Mapped[dict[str, Any]]
    started_at: Mapped[datetime]


class ThroughputRow(Base):
    """What a device did in a second when it trained what `identity` names."""

    __tablename__ = "throughputs"
    __table_args__ = (CheckConstraint(f"flops_per_s > 0 AND flops_per_s <= {LARGEST}", name="flops_per_s_positive"),)

    device: Mapped[str] = mapped_column(primary_key=True)
    identity: Mapped[str] = mapped_column(primary_key=True)
    flops_per_s: Mapped[float]
    measured_at: Mapped[datetime]


class MessageRow(Base):
    """A wish to the driver of a search; anyone adds, the driver marks it drained."""

    __tablename__ = "inbox"

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"), index=True)
    kind: Mapped[str]
    payload: Mapped[dict[str, Any]]
    posted_at: Mapped[datetime]
    drained_at: Mapped[datetime | None]
