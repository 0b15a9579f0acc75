"""What devices do in a second."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table."""
    op.create_table(
        "throughputs",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("flops_per_s", sa.Double(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "flops_per_s > 0 AND flops_per_s <= 1e308", name=op.f("ck_throughputs_flops_per_s_positive")
        ),
        sa.PrimaryKeyConstraint("device", "identity", name=op.f("pk_throughputs")),
    )
