"""What Alembic runs: migrations on the connection that `store.migrate` hands over, inside its transaction."""

from alembic import context
from sqlalchemy import Connection

from store.schema import Base


def migrate(connection: Connection) -> None:
    """Bring the tables on `connection` to the wanted revision; SQLite alters tables by copying them."""
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


migrate(context.config.attributes["connection"])
