"""PostgreSQL's schema is that of the tables, however it came about; and what is insert-only is so by its rights."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, pool
from sqlmodel import SQLModel

from deploy.tools.write_schema import head_postgres
from hub.store import tables
from hub.store.engine import IDS
from hub.store.migrate import HEAD, MIGRATIONS, REVISIONS
from hub.store.migrate_postgres import INSERT_ONLY, ensure, functions, revision, upgrade
from tests import stores

COLUMNS = (
    "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
    " WHERE table_schema = 'public' ORDER BY 1, 2"
)
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
CONSTRAINTS = (
    "SELECT conrelid::regclass::text, contype, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2, 3"
)
FUNCTIONS = (
    "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1, 2"
)
WHAT_IS_THERE = (COLUMNS, INDEXES, CONSTRAINTS, FUNCTIONS)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[str]:
    """The owner's DSN of a database that holds nothing."""
    stores.dsn_of(tmp_path)
    dsn = stores.owner_dsn_of(tmp_path)
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("DROP SCHEMA public CASCADE")
        owner.execute("CREATE SCHEMA public")
    yield dsn
    stores.drop_all()


def schema(dsn: str) -> list[list[tuple[object, ...]]]:
    with psycopg.connect(dsn) as connection:
        return [connection.execute(query.encode()).fetchall() for query in WHAT_IS_THERE]


def test_one_by_one_the_migrations_make_what_the_script_makes_at_once(empty: str, tmp_path: Path) -> None:
    """So a database that grew with the hub is the same as a new one."""
    for each in REVISIONS:
        upgrade(empty, to=each)
        with psycopg.connect(empty) as connection:
            assert revision(connection) == each
    stores.dsn_of(tmp_path / "new")
    assert schema(empty) == schema(stores.owner_dsn_of(tmp_path / "new"))


def test_an_older_database_is_brought_up_to_date_with_what_is_in_it(empty: str) -> None:
    """A halted event becomes a dead letter, a suspension the operator's: the statements run on both engines."""
    upgrade(empty, to="0005")
    with psycopg.connect(empty, autocommit=True) as owner:
        owner.execute("INSERT INTO agreement_state(number, phase, since_us) VALUES (1, 'suspended', 5)")
        owner.execute(
            "INSERT INTO waiting(publisher, dataset, subject, local, event, since_us, until_us, sealed)"
            " VALUES (1, 1, 's', decode(repeat('00', 16), 'hex'), 'e', 7, 8, '')"
        )
        owner.execute("INSERT INTO audit(kind, at_us, leaf, fences, detail) VALUES (1, 11, '', '', '')")
    assert ensure(empty) == "upgraded"
    with psycopg.connect(empty) as owner:
        assert owner.execute("SELECT agreement, agency, since_us FROM agreement_suspension").fetchall() == [(1, 0, 5)]
        assert owner.execute("SELECT waiting, code, last_us FROM dead_letter").fetchall() == [(1, "defect", 7)]
        assert owner.execute("SELECT value FROM fact").fetchall() == [("11",)]
    assert ensure(empty) == "current"


def test_the_tables_are_those_of_the_models(tmp_path: Path) -> None:
    """Alembic finds no difference."""
    stores.dsn_of(tmp_path)
    dsn = stores.owner_dsn_of(tmp_path)
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=pool.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
        found = {name: inspect(connection).get_indexes(name) for name in SQLModel.metadata.tables}
    stores.drop_all()
    partial = {
        str(index.name): "sqlite" in index.dialect_options and index.dialect_options["sqlite"]["where"] is not None
        for table in SQLModel.metadata.tables.values()
        for index in table.indexes
    }
    there = {
        str(one["name"]): "postgresql_where" in one.get("dialect_options", {})
        for each in found.values()
        for one in each
    }
    assert {name: there[name] for name in partial} == partial  # Alembic does not compare the WHERE of an index


def test_the_script_is_what_the_migrations_say() -> None:
    """Made anew by `deploy/tools/write_schema.py`, which needs no server."""
    written = (MIGRATIONS / "head_postgres.sql").read_text(encoding="utf-8")
    assert head_postgres() == written
    assert functions() in written
    assert f"'{HEAD}'" in written


def test_what_the_tables_call_insert_only_is_what_the_role_may_not_change() -> None:
    """And every id that is drawn is a table's own key."""
    said = (tables.__doc__ or "").partition("Insert-only from the first day:")[2].partition(".\n")[0]
    named = {word.strip("`,\n ") for word in said.split()}
    assert named <= set(INSERT_ONLY)
    assert set(INSERT_ONLY) <= set(SQLModel.metadata.tables)
    for table, column in IDS.items():
        assert [one.name for one in SQLModel.metadata.tables[table].primary_key] == [column]
