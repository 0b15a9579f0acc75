"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create every table, those that others refer to first."""
    _searches()
    _revisions()
    _domains()
    _leases()
    _inbox()
    _runs()
    _measurements()
    _curve_points()
    _artifacts()
    _trials()
    _trial_weights()
    _predictions()
    _attempts()
    _fits()
    _recommendations()


def _searches() -> None:
    op.create_table(
        "searches",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("corpus", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.CheckConstraint("state IN ('running', 'finished', 'stopped', 'failed')", name=op.f("ck_searches_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_searches")),
        sa.UniqueConstraint("name", name=op.f("uq_searches_name")),
    )


def _revisions() -> None:
    op.create_table(
        "revisions",
        sa.Column("search_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("config_hash", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_revisions_search_id")),
        sa.PrimaryKeyConstraint("search_id", "number", name=op.f("pk_revisions")),
    )


def _domains() -> None:
    op.create_table(
        "domains",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("search_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("available_tokens", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("available_tokens >= 0", name=op.f("ck_domains_available_tokens_not_negative")),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_domains_search_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_domains")),
        sa.UniqueConstraint("search_id", "name", name=op.f("uq_domains_search_id_name")),
        sa.UniqueConstraint("search_id", "position", name=op.f("uq_domains_search_id_position")),
    )


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("search_id", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("acquired_at", MOMENT, nullable=False),
        sa.Column("renewed_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_leases_search_id")),
        sa.PrimaryKeyConstraint("search_id", name=op.f("pk_leases")),
    )


def _inbox() -> None:
    op.create_table(
        "inbox",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("search_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("posted_at", MOMENT, nullable=False),
        sa.Column("drained_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_inbox_search_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox")),
    )
    op.create_index(op.f("ix_inbox_search_id"), "inbox", ["search_id"], unique=False)


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_hash", sa.String(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("epochs", sa.JSON(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("elapsed_s", sa.Double(), nullable=True),
        sa.Column("completed_at", MOMENT, nullable=True),
        sa.CheckConstraint("(completed_at IS NULL) = (elapsed_s IS NULL)", name=op.f("ck_runs_completed")),
        sa.CheckConstraint("elapsed_s BETWEEN 0 AND 1e308", name=op.f("ck_runs_elapsed_s_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("run_hash", name=op.f("uq_runs_run_hash")),
    )


def _measurements() -> None:
    op.create_table(
        "measurements",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("part", sa.String(), nullable=False),
        sa.Column("evaluation_set", sa.String(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.CheckConstraint("value BETWEEN -1e308 AND 1e308", name=op.f("ck_measurements_value_finite")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_measurements_run_id")),
        sa.PrimaryKeyConstraint("run_id", "part", "evaluation_set", name=op.f("pk_measurements")),
    )


def _curve_points() -> None:
    op.create_table(
        "curve_points",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.Column("is_finite", sa.Boolean(), nullable=False),
        sa.CheckConstraint("is_finite = (loss IS NOT NULL)", name=op.f("ck_curve_points_is_finite")),
        sa.CheckConstraint("loss BETWEEN -1e308 AND 1e308", name=op.f("ck_curve_points_loss_finite")),
        sa.CheckConstraint("tokens >= 0", name=op.f("ck_curve_points_tokens_not_negative")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_curve_points_run_id")),
        sa.PrimaryKeyConstraint("run_id", "tokens", name=op.f("pk_curve_points")),
    )


def _artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("bytes >= 0", name=op.f("ck_artifacts_bytes_not_negative")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_artifacts_run_id")),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_artifacts")),
    )


def _trials() -> None:
    op.create_table(
        "trials",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("search_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("fidelity", sa.String(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("part", sa.String(), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("seen", sa.String(), nullable=False),
        sa.Column("charged_flops", sa.Double(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.CheckConstraint("(state = 'cancelled') <= (charged_flops = 0)", name=op.f("ck_trials_cancelled_is_free")),
        sa.CheckConstraint("(state = 'running') <= (started_at IS NOT NULL)", name=op.f("ck_trials_started")),
        sa.CheckConstraint("(state IN ('queued', 'running')) = (finished_at IS NULL)", name=op.f("ck_trials_finished")),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'completed', 'failed', 'diverged', 'cancelled')",
            name=op.f("ck_trials_state"),
        ),
        sa.CheckConstraint("charged_flops BETWEEN 0 AND 1e308", name=op.f("ck_trials_charged_flops_not_negative")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_trials_run_id")),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_trials_search_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trials")),
        sa.UniqueConstraint("search_id", "number", name=op.f("uq_trials_search_id_number")),
    )
    op.create_index(op.f("ix_trials_run_id"), "trials", ["run_id"], unique=False)


def _trial_weights() -> None:
    op.create_table(
        "trial_weights",
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("domain_id", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.CheckConstraint("weight BETWEEN 0 AND 1", name=op.f("ck_trial_weights_weight_fraction")),
        sa.ForeignKeyConstraint(["domain_id"], ["domains.id"], name=op.f("fk_trial_weights_domain_id")),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name=op.f("fk_trial_weights_trial_id")),
        sa.PrimaryKeyConstraint("trial_id", "domain_id", name=op.f("pk_trial_weights")),
    )


def _predictions() -> None:
    op.create_table(
        "predictions",
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("mean", sa.Double(), nullable=False),
        sa.Column("sd", sa.Double(), nullable=False),
        sa.CheckConstraint("mean BETWEEN -1e308 AND 1e308", name=op.f("ck_predictions_mean_finite")),
        sa.CheckConstraint("sd BETWEEN 0 AND 1e308", name=op.f("ck_predictions_sd_not_negative")),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name=op.f("fk_predictions_trial_id")),
        sa.PrimaryKeyConstraint("trial_id", "name", name=op.f("pk_predictions")),
    )


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("spent_flops", sa.Double(), nullable=False),
        sa.Column("elapsed_s", sa.Double(), nullable=True),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.CheckConstraint("(state = 'running') = (ended_at IS NULL)", name=op.f("ck_attempts_ended")),
        sa.CheckConstraint(
            "state IN ('running', 'completed', 'duplicate', 'failed', 'diverged', 'cancelled', 'lost')",
            name=op.f("ck_attempts_state"),
        ),
        sa.CheckConstraint("(ended_at IS NULL) = (elapsed_s IS NULL)", name=op.f("ck_attempts_elapsed")),
        sa.CheckConstraint("elapsed_s BETWEEN 0 AND 1e308", name=op.f("ck_attempts_elapsed_s_not_negative")),
        sa.CheckConstraint("spent_flops BETWEEN 0 AND 1e308", name=op.f("ck_attempts_spent_flops_not_negative")),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name=op.f("fk_attempts_trial_id")),
        sa.PrimaryKeyConstraint("trial_id", "number", name=op.f("pk_attempts")),
    )
    op.create_index(
        "uq_attempts_running",
        "attempts",
        ["trial_id"],
        unique=True,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )


def _fits() -> None:
    op.create_table(
        "fits",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("search_id", sa.Integer(), nullable=False),
        sa.Column("seen", sa.String(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_fits_search_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fits")),
    )
    op.create_index(op.f("ix_fits_search_id"), "fits", ["search_id"], unique=False)


def _recommendations() -> None:
    op.create_table(
        "recommendations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("search_id", sa.Integer(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_recommendations_search_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recommendations")),
    )
    op.create_index(op.f("ix_recommendations_search_id"), "recommendations", ["search_id"], unique=False)
