"""Accuracies beside losses: a measurement has a kind, and the number of items behind it."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ERROR = "error/"  # began the name of a set whose value was 1 - accuracy


def upgrade() -> None:
    """Make the table anew, for SQLite cannot change a primary key; what was kept as an error is an accuracy again."""
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT run_id, part, evaluation_set, value FROM measurements")).all()
    contents = sa.table("runs", sa.column("id", sa.Integer), sa.column("content", sa.JSON))
    errors = {row.run_id for row in rows if row.evaluation_set.startswith(ERROR)}
    items = {
        run_id: content.get("items", {})
        for run_id, content in connection.execute(sa.select(contents.c.id, contents.c.content))
        if run_id in errors
    }
    op.drop_table("measurements")
    table = _measurements()
    if rows:
        op.bulk_insert(table, [_measurement(row, items.get(row.run_id, {})) for row in rows])


def _measurement(row: sa.Row[Any], items: dict[str, int]) -> dict[str, object]:
    measured = {"run_id": row.run_id, "part": row.part}
    name = row.evaluation_set.removeprefix(ERROR)
    if name == row.evaluation_set:
        return measured | {"evaluation_set": name, "kind": "loss", "value": row.value, "items": None}
    return measured | {"evaluation_set": name, "kind": "accuracy", "value": 1.0 - row.value, "items": items.get(name)}


def _measurements() -> sa.Table:
    return op.create_table(
        "measurements",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("part", sa.String(), nullable=False),
        sa.Column("evaluation_set", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=True),
        sa.CheckConstraint("value BETWEEN -1e308 AND 1e308", name=op.f("ck_measurements_value_finite")),
        sa.CheckConstraint("kind IN ('loss', 'accuracy')", name=op.f("ck_measurements_kind")),
        sa.CheckConstraint(
            "kind != 'accuracy' OR value BETWEEN 0 AND 1", name=op.f("ck_measurements_accuracy_fraction")
        ),
        sa.CheckConstraint(
            "items IS NULL OR (kind = 'accuracy' AND items > 0)", name=op.f("ck_measurements_items_of_an_accuracy")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_measurements_run_id")),
        sa.PrimaryKeyConstraint("run_id", "part", "evaluation_set", "kind", name=op.f("pk_measurements")),
    )
