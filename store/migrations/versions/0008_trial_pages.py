"""Pages: a thousand trials that have ended in one row; those of trials of before are written after the migrations."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table."""
    op.create_table(
        "trial_pages",
        sa.Column("search_id", sa.Integer(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("words", sa.String(), nullable=False),
        sa.Column("floats", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("first <= last", name=op.f("ck_trial_pages_in_order")),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_trial_pages_search_id")),
        sa.PrimaryKeyConstraint("search_id", "first", name=op.f("pk_trial_pages")),
    )
