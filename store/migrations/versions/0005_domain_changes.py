"""Domains that change: what became of them, and the trials that weigh one that is no more."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add two tables."""
    op.create_table(
        "domain_changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("search_id", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("first_trial", sa.Integer(), nullable=False),
        sa.Column("parts", sa.JSON(), nullable=False),
        sa.Column("revised", sa.JSON(), nullable=False),
        sa.Column("domains", sa.JSON(), nullable=False),
        sa.Column("corpus", sa.JSON(), nullable=False),
        sa.Column("last_fit", sa.Integer(), nullable=False),
        sa.Column("last_recommendation", sa.Integer(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint("note != ''", name=op.f("ck_domain_changes_note_given")),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_domain_changes_search_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_domain_changes")),
    )
    op.create_index(op.f("ix_domain_changes_search_id"), "domain_changes", ["search_id"], unique=False)
    op.create_table(
        "outdated_trials",
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("change_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["change_id"], ["domain_changes.id"], name=op.f("fk_outdated_trials_change_id")),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name=op.f("fk_outdated_trials_trial_id")),
        sa.PrimaryKeyConstraint("trial_id", name=op.f("pk_outdated_trials")),
    )
