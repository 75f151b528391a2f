"""Write `hub/store/migrations/head.sql`: what all migrations together make of an empty store.

`--first` writes the first migration anew from `hub/store/tables.py` before that. Only until the first release: after
it a change of a table is a new migration.
"""

import io
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from alembic import command
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlmodel import SQLModel
from sqlmodel.sql.sqltypes import AutoString

from hub.store import tables
from hub.store.migrate import HEAD, MIGRATIONS, upgrade
from hub.store.migrate_postgres import functions

FIRST = MIGRATIONS / "versions" / "0001_first_schema.py"
ABOVE = '''"""The first schema: every table of `hub/store/tables.py`, where each says why it has the shape it has."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
phase = "expand"


def upgrade() -> None:  # long: one statement per table
    """Make every table."""
'''


def first_migration() -> str:
    """Render the tables as Alembic's operations."""
    assert tables.Fence.metadata is SQLModel.metadata
    with create_engine("sqlite://").connect() as connection:
        context = MigrationContext.configure(connection)
        operations = produce_migrations(context, SQLModel.metadata).upgrade_ops
        assert operations is not None
        rendered = render_python_code(operations, render_item=_plain_text)
        lines = [line for line in rendered.splitlines() if not line.strip().startswith("#")]
        return ABOVE + "\n".join(["    " + lines[0].strip(), *lines[1:]]) + "\n"


def _plain_text(kind: str, value: Any, _context: Any) -> str | Literal[False]:
    return "sa.String()" if kind == "type" and isinstance(value, AutoString) else False


def head() -> str:
    """Migrate an empty store and read back its schema."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "empty.sqlite"
        upgrade(path)
        connection = sqlite3.connect(path)
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name")
        statements = "".join(f"{sql};\n" for (sql,) in rows)
        connection.close()
    stamp = f"INSERT INTO alembic_version VALUES ('{HEAD}');\n"  # noqa: S608 - the revision is a constant of the source
    return f"-- Made by deploy/tools/write_schema.py; not to be edited.\n{statements}{stamp}"


def head_postgres() -> str:
    """Render all migrations as PostgreSQL's script, without a server; in one transaction with what runs it."""
    config = Config(output_buffer=(said := io.StringIO()))
    config.set_main_option("script_location", str(MIGRATIONS))
    command.upgrade(config, HEAD, sql=True)
    lines = [line.rstrip() for line in said.getvalue().splitlines()]
    kept = "\n".join(line for line in lines if line not in ("", "BEGIN;", "COMMIT;") and not line.startswith("-- "))
    return f"-- Made by deploy/tools/write_schema.py; not to be edited.\n{functions()}{kept}\n"


if __name__ == "__main__":
    if "--first" in sys.argv:
        FIRST.write_text(first_migration(), encoding="utf-8")
    (MIGRATIONS / "head.sql").write_text(head(), encoding="utf-8")
    (MIGRATIONS / "head_postgres.sql").write_text(head_postgres(), encoding="utf-8")
