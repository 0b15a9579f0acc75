"""What changed since when, retractions, the node of an attempt, and what software drove a search."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add columns without copying tables, and two tables; what is there counts as the first change."""
    op.add_column("searches", sa.Column("change", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("trials", sa.Column("change", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("attempts", sa.Column("node", sa.String(), nullable=True))
    op.execute("UPDATE searches SET change = 1")
    op.execute("UPDATE trials SET change = 1")
    op.create_index(op.f("ix_trials_search_id_change"), "trials", ["search_id", "change"], unique=False)
    op.create_table(
        "retractions",
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("retracted_at", MOMENT, nullable=False),
        sa.CheckConstraint("reason != ''", name=op.f("ck_retractions_reason_given")),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name=op.f("fk_retractions_trial_id")),
        sa.PrimaryKeyConstraint("trial_id", name=op.f("pk_retractions")),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("search_id", sa.Integer(), nullable=False),
        sa.Column("provenance", sa.JSON(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_sessions_search_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_search_id"), "sessions", ["search_id"], unique=False)
