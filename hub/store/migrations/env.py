"""Alembic runs this file; whoever migrates hands it a connection.

On SQLite with a transaction open that everything happens in (`hub/store/migrate.py`); on PostgreSQL without one, and
each migration has its own (`hub/store/under_way.py`).
"""

from alembic import context
from sqlmodel import SQLModel

from hub.store import tables

assert tables.Fence.metadata is SQLModel.metadata  # importing the tables is what fills it
if context.is_offline_mode():  # deploy/tools/write_schema.py writes PostgreSQL's script without a server
    context.configure(dialect_name="postgresql", target_metadata=SQLModel.metadata)
else:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=SQLModel.metadata,
        transaction_per_migration=True,
    )
with context.begin_transaction():
    context.run_migrations()
