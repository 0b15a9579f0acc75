"""The clock of a search: how long it was driven when an attempt began, and whether it has anything more to propose."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns without copying tables; of what is there already, nobody knows."""
    op.add_column("searches", sa.Column("explored", sa.Integer(), nullable=True))
    op.add_column("attempts", sa.Column("began_s", sa.Double(), nullable=True))
