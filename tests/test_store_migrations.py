"""A store's schema comes from the migrations, is that of the tables, and is never one that the code does not know."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlmodel import SQLModel

from hub.core.errors import HubError
from hub.store import tables
from hub.store.migrate import HEAD, MIGRATIONS, REVISIONS, ensure, revision, upgrade


def schema(path: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    connection.close()
    return rows


def keys(path: Path) -> dict[str, tuple[list[str], bool]]:
    """Return each table's primary key in order, and whether the table is its own key (WITHOUT ROWID)."""
    connection = sqlite3.connect(path)
    found = {}
    for name, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
        columns = connection.execute(f"SELECT name FROM pragma_table_info('{name}') WHERE pk > 0 ORDER BY pk")
        found[name] = ([column for (column,) in columns], "WITHOUT ROWID" in sql)
    connection.close()
    return found


def test_the_migrations_give_exactly_what_the_tables_say(tmp_path: Path) -> None:
    """Columns, types, indexes and keys of a migrated store are those of the declared tables, and nothing else is."""
    migrated, declared = tmp_path / "migrated.sqlite", tmp_path / "declared.sqlite"
    upgrade(migrated)
    assert tables.Fence.metadata is SQLModel.metadata
    SQLModel.metadata.create_all(create_engine(f"sqlite:///{declared}"))
    with create_engine(f"sqlite:///{migrated}").connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    of_migrated = keys(migrated)
    del of_migrated["alembic_version"]
    assert of_migrated == keys(declared)


def test_a_new_store_is_what_all_migrations_together_give(tmp_path: Path) -> None:
    """The short way (head.sql, without Alembic) and the long way make the same schema and the same stamp."""
    short, long = tmp_path / "short.sqlite", tmp_path / "long.sqlite"
    assert ensure(short) == "made"
    upgrade(long)
    assert schema(short) == schema(long)
    assert revision(short) == revision(long) == HEAD
    assert ensure(short) == ensure(long) == "current"


@pytest.mark.parametrize("before", REVISIONS[:-1])
def test_an_older_store_is_upgraded_and_keeps_what_it_holds(tmp_path: Path, before: str) -> None:
    """Its rows are all there, and its schema is that of a new one."""
    old, new = tmp_path / "old.sqlite", tmp_path / "new.sqlite"
    upgrade(old, before)
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("INSERT INTO handout(recipient, number, delivery, opened_us, ended) VALUES (7, 1, 5, 9, 0)")
    assert ensure(old) == "upgraded"
    ensure(new)
    assert schema(old) == schema(new)
    with closing(sqlite3.connect(old)) as connection:
        rows = connection.execute("SELECT recipient, number, delivery, opened_us, acked_us, ended FROM handout")
        assert rows.fetchall() == [(7, 1, 5, 9, None, 0)]


def test_the_code_knows_every_migration_in_order() -> None:
    """The list that tells older from newer stores is Alembic's own."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(scripts)) == REVISIONS


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    """A schema that this code does not know is left as it is, with the remedy."""
    path = tmp_path / "hub.sqlite"
    ensure(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(HubError, match="newer hub") as refused:
        ensure(path)
    assert refused.value.code == "store-newer"


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    """Somebody else's database and a file of noise are refused, not overwritten."""
    foreign, noise = tmp_path / "foreign.sqlite", tmp_path / "noise.sqlite"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    noise.write_bytes(b"not a database at all, " * 100)
    for path in (foreign, noise):
        with pytest.raises(HubError) as refused:
            ensure(path)
        assert refused.value.code == "store-unusable"
    assert noise.read_bytes().startswith(b"not a database")


def test_what_an_older_store_left_open_is_due_to_be_looked_at(tmp_path: Path) -> None:
    """The record alone knows when a question ends, and a migration opens none; what has ended is left alone."""
    path = tmp_path / "hub.sqlite"
    upgrade(path, "0001")
    connection = sqlite3.connect(path)
    for number, state in enumerate(("requested", "given", "paused", "withdrawn", "lapsed"), 1):
        row = (number, f"c-{number}", 7, 4, 1, 1, state, 1_000 + number, 1, bytes(32))
        connection.execute("INSERT INTO consent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    connection.commit()
    connection.close()
    assert ensure(path) == "upgraded"
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT number, due_us FROM consent ORDER BY number").fetchall() == [
        (1, 1_001), (2, 1_002), (3, 1_003), (4, None), (5, None)
    ]  # fmt: skip
    connection.close()


def test_what_was_in_force_before_signatures_stays_so_and_a_suspension_was_an_operators(tmp_path: Path) -> None:
    """An upgrade stops nothing that was agreed, and resumes nothing that was stopped; what waited goes on waiting."""
    path = tmp_path / "hub.sqlite"
    upgrade(path, "0004")
    rows = [(1, "in_force", 7), (2, "suspended", 8), (3, "unsigned", 9), (4, "ended", 9)]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany("INSERT INTO agreement_state(number, phase, since_us) VALUES (?, ?, ?)", rows)
    assert ensure(path) == "upgraded"
    with closing(sqlite3.connect(path)) as connection:
        signed = connection.execute("SELECT number, phase, signed FROM agreement_state ORDER BY number").fetchall()
        assert signed == [(1, "in_force", 1), (2, "suspended", 1), (3, "unsigned", 0), (4, "ended", 0)]
        assert connection.execute("SELECT * FROM agreement_suspension").fetchall() == [(2, 0, 8)]
