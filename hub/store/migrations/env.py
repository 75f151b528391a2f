"""Alembic runs this file; `hub/store/migrate.py` hands it the open transaction that everything happens in."""

from alembic import context
from sqlmodel import SQLModel

from hub.store import tables

assert tables.Fence.metadata is SQLModel.metadata  # importing the tables is what fills it
if context.is_offline_mode():  # deploy/tools/write_schema.py writes PostgreSQL's script without a server
    context.configure(dialect_name="postgresql", target_metadata=SQLModel.metadata)
else:
    context.configure(connection=context.config.attributes["connection"], target_metadata=SQLModel.metadata)
with context.begin_transaction():
    context.run_migrations()
